"""What a deployment to one device comes to, before anything is changed there: for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetsonx.console import amount
from jetsonx.deploy.preflight import failures
from jetsonx.deploy.values import Release
from jetsonx.device.judge import Line
from jetsonx.device.render import checks_json

_MARKS = {"ok": "ok", "warn": "warn", "fail": "FAIL", "absent": "FAIL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What is sent: ``send_bytes`` by ``method``, and ``layer_bytes`` of new layers, unpacked.

    ``prices`` are bytes by each method that was weighed. Nothing has to be sent where ``method`` is "none".
    """

    method: str
    send_bytes: int = 0
    layer_bytes: int = 0
    why: str = ""
    prices: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """The deployment to one device. ``name`` is the user's for it, "" for none.

    ``running`` is the release that runs there, "" for none; ``interrupted`` the operation that is recovered first.
    ``transfer`` is None when the checks forbid it, or the release is there already.
    """

    name: str
    address: str
    about: str
    image: Path
    release: Release
    running: str = ""
    interrupted: str = ""
    checks: tuple[Line, ...] = ()
    transfer: Transfer | None = None

    @property
    def title(self) -> str:
        """The device for a person."""
        return f"{self.name} ({self.address})" if self.name else self.address

    @property
    def is_current(self) -> bool:
        """True when this very release runs there."""
        return self.running == self.release.id

    @property
    def failures(self) -> tuple[Line, ...]:
        """The checks that forbid it."""
        return failures(self.checks)


def plan_steps(plan: DevicePlan) -> Iterator[str]:
    """What would be done, in order."""
    if plan.interrupted:
        yield f"recover the {plan.interrupted} that was interrupted"
    if plan.is_current or plan.transfer is None:
        return
    transfer, release = plan.transfer, plan.release
    is_files = release.form == "files"
    if transfer.method != "none":
        yield f"upload {amount(transfer.send_bytes)} ({transfer.method})"
        yield (
            "see there that what came is the same"
            if is_files
            else "load it into Docker there, and see that the image is the same"
        )
    if is_files:
        yield f"put it into ~/.local/share/jetsonx/apps/{release.app}/releases/{release.id}.NUMBER"
        if not release.has_unit and release.health.kind == "command":
            yield "try its health command there"
        yield "make `current` a link to it"
    else:
        yield f"name the image {release.reference}"
    old = f"release {plan.running}" if plan.running else ""
    if release.is_blue_green and old:
        yield f"start {release.app} beside {old}, judge its health, then stop that"
    elif is_files and not release.has_unit:
        yield "judge its health; if it is not well, `current` leads to what it led to before"
    elif old:
        yield f"stop {old}, start {release.app}, judge its health; if it is not well, go back to {old}"
    else:
        yield f"start {release.app} and judge its health"
    yield f"remove releases but the last {release.keep + 1}"


def render_plan(plan: DevicePlan, *, everything: bool = False) -> Iterator[str]:
    """The plan in lines: checks that are not ok (all of them with ``everything``), what is sent, and the steps."""
    yield f"{plan.title}: {plan.about}"
    release = plan.release
    now = f"; {plan.running} runs there" if plan.running else "; none runs there yet"
    yield f"  release  {release.id} of {release.app}, from {plan.image}" + ("" if plan.is_current else now)
    yield from (f"  {line}" for line in render_checks(plan, everything=everything))
    if plan.failures:
        return
    if plan.is_current:
        yield "  nothing to do: it runs there already"
    elif plan.transfer is not None:
        yield f"  send     {_transfer_words(plan.transfer, is_files=plan.release.form == 'files')}"
    for number, step in enumerate(plan_steps(plan), 1):
        yield f"  {number}. {step}"


def render_checks(plan: DevicePlan, *, everything: bool) -> Iterator[str]:
    """A line for each check that is not ok, and what to type next."""
    for line in plan.checks:
        finding = line.finding
        if finding.status == "ok" and not everything:
            continue
        yield f"{_MARKS[finding.status]:<4} {line.name}: {finding.found}"
        yield from (f"     {note}" for note in finding.notes)
        if finding.mend is not None:
            yield f"     -> {finding.mend.text}"


def plan_json(plan: DevicePlan) -> dict[str, Any]:
    """As docs/json.md describes it."""
    transfer = plan.transfer
    return {
        "name": plan.name or None,
        "address": plan.address,
        "release": plan.release.id,
        "app": plan.release.app,
        "image": plan.release.image_id,
        "reference": plan.release.reference,
        "source": str(plan.image),
        "running": plan.running or None,
        "is_current": plan.is_current,
        "interrupted": plan.interrupted or None,
        "ok": not plan.failures,
        "checks": checks_json(plan.checks),
        "transfer": {
            "method": transfer.method,
            "send_bytes": transfer.send_bytes,
            "layer_bytes": transfer.layer_bytes,
            "why": transfer.why,
            "prices": dict(transfer.prices),
        }
        if transfer
        else None,
        "options": list(plan.release.options),
        "steps": list(plan_steps(plan)),
    }


def _transfer_words(transfer: Transfer, *, is_files: bool) -> str:
    if transfer.method == "none":
        return f"nothing: the {'files are' if is_files else 'image is'} there"
    others = ", ".join(f"{name} {amount(price)}" for name, price in transfer.prices.items() if name != transfer.method)
    why = f"; {transfer.why}" if transfer.why else ""
    beside = f" (instead of {others})" if others else ""
    return f"{amount(transfer.send_bytes)} by {transfer.method}{beside}{why}"
