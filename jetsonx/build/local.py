"""The local engine: carry out a build plan on this workstation."""

from __future__ import annotations

import json
import shutil
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from jetsonx.build.output import collect_outputs, write_if_changed
from jetsonx.build.plan import BuildPlan, Step
from jetsonx.build.source import find_outputs, sync_source
from jetsonx.console import Console
from jetsonx.errors import BuildError
from jetsonx.runner import Completed, Runner

_STATE = "state.json"
_LOG_LINES = 10_000  # of a failed step, searched for known failures: the first error is often far above the last words


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build left: each output by its path in ``files``, and what the shims changed on the way."""

    files: Path
    outputs: tuple[str, ...]
    changed: bool
    notes: tuple[str, ...]


def run_plan(plan: BuildPlan, out: Path, *, key: str, targets: str, runner: Runner, console: Console) -> Built:
    """Run the plan's steps and collect its outputs under ``out/files``.

    ``key`` names everything outside the source that the build depends on; when it differs from the last build's, the
    build directory starts afresh. ``targets`` is for messages.

    Raises BuildError with the failing program's own words, and ConfigError when an output is missing.
    """
    build = plan.places.build
    state = _load_state(build)
    if state.get("key") != key:
        if build.exists():
            shutil.rmtree(build)
        state = {"key": key}
    build.mkdir(parents=True, exist_ok=True)
    notes = build / "notes.txt"
    notes.unlink(missing_ok=True)
    redirected: tuple[str, ...] = ()
    if plan.copy_source:
        synced = sync_source(plan.places.source, plan.places.copy, exclude=out, redirect=plan.redirect)
        redirected = synced.redirected
    for name, text in plan.files.items():
        write_if_changed(build / name, text)
    for step in plan.steps:
        if step.once and state.get(step.say) == str(step.command):
            continue
        _run(step, targets, runner, console)
        state[step.say] = str(step.command)
        (build / _STATE).write_text(json.dumps(state))
    outputs = find_outputs(plan.products, plan.outputs, skip=[out / "files"])
    changed = collect_outputs(outputs, out / "files")
    if plan.compdb is not None and plan.compdb.is_file():
        write_if_changed(out / "compile_commands.json", plan.compdb.read_text())
    said = [f"{name}: paths to the CUDA toolkit and compilers lead to the SDK's, in the copy" for name in redirected]
    said += dict.fromkeys(notes.read_text().splitlines()) if notes.is_file() else ()
    return Built(files=out / "files", outputs=tuple(outputs), changed=changed, notes=tuple(said))


def _run(step: Step, targets: str, runner: Runner, console: Console) -> None:
    log: deque[str] = deque(maxlen=_LOG_LINES)

    def take(line: str) -> None:
        log.append(line)
        if console.verbosity > 0:
            console.err(line)

    done = runner.run(step.command, on_line=take)
    if not done.ok:
        raise _failure(step, targets, done, "\n".join(log))


def _failure(step: Step, targets: str, done: Completed, log: str) -> BuildError:
    ended = f"ended by signal {-done.status}" if done.status < 0 else f"exit status {done.status}"
    hint = "the lines above are the program's own; jetsonx -v build shows every command, ready to paste"
    if "Unsupported gpu architecture" in done.tail:
        hint = "its build files name a GPU that this CUDA does not know; build.override_arch = true replaces such flags"
    return BuildError(
        f"{step.say} for {targets}: {Path(step.command.argv[0]).name} failed ({ended})",
        details=done.tail,
        hint=hint,
        log=log,
    )


def _load_state(build: Path) -> dict[str, str]:
    try:
        state = json.loads((build / _STATE).read_text())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
