"""How a deployment ended, for people and for programs: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jetsonx.console import amount
from jetsonx.deploy.command import Result
from jetsonx.deploy.plan import plan_json, render_checks, render_plan
from jetsonx.deploy.report import render_outcome


def render_results(results: Sequence[Result], *, everything: bool = False) -> Iterator[str]:
    """The answer in lines: whole plans for those that were only planned or refused, else a line for each device."""
    width = max((len(result.title) for result in results), default=0)
    for result in results:
        if result.plan is not None and result.status in ("planned", "refused"):
            yield from render_plan(result.plan, everything=everything)
            continue
        yield f"{result.title.ljust(width)}  {result.status}{_words(result)}"
        if everything and result.plan is not None:
            yield from (f"  {line}" for line in render_checks(result.plan, everything=True))


def results_json(results: Sequence[Result], *, is_dry_run: bool) -> dict[str, Any]:
    """As docs/json.md describes it."""
    return {
        "schema": 1,
        "dry_run": is_dry_run,
        "ok": all(result.ok for result in results),
        "devices": [_result_json(result) for result in results],
    }


def _words(result: Result) -> str:
    plan, outcome = result.plan, result.outcome
    if result.status == "deployed" and plan is not None and outcome is not None:
        sent = plan.transfer.send_bytes if plan.transfer else 0
        return f"  {plan.release.app} {plan.release.id}, {amount(sent)} sent, {render_outcome(outcome)}"
    if result.status == "current" and plan is not None:
        return f"  {plan.release.app} {plan.release.id} runs there already"
    if result.status == "off":
        return "  it did not answer; the next deployment brings it up to date"
    if result.status == "skipped":
        return "  others failed before its turn; the image is there, and the old release runs on"
    return f"  {result.error.message}" if result.error else ""


def _result_json(result: Result) -> dict[str, Any]:
    outcome, error = result.outcome, result.error
    return {
        "name": result.name or None,
        "address": result.address,
        "status": result.status,
        "plan": plan_json(result.plan) if result.plan else None,
        "outcome": {
            "ending": outcome.ending,
            "step": outcome.step or None,
            "why": outcome.why or None,
            "seconds": outcome.seconds,
            "downtime_s": outcome.downtime_s,
            "log": list(outcome.log),
        }
        if outcome
        else None,
        "error": {"message": error.message, "hint": error.hint, "details": error.details} if error else None,
    }
