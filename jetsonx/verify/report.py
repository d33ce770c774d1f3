"""What a check found out, as a value, as JSON and as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jetsonx.elf.facts import ElfFacts, FileFacts
from jetsonx.verify.finding import SEVERITIES, Finding, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Facts of every file and the findings, worst first; ``targets`` are all that were asked for, by name."""

    targets: tuple[str, ...]
    files: tuple[FileFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Severity | Literal["ok"]:
        """The worst severity there is, or "ok"."""
        return self.findings[0].severity if self.findings else "ok"

    def to_json(self) -> dict[str, object]:
        """The report as JSON values; ``schema`` counts up when a reader has to change."""
        return {
            "schema": 1,
            "verdict": self.verdict,
            "targets": list(self.targets),
            "findings": [_finding_json(finding) for finding in self.findings],
            "files": [_file_json(file) for file in self.files],
        }


def render_text(report: Report) -> list[str]:
    """The report as lines: each checked file, each finding, each fix once, and one line that sums up."""
    told: set[str] = set()
    lines = [f"{file.path}: {_describe(file)}" for file in report.files if file.kind not in {"other", "unreadable"}]
    for finding in report.findings:
        lines.append(f"{finding.severity} {finding.rule} {finding.path}: {finding.message}{_for(report, finding)}")
        if finding.fix and finding.fix not in told:
            told.add(finding.fix)
            lines.append(f"  fix: {finding.fix}")
    counts = ((severity, sum(x.severity == severity for x in report.findings)) for severity in SEVERITIES)
    total = ", ".join(f"{n} {severity}{'s' if n > 1 else ''}" for severity, n in counts if n) or "nothing wrong"
    checked = sum(file.kind != "other" for file in report.files)
    lines.append(f"checked {checked} file{'' if checked == 1 else 's'} for {', '.join(report.targets)}: {total}")
    return lines


def device_names(file: FileFacts) -> tuple[str, ...]:
    """The architectures that the file holds code for, as nvcc spells them: ("sm_87", "sm_110", "compute_110").

    Each name once, machine code first, ascending; only code that will run counts, see ``FileFacts.device_code``.
    """
    entries = {entry for fatbin in file.device_code for entry in fatbin.entries}
    order = ("cubin", "ltoir", "ptx", "other")
    return tuple(dict.fromkeys(x.name for x in sorted(entries, key=lambda x: (order.index(x.kind), x.sm, x.variant))))


def _for(report: Report, finding: Finding) -> str:
    return f" [{', '.join(finding.targets)}]" if finding.targets and len(report.targets) > 1 else ""


def _finding_json(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": finding.severity,
        "path": finding.path,
        "message": finding.message,
        "fix": finding.fix,
        "targets": list(finding.targets),
    }


def _file_json(file: FileFacts) -> dict[str, object]:
    facts: dict[str, object] = {"path": file.path, "kind": file.kind}
    if file.reason:
        facts["reason"] = file.reason
    if file.elf is not None:
        facts |= _elf_json(file.elf)
    if file.members:
        facts["members"] = [{"name": name, "machine": elf.machine} for name, elf in file.members]
    if file.fatbins:
        facts["device"] = list(device_names(file))
        facts["fatbins"] = [
            {
                "offset": fatbin.offset,
                "has_kernels": fatbin.has_kernels,
                "is_relocatable": fatbin.is_relocatable,
                "entries": [
                    {
                        "kind": x.kind,
                        "name": x.name,
                        "isa": x.isa and f"{x.isa[0]}.{x.isa[1]}",
                        "size_bytes": x.size_bytes,
                    }
                    for x in fatbin.entries
                ],
            }
            for fatbin in file.fatbins
        ]
    return facts


def _elf_json(elf: ElfFacts) -> dict[str, object]:
    return {
        "machine": elf.machine,
        "bits": elf.bits,
        "type": elf.type,
        "interpreter": elf.interpreter,
        "soname": elf.soname,
        "needed": list(elf.needed),
        "rpath": elf.rpath,
        "runpath": elf.runpath,
        "versions": {library: list(versions) for library, versions in _versions_by_library(elf)},
        "is_stripped": elf.is_stripped,
    }


def _versions_by_library(elf: ElfFacts) -> Iterator[tuple[str, list[str]]]:
    for library in dict.fromkeys(need.library for need in elf.version_needs):
        yield library, [need.version for need in elf.version_needs if need.library == library]


def _describe(file: FileFacts) -> str:
    elf = file.elf
    if elf is not None:
        what = f"{elf.machine} {_role(elf)}"
        newest = [f"{family}_{number}" for family in ("GLIBC", "GLIBCXX") if (number := newest_version(elf, family))]
        what += f", needs {' '.join(newest)}" if newest else ""
    elif file.kind == "archive":
        machines = sorted({member.machine for _, member in file.members})
        what = f"static library, {' and '.join(machines) or 'no machine code'}"
    else:
        what = "fat binary"
    device = device_names(file)
    return f"{what}, holds {' '.join(device)}" if device else what


def _role(elf: ElfFacts) -> str:
    if elf.machine == "CUDA":
        return "module"
    if elf.type == "executable" or elf.interpreter:
        return "program"
    return {"shared": "shared library", "relocatable": "object file"}.get(elf.type, f"{elf.type} file")


def newest_version(elf: ElfFacts, family: str) -> str:
    """The highest version that the file needs of ``family``, "2.34" for "GLIBC"; "" when it needs none."""
    numbers = [number for need in elf.version_needs if (number := version_number(need.version, family))]
    return ".".join(map(str, max(numbers))) if numbers else ""


def version_number(version: str, family: str) -> tuple[int, ...] | None:
    """``GLIBC_2.34`` of family ``GLIBC`` is (2, 34); None for another family or when no number follows."""
    prefix, _, number = version.rpartition("_")
    parts = number.split(".")
    return tuple(map(int, parts)) if prefix == family and all(x.isdecimal() and len(x) < 9 for x in parts) else None
