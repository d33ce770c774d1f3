"""The members of a tar stream with the facts of what is in them; nothing is unpacked to disk that has a name there."""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jetsonx.elf.facts import FileFacts
from jetsonx.elf.load import MAGIC_BYTES, Options, is_interesting, parse_file
from jetsonx.elf.source import Buffer, clean
from jetsonx.errors import DownloadError
from jetsonx.packages.links import clean_path
from jetsonx.rootfs.layer import PATH_MAX, WHITEOUT, Bound, Item
from jetsonx.rootfs.tar import Member, TarReader

_NAMES_MAX = 2_000_000
_MEMORY_BYTES = 1 << 25  # a file larger than this goes through an unnamed temporary one on disk
_SMALL_BYTES = 1 << 16
_ZEROS = bytes(1 << 12)


class Change(NamedTuple):
    """One member: what it is for :mod:`jetsonx.rootfs.overlay`, its permission bits, and what is in it."""

    item: Item
    mode: int
    facts: FileFacts | None = None


def read_changes(
    blocks: Iterable[bytes], options: Options, *, name: str, bound: Bound, scratch: Path
) -> Iterator[Change]:
    """Read a plain tar stream to its end; ``name`` says in errors what it is. Facts call a file by its path.

    Raises DownloadError when it is damaged, cut off, or wants what no archive may.
    """
    archive = TarReader(bound.spend(blocks), name=name)
    for number, member in enumerate(archive):
        if number >= _NAMES_MAX:
            raise DownloadError(f"{name} holds more than {_NAMES_MAX} names: refused")
        bound.check(member.size_bytes)
        path = _path(member.name, name)
        if not path:
            continue
        facts = None
        if member.kind == "file" and not _is_whiteout(path):
            head = archive.head(MAGIC_BYTES)
            facts = read_facts(head, archive.pieces(), member.size_bytes, path, options, scratch)
        yield Change(_item(member, number, path, name), member.mode & 0o7777, facts)


def read_facts(
    head: bytes, pieces: Iterable[bytes | memoryview], size: int, path: str, options: Options, scratch: Path
) -> FileFacts | None:
    """The facts of a file that begins with ``head`` and whose whole content, ``size`` bytes, comes in ``pieces``.

    None when nothing of interest is in it and no hash asked for; nothing is taken from ``pieces`` then.
    """
    if not is_interesting(head, path):
        if not options.hash:
            return None
        digest = hashlib.sha256()
        for piece in pieces:
            digest.update(piece)
        return FileFacts(path=path, kind="other", sha256=digest.hexdigest())
    with _held(pieces, size, scratch) as data:
        return parse_file(data, path, options)


@cache
def _memory() -> int:
    """A file in memory that one file after the other is written to: new memory for each takes the system longer."""
    return os.memfd_create("jetsonx")


@contextmanager
def _held(pieces: Iterable[bytes | memoryview], size: int, scratch: Path) -> Iterator[Buffer]:
    if size <= _SMALL_BYTES:
        yield b"".join(pieces)
        return
    if size <= _MEMORY_BYTES:
        memory, at = _memory(), 0
        for piece in pieces:
            while piece:
                written = os.pwrite(memory, piece, at)
                at, piece = at + written, piece[written:]
        with mmap.mmap(memory, at, access=mmap.ACCESS_READ) as data:
            yield data
        return
    with tempfile.TemporaryFile(dir=scratch, buffering=0) as file:
        for piece in pieces:
            if piece[: len(_ZEROS)] == _ZEROS and not any(piece):  # a hole, nearly always
                file.seek(len(piece), 1)
            else:
                file.write(piece)
        file.truncate(file.tell())
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _item(member: Member, number: int, path: str, name: str) -> Item:
    content = ""
    if member.kind == "hardlink":
        content = _path(member.target, name)
    elif member.kind == "symlink":
        content = _clean(member.target)[:PATH_MAX]
    return Item(member.kind, number, member.size_bytes, bool(member.mode & 0o111), content, path)


def _path(name: str, archive: str) -> str:
    path = clean_path(_clean(name), source=archive)
    if len(path) > PATH_MAX:
        raise DownloadError(f"{archive}: refused: a path of {len(path)} characters, {path[:60]}…")
    return path


def _clean(name: str) -> str:
    return name if name.isascii() and name.isprintable() else clean(name.encode("utf-8", "surrogateescape"))


def _is_whiteout(path: str) -> bool:
    return path.rpartition("/")[2].startswith(WHITEOUT)


def renamed(facts: FileFacts | None, path: str) -> FileFacts | None:
    """The same facts of the file under another path."""
    return facts if facts is None or facts.path == path else replace(facts, path=path)
