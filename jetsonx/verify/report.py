"""What a check found out, as a value. How it is shown is for jetsonx/verify/formats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from jetsonx.elf.facts import ElfFacts, FileFacts
from jetsonx.verify.finding import SEVERITIES, Finding, Rule, Severity, worst


@dataclass(frozen=True, slots=True, kw_only=True)
class InputLayer:
    """A layer of an image: ``size_bytes`` is what is stored of it, ``files_bytes`` what its files take unpacked."""

    digest: str
    size_bytes: int
    files_bytes: int = 0
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One artifact that was looked at: ``name`` is how the user called it, ``kind`` that of ``Tree``.

    ``files`` are those with something of interest in them, out of ``file_count`` of ``size_bytes`` in all.
    """

    name: str = ""
    kind: str = "directory"
    digest: str = ""
    file_count: int = 0
    size_bytes: int = 0
    layers: tuple[InputLayer, ...] = ()
    files: tuple[FileFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waived:
    """A finding that somebody decided to live with; ``expiry`` is a date like 2026-12-31, or ""."""

    finding: Finding
    reason: str
    expiry: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A finding of the baseline that is there no more."""

    rule: str
    path: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at, for which targets, and the findings, worst first.

    ``targets`` are all that were asked for, by name; ``profiles`` says for each where the facts about it are from.
    ``rules`` are those that were applied. ``waived`` and ``known`` (in the baseline) are findings that do not count.
    ``gone`` is what the baseline has and was not found again. ``unchecked`` says what no rule looked at.
    """

    targets: tuple[str, ...]
    inputs: tuple[Input, ...]
    findings: tuple[Finding, ...]
    profiles: tuple[tuple[str, str], ...] = ()
    rules: tuple[Rule, ...] = ()
    waived: tuple[Waived, ...] = ()
    known: tuple[Finding, ...] = ()
    gone: tuple[Gone, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def verdict(self) -> Severity | Literal["ok"]:
        """The worst severity there is, or "ok"."""
        return worst(self.findings)

    @property
    def files(self) -> tuple[FileFacts, ...]:
        """The files of interest of all inputs."""
        return tuple(file for each in self.inputs for file in each.files)

    def rule(self, id_: str) -> Rule:
        """The rule called ``id_``, or one without a title when it is not among ``rules``."""
        found = next((rule for rule in self.rules if rule.id == id_), None)
        return found or Rule(id=id_, title="", severity="warning", family="")


def count_severities(findings: tuple[Finding, ...]) -> Iterator[tuple[Severity, int]]:
    """Each severity that occurs, worst first, and how often."""
    for severity in SEVERITIES:
        if number := sum(finding.severity == severity for finding in findings):
            yield severity, number


def device_names(file: FileFacts) -> tuple[str, ...]:
    """The architectures that the file holds code for, as nvcc spells them: ("sm_87", "sm_110", "compute_110").

    Each name once, machine code first, ascending; only code that will run counts, see ``FileFacts.device_code``.
    """
    entries = {entry for fatbin in file.device_code for entry in fatbin.entries}
    order = ("cubin", "ltoir", "ptx", "other")
    return tuple(dict.fromkeys(x.name for x in sorted(entries, key=lambda x: (order.index(x.kind), x.sm, x.variant))))


def newest_version(elf: ElfFacts, family: str) -> str:
    """The highest version that the file needs of ``family``, "2.34" for "GLIBC"; "" when it needs none."""
    numbers = [number for need in elf.version_needs if (number := version_number(need.version, family))]
    return ".".join(map(str, max(numbers))) if numbers else ""


def version_number(version: str, family: str) -> tuple[int, ...] | None:
    """``GLIBC_2.34`` of family ``GLIBC`` is (2, 34); None for another family or when no number follows."""
    prefix, _, number = version.rpartition("_")
    parts = number.split(".")
    return tuple(map(int, parts)) if prefix == family and all(x.isdecimal() and len(x) < 9 for x in parts) else None
