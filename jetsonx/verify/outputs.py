"""Check what a build left: read the files, and have them judged against the targets and the sysroot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jetsonx.artifact.directory import load_directory
from jetsonx.catalog import Target
from jetsonx.elf.load import Options as Reading
from jetsonx.verify.context import Options
from jetsonx.verify.inputs import input_of
from jetsonx.verify.judge import UNCHECKED, applied_rules, judge
from jetsonx.verify.profile import profile_of
from jetsonx.verify.report import Report

# A run path of the build directory does not keep a program from running; CMake writes one whenever it links a library
# of the project's own.
_ONLY_WARNED = frozenset({"JX401"})


def check_outputs(root: Path, *, targets: Sequence[Target], sysroot: Path | None, jit: bool = False) -> Report:
    """Read the built files below ``root`` and judge them against every target.

    Libraries are looked for among the files, in ``sysroot`` and in what every device of the target has; without a
    sysroot (None) nobody knows what else will be there, so that no library counts as missing. ``jit``: PTX that the
    device has to compile is accepted. Damaged files are findings; only a fault of ours raises.
    """
    tree = replace(load_directory(root, str(root), Reading()), is_root=False)
    profiles = [profile_of(target, sysroot) for target in targets]
    if sysroot is None:
        profiles = [replace(profile, is_open=True) for profile in profiles]
    own = (root, Path.cwd(), *([sysroot] if sysroot is not None else []))
    prefixes = tuple(str(path.absolute()) for path in own)
    options = Options(
        jit=jit, host_prefixes=prefixes, warn_only=_ONLY_WARNED, ignore=frozenset({"JX403"}), own_build=True
    )
    return Report(
        targets=tuple(target.name for target in targets),
        inputs=(input_of(tree),),
        findings=judge(tree, profiles, options),
        profiles=tuple((profile.name, profile.source) for profile in profiles),
        rules=applied_rules(options),
        unchecked=UNCHECKED,
    )
