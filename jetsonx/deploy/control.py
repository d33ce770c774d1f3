"""Carries an operation out on a device: sends it, watches it, and comes back to it when the link broke.

The device works on by itself: what was sent whole is done once, whatever becomes of the link and of this process.
"""

from __future__ import annotations

import getpass
import os
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone

from jetsonx.deploy.ask import ask, read_script
from jetsonx.deploy.outcome import Outcome, parse_outcome, read_fields
from jetsonx.deploy.request import Debugger, Files, Kind, Request, render_request
from jetsonx.deploy.values import Form, Release
from jetsonx.device.link import Link
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import UnreachableError

_PARTS = ("health.sh", "switch.sh", "sync.sh", "debug.sh", "tidy.sh")
_BACKENDS = ("container", "files")
_MOST_BYTES = 1 << 18
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)
_PATIENCE_S = 900.0
_PLACE = "umask 077; run=$HOME/.local/state/jetsonx/runs/$1"
# Only a script that came whole is begun, and in a session of its own, so that no hang-up reaches it.
_SEND = """
if ! mkdir -p "$run" || ! cat >"$run/script.$$"; then
  rm -f "$run/script.$$"
  rmdir "$run"
  df -Pk "$HOME" | awk 'NR == 2 { print "free_kib=" $(NF - 2) }'
  exit 1
fi
[ "$(tail -n 1 "$run/script.$$")" = jetsonx_main ] || exit 1
if [ -e "$run/begun" ]; then rm -f "$run/script.$$"; else
  mv "$run/script.$$" "$run/script"
  if command -v setsid >/dev/null; then set -- setsid nohup sh "$run/script"; else set -- nohup sh "$run/script"; fi
  "$@" </dev/null >/dev/null 2>>"$run/said" &
fi"""
_WATCH = """
lives() {
  read -r pid birth <"$run/process" && [ "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)" = "$birth" ]
} 2>/dev/null
was= alone=0
until [ -e "$run/result" ]; do
  step=$(cat "$run/step" 2>/dev/null)
  if [ "$step" != "$was" ]; then printf 'step=%s\\n' "$step"; was=$step; fi
  if lives; then alone=0; elif [ -e "$run/process" ]; then alone=$((alone + 10)); else alone=$((alone + 1)); fi
  if [ "$alone" -ge 30 ]; then
    if [ -e "$run/outcome" ] && [ ! -e "$run/result" ]; then exec cat "$run/outcome"; fi # all but the rename was done
    if [ ! -e "$run/result" ]; then echo lost=yes; exit; fi
  fi
  sleep 0.1 2>/dev/null || sleep 1
done
cat "$run/result" """


def make_request(
    kind: Kind,
    app: str,
    *,
    release: Release | None = None,
    form: Form = "container",
    expected: str = "",
    about: Mapping[str, str] | None = None,
    is_dry_run: bool = False,
    files: Files | None = None,
    debugger: Debugger | None = None,
) -> Request:
    """A new operation of this user, now. ``form``: of the app there, where no ``release`` says it. ``about``: what a
    rollback's line of the histories says of its release.
    """
    op, who = secrets.token_hex(8), f"{getpass.getuser()}@{os.uname().nodename}"
    when = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"op": op, "kind": kind, "app": app, "who": who, "when": when, **(about or {})}
    if release is not None:
        entry |= {"release": release.id, "image": release.image_id, "reference": release.reference}
    return Request(
        kind=kind,
        app=app,
        op=op,
        who=who,
        when=when,
        release=release,
        form=release.form if release is not None else form,
        entry=entry if kind in ("switch", "rollback") else None,
        expected=expected,
        is_dry_run=is_dry_run,
        files=files,
        debugger=debugger,
    )


def switch_script(request: Request) -> bytes:
    """All that the device's shell gets. Raises ConfigError for what can be no release."""
    prelude = read_script("jetsonx.rootfs", "script.sh")
    common = read_script("jetsonx.deploy", "common.sh")
    parts = (read_script("jetsonx.deploy", name) for name in _PARTS)
    # Both go along: the journal of what has to be recovered may be of the other. Each defines the same functions.
    backends = (f"use_{name}() {{\n{read_script('jetsonx.deploy', f'{name}.sh')}}}\n" for name in _BACKENDS)
    return "\n".join([prelude, render_request(request), common, *backends, *parts, "jetsonx_main\n"]).encode()


def carry_out(
    link: Link,
    request: Request,
    *,
    on_step: Callable[[str], None] = lambda _: None,
    on_trouble: Callable[[UnreachableError], None] = lambda _: None,
    patience_s: float = _PATIENCE_S,
) -> Outcome:
    """Do it on the device and say how it ended, also when the link breaks meanwhile or the script is killed.

    Raises ConfigError for what can be no release, DeviceError when the device cannot be reached for ``patience_s``
    seconds; what was begun there goes on.
    """
    outcome = _follow(link, request, on_step, on_trouble, patience_s)
    if outcome is not None:
        return outcome
    # The script was killed, or the device was rebooted: whoever comes next brings it to its end, so do we.
    mending = make_request("recover", request.app, form=request.form)
    mended = _follow(link, mending, on_step, on_trouble, patience_s)
    if mended is not None and not mended.ok:
        return mended
    return _read(link, request.op, _PLACE + _WATCH, b"", on_step) or Outcome(
        ending="failed", step="begin", why="it was interrupted before it changed anything"
    )


def _follow(
    link: Link,
    request: Request,
    on_step: Callable[[str], None],
    on_trouble: Callable[[UnreachableError], None],
    patience_s: float,
) -> Outcome | None:
    """Its outcome, None when nobody works on it any more. Sent again, it is not done again."""
    script = switch_script(request)
    until = time.monotonic() + patience_s
    failures = 0
    while True:
        try:
            return _read(link, request.op, _PLACE + _SEND + _WATCH, script, on_step)
        except UnreachableError as error:  # noqa: PERF203 - each try is a login
            pause_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            if time.monotonic() + pause_s > until:
                raise UnreachableError(
                    error.message,
                    details=error.details,
                    hint="what was begun there goes on by itself; jetsonx status says how it ended",
                ) from None
            failures += 1
            on_trouble(error)
            time.sleep(pause_s)


def _read(link: Link, op: str, text: str, script: bytes, on_step: Callable[[str], None]) -> Outcome | None:
    """Its outcome; None when nobody works on it and there is none."""
    told: list[str] = []  # the result repeats the step

    def tell(line: str) -> None:
        name, _, value = line.partition("=")
        if name == "step" and value and "outcome" not in told:
            on_step(value)
        told.append(name)

    answer, status = ask(link, ("sh", "-c", text, "sh", op), stdin=script, most_bytes=_MOST_BYTES, on_line=tell)
    if outcome := parse_outcome(answer):
        return outcome
    if ("lost", "yes") in read_fields(answer):
        return None
    if status != 0:
        free_kib = dict(read_fields(answer)).get("free_kib", "")
        raise DeviceError(
            f"{link.address.host}: the operation could not be begun there"
            + (f": its home directory cannot be written ({free_kib} kB free)" if free_kib else ""),
            hint="a POSIX shell, and a home directory that can be written, are needed on the device",
        )
    raise UnreachableError(f"the answer of {link.address.host} was cut off", hint="the link may be weak")
