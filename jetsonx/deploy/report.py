"""Apps of devices, histories and outcomes as text for people and as JSON for programs: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jetsonx.console import amount
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.state import REFERENCE_LABEL, RELEASE_LABEL, AppState, DeviceState
from jetsonx.deploy.values import RemoteContainer
from jetsonx.errors import ConfigError, DeviceError, RolledBackError

_HEADINGS = ("WHEN", "KIND", "RELEASE", "ENDED", "SECONDS", "DOWNTIME", "BY")
_WHERE = {"device": "only on the device", "host": "only on this host", "differs": "this host has it otherwise"}


def choose_app(state: DeviceState, wanted: str, project: str) -> AppState:
    """The app that is meant: ``wanted`` by name, else the ``project``'s when it is there, else the only one.

    Raises ConfigError when that is none, with those that there are.
    """
    app = _choose(state, wanted, project)
    if not state.by and app.form == "container":
        raise _no_docker()
    return app


def _no_docker() -> DeviceError:
    return DeviceError("Docker does not answer there", hint="jetsonx device probe NAME says what is missing")


def _choose(state: DeviceState, wanted: str, project: str) -> AppState:
    there = ", ".join(state.apps) or "none"
    if not state.by and not state.apps:
        raise _no_docker()
    if wanted:
        if wanted not in state.apps:
            raise ConfigError(f"the device has no app {wanted!r}", hint=f"apps there: {there}")
        return state.apps[wanted]
    if project in state.apps:
        return state.apps[project]
    if len(state.apps) != 1:
        what = "several apps" if state.apps else "no app that jetsonx deployed"
        raise ConfigError(f"the device has {what}", hint=f"say which: --app NAME; apps there: {there}")
    return next(iter(state.apps.values()))


def since(app: AppState, release: str) -> str:
    """When it was last switched to ``release``, by the clock of the workstation that did it; "" when nobody knows."""
    for entry in reversed(app.history):
        if entry.get("release") == release and entry.get("outcome") == "ok":
            return str(entry.get("when", ""))
    return ""


def render_status(app: AppState, state: DeviceState, *, title: str) -> Iterator[str]:
    """A device's app in a few lines."""
    yield f"{app.name} on {title}"
    current = app.current
    if current is None:
        yield "  release   none is there"
    else:
        yield f"  release   {_release(current)}"
        yield f"  image     {current.labels.get(REFERENCE_LABEL, '')} {current.image_id[:19]}"
        yield f"  since     {since(app, _release(current)) or 'not known'}"
        yield f"  state     {_condition(current)}"
        if current.id in app.modified:
            yield f"  modified  {app.modified[current.id]}, by jetsonx sync: it differs from its release"
        if current.ports:
            yield f"  ports     {', '.join(current.ports)}"
    if app.debugged:
        yield f"  debugged  a container with gdbserver stands in for it: {app.debugged.state}"
    if app.previous:
        yield f"  previous  {_release(app.previous)}; jetsonx rollback goes back to it"
    if app.older:
        yield f"  older     {', '.join(map(_release, app.older))}"
    if app.failed:
        yield f"  failed    {app.failed}; jetsonx logs --failed has its last words"
    if app.holder:
        yield f"  busy      {app.holder.who}, {app.holder.kind} since {app.holder.when}"
    elif app.unfinished:
        unfinished = app.unfinished
        yield f"  broken    a {unfinished.kind} was interrupted at {unfinished.step!r}; the next operation recovers it"
    staged = sum(state.staged.values())
    free = f"{amount(state.free_bytes)} free" if state.free_bytes is not None else "not known"
    yield f"  disk      {free}" + (f", {amount(staged)} staged" if staged else "")


def _release(container: RemoteContainer) -> str:
    return container.labels.get(RELEASE_LABEL, "")


def _condition(container: RemoteContainer) -> str:
    words = [container.state]
    if container.health:
        words.append(container.health)
    if container.state == "exited":
        words.append(f"status {container.status}")
    words.append(f"restarts: {container.restarts}")
    return ", ".join(words)


def status_json(app: AppState, state: DeviceState, *, name: str, address: str) -> dict[str, Any]:
    """As docs/json.md describes it."""
    unfinished, holder = app.unfinished, app.holder
    return {
        "schema": 1,
        "name": name or None,
        "address": address,
        "app": app.name,
        "current": _container_json(app, app.current),
        "previous": _container_json(app, app.previous),
        "older": [_container_json(app, each) for each in app.older],
        "failed": app.failed or None,
        "busy": {"who": holder.who, "when": holder.when, "kind": holder.kind} if holder else None,
        "unfinished": {"op": unfinished.op, "kind": unfinished.kind, "step": unfinished.step}
        if unfinished and not holder
        else None,
        "staged": dict(state.staged),
        "free_bytes": state.free_bytes,
    }


def _container_json(app: AppState, container: RemoteContainer | None) -> dict[str, Any] | None:
    if container is None:
        return None
    return {
        "container": container.name,
        "release": _release(container),
        "reference": container.labels.get(REFERENCE_LABEL),
        "image": container.image_id,
        "since": since(app, _release(container)) or None,
        "modified": app.modified.get(container.id),
        "state": container.state,
        "health": container.health or None,
        "restarts": container.restarts,
        "exit_status": container.status,
        "ports": list(container.ports),
    }


def render_history(merged: Sequence[tuple[Mapping[str, Any], str]]) -> Iterator[str]:
    """A line for each operation, and where device and host do not know the same."""
    if not merged:
        yield "nothing was deployed yet"
        return
    table = [_HEADINGS, *(_cells(entry) for entry, _ in merged)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells, where in zip(table, ("", *(where for _, where in merged)), strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        yield f"{line}  ({_WHERE[where]})" if where in _WHERE else line


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    def one(name: str) -> str:
        value = entry.get(name)
        return "-" if value is None or value == "" else str(value)

    step = f" at {entry['step']}" if entry.get("outcome") not in ("ok", None) and entry.get("step") else ""
    times = (one("seconds"), one("downtime"))
    return (one("when"), one("kind"), one("release"), one("outcome") + step, *times, one("who"))


def check_outcome(outcome: Outcome, *, what: str) -> None:
    """Raise DeviceError, with the release's last words, unless all was done: RolledBackError when the release before
    runs. ``what`` was asked for: "the switch".
    """
    if outcome.ok:
        return
    log = "\n".join(outcome.log)
    said = "\n".join(outcome.said)
    if outcome.ending == "busy":
        raise DeviceError(f"{what} was refused: {outcome.fault}", hint="wait for it; jetsonx status says what it does")
    if outcome.ending == "unfinished":
        raise DeviceError(
            f"{what} could not be brought to its end: {outcome.fault}",
            details=said or None,
            hint="see to Docker and the disk of the device; then any jetsonx command that changes the app goes on from "
            "the journal",
        )
    ended = (
        f"the release before runs again, after {outcome.downtime_s:.1f} s"
        if outcome.ending == "rolled-back" and outcome.downtime_s
        else "the release before runs on"
        if outcome.ending == "rolled-back"
        else "there was nothing to go back to"
        if outcome.step not in ("begin", "")
        else "nothing was changed"
    )
    raise (RolledBackError if outcome.ending == "rolled-back" else DeviceError)(
        f"{what} failed at {outcome.step!r}: {outcome.why}; {ended}",
        details=log or said or None,
        hint="jetsonx logs --failed has the last words of the release" if log else None,
    )


def render_outcome(outcome: Outcome) -> str:
    """How long it took, for the end of a line."""
    down = f", {outcome.downtime_s:.2f} s without a running release" if outcome.downtime_s is not None else ""
    return f"{outcome.seconds:.1f} s{down}" if outcome.seconds is not None else ""
