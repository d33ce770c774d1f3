"""A tree of files with their facts, whatever it came out of; and paths in it, as a container would follow them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

from jetsonx.elf.facts import FileFacts

NodeKind = Literal["file", "dir", "symlink", "other"]
TreeKind = Literal["file", "directory", "oci", "docker-archive", "docker", "wheel", "deb"]

_HOPS_MAX = 40  # as in Linux


class Node(NamedTuple):
    """One name: ``path`` is relative to the root, without a leading slash.

    ``mode`` are the permission bits, setuid among them. ``target`` is what a symbolic link holds. ``layer`` is an index
    into ``Tree.layers``. ``facts`` is None when there is nothing of interest in the file.
    """

    path: str
    kind: NodeKind
    mode: int = 0
    size_bytes: int = 0
    target: str = ""
    layer: int | None = None
    facts: FileFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer of an image: ``digest`` is ``sha256:…`` as the image names it, ``size_bytes`` what is stored of it."""

    digest: str
    size_bytes: int
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What an image says about how it is started."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    user: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""
    os: str = ""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """What an artifact holds. ``name`` is how the user called it, ``digest`` of an image or a single file, or "".

    ``nodes`` are by path. ``is_root``: it is a whole file system, so absolute paths mean paths in it; ``roots`` are the
    directories that count as one otherwise (a wheel's or package's own top is none). ``layers`` are base first.
    """

    name: str
    kind: TreeKind
    nodes: Mapping[str, Node]
    is_root: bool = False
    layers: tuple[Layer, ...] = ()
    config: Config | None = None
    digest: str = ""
    roots: tuple[str, ...] = ()

    @cached_property
    def folders(self) -> Mapping[str, tuple[str, ...]]:
        """The names in each directory, sorted; the top is ""."""
        found: dict[str, list[str]] = {"": []}
        for path, node in self.nodes.items():
            parent, _, name = path.rpartition("/")
            found.setdefault(parent, []).append(name)
            if node.kind == "dir":
                found.setdefault(path, [])
        return {path: tuple(sorted(names)) for path, names in found.items()}

    def resolve(self, path: str) -> Node | None:
        """What is at ``path``, through symbolic links, which never lead above the root; None when nothing is.

        A leading slash means the root. After 40 links there is nothing, as on Linux.
        """
        direct = self.nodes.get(path)
        if direct is not None and direct.kind != "symlink":
            return direct
        trail: list[str] = []
        steps = deque(path.split("/"))
        hops = 0
        node: Node | None = None
        while steps:
            step = steps.popleft()
            if step in ("", "."):
                continue
            if step == "..":
                trail = trail[:-1]
                continue
            trail.append(step)
            node = self.nodes.get("/".join(trail))
            if node is None:
                return None
            if node.kind == "symlink":
                hops += 1
                if hops > _HOPS_MAX:
                    return None
                trail = [] if node.target.startswith("/") else trail[:-1]
                steps.extendleft(reversed(node.target.split("/")))
            elif node.kind != "dir" and any(step not in ("", ".") for step in steps):
                return None
        return self.nodes.get("/".join(trail))

    def iter_files(self) -> Iterator[Node]:
        """Every node with facts, sorted by path."""
        for path in sorted(self.nodes):
            if self.nodes[path].facts is not None:
                yield self.nodes[path]
