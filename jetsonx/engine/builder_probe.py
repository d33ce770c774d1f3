"""Asks builder nodes what they are: all at once, each for no longer than a limit.

The question to an engine is `docker info`, by the same way that a build takes: how long its answer takes is what every
step of a build pays at least once. Nodes without an engine of ours (kubernetes, remote) are asked through buildx.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from jetsonx.engine.node_plan import PLATFORMS
from jetsonx.host.ask import REMOTE_PATIENCE_S, Ask, is_silent
from jetsonx.host.facts import Node
from jetsonx.host.nodes import parse_object
from jetsonx.runner import Completed

_WITH_ENGINE = ("docker", "docker-container")
_URL = re.compile(r"[a-z][a-z0-9-]*://")


Timed: TypeAlias = "tuple[Completed | None, float]"
"""An answer and the seconds it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A node and what it answered; what it did not say is "", None or ().

    ``is_ready``: a build can be sent there. ``answer_s``: seconds from asking to the answer, the login included.
    ``machine`` is its processor ("aarch64"), ``engine`` and ``buildkit`` are versions. ``builds_for``: all platforms
    that BuildKit there builds for, with emulation. ``trouble``: why it is not ready.
    """

    node: Node
    is_ready: bool
    answer_s: float | None = None
    machine: str = ""
    system: str = ""
    kernel: str = ""
    cores: int | None = None
    memory_bytes: int | None = None
    engine: str = ""
    buildkit: str = ""
    builds_for: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def is_emulated(self) -> bool:
        """True when the node is pinned to a platform that its own processor is not for."""
        return bool(self.machine) and all(
            self.machine not in PLATFORMS.get(platform, (self.machine,)) for platform in self.node.platforms
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """One node in what `docker buildx inspect` prints."""

    status: str = ""
    buildkit: str = ""
    platforms: tuple[str, ...] = ()
    error: str = ""


def probe_nodes(
    ask: Ask, docker: str, nodes: Sequence[Node], *, limit_s: float = REMOTE_PATIENCE_S, with_buildkit: bool = True
) -> tuple[NodeState, ...]:
    """The states of ``nodes``, in their order. ``with_buildkit`` False leaves out what takes a second question.

    That one comes after the first, so that it does not slow down what is measured, and only to those who answered.
    """
    engines = {node.endpoint: _info_words(docker, node) for node in nodes if node.driver in _WITH_ENGINE}
    informed = _ask_all(ask, engines, limit_s)
    silent = {endpoint for endpoint, (said, _) in informed.items() if said is None or not said.ok}
    inspected = _ask_all(
        ask,
        {
            node.builder: inspect_words(docker, node.builder)
            for node in nodes
            if node.driver not in _WITH_ENGINE or (with_buildkit and node.endpoint not in silent)
        },
        limit_s,
    )
    return tuple(
        merge_state(node, informed.get(node.endpoint), inspected.get(node.builder), limit_s=limit_s) for node in nodes
    )


def _ask_all(ask: Ask, calls: Mapping[str, tuple[str, ...]], limit_s: float) -> dict[str, Timed]:
    with ThreadPoolExecutor(max_workers=max(1, len(calls))) as pool:  # all of it is waiting for others
        futures = {name: pool.submit(_timed, ask, words, limit_s) for name, words in calls.items()}
        return {name: future.result() for name, future in futures.items()}


def _timed(ask: Ask, words: Sequence[str], limit_s: float) -> Timed:
    started = time.monotonic()
    said = ask(*words, patience_s=limit_s)
    return said, time.monotonic() - started


def inspect_words(docker: str, builder: str) -> tuple[str, ...]:
    """The call that describes a builder."""
    return (docker, "buildx", "inspect", builder)


def _info_words(docker: str, node: Node) -> tuple[str, ...]:
    place = ("--host", node.endpoint) if _URL.match(node.endpoint) else ("--context", node.endpoint)
    return (docker, *place, "info", "--format", "{{json .}}")


def merge_state(node: Node, informed: Timed | None, inspected: Timed | None, *, limit_s: float) -> NodeState:
    """What two answers say of a node; None for a question that was not asked."""
    described = Inspected()
    if inspected is not None and inspected[0] is not None:
        described = parse_inspect(inspected[0].stdout).get(node.name, Inspected())
    if informed is None:
        said, seconds = inspected or (None, 0.0)
        is_ready = described.status == "running"
        info: Mapping[str, object] = {}
        trouble = "" if is_ready else described.error or _trouble(said, limit_s) or described.status
    else:
        said, seconds = informed
        info = parse_object(said.stdout if said is not None else "")
        is_ready = bool(info.get("ServerVersion"))
        trouble = "" if is_ready else _errors(info) or _trouble(said, limit_s)
    return NodeState(
        node=node,
        is_ready=is_ready,
        answer_s=seconds if is_ready else None,
        machine=_text(info, "Architecture"),
        system=_text(info, "OperatingSystem"),
        kernel=_text(info, "KernelVersion"),
        cores=_count(info, "NCPU"),
        memory_bytes=_count(info, "MemTotal"),
        engine=_text(info, "ServerVersion"),
        buildkit=described.buildkit,
        builds_for=described.platforms,
        trouble=trouble or ("" if is_ready else "it does not say why"),
    )


def parse_inspect(text: str) -> dict[str, Inspected]:
    """The nodes in what `docker buildx inspect` prints, by name; "unknown" for the version of BuildKit counts as none.

    The lines are those of buildx 0.5 to 0.13: `Name:`, `Status:`, `Error:`, `BuildKit version:` (`Buildkit:` before
    0.13), `Platforms:` with an asterisk behind those that were pinned.
    """
    nodes: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in text.partition("Nodes:")[2].splitlines():
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip().lower(), value.strip()
        if key == "name":
            current = nodes.setdefault(value, {})
        else:
            current.setdefault(key, value)
    return {name: _inspected(fields) for name, fields in nodes.items()}


def _inspected(fields: Mapping[str, str]) -> Inspected:
    version = (fields.get("buildkit version") or fields.get("buildkit") or "").removeprefix("v")
    return Inspected(
        status=fields.get("status", ""),
        buildkit=version,
        platforms=tuple(re.findall(r"[a-z0-9]+/[a-z0-9/]+", fields.get("platforms", ""))),
        error=fields.get("error", ""),
    )


def _errors(info: Mapping[str, object]) -> str:
    errors = info.get("ServerErrors")
    return " ".join("; ".join(map(str, errors)).split()) if isinstance(errors, list) else ""


def _trouble(said: Completed | None, limit_s: float) -> str:
    if said is None:
        return "this host has no timeout(1) to ask it with"
    if is_silent(said):
        return f"no answer in {limit_s:g} s"
    lines = [line.strip() for line in said.tail.splitlines() if line.strip() and not line.startswith("{")]
    return lines[-1] if lines and not said.ok else ""


def _text(info: Mapping[str, object], key: str) -> str:
    return str(info.get(key) or "")


def _count(info: Mapping[str, object], key: str) -> int | None:
    value = info.get(key)
    return value if isinstance(value, int) and value > 0 else None
