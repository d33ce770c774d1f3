"""What is wrong with an artifact, and the rules that say so, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that is looked for; a row of rules.toml.

    ``id`` stays the same for ever. ``severity`` is the usual one, a finding may have another. ``why`` says what goes
    wrong on the device, ``mend`` what to do about it, ``sources`` where it was read. Rules that are not ``is_default``
    have to be asked for.
    """

    id: str
    title: str
    severity: Severity
    family: str
    why: str = ""
    mend: str = ""
    sources: tuple[str, ...] = ()
    is_default: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: where, what (with what was expected), and what to do about it.

    ``rule`` is the id of a ``Rule``. ``targets`` names the targets it holds for; empty means any. ``symbols`` and
    ``library`` are what it is about, where it is about such; ``layer`` is the digest of the image layer that ``path``
    comes from, ``artifact`` the input it is in, where there are several. ``detail`` tells it from others of its rule in
    the same file, and stays the same when only the words of ``message`` change: waivers and baselines go by it.
    """

    rule: str
    severity: Severity
    path: str
    message: str
    fix: str = ""
    targets: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    library: str = ""
    layer: str = ""
    detail: str = ""
    artifact: str = ""


def fingerprint(rule: str, path: str, detail: str) -> str:
    """What a finding is known by from run to run, 32 hex digits: it outlives new words and another image's name."""
    return sha256("\0".join((rule, path, detail)).encode(errors="backslashreplace")).hexdigest()[:32]


def split_by_target(
    finding: Finding, targets: Iterable[str], holds: Callable[[str], bool]
) -> tuple[Finding | None, Finding | None]:
    """The finding for those targets for which ``holds`` is true, and for the others; None when there are none.

    ``targets`` are all that there are: what a finding without any stands for.
    """
    names = finding.targets or tuple(targets)
    inside = tuple(name for name in names if holds(name))
    if not inside:
        return None, finding
    if len(inside) == len(names):
        return finding, None
    outside = tuple(name for name in names if name not in inside)
    return replace(finding, targets=inside), replace(finding, targets=outside)


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Worst first, then by file and rule."""
    return tuple(sorted(findings, key=lambda x: (SEVERITIES.index(x.severity), x.path, x.rule, x.detail, x.message)))


def worst(findings: Iterable[Finding]) -> Severity | Literal["ok"]:
    """The worst severity there is, or "ok"."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in SEVERITIES if severity in found), "ok")
