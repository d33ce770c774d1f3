"""JX103, JX104, JX506 to JX508: what the kernel and ld.so refuse before a program's first instruction."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding, Severity

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # what Docker sets when an image does not
_NOT_STARTED = re.compile(r"usr/(local/)?(share|src)/|(.*/)?python[0-9.]*/|.*\.py$")
"""Examples, templates and modules, which nobody starts from there although they may be executable."""

_SHELL = re.compile(r"(^|/)(ba|da)?sh\b")

_ANY_ALIGNMENT = (2, 35)  # the first glibc that maps segments by their own alignment
_STATIC_TLS = ((2, 32), 1664, 512)
"""Bytes that a library opened at run time may take of the static TLS block: before glibc 2.32, and from it on."""


def judge_loader(context: Context) -> Iterator[Finding]:
    """Interpreters of programs and scripts, segments, and thread-local storage."""
    for node, elf in context.elves:
        if elf.interpreter is not None:
            yield from _judge_interpreter(context, node, elf.interpreter)
        yield from _judge_segments(context, node, elf)
    if context.wanted["JX508"]:
        yield from _judge_tls(context)
    if context.tree.is_root:
        yield from _judge_scripts(context)


def _judge_interpreter(context: Context, node: Node, interpreter: str) -> Iterator[Finding]:
    expected = context.profile.interpreter
    musl = " (musl's, while Jetsons have glibc)" if "musl" in interpreter else ""
    if not context.tree.is_root:
        if interpreter != expected:
            message = f"starts through {interpreter}{musl}, expected {expected}"
            yield context.find("JX103", node, message, detail=interpreter)
        return
    found = context.tree.resolve(interpreter)
    elf = found.facts.elf if found is not None and found.facts is not None else None
    if elf is None or elf.machine != "AArch64":
        why = f"is for {elf.machine}" if elf is not None else f"is not in {context.whose}"
        message = f"starts through {interpreter}{musl}, which {why}"
        yield context.find("JX103", node, message, detail=interpreter)
    elif musl:
        message = f"starts through {interpreter}{musl}: NVIDIA's libraries do not load there"
        yield context.find("JX103", node, message, severity="warning", detail=interpreter)


def _judge_segments(context: Context, node: Node, elf: ElfFacts) -> Iterator[Finding]:
    if elf.type not in {"executable", "shared"}:
        return
    glibc = context.glibc
    for load in elf.loads:
        step = load.align if glibc < _ANY_ALIGNMENT else context.profile.page_bytes
        if step > 1 and (load.address - load.offset) % step:
            message = (
                f"a segment at 0x{load.address:x} lies at 0x{load.offset:x} of the file, which does not fit steps of "
                f"0x{step:x}; glibc {'.'.join(map(str, glibc))} refuses that"
            )
            yield context.find("JX506", node, message, detail=f"0x{load.address:x}")
            break
    aligns = [load.align for load in elf.loads if load.align < context.profile.page_bytes]
    if aligns:
        message = f"segments are aligned to {min(aligns)} bytes, pages of the kernel have {context.profile.page_bytes}"
        yield context.find("JX507", node, message, detail=str(min(aligns)))


def _judge_tls(context: Context) -> Iterator[Finding]:
    since, before, after = _STATIC_TLS
    limit = before if context.glibc < since else after
    for node, elf in context.linked:
        if (
            elf.has_static_tls
            and elf.tls_bytes > limit
            and elf.interpreter is None
            and node.path not in context.started
        ):
            message = f"takes {elf.tls_bytes} bytes of static TLS; opened at run time it gets {limit} at most"
            yield context.find("JX508", node, message)


def _judge_scripts(context: Context) -> Iterator[Finding]:
    """One finding for each interpreter that is missing: a distribution has dozens of scripts for one shell.

    A root file system without any shell has leftovers of packages, which nobody means to start: a note.
    """
    lost: dict[tuple[str, str], list[Node]] = {}
    for node, facts in context.files:
        if facts.kind != "script" or not node.mode & 0o111 or _NOT_STARTED.match(node.path):
            continue
        name, why = _interpreter_of(context, facts.interpreter_line)
        if why:
            lost.setdefault((name, why), []).append(node)
    has_shell = not _why_not(context, "/bin/sh")
    for (name, why), nodes in lost.items():
        others = len(nodes) - 1
        more = f", and so are {others} other scripts" if others > 1 else ", and so is another script" if others else ""
        is_leftover = not has_shell and _SHELL.search(name) is not None
        severity: Severity = "note" if is_leftover else "warning"
        message = f"is started by {name}, which {why}{more}"
        yield context.find("JX104", nodes[0], message, severity=severity, detail=name)


def _interpreter_of(context: Context, line: str) -> tuple[str, str]:
    """What starts a script with this first line, and why that will not do ("" when it will)."""
    words = line.removeprefix("#!").split()
    if not words:
        return "", ""
    why = _why_not(context, words[0])
    if not why and words[0].rpartition("/")[2] == "env" and (asked := _command_of_env(words[1:])):
        return f"{asked} (by env)", _why_not_on_path(context, asked)
    return words[0], why


def _command_of_env(words: list[str]) -> str:
    """The program that ``env`` starts: the first word that is neither an option nor a variable."""
    return next((word for word in words if not word.startswith("-") and "=" not in word), "")


def _why_not(context: Context, path: str) -> str:
    if not path.startswith("/"):
        return "is a relative path"
    found = context.tree.resolve(path)
    if found is None or found.kind != "file":
        return f"is not in {context.whose}"
    elf = found.facts.elf if found.facts is not None else None
    return f"is for {elf.machine}" if elf is not None and elf.machine != "AArch64" else ""


def _why_not_on_path(context: Context, name: str) -> str:
    if "/" in name:
        return _why_not(context, name)
    env = context.tree.config.env if context.tree.config else {}
    reasons = [_why_not(context, f"{directory}/{name}") for directory in env.get("PATH", _PATH).split(":")]
    return "" if "" in reasons else reasons[0]
