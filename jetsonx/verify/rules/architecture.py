"""JX101, JX102: machine code that is for another processor."""

from __future__ import annotations

from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts, FileFacts
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding, Severity

_DEVICE_CODE = "CUDA"
_NO_HOST_CODE = {"BPF", "eBPF", "Linux BPF"}
_FIRMWARE = ("lib/firmware/", "usr/lib/firmware/")


def judge_architecture(context: Context) -> Iterator[Finding]:
    """Files for another processor, word size or byte order; members of static libraries too."""
    for node, facts in context.files:
        elves = [("", facts.elf)] if facts.elf is not None else [(f"member {x} ", elf) for x, elf in facts.members]
        if elves:
            yield from _judge_machine(context, node, elves)
            yield from _judge_class(context, node, elves)
        elif facts.kind == "unreadable":
            yield from _judge_unreadable(context, node, facts)


def _judge_unreadable(context: Context, node: Node, facts: FileFacts) -> Iterator[Finding]:
    yield context.find("JX100", node, f"cannot be checked: {facts.reason}")


def _judge_machine(context: Context, node: Node, elves: list[tuple[str, ElfFacts]]) -> Iterator[Finding]:
    wrong = [(where, elf) for where, elf in elves if elf.machine not in {"AArch64", _DEVICE_CODE}]
    for where, elf in wrong[:1]:
        more = f" ({len(wrong)} members in all)" if len(wrong) > 1 else ""
        is_other = elf.machine in _NO_HOST_CODE or node.path.startswith(_FIRMWARE)
        severity: Severity = "note" if is_other else "error"
        yield context.find(
            "JX101",
            node,
            f"{where}is for {elf.machine}, expected AArch64{more}",
            severity=severity,
            detail=f"{where}{elf.machine}",
        )


def _judge_class(context: Context, node: Node, elves: list[tuple[str, ElfFacts]]) -> Iterator[Finding]:
    for where, elf in elves:
        if elf.machine == "AArch64" and (elf.bits, elf.endianness) != (64, "little"):
            message = f"{where}is {elf.bits}-bit {elf.endianness}-endian, expected 64-bit little-endian"
            yield context.find("JX102", node, message, detail=f"{where}{elf.bits} {elf.endianness}")
            return
