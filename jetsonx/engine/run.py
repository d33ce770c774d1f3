"""Carry out a build by buildx: progress as it comes, and a failure said with its step, its last lines and a way on."""

from __future__ import annotations

import re

from jetsonx.console import Console
from jetsonx.engine.buildx import Build, Endpoint, build_command
from jetsonx.engine.progress import Failure, Progress, Step
from jetsonx.errors import BuildError, DownloadError, HostError, JetsonxError
from jetsonx.runner import Runner

_KILLED = 137  # by signal 9, as a shell says it
_FULL = re.compile(r"no space left on device", re.IGNORECASE)
_GONE = re.compile(r"Cannot connect to the Docker daemon|error reading from server|transport is closing|broken pipe")
_PULLED = re.compile(r"\[internal\] load metadata for (\S+)|\[[^\]]*\] FROM (\S+)")
_NOT_IN_CONTEXT = re.compile(r'"(/[^"]*)": not found')
_HINT = "jetsonx -v build shows all that BuildKit says"


def run_build(endpoint: Endpoint, build: Build, *, what: str, runner: Runner, console: Console) -> None:
    """Run ``build``; ``what`` it makes is for messages.

    Raises BuildError when a step failed, DownloadError when an image could not be had or sent, HostError when the
    engine is full or went away.
    """
    progress = Progress()

    def take(line: str) -> None:
        shown = list(progress.take(line))
        for text in [line] if console.verbosity > 0 else shown:
            console.say(text)

    done = runner.run(build_command(endpoint, build), on_line=take)
    if not done.ok:
        raise build_failure(progress.failure(), what=what, log=progress.log)


def build_failure(failure: Failure, *, what: str, log: str) -> JetsonxError:
    """The error for a build that failed, of the class whose exit status fits."""
    text = f"{failure.reason}\n{failure.details}"
    if _FULL.search(text):
        return HostError(
            f"{what}: the disk of the engine is full",
            hint="docker system df shows what takes room; docker builder prune frees the build cache",
            details=failure.details or failure.reason,
            log=log,
        )
    if _GONE.search(failure.reason):
        return HostError(f"{what}: the engine went away: {failure.reason}", hint="jetsonx doctor", log=log)
    if failure.step is not None and failure.status is not None:
        return _command_failed(failure.step, failure, what, log)
    if missing := _NOT_IN_CONTEXT.search(failure.reason):
        hint = "paths are relative to the directory of jetsonx.toml, must lie below it and not be in .dockerignore"
        return BuildError(f"{what}: {missing[1]} is not in the build context", hint=hint, log=log)
    name = failure.step.name if failure.step is not None else ""
    if pulled := _PULLED.match(name):
        hint = "check its name and your login (docker login); a mirror can stand in: JETSONX_MIRRORS=HOST=URL"
        return DownloadError(f"{what}: cannot pull {pulled[1] or pulled[2]}: {failure.reason}", hint=hint, log=log)
    if "pushing " in name:
        hint = "log in with docker login, and name the registry: --tag REGISTRY/NAME:TAG --push"
        return DownloadError(f"{what}: {failure.reason}", hint=hint, log=log)
    return BuildError(f"{what}: {failure.reason}", hint=_HINT, details=failure.details or None, log=log)


def _command_failed(step: Step, failure: Failure, what: str, log: str) -> BuildError:
    """A command in a step ended with a status."""
    stage = f"stage {step.stage}: " if step.stage else ""
    ended = f"exit status {failure.status}"
    hint = f"the lines above are the command's own; {_HINT}"
    if failure.status == _KILLED:
        ended, hint = "killed", "mostly for want of memory: let fewer compilers run at once (jetsonx build -j 2)"
    command = " ".join(step.command.split())
    shown = command if len(command) <= 120 else f"{command[:119]}…"
    return BuildError(f"{what}: {stage}{shown}: {ended}", hint=hint, details=failure.details or None, log=log)
