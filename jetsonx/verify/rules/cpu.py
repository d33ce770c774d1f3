"""JX601, JX602: instructions that the CPU of the target lacks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts, Instructions
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding, Severity

_SURE = 10
"""Fewer atomics than this may be data between code, as tables of cryptographic libraries are."""

_SURE_VECTORS = 24
"""The same for the other extensions, whose words data meets more often: 12 and 16 in media libraries of Debian 12."""

_RUNTIME = re.compile(r"(libc|libm|libgcc_s|libstdc\+\+|ld-linux-aarch64|libpthread|libdl)\.so\.\d+")

_SVE_VARIANT = "_ZGVs"
"""How Arm's vector function ABI begins the name of a function's SVE form, as libmvec has: only SVE code calls it."""

_CRYPTO = re.compile(r"lib(crypto|ssl|gcrypt|gnutls|nettle|hogweed|sodium|mbed\w+)\b")
_WORDS = {"sve": "SVE", "dotprod": "dot product", "i8mm": "8-bit matrix", "fp16": "half precision", "lrcpc": "LDAPR"}


def judge_cpu(context: Context) -> Iterator[Finding]:
    """Counted instruction words against the features of the profile's CPU, where both are known."""
    features = context.profile.cpu_features
    if features is None:
        return
    for node, elf in context.elves:
        if elf.instructions is not None:
            if "lse" not in features and elf.instructions.lse:
                yield from _judge_atomics(context, node, elf, elf.instructions.lse)
            yield from _judge_others(context, node, elf, elf.instructions)


def _judge_atomics(context: Context, node: Node, elf: ElfFacts, count: int) -> Iterator[Finding]:
    severity: Severity = "error"
    if _chooses(elf):
        severity = "note"
    elif count < _SURE or _is_crypto(node):
        severity = "warning"
    message = f"has {count} atomic instructions of ARMv8.1 (LSE) without a test before them; {_cpu(context)} lacks them"
    yield context.find("JX601", node, message, severity=severity)


def _judge_others(context: Context, node: Node, elf: ElfFacts, counts: Instructions) -> Iterator[Finding]:
    features = context.profile.cpu_features or frozenset()
    found = [(name, getattr(counts, name)) for name in _WORDS if name not in features and getattr(counts, name)]
    if any(name == "sve" for name, _ in found) and any(each.startswith(_SVE_VARIANT) for each in elf.exports):
        found = [(name, count) for name, count in found if name != "sve"]
    if not found or _chooses(elf) or _leaves_it_to_another(context, node, elf):
        return
    listed = ", ".join(f"{count} {_WORDS[name]}" for name, count in found)
    sure = any(count >= _SURE_VECTORS for _, count in found) and not _is_crypto(node)
    message = f"has instructions that {_cpu(context)} lacks: {listed}"
    detail = " ".join(name for name, _ in found)
    yield context.find("JX602", node, message, severity="warning" if sure else "note", detail=detail)


def _chooses(elf: ElfFacts) -> bool:
    """True for a file that asks which features the CPU has."""
    return elf.has_ifunc or any(each.name == "getauxval" for each in elf.imports)


def _leaves_it_to_another(context: Context, node: Node, elf: ElfFacts) -> bool:
    """True when a library beside it asks, as libhwy does for libhwy_contrib; that the C library does tells nothing."""
    if not elf.has_dynamic:
        return False
    closure = context.closure(node)
    beside = (closure.by_name.get(name) for name in elf.needed if not _RUNTIME.fullmatch(name))
    nodes = (context.tree.nodes.get(each.real) for each in beside if each is not None and each.real)
    return any(
        x.facts.elf is not None and _chooses(x.facts.elf) for x in nodes if x is not None and x.facts is not None
    )


def _is_crypto(node: Node) -> bool:
    return _CRYPTO.match(node.path.rpartition("/")[2]) is not None


def _cpu(context: Context) -> str:
    return context.profile.cpu or "the CPU"
