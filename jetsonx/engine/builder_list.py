"""Builder nodes as a table and as JSON: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jetsonx.console import amount
from jetsonx.engine.builder_probe import NodeState

_HEADINGS = ("NAME", "ENDPOINT", "DRIVER", "PLATFORMS", "MACHINE", "ANSWER", "VERSIONS")


def render_nodes(states: Sequence[NodeState]) -> Iterator[str]:
    """A line for each node under a line of headings, and what is wrong with those that are not ready."""
    if not states:
        yield "no builder nodes; jetsonx builder add USER@DEVICE makes one"
        return
    rows = [_HEADINGS, *(_row(state) for state in states)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for state in states:
        if state.trouble:
            yield f"{node_title(state)}: {state.trouble}"


def node_title(state: NodeState) -> str:
    """``builder`` or ``builder/node``, where these are two."""
    node = state.node
    return node.builder if node.builder == node.name else f"{node.builder}/{node.name}"


def _row(state: NodeState) -> tuple[str, ...]:
    return (
        node_title(state),
        state.node.endpoint or "-",
        state.node.driver or "-",
        ",".join(state.node.platforms) or "-",
        _machine(state) or "-",
        f"{state.answer_s:.1f} s" if state.answer_s is not None else "none",
        _versions(state) or "-",
    )


def _machine(state: NodeState) -> str:
    memory = amount(state.memory_bytes) if state.memory_bytes else ""
    cores = f"{state.cores} cores" if state.cores else ""
    return ", ".join(filter(None, (state.machine, "emulated" if state.is_emulated else "", cores, memory)))


def _versions(state: NodeState) -> str:
    named = {"Docker": state.engine, "BuildKit": state.buildkit}
    return ", ".join(f"{name} {version}" for name, version in named.items() if version)


def nodes_json(states: Sequence[NodeState]) -> dict[str, Any]:
    """As docs/json.md describes it."""
    return {"schema": 1, "nodes": [_node_json(state) for state in states]}


def _node_json(state: NodeState) -> dict[str, Any]:
    node = state.node
    return {
        "name": node.name,
        "builder": node.builder,
        "driver": node.driver,
        "endpoint": node.endpoint,
        "platforms": list(node.platforms),
        "added_by_jetsonx": node.is_ours,
        "ready": state.is_ready,
        "trouble": state.trouble or None,
        "answer_s": round(state.answer_s, 3) if state.answer_s is not None else None,
        "machine": state.machine or None,
        "emulated": state.is_emulated,
        "system": state.system or None,
        "kernel": state.kernel or None,
        "cores": state.cores,
        "memory_bytes": state.memory_bytes,
        "engine": state.engine or None,
        "buildkit": state.buildkit or None,
        "builds_for": list(state.builds_for),
    }
