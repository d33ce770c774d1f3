"""A directory, or a single file, as a tree of facts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jetsonx.artifact.tree import Node, Tree
from jetsonx.elf.facts import FileFacts
from jetsonx.elf.load import Options, file_sha256, read_open_file
from jetsonx.elf.source import clean

_LIBRARY_DIRS = ("lib", "lib64", "usr/lib", "usr/lib64", "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu")
_LOADERS = ("ld-linux-aarch64.so.1", "ld-musl-aarch64.so.1", "ld-linux-x86-64.so.2", "libc.so.6")


def load_directory(path: Path, name: str, options: Options) -> Tree:
    """Everything below ``path``; what is mounted below it is left out. What cannot be read is told by its facts."""
    nodes = {node.path: node for node in _walk(os.fspath(path), options)}
    return Tree(name=name, kind="directory", nodes=nodes, is_root=has_loader(nodes))


def load_single(path: Path, name: str, options: Options) -> Tree:
    """One file, under its own name. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        own = clean(os.fsencode(path.name))
        facts = read_open_file(file, found.st_size, own, options)
        facts = facts or FileFacts(path=own, kind="other")  # it was asked about
        digest = f"sha256:{file_sha256(file)}" if options.hash else ""
    finally:
        os.close(file)
    node = Node(own, "file", stat.S_IMODE(found.st_mode), found.st_size, facts=facts)
    return Tree(name=name, kind="file", nodes={own: node}, digest=digest)


def has_loader(nodes: Mapping[str, Node]) -> bool:
    """True when a tree is a whole file system: programs in it can start, since it has a loader or a C library."""
    tree = Tree(name="", kind="directory", nodes=nodes)
    return any(tree.resolve(f"{folder}/{name}") is not None for folder in _LIBRARY_DIRS for name in _LOADERS)


def _walk(top: str, options: Options) -> Iterator[Node]:
    waiting = [(top, "")]
    device = os.stat(top).st_dev  # noqa: PTH116 - a Path for each of a hundred thousand names costs as much as reading
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = [*entries]
        except OSError as error:
            yield _blind(prefix.rstrip("/"), "dir", error)
            continue
        for entry in found:
            path = prefix + clean(os.fsencode(entry.name))
            try:
                status = entry.stat(follow_symlinks=False)
                if status.st_dev == device:
                    yield _node(entry.path, path, status, options)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append((entry.path, f"{path}/"))
            except OSError as error:
                yield _blind(path, "other", error)


def _node(here: str, path: str, status: os.stat_result, options: Options) -> Node:
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        return Node(path, "file", mode, status.st_size, facts=_read(here, path, status.st_size, options))
    if stat.S_ISDIR(status.st_mode):
        return Node(path, "dir", mode)
    if stat.S_ISLNK(status.st_mode):
        return Node(path, "symlink", mode, target=clean(os.fsencode(os.readlink(here))))  # noqa: PTH115
    return Node(path, "other", mode)


def _read(here: str, path: str, size: int, options: Options) -> FileFacts | None:
    if size == 0:
        return None
    try:
        file = os.open(here, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return FileFacts(path=path, kind="unreadable", reason=error.strerror or str(error))
    try:
        return read_open_file(file, size, path, options)
    finally:
        os.close(file)


def _blind(path: str, kind: str, error: OSError) -> Node:
    facts = FileFacts(path=path, kind="unreadable", reason=error.strerror or str(error))
    return Node(path, "dir" if kind == "dir" else "other", facts=facts)


def with_folders(nodes: Iterable[Node]) -> dict[str, Node]:
    """Nodes by path, with the directories that archives leave unsaid; the later of two with one path counts."""
    found: dict[str, Node] = {}
    for node in nodes:
        parent = node.path
        while (parent := parent.rpartition("/")[0]) and parent not in found:
            found[parent] = Node(parent, "dir", 0o755)
        found[node.path] = node
    return found
