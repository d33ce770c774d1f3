"""The builder nodes that the Docker client of this host knows; reading them asks none of them.

There are two kinds. Nodes of buildx's builders lie in files of its own: `docker buildx ls` has the same, but waits for
every machine that is switched off. And a Docker context is a builder too, the engine behind it; only those contexts
count that `jetsonx builder add` has made, for others lead to machines that nobody offered for building.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jetsonx.host.ask import PATIENCE_S, Ask
from jetsonx.host.facts import CONTEXT_DRIVER, Node

_MARK = "jetsonx builder node for {}"
_MARKED = re.compile(re.escape(_MARK.format("")) + r"(?P<platform>[a-z0-9]+/[a-z0-9/]+)")


def load_nodes(
    ask: Ask, docker: str, environ: Mapping[str, str], *, patience_s: float = PATIENCE_S
) -> tuple[Node, ...]:
    """All nodes, those of buildx's builders first. ``docker``: the client to ask for its contexts, as `Ask` does."""
    said = ask(docker, "context", "ls", "--format", "{{json .}}", patience_s=patience_s)
    contexts = parse_contexts(said.stdout if said is not None and said.ok else "")
    return (*load_instances(buildx_directory(environ)), *contexts)


def describe_context(platform: str) -> str:
    """The description by which a context is known as a node: ``describe_context("linux/arm64")``."""
    return _MARK.format(platform)


def parse_contexts(text: str) -> tuple[Node, ...]:
    """The nodes in what `docker context ls --format '{{json .}}'` prints, one object a line."""
    return tuple(_parse_contexts(text))


def _parse_contexts(text: str) -> Iterator[Node]:
    for row in map(parse_object, text.splitlines()):
        name, marked = str(row.get("Name") or ""), _MARKED.fullmatch(str(row.get("Description") or ""))
        if name and marked:
            yield Node(
                name=name,
                builder=name,
                driver=CONTEXT_DRIVER,
                endpoint=str(row.get("DockerEndpoint") or ""),
                platforms=(marked["platform"],),
            )


def load_instances(directory: Path) -> tuple[Node, ...]:
    """The nodes of all buildx builders, from the files in ``directory``; what is no such file is passed over."""
    try:
        files = sorted((directory / "instances").iterdir())
    except OSError:
        return ()
    return tuple(node for file in files for node in _parse_builder(_read(file)))


def _parse_builder(text: str) -> Iterator[Node]:
    builder = parse_object(text)
    nodes = builder.get("Nodes")
    for row in nodes if isinstance(nodes, list) else ():
        if not isinstance(row, dict):
            continue
        platforms = row.get("Platforms")
        named = [each for each in platforms if isinstance(each, dict)] if isinstance(platforms, list) else []
        yield Node(
            name=str(row.get("Name") or ""),
            builder=str(builder.get("Name") or ""),
            driver=str(builder.get("Driver") or ""),
            endpoint=str(row.get("Endpoint") or ""),
            platforms=tuple(f"{each.get('os')}/{each.get('architecture')}" for each in named),
        )


def buildx_directory(environ: Mapping[str, str]) -> Path:
    """Where buildx keeps its builders."""
    if environ.get("BUILDX_CONFIG"):
        return Path(environ["BUILDX_CONFIG"])
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/"), ".docker")) / "buildx"


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object that ``text`` is; an empty one for anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
