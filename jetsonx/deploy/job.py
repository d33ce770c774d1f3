"""Jobs on a device that go on when the link breaks, and are watched when it is there again (``jobs.sh``)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jetsonx.deploy import helper_file
from jetsonx.deploy.pace import Backoff
from jetsonx.device.link import Link
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import UnreachableError

State = Literal["running", "ended", "lost", "none"]
_STATES: Mapping[bytes, State] = {b"running": "running", b"ended": "ended", b"lost": "lost", b"none": "none"}
_LOOK_S = 20
_ANSWER = re.compile(rb"([a-z]+) ([0-9]{1,9}) ?([0-9]{0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a job is at, and its ``output`` from where it was asked for. ``status`` is its exit status once it ended.

    ``lost``: it was killed, or the device went down, before it ended; ``none``: there is no such job.
    """

    state: State
    output: bytes
    status: int | None


def start_job(name: str, words: Sequence[str], link: Link) -> None:
    """Start ``words`` as a job of that name, a file's; one that is running goes on instead. Raises DeviceError.

    What another one of that name left is removed. A job reads nothing, and its words can be seen by everybody there.
    """
    helper_file.run(_program(), ("start", name, *words), link)


def watch_job(
    name: str,
    link: Link,
    *,
    on_output: Callable[[bytes], None] = lambda _: None,
    attempts: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Look:
    """Wait until a job is no longer running, over as many links as it takes, and return how it ended.

    ``on_output`` is given all that it wrote, as it comes. ``attempts`` is how often in a row the link may fail, None
    for ever; then UnreachableError is raised.
    """
    seen, failed, backoff = 0, 0, Backoff()
    while True:
        try:
            look = look_at_job(name, link, offset=seen, wait_s=_LOOK_S)
        except UnreachableError:
            failed += 1
            if attempts is not None and failed >= attempts:
                raise
            sleep(backoff.pause_s())
            continue
        failed = 0
        backoff.reset()
        seen += len(look.output)
        if look.output:
            on_output(look.output)
        elif look.state != "running":
            return look


def look_at_job(name: str, link: Link, *, offset: int = 0, wait_s: int = 0) -> Look:
    """What a job is at, and at most 64 KiB of its output from ``offset`` on.

    While there is nothing new it waits, ``wait_s`` seconds at most. Raises DeviceError.
    """
    program = _program()
    with link.session(program.call("look", name, str(offset), str(wait_s))) as session:
        came = b""
        while data := session.stdout.read(1 << 16):
            came += data
        done = session.end()
    link.check(done)
    first, _, output = came.partition(b"\n")
    if first == helper_file.MISSING.encode():
        helper_file.install(program, link)
        return look_at_job(name, link, offset=offset, wait_s=wait_s)
    found = _ANSWER.fullmatch(first)
    if found is None or found[1] not in _STATES or len(output) != int(found[2]):
        raise DeviceError(f"{link.address.host}: cannot see how {name} is going", details=done.tail.strip())
    return Look(state=_STATES[found[1]], output=output, status=int(found[3]) if found[3] else None)


def _program() -> helper_file.Program:
    return helper_file.script(Path(__file__).with_name("jobs.sh"))
