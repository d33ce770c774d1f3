"""What lies in a root file system, without its contents: of a directory here, or as ``tar`` lists it elsewhere."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.catalog.filters import Filter
from jetsonx.rootfs.tar import Kind, Member

# Update-alternatives and /opt (NVIDIA's VPI) hold what links among the wanted files lead to.
_LINKED_FROM = ("etc/alternatives", "opt")
_WILDCARD = re.compile(r"[*?\[{]")
_KINDS: dict[str, Kind] = {"-": "file", "l": "symlink", "h": "hardlink", "d": "dir"}
_EXECUTABLE = re.compile(r"[xs]")
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LINE = re.compile(
    rf"(?P<mode>[-lhdpcbsCMV][-rwxsStT]{{9}})\S* +\S+ +(?P<size>\d+(?:,\d+)?) (?P<mtime>\S+ [\d:.]+) +"
    rf"(?P<name>{_QUOTED})(?: (?:->|link to) (?P<target>{_QUOTED}))?"
)
_TROUBLE = re.compile(rf"tar: (?P<name>{_QUOTED}): (?P<why>.+)")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

# What `tar` is asked so that its listing can be read back: names quoted as in C, times in full and in UTC.
LISTING_OPTIONS = ("--quoting-style=c", "--full-time", "--utc", "--numeric-owner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """``members``: names relative to the root, every directory before what is in it, hard links after their targets.

    ``stamps``: what tells by a file's name whether it is still the same, only ever compared: its size and time.
    ``unreadable``: (path, why) of what could not be looked at.
    """

    members: tuple[Member, ...]
    stamps: Mapping[str, str]
    unreadable: tuple[tuple[str, str], ...] = ()


def plan_places(wanted: Filter | None) -> tuple[str, ...]:
    """The files and directories to list for ``wanted`` (None: everything): top directories, and files it names."""
    if wanted is None:
        return (".",)
    places = set(_LINKED_FROM)
    for glob in wanted.keep:
        for path in _alternatives(glob):
            place = path.partition("/")[0] if _WILDCARD.search(path) else path
            if _WILDCARD.search(place):
                return (".",)
            places.add(place)
    return tuple(sorted(place for place in places if not any(place.startswith(f"{above}/") for above in places)))


def _alternatives(glob: str) -> Iterator[str]:
    """The globs that a leading ``{lib,usr/lib}`` stands for."""
    if glob.startswith("{") and "{" not in glob[1 : glob.find("}")]:
        first, rest = glob[1:].split("}", 1)
        yield from (part + rest for part in first.split(","))
    else:
        yield glob


def parse_listing(lines: Iterable[str]) -> tuple[list[Member], dict[str, str]]:
    """The members and stamps (see :class:`Listing`) in what ``tar -vv`` says with :data:`LISTING_OPTIONS`."""
    members: list[Member] = []
    stamps: dict[str, str] = {}
    for line in lines:
        if (found := _LINE.fullmatch(line.rstrip("\n"))) is None:
            continue
        kind, size = _KINDS.get(found["mode"][0], "other"), found["size"]
        name, target = _plain(_unquote(found["name"])), _unquote(found["target"] or '""')
        if kind == "hardlink":
            target = _plain(target)
        mode = 0o755 if _EXECUTABLE.search(found["mode"]) else 0o644
        members.append(Member(name, kind, int(size) if kind == "file" else 0, mode, target))
        if kind == "file":
            stamps[name] = f"{size} {found['mtime']}"
    return members, stamps


def parse_troubles(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(path, why) of each file that ``tar`` complains about."""
    for line in lines:
        if found := _TROUBLE.fullmatch(line):
            yield _plain(_unquote(found["name"])), found["why"]


def _plain(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _unquote(text: str) -> str:
    """A C string's value; bytes that are no UTF-8 become lone surrogates, as in :func:`os.fsdecode`."""

    def value(found: re.Match[bytes]) -> bytes:
        escape = found[1]
        return bytes([int(escape, 8) & 255]) if escape.isdigit() else _ESCAPES.get(escape, escape)

    return _ESCAPE.sub(value, text[1:-1].encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def list_directory(root: Path, places: Sequence[str]) -> Listing:
    """What ``places`` in ``root`` hold; what is mounted below a place is left out, as ``/proc`` is."""
    members: list[Member] = []
    stamps: dict[str, str] = {}
    unreadable: list[tuple[str, str]] = []
    for place in places:
        waiting = ["" if place == "." else place]
        device = None
        while waiting:
            path = waiting.pop()
            here = f"{root}/{path}"  # a Path for each of a hundred thousand names costs as much as looking at them
            try:
                found = os.lstat(here)
                device = found.st_dev if device is None else device
                if found.st_dev != device:
                    continue
                if path:
                    members.append(_member(here, path, found))
                    stamps[path] = f"{found.st_size} {found.st_mtime_ns}"
                if stat.S_ISDIR(found.st_mode):
                    names = sorted(os.listdir(here), reverse=True)  # noqa: PTH208
                    waiting += [f"{path}/{name}" if path else name for name in names]
            except OSError as error:
                if path != place or not isinstance(error, FileNotFoundError):
                    unreadable.append((path or ".", error.strerror or str(error)))
    return Listing(members=tuple(members), stamps=stamps, unreadable=tuple(unreadable))


def _member(here: str, path: str, found: os.stat_result) -> Member:
    mode = found.st_mode
    if stat.S_ISLNK(mode):
        return Member(path, "symlink", 0, mode, os.readlink(here))  # noqa: PTH115 - a Path would tidy it
    if stat.S_ISDIR(mode):
        return Member(path, "dir", 0, mode, "")
    if stat.S_ISREG(mode):
        return Member(path, "file", found.st_size, mode, "")
    return Member(path, "other", 0, mode, "")
