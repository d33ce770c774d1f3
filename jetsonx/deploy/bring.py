"""Has a device load what was uploaded, and look at what Docker then has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from jetsonx.deploy import helper_file
from jetsonx.deploy.bundle import Bundle, Prepared
from jetsonx.deploy.sending import STAGING
from jetsonx.device.link import Link
from jetsonx.errors import DeviceError

_MOST_LINE = 1 << 16
RECIPE_REASONS = ("mismatch", "missing-file", "damaged")
# $1: the bundle; $2: the image's name; the rest: docker. In one line: the login shell may be a csh.
_PLAIN = (
    'f="$HOME/$1"; r=$2; shift 2; "$@" load -i "$f" >/dev/null && rm -f "$f" && sync && '
    '"$@" image inspect --format "{{.Id}}{{range .RootFS.Layers}} {{.}}{{end}}" "$r"'
)
# $1: the bundle; $2: the sha256 of the tar in it. In one line: the login shell may be a csh.
_UNPACK = (
    'umask 077; cd "$HOME/.local/state/jetsonx/staging" && gzip -dc "$1" >"$2.made" && s=$(sha256sum <"$2.made") && '
    '[ "${s%% *}" = "$2" ] && mv -f "$2.made" "$2" && rm -f "$1" && sync || { rm -f "$2.made"; exit 1; }'
)
_SHARE = ".local/share/jetsonx/apps"  # below $HOME


class RecipeFailedError(DeviceError):
    """The device cannot make the image out of what it has: whole layers have to be sent."""


def load_bundle(
    link: Link,
    prepared: Prepared,
    *,
    docker: Sequence[str],
    has_python: bool,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> str:
    """Load what was uploaded, and return what the engine calls the image.

    Raises RecipeFailedError when whole layers would do, DeviceError when nothing will, UnreachableError when the link
    breaks; then whether it is loaded has to be looked at.
    """
    if prepared.bundle is None:
        raise TypeError(prepared)
    if not has_python:
        return _load_plainly(link, prepared, prepared.bundle, docker)
    last = _converse(link, prepared.request(tuple(docker)), on_progress)
    if last.get("event") == "loaded" and isinstance(last.get("id"), str):
        return str(last["id"])
    raise _failure(link, last, "the image could not be loaded")


def make_payload(link: Link, prepared: Prepared, *, app: str) -> None:
    """Make the tar of a release of files out of what was uploaded, in the staging directory.

    Raises RecipeFailedError when all of the files would do, DeviceError when nothing will, UnreachableError when the
    link breaks.
    """
    bundle, payload = prepared.bundle, prepared.image.id.removeprefix("sha256:")
    if bundle is None:
        raise TypeError(prepared)
    old = prepared.plan.old_image_id
    if not old:
        done = link.run(("sh", "-c", _UNPACK, "sh", bundle.sha256, payload))
        if not done.ok:
            raise DeviceError(f"{link.address.host}: what was sent cannot be unpacked", details=done.tail.strip())
        return
    request = {"bundle": bundle.sha256, "old": f"{_SHARE}/{app}/releases/{old}", "payload": payload}
    last = _converse(link, json.dumps(request).encode(), lambda _done, _total: None, verb="files")
    if last.get("event") != "loaded":
        raise _failure(link, last, "the files could not be made there")


def _failure(link: Link, last: dict[str, object], what: str) -> DeviceError:
    kind = RecipeFailedError if last.get("reason") in RECIPE_REASONS else DeviceError
    why = _printable(str(last.get("message") or last.get("reason") or "it said nothing"))
    return kind(
        f"{link.address.host}: {what}: {why}",
        hint="what was sent is kept there; see to it and run the same again",
    )


def _converse(
    link: Link, request: bytes, on_progress: Callable[[int, int], None], *, verb: str = "load"
) -> dict[str, object]:
    """The helper's last event."""
    program = helper_file.helper()
    last: dict[str, object] = {}
    with link.session(program.call(verb)) as session:
        try:
            session.stdin.write(request)
            session.stdin.close()
        except BrokenPipeError:
            pass  # what it says tells why
        for line in _lines(session.stdout):
            if line == helper_file.MISSING:
                last = {"event": line}
            elif (event := _event(line)).get("event") == "progress":
                done, total = event.get("done"), event.get("total")
                if isinstance(done, int) and isinstance(total, int):
                    on_progress(done, total)
            elif event:
                last = event
        done_session = session.end()
    link.check(done_session)
    if last.get("event") == helper_file.MISSING:
        helper_file.install(program, link)
        return _converse(link, request, on_progress, verb=verb)
    return last or {"event": "failed", "message": done_session.tail.strip()[-2000:]}


def _load_plainly(link: Link, prepared: Prepared, bundle: Bundle, docker: Sequence[str]) -> str:
    words = ("sh", "-c", _PLAIN, "sh", f"{STAGING}/{bundle.sha256}", prepared.name, *docker)
    done = link.run(words)
    identity, *layers = done.stdout.split() or [""]
    if not done.ok or not identity.startswith("sha256:"):
        raise DeviceError(f"{link.address.host}: docker load failed", details=done.tail.strip())
    if tuple(layers) != prepared.image.diff_ids:
        raise DeviceError(f"{link.address.host}: docker load made another image of it than was sent")
    return identity


def _lines(stream: IO[bytes]) -> Iterator[str]:
    rest = b""
    while data := stream.read(1 << 14):
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-_MOST_LINE:]
        for line in lines:
            yield line.decode("utf-8", "replace")


def _event(line: str) -> dict[str, object]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)
