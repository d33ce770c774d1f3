"""The layer of the packages that a project asks for: whole packages, but for their documentation.

They are unpacked and not installed. What maintainer scripts would have done that a program misses is done as data, as
in the base: the links of update-alternatives, the bundle of certificates, dpkg's record of what is there.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jetsonx.errors import BuildError
from jetsonx.image import layer
from jetsonx.image.layer import Entry
from jetsonx.image.minimal import Deb, certificate_bundle, unpack_entries
from jetsonx.packages.dpkg import installed_stanza
from jetsonx.packages.links import MERGED, alternative_links

_RECIPE = 1  # raise it when the same packages make other entries
# Debian's slim images leave the same out; licences stay.
_LEFT_OUT = re.compile(r"usr/share/(man|info|lintian|bug|doc)(/.*)?")
_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What the layer is made of; with none there is no layer."""

    debs: tuple[Deb, ...] = ()

    @property
    def key(self) -> str:
        """Hexadecimal digest of everything that decides the layer's bytes."""
        facts = [_RECIPE, sorted([deb.name, deb.version, deb.sha256] for deb in self.debs)]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


NO_PACKAGES = Packages()


def package_entries(packages: Packages, scratch: Path, *, read_control: Callable[[Path], str]) -> tuple[Entry, ...]:
    """Unpack the packages into ``scratch`` and return the layer's entries.

    ``read_control`` returns a .deb's control file. Raises DownloadError for a damaged or hostile package, BuildError
    when two of them cannot lie in one layer.
    """
    entries: dict[str, Entry] = {}
    for number, deb in enumerate(packages.debs):
        folder = scratch / str(number)
        folder.mkdir()
        for entry in unpack_entries(deb, folder, is_kept, directories=True):
            entries.setdefault(entry.path, entry)
        status = f"var/lib/dpkg/status.d/{deb.name}"
        entries[status] = layer.file(status, installed_stanza(read_control(deb.path)))
    for path, target in alternative_links(entries):
        entries[path] = layer.symlink(path, target)
    entries |= {entry.path: entry for entry in certificate_bundle(entries)}
    try:
        return layer.order_entries(entries.values())
    except ValueError as error:
        raise BuildError(f"image.packages: they cannot be unpacked over one another: {error}") from error


def is_kept(path: str) -> bool:
    """True for all of a package but its documentation, and but for what the base lays out (merged /usr)."""
    return path not in MERGED and (_LEFT_OUT.fullmatch(path) is None or _COPYRIGHT.fullmatch(path) is not None)
