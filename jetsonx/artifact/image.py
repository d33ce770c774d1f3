"""An image as a tree: its layers put over one another, and what its configuration says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jetsonx.artifact.members import Change, renamed
from jetsonx.artifact.tree import Config, Layer, Node
from jetsonx.elf.source import clean
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.rootfs.overlay import FileSystem, Folder, Leaf

_WORDS_MAX = 1000


def put_together(layers: Sequence[Sequence[Change]], names: Sequence[str]) -> dict[str, Node]:
    """The nodes of the file system that the layers make, base first; ``names`` say in errors which layer it is.

    Raises DownloadError for a layer that links to or writes below what is not there.
    """
    system = FileSystem()
    modes: dict[str, tuple[int, int]] = {}
    by_number: list[dict[int, Change]] = []
    for index, (changes, name) in enumerate(zip(layers, names, strict=True)):
        system.apply([change.item for change in changes], layer=index, name=name)
        by_number.append({change.item.number: change for change in changes})
        modes.update((x.item.path, (x.mode, index)) for x in changes if x.item.kind == "dir")
    return {node.path: node for node in _nodes(system.root, by_number, modes)}


def _nodes(
    root: Folder, changes: Sequence[Mapping[int, Change]], modes: Mapping[str, tuple[int, int]]
) -> Iterator[Node]:
    left: list[tuple[str, Folder]] = [("", root)]
    while left:
        prefix, folder = left.pop()
        for name, found in folder.items():
            path = f"{prefix}{name}"
            if isinstance(found, dict):
                mode, layer = modes.get(path, (0o755, None))
                yield Node(path, "dir", mode, layer=layer)
                left.append((f"{path}/", found))
            else:
                yield _leaf(path, found, changes[found.layer][found.item.number])


def _leaf(path: str, leaf: Leaf, change: Change) -> Node:
    item = leaf.item
    kind = item.kind if item.kind in ("file", "symlink") else "other"
    facts = renamed(change.facts, path)
    return Node(path, kind, change.mode, item.size_bytes, leaf.target or "", leaf.layer, facts)


def parse_config(raw: bytes, *, what: str) -> tuple[Config, tuple[str, ...], tuple[str, ...]]:
    """An image's configuration, the digests of its plain layers, and what made each layer that is not empty.

    Raises DownloadError when it is none. Source: OCI image specification, "Image Configuration".
    """
    document = parse_json(raw, dict, what=what)
    inner = _dict(document.get("config"))
    config = Config(
        entrypoint=_words(inner.get("Entrypoint")),
        command=_words(inner.get("Cmd")),
        env=dict(word.partition("=")[::2] for word in _words(inner.get("Env"))),
        working_dir=_word(inner.get("WorkingDir")),
        user=_word(inner.get("User")),
        labels={_word(key): _word(value) for key, value in [*_dict(inner.get("Labels")).items()][:_WORDS_MAX]},
        architecture=_word(document.get("architecture")),
        os=_word(document.get("os")),
    )
    history = document.get("history")
    made_by = tuple(
        _word(each.get("created_by"))
        for each in (history[:_WORDS_MAX] if isinstance(history, list) else ())
        if isinstance(each, dict) and not each.get("empty_layer")
    )
    return config, _words(_dict(document.get("rootfs")).get("diff_ids")), made_by


def parse_json(raw: bytes, kind: type, *, what: str) -> Any:
    """A JSON document that has to be an object (dict) or a list. Raises DownloadError when it is not."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DownloadError(f"{what} is no JSON: {error}") from error
    if not isinstance(document, kind):
        raise DownloadError(f"{what} is JSON, but no {'object' if kind is dict else 'list'}")
    return document


def with_history(layers: Sequence[tuple[str, int]], made_by: Sequence[str]) -> tuple[Layer, ...]:
    """The layers, digest and stored size, with what made each; where the history has another length it says nothing."""
    texts = made_by if len(made_by) == len(layers) else [""] * len(layers)
    return tuple(
        Layer(digest=digest, size_bytes=size, created_by=text)
        for (digest, size), text in zip(layers, texts, strict=True)
    )


@contextmanager
def as_users(what: str) -> Iterator[None]:
    """A damaged image of the user's is his to make again, not the cache's."""
    try:
        yield
    except DownloadError as error:
        message = error.message if what in error.message else f"{what}: {error.message}"
        hint = error.hint if error.hint and "JETSONX_" in error.hint else f"write {what} again, or name another"
        raise ConfigError(message, hint=hint) from error


def _word(value: object) -> str:
    return clean(value.encode("utf-8", "backslashreplace")) if isinstance(value, str) else ""


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(_word, value[:_WORDS_MAX])) if isinstance(value, list) else ()


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
