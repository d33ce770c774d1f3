"""Carry out a build by buildx: progress as it comes, and a failure said with its step, its last lines and a way on."""

from __future__ import annotations

import re
from functools import partial

from jetsonx.console import Console
from jetsonx.engine.buildx import Build, Endpoint, build_command
from jetsonx.engine.progress import Failure, Progress, Step
from jetsonx.errors import BuildError, DownloadError, HostError, JetsonxError
from jetsonx.runner import Runner

_KILLED = 137  # by signal 9, as a shell says it
_FULL = re.compile(r"no space left on device", re.IGNORECASE)
_GONE = re.compile(r"Cannot connect to the Docker daemon|error reading from server|transport is closing|broken pipe")
# The BuildKit of Docker 20.10 gives a client up that once does not answer in ten seconds, and so does one whose
# machine is emulated and compiles (moby/buildkit, session/grpc.go, monitorHealth). Everything built by then is kept.
_FORGOTTEN = re.compile(r"no active session for \w+")
_ATTEMPTS = 4
_PULLED = re.compile(r"\[internal\] load metadata for (\S+)|\[[^\]]*\] FROM (\S+)")
_LOOPBACK = re.compile(r"(?:127(?:\.\d+){3}|localhost)(?::(?P<port>\d+))?/")
_NOT_IN_CONTEXT = re.compile(r'"(/[^"]*)": not found')
_HINT = "jetsonx -v build shows all that BuildKit says"


def run_build(endpoint: Endpoint, build: Build, *, what: str, runner: Runner, console: Console) -> None:
    """Run ``build``; ``what`` it makes is for messages. An engine that lost the client on the way is asked again.

    Raises BuildError when a step failed, DownloadError when an image could not be had or sent, HostError when the
    engine is full or went away.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        progress = Progress()
        if runner.run(build_command(endpoint, build), on_line=partial(_show, progress, console)).ok:
            return
        failure = progress.failure()
        if not attempts_left or not _FORGOTTEN.search(failure.reason):
            raise build_failure(failure, what=what, log=progress.log)
        console.say("the engine was too busy to keep in touch; going on from what it has built")


def _show(progress: Progress, console: Console, line: str) -> None:
    shown = list(progress.take(line))
    for text in [line] if console.verbosity > 0 else shown:
        console.say(text)


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
    if _FORGOTTEN.search(failure.reason):
        hint = "run it again when the engine has less to do: what it has built by then is kept"
        return HostError(f"{what}: the engine is too busy to keep in touch: {failure.reason}", hint=hint, log=log)
    if _GONE.search(failure.reason):
        return HostError(f"{what}: the engine went away: {failure.reason}", hint="jetsonx doctor", log=log)
    if failure.step is not None and failure.status is not None:
        return _command_failed(failure.step, failure, what, log)
    if missing := _NOT_IN_CONTEXT.search(failure.reason):
        hint = "paths are relative to the directory of jetsonx.toml, must lie below it and not be in .dockerignore"
        return BuildError(f"{what}: {missing[1]} is not in the build context", hint=hint, log=log)
    name = failure.step.name if failure.step is not None else ""
    if pulled := _PULLED.match(name):
        image = pulled[1] or pulled[2]
        return DownloadError(f"{what}: cannot pull {image}: {failure.reason}", hint=_pull_hint(image), log=log)
    if "pushing " in name:
        hint = "log in with docker login, and name the registry: --tag REGISTRY/NAME:TAG --push"
        return DownloadError(f"{what}: {failure.reason}", hint=hint, log=log)
    return BuildError(f"{what}: {failure.reason}", hint=_HINT, details=failure.details or None, log=log)


def _pull_hint(image: str) -> str:
    here = _LOOPBACK.match(image)
    if here is None:
        return "check its name and your login (docker login); a mirror can stand in: JETSONX_MIRRORS=HOST=URL"
    place = f"127.0.0.1:{here['port'] or 80}"
    return (
        "check its name, what JETSONX_MIRRORS says, and that it is served there; an engine on another machine comes "
        f"here by ssh -N -R {place}:{place} MACHINE"
    )


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
