"""Check what a build left: read the files, and have them judged against the targets and the sysroot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from jetsonx.artifact.tree import Node, Tree
from jetsonx.catalog import Target
from jetsonx.elf.facts import FileFacts
from jetsonx.elf.load import Options as Reading
from jetsonx.elf.load import load_file
from jetsonx.verify.context import Options
from jetsonx.verify.judge import UNCHECKED, applied_rules, judge
from jetsonx.verify.profile import profile_of
from jetsonx.verify.report import Input, Report

# A run path of the build directory does not keep a program from running; CMake writes one whenever it links a library
# of the project's own.
_ONLY_WARNED = frozenset({"JX401"})


def check_outputs(
    paths: Sequence[Path],
    *,
    root: Path,
    targets: Sequence[Target],
    sysroot: Path | None,
    jit: bool = False,
    host_dirs: Sequence[str] = (),
) -> Report:
    """Read the built files at ``paths`` and judge them against every target.

    ``root`` is the directory that file names in the report are relative to. Directories in ``paths`` are walked.
    Libraries are looked for among the files, in ``sysroot`` and in what every device of the target has; without a
    sysroot (None) nobody knows what else will be there, so that no library counts as missing. ``jit``: PTX that the
    device has to compile is accepted. ``host_dirs`` are directories of the build machine that no run path may name.

    Damaged and missing files are findings; only a fault of ours raises.
    """
    tree = _load_tree(paths, root)
    profiles = [profile_of(target, sysroot) for target in targets]
    if sysroot is None:
        profiles = [replace(profile, driver_globs=("*",)) for profile in profiles]
    own = (root, Path.cwd(), *([sysroot] if sysroot is not None else []))
    prefixes = tuple(dict.fromkeys((*host_dirs, *(str(path.absolute()) for path in own))))
    options = Options(jit=jit, host_prefixes=prefixes, warn_only=_ONLY_WARNED, ignore=frozenset({"JX403"}))
    files = tuple(node.facts for node in tree.iter_files() if node.facts is not None)
    return Report(
        targets=tuple(target.name for target in targets),
        inputs=(
            Input(
                name=str(root),
                kind="directory",
                file_count=sum(node.kind == "file" for node in tree.nodes.values()),
                size_bytes=sum(node.size_bytes for node in tree.nodes.values()),
                files=files,
            ),
        ),
        findings=judge(tree, profiles, options),
        profiles=tuple((profile.name, profile.source) for profile in profiles),
        rules=applied_rules(options),
        unchecked=UNCHECKED,
    )


def _load_tree(paths: Iterable[Path], root: Path) -> Tree:
    nodes: dict[str, Node] = {}
    for path in sorted(_expand(paths)):
        name = str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        nodes[name] = _load_node(path, name, root)
    return Tree(name=str(root), kind="directory", nodes=nodes)


def _expand(paths: Iterable[Path]) -> set[Path]:
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(Path(top, name) for top, _, names in os.walk(path) for name in names)
        else:
            found.add(path)
    return found


def _load_node(path: Path, name: str, root: Path) -> Node:
    """A link to another of the files is a link; one that leads elsewhere is what it leads to: that will be shipped."""
    if path.is_symlink() and path.exists() and path.resolve().is_relative_to(root.resolve()):
        return Node(path=name, kind="symlink", target=str(path.readlink()))
    facts: FileFacts = load_file(path, name, Reading(instructions=True))
    mode, size = (found.st_mode & 0o7777, found.st_size) if (found := _stat(path)) is not None else (0, 0)
    return Node(path=name, kind="file", mode=mode, size_bytes=size, facts=facts)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
