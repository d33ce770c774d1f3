"""Decide about a build in Docker: which engine, which strategy, where the sysroot comes from, which Dockerfile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx import __version__
from jetsonx.build import lockfile
from jetsonx.build.docker import DockerPlan
from jetsonx.build.docker_options import DockerOptions
from jetsonx.build.docker_sysroot import NO_SYSROOT, choose_sysroot
from jetsonx.build.strategy import Choice, Means, choose_strategy, runs_in_image
from jetsonx.catalog import Target
from jetsonx.dockerfile import (
    JETSON,
    WORKSTATION,
    Machine,
    Strategy,
    find_toolchain,
    load_toolchain_images,
    plan_dockerfile,
    render_dockerfile,
)
from jetsonx.dockerfile.pins import NO_PINS
from jetsonx.engine.builders import choose_native
from jetsonx.engine.client import load_engine
from jetsonx.errors import ConfigError, HostError
from jetsonx.net.mirrors import load_mirrors
from jetsonx.project import Project
from jetsonx.project.lock import Lock

if TYPE_CHECKING:
    from jetsonx.effects import Effects


def plan_in_docker(
    project: Project,
    targets: tuple[Target, ...],
    out: Path,
    *,
    options: DockerOptions,
    several: bool,
    lock: Lock | None,
    locked: bool,
    effects: Effects,
) -> tuple[DockerPlan, ...]:
    """The plans for ``targets``, which are of one release: one for each platform that is asked for.

    ``several``: other releases of the project are built beside it, so that the image's name has to tell them apart.
    ``locked``: take what goes into the image exactly as ``lock`` says, or raise ConfigError.

    Raises HostError when no engine answers or it lacks what the strategy needs, ConfigError for a project that cannot
    be built in Docker.
    """
    mirrors = load_mirrors(os.environ)
    toolchains = load_toolchain_images()
    tag = options.tag or f"{project.name}:{project.version}" + (f"-r{targets[0].release.l4t}" if several else "")
    plans = []
    for machine in parse_platforms(options.platforms):
        cross = "" if find_toolchain(targets[0], toolchains) else _no_toolchain(targets[0])
        choice, where = _choose(project, machine, cross, options, effects)
        engine = load_engine(effects.runner, os.environ, context=where.context)
        sysroot = NO_SYSROOT
        if choice.strategy == "cross":
            sysroot = choose_sysroot(project, targets[0], engine, builder=where.builder, lock=lock, effects=effects)
        dockerfile = plan_dockerfile(
            project,
            targets,
            strategy=choice.strategy,
            context=sysroot.context is not None,
            toolchains=toolchains,
            lock=lock,
            pins=NO_PINS if machine is WORKSTATION else lockfile.apt_pins(lock, project, targets[0]),
            mirrors=mirrors,
            machine=machine,
            build_cache=_build_cache(project, targets, machine, choice.strategy),
        )
        if locked:
            lockfile.refuse_unlocked(lock, project, targets[0], dockerfile)
        is_second = machine is WORKSTATION and len(options.platforms) > 1
        asked = [f"{registry} is asked at {host}, its mirror" for registry, host in dockerfile.stand_ins]
        plans.append(
            DockerPlan(
                project=project,
                targets=targets,
                out=(out / machine.debian_arch if is_second else out).resolve(),
                engine=engine,
                dockerfile=render_dockerfile(dockerfile),
                contexts={"sysroot": str(sysroot.context)} if sysroot.context else {},
                tag=f"{tag}-{machine.debian_arch}" if is_second else tag,
                machine=machine,
                options=where,
                why=(choice.why, engine.name, *sysroot.why, *asked),
            )
        )
    return tuple(plans)


def parse_platforms(names: Sequence[str]) -> tuple[Machine, ...]:
    """The machines that ``--platform`` names, the Jetson first. Raises ConfigError for another platform."""
    known = {machine.platform: machine for machine in (JETSON, WORKSTATION)}
    for name in names:
        if name not in known:
            raise ConfigError(
                f"--platform: {name!r} is none that jetsonx builds for", hint=f"one or both of {','.join(known)}"
            )
    return tuple(machine for name, machine in known.items() if name in names)


def _choose(
    project: Project, machine: Machine, cross: str, options: DockerOptions, effects: Effects
) -> tuple[Choice, DockerOptions]:
    """The strategy, and the options with the builder and context that it needs; ``cross`` as in :class:`Means`."""
    if machine is WORKSTATION:
        return Choice(strategy="native", why="natively: x86-64 for the workstation"), options
    asked = project.build.strategy
    means = _probe_means(asked, cross, options, effects)
    choice = choose_strategy(asked, means)
    emulated = runs_in_image(project) if choice.strategy == "cross" else ""
    if emulated and (problem := _emulation_problem(options, effects)):
        raise HostError(f"{project.path}: {emulated} runs in the image: {problem}", hint="jetsonx binfmt install")
    if choice.strategy == "native":
        options = replace(options, builder=means.builder, context=means.context or options.context)
    return choice, options


def _build_cache(project: Project, targets: Sequence[Target], machine: Machine, strategy: Strategy) -> str:
    """The name of a build directory: another one for everything that CMake would not notice by itself."""
    names = [target.name for target in targets]
    parts = [
        str(project.root.resolve()),
        project.build,
        project.sysroot,
        names,
        machine.platform,
        strategy,
        __version__,
    ]
    return f"{project.name}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


def _no_toolchain(target: Target) -> str:
    return f"no x86-64 image with CUDA {target.cuda_version} on Ubuntu {target.line.ubuntu} is known"


def _probe_means(asked: str, cross: str, options: DockerOptions, effects: Effects) -> Means:
    """What stands in the way of the strategies that come into question; the others are not looked at."""
    if asked == "cross" or (asked == "auto" and not cross):
        return Means(cross=cross)
    emulate = "" if asked == "native" else _emulation_problem(options, effects)
    if options.builder or asked == "emulate":
        return Means(cross=cross, emulate=emulate, node=options.builder, builder=options.builder)
    try:
        chosen = choose_native(effects.runner, os.environ)
    except HostError as error:
        return Means(
            cross=cross, emulate=emulate, native="; ".join([error.message, *(error.details or "").splitlines()])
        )
    return Means(cross=cross, emulate=emulate, node=chosen.why, builder=chosen.builder, context=chosen.context)


def _emulation_problem(options: DockerOptions, effects: Effects) -> str:
    """Why the engine cannot start AArch64 programs; "" when it can, or is another machine and has to show it."""
    from jetsonx.host.binfmt_status import probe_status

    environ: Mapping[str, str] = os.environ
    if options.builder or options.context or not environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        return ""
    status = probe_status(effects.runner, environ)
    if status.serves_containers or status.is_desktop:
        return ""
    return "this kernel starts no AArch64 programs in containers: nothing is registered with the flag F in binfmt_misc"
