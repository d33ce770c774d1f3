"""JX401 to JX403: directories that a file names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from jetsonx.artifact.tree import Node
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding

_BUILD_TOPS = ("/tmp", "/home", "/root", "/var/tmp")  # noqa: S108 - compared, never used
_HOST_TRIPLE = "x86_64-linux-gnu"
_ORIGIN = ("$ORIGIN", "${ORIGIN}")


def judge_run_paths(context: Context) -> Iterator[Finding]:
    """RPATH and RUNPATH of every linked file."""
    for node, elf in context.linked:
        for kind, value in (("RPATH", elf.rpath), ("RUNPATH", elf.runpath)):
            if value is not None:
                yield from _judge_entries(context, node, kind, value)
        if context.wanted["JX402"] and elf.rpath is not None and elf.runpath is None:
            yield context.find("JX402", node, f"has RPATH {elf.rpath}, which cannot be overridden", detail=elf.rpath)
    if context.wanted["JX403"]:
        yield from _judge_strings(context)


def _judge_entries(context: Context, node: Node, kind: str, value: str) -> Iterator[Finding]:
    entries = value.split(":")
    bad = [entry for entry in entries if _is_host_path(context, entry)]
    if bad:
        message = f"{kind} names places of the build machine: {', '.join(entry or '(empty)' for entry in bad)}"
        yield context.find("JX401", node, message, detail=":".join(bad))
    absent = [entry for entry in entries if entry not in bad and _is_absent(context, entry)]
    if absent:
        message = f"{kind} names directories that are not in {context.whose}: {', '.join(absent)}"
        fix = "leave them out when linking"
        yield context.find("JX401", node, message, severity="warning", fix=fix, detail=":".join(absent))


def _is_host_path(context: Context, entry: str) -> bool:
    if entry.startswith(_ORIGIN):
        return False
    path = PurePosixPath(entry)
    if not path.is_absolute() or _HOST_TRIPLE in path.parts:
        return True
    if any(path.is_relative_to(top) for top in context.options.host_prefixes if top != "/"):
        return True
    return any(path.is_relative_to(top) for top in _BUILD_TOPS) and not _is_there(context, entry)


def _is_absent(context: Context, entry: str) -> bool:
    """True for an absolute directory that a whole root file system lacks and that the driver will not bring."""
    if not context.tree.is_root or not entry.startswith("/") or "$" in entry:
        return False
    mounted = any(PurePosixPath(entry).is_relative_to(f"/{top}") for top in context.profile.driver_dirs)
    return not mounted and not _is_there(context, entry)


def _is_there(context: Context, entry: str) -> bool:
    return context.tree.is_root and context.tree.resolve(entry) is not None


def _judge_strings(context: Context) -> Iterator[Finding]:
    for node, facts in context.files:
        if facts.host_strings:
            message = f"names {facts.host_strings[0]}, a path of the build machine"
            yield context.find("JX403", node, message, detail=facts.host_strings[0])
