"""JX501 to JX505: what a file gives to an attacker."""

from __future__ import annotations

from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts
from jetsonx.verify.context import Context, is_program
from jetsonx.verify.finding import Finding

_WRITE_AND_EXECUTE = 3


def judge_hardening(context: Context) -> Iterator[Finding]:
    """The stack of every linked file; the rest only where it was asked for."""
    asked = any(context.wanted[rule] for rule in ("JX502", "JX503", "JX504", "JX505"))
    for node, elf in context.linked:
        if elf.has_exec_stack:
            yield context.find("JX501", node, "asks for an executable stack")
        elif elf.has_exec_stack is None:
            message = "does not say whether its stack may be executable (no PT_GNU_STACK)"
            yield context.find("JX501", node, message, severity="warning", detail="none")
        if asked:
            yield from _judge_asked(context, node, elf)


def _judge_asked(context: Context, node: Node, elf: ElfFacts) -> Iterator[Finding]:
    if elf.relro == "none":
        yield context.find("JX502", node, "has no RELRO")
    elif elf.relro == "partial":
        yield context.find("JX502", node, "has partial RELRO only", severity="note", detail="partial")
    if is_program(elf) and elf.type == "executable":
        yield context.find("JX503", node, "is a program at a fixed address (no PIE)")
    if any(load.flags & _WRITE_AND_EXECUTE == _WRITE_AND_EXECUTE for load in elf.loads):
        yield context.find("JX504", node, "has a segment that is writable and executable", detail="segment")
    if elf.has_textrel:
        yield context.find("JX504", node, "has relocations in code (TEXTREL)", detail="textrel")
    yield from _judge_branches(context, node, elf)


def _judge_branches(context: Context, node: Node, elf: ElfFacts) -> Iterator[Finding]:
    features = context.profile.cpu_features or frozenset()
    has = {"bti": elf.has_bti, "pac": elf.has_pac}
    lacks = [name for name, is_there in has.items() if name in features and not is_there]
    if lacks:
        names = " and ".join(name.upper() for name in lacks)
        yield context.find("JX505", node, f"is built without {names}, which the CPU has", detail=" ".join(lacks))
