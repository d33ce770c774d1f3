"""``jetsonx sync``."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import deployed
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.deploy.outcome import Outcome
    from jetsonx.deploy.sync import Contents, SyncPlan
    from jetsonx.deploy.values import RemoteContainer
    from jetsonx.image.app import AppFile
    from jetsonx.project.model import Project

Stamps = frozenset[tuple[str, int, int]]
_LOOK_S = 0.3
_path = click.Path(path_type=Path)
_RELEASE_LABEL, _L4T_LABEL, _TARGET_LABEL = "dev.jetsonx.release", "jetsonx.l4t", "jetsonx.target"


@click.command("sync")
@deployed.device_argument
@click.option("--app", default="", metavar="NAME", help="Which app.  [default: the project's]")
@click.option("-C", "--directory", default=".", type=_path, help="The project.  [default: .]")
@click.option("-o", "--output", type=_path, help="What was built.  [default: DIR/out]")
@click.option("--watch", is_flag=True, help="Go on, and do it again after each build, until Ctrl-C.")
@click.pass_obj
def command(obj: Context, device: str, app: str, directory: Path, output: Path | None, watch: bool) -> None:
    """Put what was built anew into the app's running container, and start it again: the loop of edit, build and run.

    \b
    jetsonx build && jetsonx sync orin

    Only outputs that differ from what the container has are sent, each compressed. The container then differs from its
    release, as `jetsonx status` says; the next `jetsonx deploy` replaces it, and `jetsonx rollback` goes back to what
    was deployed. Use deploy when the image needs other packages or settings.
    """
    from jetsonx.errors import JetsonxError

    out = output or directory / "out"
    seen = _stamps(out)
    _sync(obj, device, app, directory, out)
    while watch:
        seen = _await_build(obj, out, seen)
        try:
            _sync(obj, device, app, directory, out)
        except JetsonxError as error:  # the next build may be better
            obj.console.warn("\n".join(filter(None, (error.message, error.details))))


def _await_build(obj: Context, out: Path, seen: Stamps) -> Stamps:
    """Wait until the outputs are others than those ``seen``, and stay so for a moment."""
    obj.console.say(f"watching {out}; Ctrl-C ends it")
    now = before = seen
    while now == seen or now != before:
        time.sleep(_LOOK_S)
        before, now = now, _stamps(out)
    return now


def _stamps(out: Path) -> Stamps:
    found = []
    with contextlib.suppress(FileNotFoundError):  # a build is at it
        for place in (out, *out.glob("r*")):
            for path in (place / "files").rglob("*"):
                status = path.stat()
                found.append((str(path), status.st_mtime_ns, status.st_size))
    return frozenset(found)


def _sync(obj: Context, device: str, app: str, directory: Path, base: Path) -> None:
    from jetsonx.deploy.sync import check_machine, load_contents, plan_sync
    from jetsonx.image.app import plan_app
    from jetsonx.project import load_project

    begun = time.monotonic()
    project = load_project(directory)
    with deployed.reach(obj, device) as place:
        found = place.app(app or project.name)  # never another one, for it would get this project's files
        current = place.container(found, device=device, limit="sync puts files into containers")
        out = _built(base, current)
        outputs = plan_app(project.name, _outputs(project, out))
        contents = load_contents(place.link, found.name, current, outputs.directory, place.docker)
        plan = plan_sync(outputs, contents)
        if not plan.changed:
            obj.console.out(f"{found.name} on {place.title} has all of {out}/files already: nothing was done")
            return
        check_machine(plan, contents.architecture)
        _verify(obj, plan, out, directory, current)
        size, outcome = _bring(obj, place, found.name, current.id, plan, contents)
    obj.console.out(
        f"{found.name} on {place.title}: {_named(plan)}, {size} sent, {time.monotonic() - begun:.1f} s, of them "
        f"{outcome.downtime_s or 0:.1f} s without it running"
    )
    for line in outcome.log:
        obj.console.out(f"  {line}")
    release = current.labels.get(_RELEASE_LABEL, "")
    obj.console.say(f"the container now differs from release {release}, until the next jetsonx deploy or rollback")


def _built(out: Path, current: RemoteContainer) -> Path:
    """The build for the L4T release that the container's image is for."""
    from jetsonx.errors import ConfigError

    release = out / f"r{current.labels.get(_L4T_LABEL, '')}"
    place = release if (release / "files").is_dir() else out
    if not (place / "files").is_dir():
        raise ConfigError(f"{out} holds nothing that was built", hint="jetsonx build")
    return place


def _outputs(project: Project, out: Path) -> list[AppFile]:
    from jetsonx.build.source import find_image_files
    from jetsonx.image.app import read_app_file

    files = out / "files"
    built = {str(path.relative_to(files)): path for path in sorted(files.rglob("*")) if path.is_file()}
    extra = find_image_files(project, exclude=out.resolve())
    return [read_app_file(path, name) for name, path in (built | extra).items()]


def _verify(obj: Context, plan: SyncPlan, out: Path, directory: Path, current: RemoteContainer) -> None:
    """Refuse what `jetsonx verify` finds in the changed files, for what the container's image was built for."""
    from jetsonx.errors import ConfigError
    from jetsonx.verify.command import Request, verify

    targets = tuple(filter(None, current.labels.get(_TARGET_LABEL, "").split(",")))
    if not targets or not any(file.elf for file in plan.changed):
        return
    report = verify(Request(what=(str(out / "files"),), targets=targets, directory=directory), obj.effects())
    changed = {file.name for file in plan.changed}
    errors = [each for each in report.findings if each.severity == "error" and each.path in changed]
    if errors:
        raise ConfigError(
            f"what was built does not run on {', '.join(targets)}: nothing was sent",
            details="\n".join(f"{each.path}: {each.message} ({each.rule})" for each in errors),
            hint=f"jetsonx verify {out / 'files'} -t {targets[0]} says more",
        )


def _bring(
    obj: Context, place: deployed.Place, app: str, container: str, plan: SyncPlan, contents: Contents
) -> tuple[str, Outcome]:
    from jetsonx.console import amount
    from jetsonx.deploy.control import make_request
    from jetsonx.deploy.request import Files
    from jetsonx.deploy.sync import check_sync, write_archive
    from jetsonx.deploy.upload import upload

    for name in plan.new_libraries:
        obj.console.warn(f"{name} is a new library: the loader of the container may not find it before jetsonx deploy")
    with obj.store.scratch() as scratch:
        parcel = write_archive(plan, scratch / "files.tar.gz")
        upload(parcel, place.link, console=obj.console, has_python=contents.has_python)
    request = make_request(
        "sync",
        app,
        expected=container,
        files=Files(archive=parcel.sha256, folder=f"/{plan.directory}", contents=plan.contents),
    )
    return amount(parcel.size), deployed.carry_out(obj, place, request, what="the sync", check=check_sync)


def _named(plan: SyncPlan) -> str:
    names = [file.name for file in plan.changed]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"
