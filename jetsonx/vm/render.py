"""What `jetsonx vm list` prints: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from jetsonx.console import amount
from jetsonx.vm.values import Vm

Row: TypeAlias = "tuple[Vm, bool, int]"
"""A machine, whether it runs, and the bytes that its disk takes."""


def render_rows(rows: Sequence[Row]) -> Iterator[str]:
    """The answer for a person."""
    if not rows:
        yield "no virtual machines; jetsonx vm create NAME makes one"
        return
    cells = [("DEVICE", "STATE", "TARGET", "CPU", "MEMORY", "DISK", "PORT")]
    for vm, is_running, disk_bytes in rows:
        state = "running" if is_running else "stopped"
        memory, disk = amount(vm.memory_mib << 20), amount(disk_bytes)
        cells.append((f"vm:{vm.name}", state, vm.target, f"{vm.cpus} {vm.cpu}", memory, disk, str(vm.port)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def rows_json(rows: Sequence[Row]) -> dict[str, Any]:
    """The answer for a program: docs/json.md."""
    return {"schema": 1, "machines": [_row_json(*row) for row in rows]}


def _row_json(vm: Vm, is_running: bool, disk_bytes: int) -> dict[str, Any]:
    return {
        "name": vm.name,
        "device": f"vm:{vm.name}",
        "running": is_running,
        "target": vm.target,
        "cpu": vm.cpu,
        "cpus": vm.cpus,
        "memory_bytes": vm.memory_mib << 20,
        "disk_bytes": vm.disk_gib << 30,
        "disk_used_bytes": disk_bytes,
        "port": vm.port,
    }
