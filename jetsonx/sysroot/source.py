"""Where a sysroot's files come from, as a value and as people write it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from jetsonx.errors import ConfigError

Kind = Literal["auto", "apt", "image", "device", "tarball", "directory"]

_SPELLINGS = {"packages": "apt", "dir": "directory", "tar": "tarball", "rootfs": "tarball"}
_NEEDS_ORIGIN = {
    "device": "an SSH address, as in device:jetson@192.168.55.1",
    "tarball": "a file, as in tarball:Tegra_Linux_Sample-Root-Filesystem_R36.4.3_aarch64.tbz2",
    "directory": "a path, as in dir:/media/me/APP",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """``origin``: an image reference ("" means the one the catalog names for the release), an SSH address or a path.

    ``auto`` is what `jetsonx sysroot pull` last took for the release, and packages when nothing was pulled.
    """

    kind: Kind = "auto"
    origin: str = ""

    def __str__(self) -> str:
        """As :func:`parse_source` takes it."""
        kind = "dir" if self.kind == "directory" else self.kind
        return f"{kind}:{self.origin}" if self.origin else kind


def parse_source(text: str, origin: str = "") -> Source:
    """The source that ``apt``, ``image[:REFERENCE]``, ``device:ADDRESS``, ``tarball:FILE`` or ``dir:PATH`` means.

    ``origin`` may come as a word of its own. Raises ConfigError for anything else.
    """
    name, _, rest = text.strip().partition(":")
    kind = _SPELLINGS.get(name.lower(), name.lower())
    rest = rest or origin
    if kind not in get_args(Kind):
        near = difflib.get_close_matches(kind, [*get_args(Kind), *_SPELLINGS], n=1, cutoff=0.5)
        raise ConfigError(
            f"a sysroot comes from apt, image, device, tarball or dir, not from {text!r}",
            hint=f"did you mean {near[0]}?" if near else "for example: --from image, --from device jetson@192.168.55.1",
        )
    if kind in _NEEDS_ORIGIN and not rest:
        raise ConfigError(f"a sysroot from a {kind} needs {_NEEDS_ORIGIN[kind]}")
    if rest and kind in ("auto", "apt"):
        raise ConfigError(f"a sysroot from {kind} takes no address or file, but {rest!r} was given")
    if kind in ("tarball", "directory"):
        rest = str(Path(rest).expanduser())
    return Source(kind=kind, origin=rest)  # type: ignore[arg-type]  # one of Kind, checked above


AUTO = Source()
"""Nothing was said."""
