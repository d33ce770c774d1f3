"""Brings a file to a device's staging directory, whatever happens to the link: what arrived is not sent again.

The receiver is ``helper/receive.py``, or ``receive.sh`` where there is no python3. Whoever is interrupted leaves what
has arrived for the next time.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jetsonx.console import Bar, Console, amount
from jetsonx.deploy import helper_file
from jetsonx.deploy.helper import frames
from jetsonx.deploy.pace import Backoff, Bucket
from jetsonx.deploy.sending import STAGING, Outcome, Parcel, Sending
from jetsonx.device.link import Link
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import UnreachableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """``there`` is the file's path below the home directory on the device. ``kept_bytes`` were there before,
    ``sent_bytes`` went into the link, some of them twice where it broke ``breaks`` times.
    """

    there: str
    kept_bytes: int
    sent_bytes: int
    breaks: int


def upload(
    parcel: Parcel,
    link: Link,
    *,
    console: Console,
    has_python: bool = True,
    bytes_per_s: float | None = None,
    attempts: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Uploaded:
    """Bring a file to a device, or see that it is there.

    ``bytes_per_s`` limits the rate, None does not. ``attempts`` is how often in a row the link may fail without a byte
    arriving, None for ever. Raises DeviceError when the device has no room, cannot keep the file or cannot be logged in
    to, and UnreachableError when the attempts are used up.
    """
    with contextlib.ExitStack() as stack:
        job = _Upload(parcel, link, console, stack, has_python=has_python, bytes_per_s=bytes_per_s)
        backoff, failed, was_wrong = Backoff(), 0, False
        while True:
            before = job.arrived
            try:
                outcome = job.attempt()
            except UnreachableError as error:
                if job.arrived > before:
                    backoff.reset()
                    failed = 0
                failed += 1
                if attempts is not None and failed >= attempts:
                    raise
                job.breaks += 1
                pause_s = backoff.pause_s()
                job.tell(f"the link broke ({_last_words(error)}); trying again in {pause_s:g} s")
                sleep(pause_s)
                continue
            if outcome == "done":
                return job.uploaded()
            if outcome == "wrong" and was_wrong:
                raise DeviceError(
                    f"{link.address.host}: what arrived is not {parcel.path.name}, twice",
                    hint="the file here may have changed meanwhile, or memory or disk there are bad; try again",
                )
            was_wrong = was_wrong or outcome == "wrong"


class _Upload:
    """One upload over as many sessions as it takes."""

    def __init__(
        self,
        parcel: Parcel,
        link: Link,
        console: Console,
        stack: contextlib.ExitStack,
        *,
        has_python: bool,
        bytes_per_s: float | None,
    ) -> None:
        self.arrived = 0
        self.breaks = 0
        self._parcel = parcel
        self._link = link
        self._console = console
        self._stack = stack
        self._file = stack.enter_context(parcel.path.open("rb"))
        self._bucket = Bucket(per_s=bytes_per_s)
        # By it a receiver knows its predecessor, which may not have noticed that the link broke, and ends it.
        words = (parcel.sha256, str(parcel.size), secrets.token_hex(8))
        self._pack: Callable[[int, bytes], bytes] = frames.pack_frame if has_python else _bare
        if has_python:
            program = helper_file.helper()
            self._call = program.call("receive", *words)
        else:
            program = helper_file.script(Path(__file__).with_name("receive.sh"))
            self._call = program.call(*words, str(parcel.frame_bytes))
        self._program = program
        self._bar: Bar | None = None
        self._kept = parcel.size
        self._sent = 0
        self._was_busy = False

    def attempt(self) -> Outcome:
        """Bring what is missing in one session. Raises UnreachableError when the link breaks, or DeviceError."""
        sending = Sending(
            self._parcel,
            self._file,
            self._bucket,
            host=self._link.address.host,
            pack=self._pack,
            on_arrived=self._on_arrived,
            on_busy=self._on_busy,
        )
        with self._link.session(self._call) as session:
            try:
                outcome = sending.talk(session)
            finally:
                self._sent += sending.sent_bytes
            done = session.end() if outcome == "gone" else None
        if outcome == "missing":
            helper_file.install(self._program, self._link)
        if done is not None:
            self._link.check(done)
            raise DeviceError(
                f"{self._link.address.host}: the receiver ended with {done.status}", details=done.tail.strip()
            )
        return outcome

    def uploaded(self) -> Uploaded:
        """What came of it."""
        return Uploaded(
            there=f"{STAGING}/{self._parcel.sha256}",
            kept_bytes=self._kept,
            sent_bytes=self._sent,
            breaks=self.breaks,
        )

    def tell(self, text: str) -> None:
        """Say something about this upload."""
        arrived = f"{amount(self.arrived)} of {amount(self._parcel.size)}"
        self._console.say(f"{self._link.address.host}: {arrived}: {text}")

    def _on_arrived(self, arrived: int) -> None:
        if self._bar is None:
            self._kept = arrived
            what = f"{self._link.address.host}: upload"
            self._bar = self._stack.enter_context(self._console.bar(what, self._parcel.size, done=arrived))
        self.arrived = arrived
        self._bar.reach(arrived)

    def _on_busy(self) -> None:
        if not self._was_busy:
            self._was_busy = True
            self.tell("the same file is being uploaded by somebody else; waiting for that")


def _bare(offset: int, data: bytes) -> bytes:
    del offset  # this receiver goes by what it has
    return data


def _last_words(error: UnreachableError) -> str:
    lines = (error.details or "").strip().splitlines()
    return lines[-1] if lines else "it went silent"
