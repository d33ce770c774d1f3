"""``jetsonx sysroot pull`` and ``add`` without their command line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from jetsonx.build.pipeline import group_targets, sysroot_request
from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.catalog.versions import parse_version
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.net.faults import UnreachableError
from jetsonx.project import load_project
from jetsonx.project.edit import add_packages
from jetsonx.project.model import FILE_NAME
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.request import Request, load_asked, remember_asked
from jetsonx.sysroot.source import Source
from jetsonx.toolchain.resolve import Host
from jetsonx.toolchain.toolkit import choose_toolkit

_LIVE = ("device", "directory")  # they may have changed since: to pull is to look again


def pull(
    target: Target, request: Request, effects: Effects, *, cuda: str | None = None, refresh: bool = False
) -> Sysroot:
    """The sysroot of a target as a person asks for it; builds for the release take the same source from then on.

    ``request.toolkit`` None: the one that :func:`choose_toolkit` finds for ``cuda``, or for the release. A source that
    is left open is the one pulled before, else the release's image before CUDA 13 and packages from then on; an image
    chosen this way whose registry does not answer gives way to packages.
    """
    if request.toolkit is None:
        target, toolkit = choose_toolkit(target, Host(environ=os.environ), runner=effects.runner, asked=cuda)
        effects.console.say(toolkit.why)
        request = replace(request, toolkit=toolkit)
    insists = request.source.kind != "auto"
    source = request.source if insists else default_source(target, effects)
    try:
        sysroot = _pull(target, request, source, effects, refresh=refresh)
    except UnreachableError as error:
        if insists or source.kind != "image":
            raise
        effects.console.warn(f"{error.message}; taking packages instead (--from image insists on it)")
        source = Source(kind="apt")
        sysroot = _pull(target, request, source, effects, refresh=refresh)
    remember_asked(replace(request, source=source), target, effects.store)
    return sysroot


def _pull(target: Target, request: Request, source: Source, effects: Effects, *, refresh: bool) -> Sysroot:
    again = refresh or (source.kind in _LIVE and not effects.offline)
    return pull_sysroot(target, replace(request, source=source), effects, refresh=again)


def default_source(target: Target, effects: Effects) -> Source:
    """Where a sysroot is pulled from when nobody said."""
    known = load_asked(target, effects.store)
    if known is not None:
        return known.source
    image = target.release.image
    # From CUDA 13 on, packages and wheels hold the same in a twentieth of the size.
    by_image = image is not None and image.has_cuda and parse_version(target.cuda_version) < (13,)
    return Source(kind="image" if by_image and not effects.offline else "apt")


def add(directory: Path, names: Sequence[str], targets: Iterable[str], effects: Effects) -> tuple[Sysroot, ...]:
    """Add packages to the sysroots of the project in ``directory`` and write them into its jetsonx.toml.

    With ``targets`` the project is left alone: the sysroot pulled last for each gets the packages on top of its own.

    Raises ConfigError when there is no project and no target, and for packages that do not exist (nothing is written
    then).
    """
    catalog = load_catalog()
    if targets:
        return tuple(_add_to(resolve_target(catalog, text), names, effects) for text in targets)
    if not (directory / FILE_NAME).is_file():
        raise ConfigError(
            f"no {FILE_NAME} in {directory.absolute()}",
            hint="name the target whose sysroot gets the packages: jetsonx sysroot add -t orin-nano@36.4.3 libfoo-dev",
        )
    project = load_project(directory)
    section = replace(project.sysroot, packages=merge_names(project.sysroot.packages, names))
    project = replace(project, sysroot=section)
    sysroots = []
    for group in group_targets(project, where=f"{project.path}: target"):
        host = Host(environ=os.environ)
        target, toolkit = choose_toolkit(group[0], host, runner=effects.runner, asked=project.target.cuda)
        sysroots.append(pull_sysroot(target, sysroot_request(project, toolkit), effects))
    if add_packages(directory / FILE_NAME, names):
        effects.console.say(f"{FILE_NAME}: [sysroot] packages now has {', '.join(names)}")
    return tuple(sysroots)


def _add_to(target: Target, names: Sequence[str], effects: Effects) -> Sysroot:
    asked = load_asked(target, effects.store) or Request()
    return pull(target, replace(asked, packages=merge_names(asked.packages, names)), effects)


def merge_names(before: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """Package names with more of them; one asked for again in another version takes the older one's place.

    >>> merge_names(["zlib1g-dev=1", "a"], ["zlib1g-dev"])
    ('zlib1g-dev', 'a')
    """
    merged = {name.partition("=")[0]: name for name in before}
    merged |= {name.partition("=")[0]: name for name in names}
    return tuple(merged.values())
