"""Asks a device over its link, with a bound on what it may answer; and its state in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources

from jetsonx.deploy.outcome import clean
from jetsonx.deploy.state import DeviceState, parse_state
from jetsonx.device.link import Link
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import UnreachableError

_STATE_BYTES = 1 << 24  # an image of 100 layers takes 8 KB of it
_READ_BYTES = 1 << 16


def ask(
    link: Link, words: Sequence[str], *, stdin: bytes, most_bytes: int, on_line: Callable[[str], None] = lambda _: None
) -> tuple[str, int]:
    """What ``words`` answer to ``stdin``, with the exit status; each line goes to ``on_line`` as it comes.

    Raises DeviceError when it is more than ``most_bytes``, and what Link.check does when the link breaks.
    """
    came = bytearray()
    told = 0
    with link.session(words) as session:
        try:
            left = memoryview(stdin)
            while left:
                left = left[session.stdin.write(left) :]
            session.stdin.close()
        except BrokenPipeError:
            pass  # what ssh says tells why
        while data := session.stdout.read(_READ_BYTES):
            came.extend(data)
            if len(came) > most_bytes:
                raise DeviceError(
                    f"{link.address.host} sends more than {most_bytes} bytes where an answer was expected",
                    hint="see that its login shell and profile print nothing to those who log in without a terminal",
                )
            while (end := came.find(b"\n", told)) >= 0:
                on_line(clean(came[told:end].decode("utf-8", "replace")))
                told = end + 1
        done = session.end()
    link.check(done)
    return came.decode("utf-8", "replace"), done.status


def read_script(package: str, name: str) -> str:
    """A shell script of ours."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")


def probe_state(link: Link) -> DeviceState:
    """What the device has of images, containers and apps.

    Raises DeviceError when it cannot be reached or runs no POSIX shell, UnreachableError when its answer is cut off.
    """
    script = read_script("jetsonx.rootfs", "script.sh") + read_script("jetsonx.deploy", "state.sh")
    text, status = ask(link, ("sh",), stdin=script.encode(), most_bytes=_STATE_BYTES)
    if state := parse_state(text):
        return state
    if "free_kib=" not in text and status != 0:
        raise DeviceError(f"{link.address.host} answers ssh, but runs no POSIX shell", hint="Linux is needed there")
    raise UnreachableError(f"the answer of {link.address.host} was cut off", hint="ask again; the link may be weak")
