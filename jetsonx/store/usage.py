"""What trees take on disk: a content that several trees hold lies there once.

Counted from the manifests, without touching a file: bytes of contents, not of blocks or directories.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from jetsonx.console import amount
from jetsonx.store.store import Store, Tree

Contents = Mapping[tuple[str, str], int]
"""Size in bytes by (sha256, mode): one object of the store each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``size_bytes``: what a tree holds, each content once; ``own_bytes`` of it no other tree holds."""

    size_bytes: int = 0
    own_bytes: int = 0

    @property
    def shared_bytes(self) -> int:
        """What other trees hold too; for a tree made just now, what it did not take again."""
        return self.size_bytes - self.own_bytes

    def __str__(self) -> str:
        """Such as "866.1 MB, of which 512.3 MB are shared with what was there"; for the end of a pull."""
        shared = f", of which {amount(self.shared_bytes)} are shared with what was there" if self.shared_bytes else ""
        return f"{amount(self.size_bytes)}{shared}"


def load_contents(tree: Tree) -> Contents:
    """What a tree holds; nothing when its manifest cannot be read."""
    found: dict[tuple[str, str], int] = {}
    with contextlib.suppress(OSError, ValueError):
        # Not through parse_manifest: with ten images in the store that is a second, and `list` wants a tenth.
        for line in (tree.path.parent / "manifest").read_bytes().decode().split("\n")[:-1]:
            kind, mode, size, content, _ = line.split("\t", 4)
            if kind == "file":
                found[content, mode] = int(size)
    return found


def measure_usage(contents: Mapping[str, Contents]) -> dict[str, Usage]:
    """The usage of each tree, by name, when these are all there are."""
    holders = Counter(content for held in contents.values() for content in held)
    return {
        name: Usage(
            size_bytes=sum(held.values()),
            own_bytes=sum(size for content, size in held.items() if holders[content] == 1),
        )
        for name, held in contents.items()
    }


def load_usage(store: Store) -> dict[str, Usage]:
    """The usage of every tree in the store, tools too, by name."""
    return measure_usage({tree.name: load_contents(tree) for tree in store.trees()})
