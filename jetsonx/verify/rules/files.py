"""JX801: permissions and links."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding, Severity

_SET_ID = 0o6000
_OTHERS_WRITE = 0o002
_SYSTEM = ("bin/", "sbin/", "lib/", "usr/bin/", "usr/sbin/", "usr/lib/", "usr/libexec/")
_LIBRARY = re.compile(r"lib[^/]*\.so(\.[\w.]+)?")


def judge_files(context: Context) -> Iterator[Finding]:
    """Set-user-id files, library directories that all may write to, links that lead nowhere or outside."""
    for node in context.tree.nodes.values():
        if node.kind == "symlink":
            yield from _judge_link(context, node)
        elif node.kind == "file" and node.mode & _SET_ID:
            is_system = context.tree.is_root and node.path.startswith(_SYSTEM)
            severity: Severity = "note" if is_system else "warning"
            which = "user" if node.mode & 0o4000 else "group"
            message = f"sets the {which} id (mode {node.mode & 0o7777:04o})"
            yield context.find("JX801", node, message, severity=severity, detail="set-id")
        elif node.kind == "dir" and node.mode & _OTHERS_WRITE and _holds_libraries(context, node.path):
            message = f"is a library directory that everybody may write to (mode {node.mode & 0o7777:04o})"
            yield context.find("JX801", node, message, detail="writable")


def _holds_libraries(context: Context, path: str) -> bool:
    return any(map(_LIBRARY.fullmatch, context.tree.folders.get(path, ())))


def _judge_link(context: Context, node: Node) -> Iterator[Finding]:
    if not context.tree.is_root and _leads_out(node):
        yield context.find("JX801", node, f"is a link that leads outside: {node.target}", detail="outside")
        return
    name = posixpath.basename(node.path)
    if context.tree.resolve(node.path) is not None or (context.tree.is_root and not _LIBRARY.fullmatch(name)):
        return
    aim = posixpath.basename(node.target)
    if context.profile.is_driver_library(aim) or context.profile.is_driver_library(name):
        return
    yield context.find("JX801", node, f"is a link that leads nowhere: {node.target}", detail="nowhere")


def _leads_out(node: Node) -> bool:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(node.path), node.target))
    return node.target.startswith("/") or target == ".." or target.startswith("../")
