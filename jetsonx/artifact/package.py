"""Packages as trees: Debian's, and Python's wheels. Their files are read one after the other, none is unpacked."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jetsonx.artifact.directory import with_folders
from jetsonx.artifact.image import as_users
from jetsonx.artifact.layers import LayerReader
from jetsonx.artifact.members import Change, read_facts, renamed
from jetsonx.artifact.tree import Node, Tree
from jetsonx.effects import Effects
from jetsonx.elf.facts import FileFacts
from jetsonx.elf.load import MAGIC_BYTES, Options, file_sha256
from jetsonx.elf.source import clean
from jetsonx.errors import DownloadError
from jetsonx.packages.deb import open_data
from jetsonx.packages.links import clean_path
from jetsonx.rootfs.layer import Bound, load_ratio

_PIECE_BYTES = 1 << 20
_ROOM_BYTES = 1 << 28
_MEMBERS_MAX = 200_000
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


def load_deb(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    """The file tree of a Debian package. Raises ConfigError when it is damaged, OSError."""
    with path.open("rb") as file, as_users(name), effects.store.scratch() as scratch:
        digest = f"sha256:{file_sha256(file.fileno())}" if options.hash else ""
        reader = LayerReader(options=options, effects=effects, scratch=scratch)
        size = os.fstat(file.fileno()).st_size
        changes = {x.item.path: x for x in reader.changes(open_data(file, name=name).read, size, name=name)}
        nodes = with_folders(_node(change, changes) for change in changes.values())
    return Tree(name=name, kind="deb", nodes=nodes, digest=digest)


def _node(change: Change, changes: dict[str, Change]) -> Node:
    item = change.item
    if item.kind == "hardlink":
        change = changes.get(item.content, change)
        return Node(item.path, "file", change.mode, change.item.size_bytes, facts=renamed(change.facts, item.path))
    target = item.content if item.kind == "symlink" else ""
    return Node(item.path, item.kind, change.mode, item.size_bytes, target, facts=change.facts)


def load_wheel(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    """The files of a wheel, by their names in it. Raises ConfigError when it is damaged, OSError."""
    with path.open("rb") as file, as_users(name), effects.store.scratch() as scratch:
        digest = f"sha256:{file_sha256(file.fileno())}" if options.hash else ""
        bound = Bound(name, os.fstat(file.fileno()).st_size, load_ratio(os.environ), room_bytes=_ROOM_BYTES)
        try:
            with zipfile.ZipFile(file) as archive:
                nodes = with_folders(_wheel_nodes(archive, name, bound, options, scratch))
        except _ZIP_ERRORS as error:
            raise DownloadError(f"{name} is damaged: {error}") from error
    return Tree(name=name, kind="wheel", nodes=nodes, digest=digest)


def _wheel_nodes(archive: zipfile.ZipFile, name: str, bound: Bound, options: Options, scratch: Path) -> Iterator[Node]:
    infos = archive.infolist()
    if len(infos) > _MEMBERS_MAX:
        raise DownloadError(f"{name} holds more than {_MEMBERS_MAX} names: refused")
    for info in infos:
        path = clean_path(clean(info.filename.encode("utf-8", "backslashreplace")), source=name)
        mode = info.external_attr >> 16
        if not path:
            continue
        if info.is_dir():
            yield Node(path, "dir", stat.S_IMODE(mode) or 0o755)
        else:
            facts = _wheel_facts(archive, info, path, bound, options, scratch)
            yield Node(path, "file", stat.S_IMODE(mode) or 0o644, info.file_size, facts=facts)


def _wheel_facts(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, bound: Bound, options: Options, scratch: Path
) -> FileFacts | None:
    """The facts of one member; a damaged one is told by them, as one among others."""
    try:
        with archive.open(info) as content:
            head = content.read(MAGIC_BYTES)
            bound.check(info.file_size)
            return read_facts(head, bound.spend(_pieces(head, content)), info.file_size, path, options, scratch)
    except _ZIP_ERRORS as error:
        return FileFacts(path=path, kind="unreadable", reason=f"it does not unpack: {error}")


def _pieces(head: bytes, content: IO[bytes]) -> Iterator[bytes]:
    yield head
    while piece := content.read(_PIECE_BYTES):
        yield piece
