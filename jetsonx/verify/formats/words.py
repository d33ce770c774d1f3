"""Words that several formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from jetsonx.console import amount
from jetsonx.elf.facts import ElfFacts, FileFacts
from jetsonx.verify.finding import SEVERITIES, Finding, Severity
from jetsonx.verify.report import Gone, Input, Report, count_severities, device_names, newest_version

_DIGEST_SHOWN = len("sha256:") + 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Findings of one rule with one mend, which is said once for all of them."""

    severity: Severity
    rule: str
    title: str
    fix: str
    findings: tuple[Finding, ...]


def group_findings(report: Report, findings: Sequence[Finding]) -> Iterator[Group]:
    """``findings`` in groups, worst first, then by rule; in a group in the order they have."""

    def key(finding: Finding) -> tuple[int, str, str]:
        return SEVERITIES.index(finding.severity), finding.rule, finding.fix

    for (_, rule, fix), members in groupby(sorted(findings, key=key), key):
        group = tuple(members)
        yield Group(
            severity=group[0].severity,
            rule=rule,
            title=report.rule(rule).title,
            fix=fix or report.rule(rule).mend,
            findings=group,
        )


def plain(text: str) -> str:
    """``text`` with everything escaped that a terminal would act on: names come from archives nobody vouches for."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def where(report: Report, finding: Finding) -> str:
    """The path, with its artifact when there are several; the artifact for a finding about all of it."""
    if finding.artifact and len(report.inputs) > 1:
        return f"{finding.artifact}: {finding.path}" if finding.path else finding.artifact
    return finding.path or (report.inputs[0].name if report.inputs else "")


def for_targets(report: Report, finding: Finding) -> str:
    """The targets that it holds for, in brackets, when there are others that it does not hold for."""
    holds_for_all = not finding.targets or set(finding.targets) == set(report.targets)
    return "" if holds_for_all else f" [{', '.join(finding.targets)}]"


def counted(number: int, noun: str) -> str:
    """``counted(2, "error")`` is "2 errors"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def total(report: Report) -> str:
    """The counts in a line: "2 errors, 1 note; 3 waived, 1 known", or "nothing wrong"."""
    counts = ", ".join(counted(number, severity) for severity, number in count_severities(report.findings))
    aside = [f"{len(report.waived)} waived"] if report.waived else []
    aside += [f"{len(report.known)} known"] if report.known else []
    aside += [f"{len(report.gone)} of the baseline gone"] if report.gone else []
    return "; ".join(part for part in (counts or "nothing wrong", ", ".join(aside)) if part)


def describe_input(each: Input) -> str:
    """What it is: "app.tar: docker-archive sha256:1f2e…, 3 layers, 7,012 files (1.2 GB), 753 looked into"."""
    digest = f" {each.digest[:_DIGEST_SHOWN]}" if each.digest else ""
    parts = [f"{plain(each.name)}: {each.kind}{digest}"]
    parts += [counted(len(each.layers), "layer")] if each.layers else []
    parts += [f"{counted(each.file_count, 'file')} ({amount(each.size_bytes)})"] if each.file_count else []
    checked = sum(file.kind != "other" for file in each.files)
    return ", ".join([*parts, f"{checked:,} looked into"])


def describe_gone(gone: Gone) -> str:
    """What is found no more: "JX301 usr/bin/app: libfoo.so.1"."""
    return plain(f"{gone.rule} {gone.path}" + (f": {gone.detail}" if gone.detail else ""))


def describe_file(file: FileFacts) -> str:
    """What a file is, in a few words: "AArch64 program, needs GLIBC_2.34, holds sm_87"."""
    elf = file.elf
    if elf is not None:
        what = f"{elf.machine} {_role(elf)}"
        newest = [f"{family}_{number}" for family in ("GLIBC", "GLIBCXX") if (number := newest_version(elf, family))]
        what += f", needs {' '.join(newest)}" if newest else ""
    elif file.kind == "archive":
        machines = sorted({member.machine for _, member in file.members})
        what = f"static library, {' and '.join(machines) or 'no machine code'}"
    else:
        what = {"fatbin": "fat binary"}.get(file.kind, file.kind)
    device = device_names(file)
    return f"{what}, holds {' '.join(device)}" if device else what


def _role(elf: ElfFacts) -> str:
    if elf.machine == "CUDA":
        return "module"
    if elf.type == "executable" or elf.interpreter:
        return "program"
    return {"shared": "shared library", "relocatable": "object file"}.get(elf.type, f"{elf.type} file")
