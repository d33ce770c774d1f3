"""``jetsonx build`` without its command line: load, prepare and build every release of a project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.build import lockfile
from jetsonx.build.pipeline import (
    Options,
    Prepared,
    Result,
    build_release,
    group_targets,
    output_directory,
    prepare,
)
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError, HostError
from jetsonx.project import Project, load_project
from jetsonx.project.lock import FILE_NAME, Lock, load_lock, write_lock
from jetsonx.toolchain.tools import Fetcher


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for. None and empty: as jetsonx.toml says."""

    directory: Path
    targets: tuple[str, ...] = ()
    output: Path | None = None
    strategy: str | None = None
    jobs: int | None = None
    locked: bool = False
    refresh: bool = False


def load_request(request: Request) -> Project:
    """The project with the command line's wishes in it. Raises ConfigError."""
    project = load_project(request.directory).with_targets(request.targets)
    strategy = request.strategy or project.build.strategy
    if strategy not in {"auto", "cross"}:
        where = "--strategy" if request.strategy else f"{project.path}: build.strategy"
        raise ConfigError(
            f"{where}: {strategy!r} needs the Docker engine, which this version of jetsonx does not drive yet",
            hint="use cross: the local engine builds with the cross compilers of this workstation",
        )
    if request.jobs is not None:
        project = replace(project, build=replace(project.build, jobs=request.jobs))
    return project


def build(request: Request, effects: Effects) -> tuple[Result, ...]:
    """Build every release. The output directory of each is locked while it is written."""
    project = load_request(request)
    fetcher = Fetcher(effects=effects)
    results = []
    for prepared in _prepared(request, project, fetcher):
        effects.console.say(f"building {project.name} for {prepared.names}")
        for line in prepared.sdk.why:
            effects.console.command(f"  {line}")
        with effects.store.lock(f"build-{prepared.out}"):
            results.append(build_release(prepared, fetcher))
    return tuple(results)


def plan_lines(request: Request, effects: Effects) -> Iterator[str]:
    """What ``build`` would run, as lines a shell takes; what would have to be fetched first is said, not fetched."""
    project = load_request(request)
    fetcher = Fetcher(effects=replace(effects, offline=True))
    try:
        plans = list(_prepared(request, project, fetcher, write=False))
    except DownloadError as error:
        yield f"# to fetch first: {error.message}"
        yield "# the commands depend on it: run `jetsonx sysroot pull TARGET` or `jetsonx build` once, then --dry-run"
        return
    for prepared in plans:
        yield f"# {project.name} for {prepared.names}, in {prepared.plan.places.build}"
        yield from (f"# {line}" for line in (prepared.sysroot.why, *prepared.sdk.why))
        if prepared.plan.copy_source:
            yield f"# copy {prepared.plan.places.source} to {prepared.plan.places.copy}"
        yield from (f"# write {prepared.plan.places.build / name}" for name in prepared.plan.files)
        yield from (str(step.command) for step in prepared.plan.steps)
        yield f"# take {', '.join(prepared.plan.outputs)} from {prepared.plan.products} to {prepared.out / 'files'}"
        yield f"# check them for {prepared.names}; pack {prepared.out / 'image'}"


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
    new = lockfile.lock_image(new, target, prepared.image.key, prepared.image.packages)
    try:
        write_lock(path, new)
        fetcher.store.protect(path, [prepared.sysroot.tree.name])
    except HostError as error:
        fetcher.effects.console.warn(error.message)
    return new
