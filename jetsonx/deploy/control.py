"""Carries an operation out on a device: sends it, watches it, and comes back to it when the link broke.

The device works on by itself: what was sent whole is done once, whatever becomes of the link and of this process.
"""

from __future__ import annotations

import getpass
import secrets
import socket
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import resources

from jetsonx.deploy.outcome import Outcome, clean, parse_outcome, read_fields
from jetsonx.deploy.request import Kind, Request, render_request
from jetsonx.deploy.values import Release
from jetsonx.device.link import Link
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import UnreachableError

_PARTS = ("common.sh", "health.sh", "switch.sh", "tidy.sh")
_MOST_BYTES = 1 << 18
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0)
_PATIENCE_S = 900.0
_PLACE = "umask 077; run=$HOME/.local/state/jetsonx/runs/$1"
# Only a script that came whole is begun, and in a session of its own, so that no hang-up reaches it.
_SEND = """
mkdir -p "$run" && cat >"$run/script.$$" || exit 1
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
  if lives; then alone=0; else alone=$((alone + 1)); fi
  if [ "$alone" -ge 20 ]; then echo lost=yes; exit; fi
  sleep 0.1 2>/dev/null || sleep 1
done
cat "$run/result" """


def make_request(
    kind: Kind, app: str, *, release: Release | None = None, expected: str = "", is_dry_run: bool = False
) -> Request:
    """A new operation of this user, now. For a switch it becomes a line in the histories."""
    return Request(
        kind=kind,
        app=app,
        op=secrets.token_hex(8),
        who=f"{getpass.getuser()}@{socket.gethostname()}",
        when=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        release=release,
        expected=expected,
        is_dry_run=is_dry_run,
    )


def switch_script(request: Request) -> bytes:
    """All that the device's shell gets. Raises ConfigError for what can be no release."""
    prelude = resources.files("jetsonx.rootfs").joinpath("script.sh").read_text()
    here = resources.files("jetsonx.deploy")
    parts = (here.joinpath(name).read_text() for name in _PARTS)
    return "\n".join([prelude, render_request(request), *parts, "jetsonx_main\n"]).encode()


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
    mending = make_request("recover", request.app)
    mended = _follow(link, mending, on_step, on_trouble, patience_s)
    if mended is not None and not mended.ok:
        return mended
    return _read(link, request.op, _PLACE + _WATCH, None, on_step) or Outcome(
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


def _read(link: Link, op: str, text: str, script: bytes | None, on_step: Callable[[str], None]) -> Outcome | None:
    came = bytearray()
    with link.session(("sh", "-c", text, "sh", op)) as session:
        try:
            left = memoryview(script or b"")
            while left:
                left = left[session.stdin.write(left) :]
            session.stdin.close()
        except BrokenPipeError:
            pass  # what ssh says tells why
        told = 0
        while data := session.stdout.read(1 << 14):
            came.extend(data)
            if len(came) > _MOST_BYTES:
                raise DeviceError(f"{link.address.host} sends more than {_MOST_BYTES} bytes for a result")
            told = _tell_steps(came, told, on_step)
        done = session.end()
    link.check(done)
    answer = came.decode("utf-8", "replace")
    if outcome := parse_outcome(answer):
        return outcome
    if ("lost", "yes") in read_fields(answer):
        return None
    if not done.ok:
        raise DeviceError(
            f"{link.address.host}: the operation could not be begun there",
            details=done.tail.strip(),
            hint="a POSIX shell, and a home directory that can be written, are needed on the device",
        )
    raise UnreachableError(f"the answer of {link.address.host} was cut off", hint="the link may be weak")


def _tell_steps(came: bytearray, told: int, on_step: Callable[[str], None]) -> int:
    """Say the steps on the whole lines after ``told``; where the next line begins. The result has a step too."""
    while (end := came.find(b"\n", told)) >= 0:
        line = came[told:end]
        if line.startswith(b"outcome="):
            return len(came) + _MOST_BYTES
        if line.startswith(b"step=") and len(line) > len(b"step="):
            on_step(clean(line[len(b"step=") :].decode("utf-8", "replace")))
        told = end + 1
    return told
