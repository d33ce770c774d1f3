"""Devices as text for people and as JSON for programs: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jetsonx.console import amount
from jetsonx.device.judge import Assessment, Line

_HEADINGS = ("NAME", "ADDRESS", "MODULE", "L4T", "DOCKER", "STORE", "FREE", "READY", "SEEN", "TAGS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A named device in the list. ``assessment`` is None when it was never asked, ``seen`` (UTC) is when it was.

    ``answered``: whether it answered just now, None when it was not asked; ``trouble`` is why not.
    """

    name: str
    address: str
    assessment: Assessment | None = None
    seen: str = ""
    answered: bool | None = None
    trouble: str = ""
    tags: tuple[str, ...] = ()


def render_assessment(assessment: Assessment, *, title: str) -> Iterator[str]:
    """The whole answer for a person, and at its end what to type on the device."""
    yield title
    for line in assessment.lines:
        yield f"  {line.finding.status:<6}  {line.name:<9}  {line.finding.found}"
        yield from (f"{'':21}{note}" for note in line.finding.notes)
    yield ""
    tasks = assessment.tasks
    if assessment.is_ready:
        yield "images can run there" + ("; what could be better there:" if tasks else "")
    else:
        yield "images cannot run there yet; to do on the device:"
    yield from (f"  {number}. {task}" for number, task in enumerate(tasks, 1))
    if any("usermod" in task for task in tasks):
        yield "  new groups count from the next login on: end open ssh connections (ssh -O exit) first"


def assessment_json(assessment: Assessment) -> dict[str, Any]:
    """As docs/json.md describes it."""
    identity = assessment.identity
    facts = asdict(assessment.device)
    facts["cuda_compat"] = dict(assessment.device.cuda_compat)
    facts["group_ids"] = dict(assessment.device.group_ids)
    facts["docker"]["store"] = assessment.device.docker.store
    driver = identity.target.driver if identity.target else None
    return {
        "ready": assessment.is_ready,
        "module": identity.module.id if identity.module else None,
        "target": identity.target.name if identity.target else None,
        "sms": list(identity.sms),
        "driver": {"max_cuda": driver.max_cuda, "max_cuda_with_compat": driver.max_cuda_with_compat}
        if driver
        else None,
        "facts": _without_blanks(facts),
        "checks": checks_json(assessment.lines),
        "tasks": list(assessment.tasks),
    }


def checks_json(lines: Sequence[Line]) -> list[dict[str, object]]:
    """Judgements as docs/json.md describes them."""
    return [
        {
            "name": line.name,
            "status": line.finding.status,
            "found": line.finding.found,
            "notes": list(line.finding.notes),
            "mend": line.finding.mend.text if line.finding.mend else None,
        }
        for line in lines
    ]


def _without_blanks(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_blanks(value) if isinstance(value, dict) else None if value == "" else value
        for key, value in facts.items()
    }


def render_rows(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each device under a line of headings, and why those that were asked did not answer."""
    if not rows:
        yield "no devices; jetsonx device add NAME USER@HOST adds one"
        return
    table = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
    for row in rows:
        if row.trouble:
            yield f"{row.name}: {row.trouble}"


def _cells(row: Row) -> tuple[str, ...]:
    seen = "now" if row.answered else row.seen or "never"
    if row.assessment is None:
        return (row.name, row.address, "-", "-", "-", "-", "-", "-", seen, ",".join(row.tags))
    device, module = row.assessment.device, row.assessment.identity.module
    free = device.docker.free_bytes
    return (
        row.name,
        row.address,
        module.id if module else device.machine or "-",
        device.l4t or "-",
        device.docker.engine or "-",
        device.docker.store or "-",
        amount(free) if free is not None else "-",
        "yes" if row.assessment.is_ready else "no",
        seen,
        ",".join(row.tags),
    )


def rows_json(rows: Sequence[Row]) -> dict[str, Any]:
    """As docs/json.md describes it."""
    return {"schema": 1, "devices": [_row_json(row) for row in rows]}


def _row_json(row: Row) -> dict[str, Any]:
    known = assessment_json(row.assessment) if row.assessment else None
    return {
        "name": row.name,
        "address": row.address,
        "tags": list(row.tags),
        "seen": row.seen or None,
        "answered": row.answered,
        "trouble": row.trouble or None,
        "known": known,
    }
