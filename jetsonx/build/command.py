"""``jetsonx build`` without its command line: load, prepare and build every release of a project."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx.build import lockfile
from jetsonx.build.docker_options import NO_OPTIONS, DockerOptions
from jetsonx.build.pipeline import (
    Options,
    Prepared,
    build_release,
    group_targets,
    output_directory,
    prepare,
)
from jetsonx.build.result import Result
from jetsonx.build.strategy import choose_engine
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError, HostError
from jetsonx.project import Project, load_project
from jetsonx.project.lock import FILE_NAME, Lock, load_lock, write_lock
from jetsonx.project.model import Strategy
from jetsonx.runner import Command
from jetsonx.toolchain.tools import Fetcher

if TYPE_CHECKING:
    from jetsonx.build.docker import DockerPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for. None and empty: as jetsonx.toml says."""

    directory: Path
    targets: tuple[str, ...] = ()
    output: Path | None = None
    strategy: Strategy | None = None
    jobs: int | None = None
    locked: bool = False
    refresh: bool = False
    engine: str = "auto"
    docker: DockerOptions = NO_OPTIONS


def load_request(request: Request) -> Project:
    """The project with the command line's wishes in it. Raises ConfigError."""
    project = load_project(request.directory).with_targets(request.targets)
    build = project.build
    build = replace(build, strategy=request.strategy or build.strategy, jobs=request.jobs or build.jobs)
    return replace(project, build=build)


def build(request: Request, effects: Effects) -> tuple[Result, ...]:
    """Build every release. The output directory of each is locked while it is written."""
    project = load_request(request)
    if _engine(request, project, effects) == "docker":
        return tuple(_build_in_docker(request, project, effects))
    fetcher = Fetcher(effects=effects)
    results = []
    for prepared in _prepared(request, project, fetcher):
        effects.console.say(f"building {project.name} for {prepared.names}")
        for line in prepared.sdk.why:
            effects.console.command(f"  {line}")
        with effects.store.lock(f"build-{prepared.out}"):
            result = build_release(prepared, fetcher)
            results.append(_load(result, request.docker, effects) if request.docker.load and result.ok else result)
    return tuple(results)


def _load(result: Result, options: DockerOptions, effects: Effects) -> Result:
    """Put what the local engine packed into Docker."""
    from jetsonx.engine.client import load_engine
    from jetsonx.engine.images import Images

    engine = load_engine(effects.runner, os.environ, context=options.context)
    effects.console.say(f"loading the image into {engine.name}")
    Images(engine, effects.runner).load(result.out / "image")
    return replace(result, tags=(result.reference,))


def plan_lines(request: Request, effects: Effects) -> Iterator[str]:
    """What ``build`` would run, as lines a shell takes; what would have to be fetched first is said, not fetched."""
    project = load_request(request)
    if _engine(request, project, effects) == "docker":
        for group in _docker_plans(request, project, effects):
            for plan in group:
                yield from plan.lines()
        return
    fetcher = Fetcher(effects=replace(effects, offline=True))
    try:
        plans = list(_prepared(request, project, fetcher, write=False))
    except DownloadError as error:
        yield f"# to fetch first: {error.message}"
        yield "# the commands depend on it: run `jetsonx sysroot pull TARGET` or `jetsonx build` once, then --dry-run"
        return
    for prepared in plans:
        yield f"# {project.name} for {prepared.names}, in {prepared.plan.places.build}"
        yield from (f"# {line}" for line in prepared.why)
        if prepared.plan.copy_source:
            yield f"# copy {prepared.plan.places.source} to {prepared.plan.places.copy}"
        yield from (f"# write {prepared.plan.places.build / name}" for name in prepared.plan.files)
        yield from (str(step.command) for step in prepared.plan.steps)
        yield f"# take {', '.join(prepared.plan.outputs)} from {prepared.plan.products} to {prepared.out / 'files'}"
        yield f"# check them for {prepared.names}; pack {prepared.out / 'image'}"
        if project.image.test:
            yield f"# run in it, under QEMU: {Command(argv=project.image.test)}"


def _engine(request: Request, project: Project, effects: Effects) -> str:
    """The engine that builds this; why it is not the local one is said when nobody named it."""
    engine, why = choose_engine(request.engine, project, asks_for_docker=request.docker.needs_docker)
    if why:
        effects.console.say(why)
    return engine


def _build_in_docker(request: Request, project: Project, effects: Effects) -> Iterator[Result]:
    from jetsonx.build.docker import build_in_docker, join_platforms

    for plans in _docker_plans(request, project, effects):
        results = []
        for plan in plans:
            effects.console.say(f"building {project.name} for {plan.names}")
            for line in plan.why:
                effects.console.say(f"  {line}")
            with effects.store.lock(f"build-{plan.out}"):
                results.append(build_in_docker(plan, effects))
        if request.docker.push and len(plans) > 1 and all(result.ok for result in results):
            join_platforms(plans, effects)
        yield from results


def _docker_plans(request: Request, project: Project, effects: Effects) -> Iterator[tuple[DockerPlan, ...]]:
    from jetsonx.build.docker_plan import plan_in_docker

    groups = group_targets(project, where="-t" if request.targets else f"{project.path}: target")
    base = request.output or project.root / "out"
    lock = load_lock(project.root / FILE_NAME)
    for targets in groups:
        yield plan_in_docker(
            project,
            targets,
            output_directory(base, targets, several=len(groups) > 1),
            options=request.docker,
            several=len(groups) > 1,
            lock=lock,
            locked=request.locked,
            effects=effects,
        )


def _prepared(request: Request, project: Project, fetcher: Fetcher, *, write: bool = True) -> Iterator[Prepared]:
    groups = group_targets(project, where="-t" if request.targets else f"{project.path}: target")
    base = request.output or project.root / "out"
    lock_path = project.root / FILE_NAME
    lock = load_lock(lock_path)
    if not request.refresh:
        wheels, archives = lockfile.tool_pins(lock)
        fetcher = replace(fetcher, pins=wheels, archive_pins=archives)
    options = Options(locked=request.locked, refresh=request.refresh)
    for targets in groups:
        out = output_directory(base, targets, several=len(groups) > 1)
        prepared = prepare(project, targets, out, lock=lock, options=options, fetcher=fetcher)
        if write and not request.locked:
            lock = _keep_lock(lock, lock_path, prepared, fetcher, refresh=request.refresh)
        yield prepared


def _keep_lock(lock: Lock | None, path: Path, prepared: Prepared, fetcher: Fetcher, *, refresh: bool) -> Lock:
    """Write down what was taken; a directory that cannot be written is no reason to fail the build."""
    target = prepared.targets[0]
    request = lockfile.request_key(prepared.project, target)
    wheels, archives = (*prepared.sdk.wheels, *fetcher.used), (*prepared.sdk.archives, *fetcher.used_archives)
    new = lockfile.lock_build(lock, target, request, prepared.sysroot.pins, wheels, archives, refresh=refresh)
    new = lockfile.lock_runtime(new, target, prepared.runtime.codename, prepared.runtime.packages)
    new = lockfile.lock_image(new, target, prepared.image.key, prepared.image.packages)
    try:
        write_lock(path, new)
        fetcher.store.protect(path, [prepared.sysroot.tree.name])
    except HostError as error:
        fetcher.effects.console.warn(error.message)
    return new
