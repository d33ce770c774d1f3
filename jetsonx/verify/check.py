"""The rules: facts of the built files against what each target has. Pure; the files were read elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Protocol

from jetsonx.elf.facts import ElfFacts, FileFacts, VersionNeed
from jetsonx.verify.device import judge_device
from jetsonx.verify.finding import Finding, Severity, sort_findings
from jetsonx.verify.report import Input, Report, version_number


class Target(Protocol):
    """What the rules ask of a target; ``jetsonx.catalog.Target`` has it.

    ``glibc`` is "2.39", ``glibcxx`` "GLIBCXX_3.4.33": the newest symbol versions there. ``sm`` is 87.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see the class
    @property
    def glibc(self) -> str: ...  # noqa: D102
    @property
    def glibcxx(self) -> str: ...  # noqa: D102
    @property
    def sm(self) -> int: ...  # noqa: D102
    @property
    def interpreter(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """The shared libraries a program will meet on the target, by the name that NEEDED uses.

    ``found``: where each comes from ("outputs", "sysroot" or "driver"); a name that is missing was found nowhere.
    ``needed``: what those of the sysroot need in turn. ``defined``: the symbol versions that some of them define.
    """

    found: Mapping[str, str] = field(default_factory=dict)
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defined: Mapping[str, frozenset[str]] = field(default_factory=dict)


def judge(
    files: Sequence[FileFacts],
    targets: Sequence[Target],
    *,
    libraries: Libraries,
    host_dirs: Sequence[str] = (),
    jit: bool = False,
) -> Report:
    """Judge every file against every target: each has to be satisfied.

    ``host_dirs`` are directories of the build machine that no run path may name.
    """
    sms = sorted({target.sm for target in targets})
    findings: list[Finding] = []
    for file in files:
        findings += _judge_file(file, libraries, host_dirs)
        for target in targets:
            found = [*_judge_versions(file, target, libraries), *judge_device(file, target.sm, sms=sms, jit=jit)]
            found += _judge_interpreter(file, target)
            findings += (replace(finding, targets=(target.name,)) for finding in found)
    names = tuple(target.name for target in targets)
    inputs = (Input(files=tuple(files)),)
    return Report(targets=names, inputs=inputs, findings=sort_findings(_merge(findings)))


def _merge(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for several targets when it says the same for each."""
    targets: dict[Finding, dict[str, None]] = {}
    for finding in findings:
        targets.setdefault(replace(finding, targets=()), {}).update(dict.fromkeys(finding.targets))
    return (replace(finding, targets=tuple(names)) for finding, names in targets.items())


def _judge_file(file: FileFacts, libraries: Libraries, host_dirs: Sequence[str]) -> Iterator[Finding]:
    """What is the same for every target."""
    if file.kind == "unreadable":
        yield Finding(
            rule="JX100",
            severity="error",
            path=file.path,
            message=f"cannot be checked: {file.reason}",
            fix="build it again, and see what `outputs` in jetsonx.toml names",
        )
    yield from _judge_machine(file)
    if file.elf is not None and file.elf.machine == "AArch64":
        yield from _judge_needed(file.path, file.elf, libraries)
        yield from _judge_run_path(file.path, file.elf, host_dirs)


def _judge_machine(file: FileFacts) -> Iterator[Finding]:
    elves = [("", file.elf)] if file.elf is not None else [(f"member {name} ", elf) for name, elf in file.members]
    wrong = [(where, elf) for where, elf in elves if elf.machine not in {"AArch64", "CUDA"}]
    for where, elf in wrong[:1]:
        more = f" ({len(wrong)} members in all)" if len(wrong) > 1 else ""
        yield Finding(
            rule="JX101",
            severity="error",
            path=file.path,
            message=f"{where}is for {elf.machine}, expected AArch64{more}",
            fix="a compiler of this machine was called by name: let the project use $CC and $CXX (or CMake's), "
            "and drop files built before",
        )
    for where, elf in elves:
        if elf.machine == "AArch64" and (elf.bits, elf.endianness) != (64, "little"):
            message = f"{where}is {elf.bits}-bit {elf.endianness}-endian, expected 64-bit little-endian"
            yield Finding(
                rule="JX102", severity="error", path=file.path, message=message, fix="drop -mabi=ilp32 and -mbig-endian"
            )
            break


def _judge_interpreter(file: FileFacts, target: Target) -> Iterator[Finding]:
    elf = file.elf
    if elf is None or elf.machine != "AArch64" or elf.interpreter in {None, target.interpreter}:
        return
    musl = " (musl's, while Jetsons have glibc)" if elf.interpreter and "musl" in elf.interpreter else ""
    yield Finding(
        rule="JX103",
        severity="error",
        path=file.path,
        message=f"starts through {elf.interpreter}{musl}, expected {target.interpreter}",
        fix="link with the compiler that jetsonx chose, without -dynamic-linker",
    )


# -- symbol versions ---------------------------------------------------------------------------------------------------

_GLIBC_MARKS = {"GLIBC_ABI_DT_RELR": (2, 36)}
"""Versions that name a feature: the glibc that brought each. DT_RELR: the linker's -z pack-relative-relocs."""


def _judge_versions(file: FileFacts, target: Target, libraries: Libraries) -> Iterator[Finding]:
    if file.elf is None or file.elf.machine != "AArch64":
        return
    for need in file.elf.version_needs:
        shortfall = _shortfall(need, target, libraries.defined)
        if shortfall is None:
            continue
        rule, severity, has = shortfall
        symbols = f" ({', '.join(need.symbols)})" if need.symbols else ""
        yield Finding(
            rule=rule,
            severity="note" if need.is_weak else severity,
            path=file.path,
            message=f"needs {need.version} of {need.library}{symbols}; {has}",
            fix="link against the sysroot only: a library or object file that goes in was built for a newer system",
        )


def _shortfall(
    need: VersionNeed, target: Target, defined: Mapping[str, frozenset[str]]
) -> tuple[str, Severity, str] | None:
    """(rule, severity, what is there instead), or None when the need is met or cannot be told."""
    if need.version in _GLIBC_MARKS:
        if _numbers(target.glibc) >= _GLIBC_MARKS[need.version]:
            return None
        return "JX202", "error", f"the target has glibc {target.glibc}, which does not know it"
    if need.version == "GLIBC_PRIVATE":
        return "JX201", "warning", "that is glibc's own, and fits only the very glibc it was linked against"
    for family, ceiling in (("GLIBC", target.glibc), ("GLIBCXX", target.glibcxx.removeprefix("GLIBCXX_"))):
        number = version_number(need.version, family)
        if number is not None:
            return ("JX201", "error", f"the target has {family}_{ceiling}") if number > _numbers(ceiling) else None
    versions = defined.get(need.library)
    if versions and need.version not in versions:
        return "JX201", "error", f"the {need.library} of the sysroot does not define it"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


# -- libraries ---------------------------------------------------------------------------------------------------------


def _judge_needed(path: str, elf: ElfFacts, libraries: Libraries) -> Iterator[Finding]:
    """Walk the libraries as the loader will; each that is missing is told once, with the library that asks for it."""
    seen = set(elf.needed)
    queue = [(name, "") for name in elf.needed]
    for name, asker in queue:  # grows while it is walked
        if name not in libraries.found:
            through = f" (for {asker})" if asker else ""
            fix = f"add {name} to `outputs`, or the package that holds it to `packages` or `wheels` under [sysroot]"
            if "/" in name:
                fix = f"that library has no name of its own: link it with -Wl,-soname,{PurePosixPath(name).name}"
            yield Finding(
                rule="JX301",
                severity="error",
                path=path,
                message=f"needs {name}{through}, which is not among the outputs, in the sysroot or in the driver",
                fix=fix,
            )
        for next_name in libraries.needed.get(name, ()):
            if next_name not in seen:
                seen.add(next_name)
                queue.append((next_name, name))


def _judge_run_path(path: str, elf: ElfFacts, host_dirs: Sequence[str]) -> Iterator[Finding]:
    for kind, value in (("RPATH", elf.rpath), ("RUNPATH", elf.runpath)):
        bad = [entry for entry in value.split(":") if _is_host_path(entry, host_dirs)] if value is not None else []
        if bad:
            yield Finding(
                rule="JX401",
                severity="warning",
                path=path,
                message=f"{kind} names places of the build machine: {', '.join(entry or '(empty)' for entry in bad)}",
                fix="use $ORIGIN: -DCMAKE_BUILD_RPATH_USE_ORIGIN=ON, or link with -Wl,-rpath,'$ORIGIN'",
            )


def _is_host_path(entry: str, host_dirs: Sequence[str]) -> bool:
    if entry.startswith(("$ORIGIN", "${ORIGIN}")):
        return False
    path = PurePosixPath(entry)
    if not path.is_absolute() or "x86_64-linux-gnu" in path.parts:
        return True
    return any(path.is_relative_to(top) for top in ("/tmp", "/home", "/root", *host_dirs) if top != "/")  # noqa: S108 - compared
