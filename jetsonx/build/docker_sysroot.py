"""Where a cross build in Docker takes its sysroot from: the store, by a named context, or the L4T image, by a stage.

The store's is pulled, filtered and pinned already, and spares BuildKit gigabytes. It is taken when it came from a root
file system of the release (its image, a device, a tarball): the compiler in the toolchain stage brings the libc of the
release's own Ubuntu, and packages of an older suite would put an older one into the image beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jetsonx.build import lockfile
from jetsonx.build.pipeline import sysroot_request
from jetsonx.catalog import Target
from jetsonx.effects import Effects
from jetsonx.engine.client import Engine
from jetsonx.project import Project
from jetsonx.project.lock import Lock
from jetsonx.sysroot.pull import pull_sysroot
from jetsonx.sysroot.request import resolve_source
from jetsonx.toolchain.resolve import Host
from jetsonx.toolchain.toolkit import choose_toolkit

_ONLY_IN_STORE = ("wheels", "cuda", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class SysrootChoice:
    """``context``: the store's sysroot as a directory, None when a stage makes one. ``why`` says which and for what."""

    context: Path | None
    why: tuple[str, ...]


NO_SYSROOT = SysrootChoice(context=None, why=())
"""Of a build that needs none."""


def choose_sysroot(
    project: Project, target: Target, engine: Engine, *, builder: str, lock: Lock | None, effects: Effects
) -> SysrootChoice:
    """The sysroot of a cross build; pulls it when the project or the store names a root file system as its source.

    Raises what :func:`jetsonx.sysroot.pull.pull_sysroot` raises.
    """
    ignored = [name for name in _ONLY_IN_STORE if getattr(project.sysroot, name)]
    stage = SysrootChoice(
        context=None,
        why=(
            "sysroot: by a stage, from the release's image",
            *(f"note: sysroot.{name} is not looked at: the release's image has to hold it" for name in ignored),
        ),
    )
    if not engine.has_contexts or builder:
        return stage
    chosen, toolkit = choose_toolkit(target, Host(environ=os.environ), runner=effects.runner, asked=project.target.cuda)
    request = sysroot_request(project, toolkit)
    pins = lockfile.find_pins(lock, project, target, lockfile.request_key(project, target), locked=False, refresh=False)
    if resolve_source(request.source, target, effects.store, pins).kind == "apt":
        return stage
    if chosen.cuda_version != target.cuda_version:
        return stage
    sysroot = pull_sysroot(target, request, effects, pins=pins)
    return SysrootChoice(context=sysroot.path, why=(sysroot.why,))
