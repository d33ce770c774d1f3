"""What is asked of a sysroot, and what was asked last."""

from __future__ import annotations

import json
from dataclasses import dataclass

from jetsonx.catalog import Target
from jetsonx.errors import ConfigError
from jetsonx.packages.package import Pins
from jetsonx.store.store import Store
from jetsonx.sysroot import bases
from jetsonx.sysroot.cuda import Toolkit
from jetsonx.sysroot.source import AUTO, Source, parse_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a sysroot.

    ``packages`` are Debian names, ``wheels`` requirements (or short names) and ``cuda`` names of CUDA libraries, all
    beside what every sysroot holds. ``toolkit`` says where CUDA comes from when the source does not hold it (None: from
    the wheels that hold this release's, or nowhere). ``full`` keeps every file.
    """

    source: Source = AUTO
    packages: tuple[str, ...] = ()
    wheels: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    toolkit: Toolkit | None = None
    full: bool = False


def resolve_source(source: Source, target: Target, store: Store, pins: Pins | None = None) -> Source:
    """The source with nothing left open: what the lock says, what was pulled last, which image the release has.

    Raises ConfigError when the release has no image.
    """
    if pins is not None:
        # Where a file lies is this machine's business; the lock says which one it must be.
        is_here = source.kind == pins.source and source.kind in ("tarball", "directory")
        return source if is_here else parse_source(pins.source, pins.origin)
    if source.kind == "auto":
        pulled = load_asked(target, store)
        source = pulled.source if pulled else Source(kind="apt")
    return bases.resolve_image(source, target) if source.kind == "image" else source


def remember_asked(request: Request, target: Target, store: Store) -> None:
    """Let builds for this release take the request's source from now on, unless their project names one."""
    asked: dict[str, object] = {"source": request.source.kind, "origin": request.source.origin}
    asked |= {"packages": request.packages, "wheels": request.wheels, "cuda": request.cuda, "full": request.full}
    store.remember("asked", target.release.l4t, json.dumps(asked))


def load_asked(target: Target, store: Store) -> Request | None:
    """What was asked of the sysroot pulled last for the target's release; None when none was."""
    try:
        asked = json.loads(store.recall("asked", target.release.l4t) or "null")
        return asked and Request(
            source=parse_source(asked["source"], asked["origin"]),
            packages=tuple(asked["packages"]),
            wheels=tuple(asked["wheels"]),
            cuda=tuple(asked["cuda"]),
            full=bool(asked["full"]),
        )
    except (ValueError, KeyError, TypeError, ConfigError):
        return None  # damaged by hand: as good as not there
