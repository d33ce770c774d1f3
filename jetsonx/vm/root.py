"""Debian packages as one tar stream with the root file system in it: unpacked, and known to dpkg as that.

No root, no emulator and no chroot is needed: owners and modes stay in the tar, and the guest, which has the right
processor, unpacks it and lets dpkg configure. The record is what dpkg itself writes after `dpkg --unpack`
(deb-src dpkg, lib/dpkg/dbmodify.c and doc/triggers.txt).
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO

from jetsonx.packages.deb import iter_control, iter_deb
from jetsonx.packages.dpkg import parse_stanza
from jetsonx.packages.links import MERGED, clean_path, merge_usr

_INFO = "var/lib/dpkg/info"
_TRIGGERS = "var/lib/dpkg/triggers-after"  # setup.sh puts them in place: what they would do is done once, at the end
_INTEREST = re.compile(r"interest(?P<how>-await|-noawait)?\s+(?P<name>\S+)")
_KIND_MODE = {"config", "preinst", "postinst", "prerm", "postrm"}


@dataclass(slots=True)
class Root:
    """A root file system on its way into a tar stream, package by package."""

    out: tarfile.TarFile
    keep: Callable[[str, IO[bytes]], IO[bytes]] = lambda _, content: content
    stanzas: list[str] = field(default_factory=list)
    triggers: dict[str, list[str]] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """The merged-/usr links, before any package: packages still name what lies behind them."""
        self.add_folder("usr")
        for name, target in MERGED.items():
            self.add_folder(target)
            self.add_link(name, target)

    def add_package(self, data: bytes, *, name: str, is_recorded: bool = True, is_configured: bool = False) -> None:
        """A .deb's files; ``is_recorded`` False leaves out what dpkg would have to know.

        ``is_configured``: what its scripts would do is done otherwise.

        Raises DownloadError for a damaged or hostile package.
        """
        control = dict(iter_control(io.BytesIO(data), name=name)) if is_recorded else {}
        conffiles = {
            line.split()[-1].lstrip("/") for line in control.get("conffiles", b"").decode().splitlines() if line
        }
        paths, sums = ["/."], {}
        for info, content in iter_deb(io.BytesIO(data), name=name):
            raw = clean_path(info.name, source=name)
            if not raw or raw in MERGED:
                continue
            paths.append(f"/{raw}")
            if content is not None and raw in conffiles:
                text = content.read()
                sums[f"/{raw}"] = hashlib.md5(text, usedforsecurity=False).hexdigest()
                content = io.BytesIO(text)
            self._add_member(info, merge_usr(raw), content, name)
        if is_recorded:
            # A package without scripts has nothing to configure, and emulated dpkg is not called for nothing.
            has_scripts = bool(control.keys() & {"preinst", "postinst"})
            self._record(control, paths, sums, state="unpacked" if has_scripts and not is_configured else "installed")

    def _add_member(self, info: tarfile.TarInfo, place: str, content: IO[bytes] | None, source: str) -> None:
        if info.isdir():
            if place in self._folders:
                return
            self._folders.add(place)
        info.name = place
        info.pax_headers = {}
        if info.islnk():
            info.linkname = merge_usr(clean_path(info.linkname, source=source))
        self.out.addfile(info, self.keep(place, content) if content is not None else None)

    def _record(
        self, control: Mapping[str, bytes], paths: Iterable[str], sums: Mapping[str, str], *, state: str
    ) -> None:
        stanza = control["control"].decode().strip()
        fields = parse_stanza(stanza)
        package = fields["package"]
        stem = f"{package}:{fields['architecture']}" if fields.get("multi-arch") == "same" else package
        for kind, text in control.items():
            if kind not in ("control", "conffiles"):
                self.add_file(f"{_INFO}/{stem}.{kind}", text, mode=0o755 if kind in _KIND_MODE else 0o644)
        self.add_file(f"{_INFO}/{stem}.list", "".join(f"{path}\n" for path in paths).encode())
        if "conffiles" in control:
            self.add_file(f"{_INFO}/{stem}.conffiles", control["conffiles"])
        first, _, rest = stanza.partition("\n")
        held = "".join(f"\n {path} {value}" for path, value in sums.items())
        conffiles = f"\nConffiles:{held}" if held else ""
        self.stanzas.append(f"{first}\nStatus: install ok {state}\n{rest}{conffiles}\n")
        for found in _INTEREST.finditer(control.get("triggers", b"").decode()):
            suffix = "/noawait" if found["how"] == "-noawait" else ""
            self.triggers.setdefault(found["name"], []).append(f"{stem}{suffix}")

    def finish(self) -> None:
        """dpkg's own files, after the last package."""
        self.add_file("var/lib/dpkg/status", "\n".join(self.stanzas).encode())
        self.add_file("var/lib/dpkg/available", b"")
        self.add_file(f"{_INFO}/format", b"1\n")
        by_path = {name: who for name, who in self.triggers.items() if name.startswith("/")}
        lines = [f"{name} {each}\n" for name, who in by_path.items() for each in who]
        self.add_file(f"{_TRIGGERS}/File", "".join(lines).encode())
        for name, who in self.triggers.items():
            if name not in by_path:
                self.add_file(f"{_TRIGGERS}/{name}", "".join(f"{each}\n" for each in who).encode())
        for folder in ("updates", "parts", "alternatives"):
            self.add_folder(f"var/lib/dpkg/{folder}")

    def add_file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """A file of root's."""
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(data), mode
        self.out.addfile(info, io.BytesIO(data))

    def add_folder(self, path: str) -> None:
        """A directory of root's."""
        self._folders.add(path)
        info = tarfile.TarInfo(path)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self.out.addfile(info)

    def add_link(self, path: str, target: str) -> None:
        """A symbolic link."""
        info = tarfile.TarInfo(path)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        self.out.addfile(info)
