"""One conversation with a receiver on a device: it says what it has, gets the rest, and says what is on its disk."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from jetsonx.console import amount
from jetsonx.deploy.helper import frames
from jetsonx.deploy.helper_file import MISSING
from jetsonx.deploy.pace import Bucket
from jetsonx.errors import DeviceError
from jetsonx.runner import Session

Outcome = Literal["done", "wrong", "missing", "gone"]
"""``wrong``: what arrived is not the file; ``missing``: the receiver is not installed; ``gone``: it said no more."""
STAGING = ".local/state/jetsonx/staging"
"""Below the home directory of the device's user; the files in it are named by their SHA-256."""
_IN_FLIGHT = 8  # frames that were sent and not confirmed: enough for a fast link with a second's delay
_LEAST_FRAME = 1 << 16
_WRITE_BYTES = 1 << 16
_MOST_DAMAGED = 64
_MOST_LINE = 1 << 12
_NUMBERED = re.compile(r"(have|ack|bad) ([0-9]{1,18})")
_FULL = re.compile(r"full (-?[0-9]{1,18}) (-?[0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A file to bring: its ``sha256`` in hexadecimal is its name there, ``size`` is in bytes."""

    path: Path
    sha256: str
    size: int

    @property
    def frame_bytes(self) -> int:
        """How much goes in a frame: of a small file little, so that little is lost with a link that breaks."""
        return max(_LEAST_FRAME, min(frames.MOST_BYTES, self.size // 64))


class Sending:
    """What is sent of ``file`` in one session, at the pace of ``bucket``.

    ``pack`` makes a frame of an offset and data. ``on_arrived`` is told what is on the device's disk, and first what
    was there before; ``on_busy`` that another upload of the file is running. ``host`` is the device's name in errors.
    """

    def __init__(
        self,
        parcel: Parcel,
        file: IO[bytes],
        bucket: Bucket,
        *,
        host: str,
        pack: Callable[[int, bytes], bytes],
        on_arrived: Callable[[int], None],
        on_busy: Callable[[], None],
    ) -> None:
        self.sent_bytes = 0
        self._parcel = parcel
        self._file = file
        self._bucket = bucket
        self._host = host
        self._pack = pack
        self._on_arrived = on_arrived
        self._on_busy = on_busy
        self._arrived = 0
        self._next = parcel.size  # nothing goes before it was said what is there
        self._out = memoryview(b"")
        self._damaged = 0

    def talk(self, session: Session) -> Outcome:
        """Until the receiver has all, or says no more. Raises DeviceError when it says that it cannot."""
        os.set_blocking(session.stdin.fileno(), False)
        lines = _Lines(session.stdout)
        while True:
            self._fill()
            allowed = min(self._bucket.allowed(time.monotonic()), _WRITE_BYTES) if self._out else 0
            wait_s = self._bucket.wait_s() if self._out and not allowed else None
            readable, writable, _ = select.select([session.stdout], [session.stdin] if allowed else [], [], wait_s)
            if writable:
                self._write(session.stdin, allowed)
            if readable:
                for line in lines.read():
                    if (outcome := self._heed(line)) is not None:
                        return outcome
                if lines.is_at_end:
                    return "gone"

    def _fill(self) -> None:
        parcel, step = self._parcel, self._parcel.frame_bytes
        if self._out or self._next >= parcel.size or self._next - self._arrived >= step * _IN_FLIGHT:
            return
        data = os.pread(self._file.fileno(), step, self._next)
        if not data:
            raise DeviceError(f"{parcel.path} became shorter while it was sent")
        self._out = memoryview(self._pack(self._next, data))
        self._next += len(data)

    def _write(self, stream: IO[bytes], most: int) -> None:
        try:
            count = os.write(stream.fileno(), self._out[:most])
        except BlockingIOError:
            return
        except BrokenPipeError:  # it has said why, or ssh will
            self._out, self._next = memoryview(b""), self._parcel.size
            return
        self._bucket.spend(count)
        self.sent_bytes += count
        self._out = self._out[count:]

    def _heed(self, line: str) -> Outcome | None:
        if line in ("done", "wrong"):
            return "done" if line == "done" else "wrong"
        if line == MISSING:
            return "missing"
        if line == "busy":
            self._on_busy()
        elif found := _NUMBERED.fullmatch(line):
            self._note(found[1], int(found[2]))
        elif found := _FULL.fullmatch(line):
            raise self._full(int(found[1]), int(found[2]))
        elif line.startswith("failed "):
            raise DeviceError(
                f"{self._host}: the upload cannot be kept: {line.removeprefix('failed ')}",
                hint=f"see that ~/{STAGING} there can be written by the user who logs in",
            )
        return None

    def _note(self, said: str, arrived: int) -> None:
        if arrived > self._parcel.size:
            raise DeviceError(f"{self._host}: the receiver has {arrived} bytes of {self._parcel.size}")
        self._arrived = arrived
        if said != "ack":
            self._next = arrived
        if said == "bad":
            self._damaged += 1
            if self._damaged > _MOST_DAMAGED:
                raise DeviceError(
                    f"{self._host}: what arrives there is damaged again and again", hint="check its memory and disk"
                )
        self._on_arrived(arrived)

    def _full(self, free: int, needed: int) -> DeviceError:
        return DeviceError(
            f"{self._host}: the disk is full: {amount(max(0, free))} free at ~/{STAGING}, {amount(needed)} needed",
            hint="make room there (df -h ~; docker system df) and run the same again: what has arrived is kept",
        )


class _Lines:
    """The lines of a stream that is read when there is something to read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.is_at_end = False
        self._stream = stream
        self._rest = b""

    def read(self) -> Iterator[str]:
        data = os.read(self._stream.fileno(), 1 << 16)
        self.is_at_end = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_MOST_LINE:]
        for line in lines:
            text = line[:_MOST_LINE].decode("utf-8", "replace")
            yield "".join(each if each.isprintable() else "?" for each in text)
