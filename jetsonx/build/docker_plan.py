"""Decide about a build in Docker: which engine, which strategy, where the sysroot comes from, which Dockerfile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx.build.docker import DockerPlan
from jetsonx.build.docker_options import DockerOptions
from jetsonx.build.strategy import Means, choose_strategy
from jetsonx.catalog import Target
from jetsonx.dockerfile import find_toolchain, load_toolchain_images, plan_dockerfile, render_dockerfile
from jetsonx.engine.builders import choose_native
from jetsonx.engine.client import load_engine
from jetsonx.errors import HostError
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
    effects: Effects,
) -> DockerPlan:
    """The plan for ``targets``, which are of one release; ``several``: others of the project are built beside it.

    Raises HostError when no engine answers or it lacks what the strategy needs, ConfigError for a project that cannot
    be built in Docker.
    """
    target = targets[0]
    cross = "" if find_toolchain(target, load_toolchain_images()) else _no_toolchain(target)
    asked = project.build.strategy
    means = _probe_means(asked, cross, options, effects)
    choice = choose_strategy(asked, means)
    if choice.strategy == "native":
        options = replace(options, builder=means.builder, context=means.context or options.context)
    engine = load_engine(effects.runner, os.environ, context=options.context)
    dockerfile = plan_dockerfile(
        project,
        targets,
        strategy=choice.strategy,
        toolchains=load_toolchain_images(),
        lock=lock,
        mirrors=load_mirrors(os.environ),
    )
    release = f"-r{target.release.l4t}" if several else ""
    return DockerPlan(
        project=project,
        targets=targets,
        out=out.resolve(),
        engine=engine,
        choice=choice,
        dockerfile=render_dockerfile(dockerfile),
        contexts={},
        tag=options.tag or f"{project.name}:{project.version}{release}",
        options=options,
        why=(choice.why, engine.name),
    )


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
