"""Asks devices what they are: one connection each, nothing is changed or left there, several at once within a limit."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from jetsonx.device.answer import is_whole, parse_device
from jetsonx.device.values import Device
from jetsonx.errors import DeviceError, JetsonxError
from jetsonx.rootfs.script import ask_machine, parse_answer
from jetsonx.rootfs.ssh import QUIET_OPTIONS, Address
from jetsonx.runner import Runner

_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a device said, by name, and this host's time then in seconds since 1970."""

    said: Mapping[str, str]
    asked_s: float

    @property
    def device(self) -> Device:
        """The same as a value."""
        return parse_device(self.said, asked_s=self.asked_s)


def probe_device(
    address: Address,
    *,
    runner: Runner,
    environ: Mapping[str, str],
    limit_s: float | None = None,
    options: Sequence[str] = QUIET_OPTIONS,
) -> Answer:
    """Ask the device at ``address``; with the ``options`` of a link to it, over that link.

    Raises HostKeyError for a key that ssh does not know, DeviceError when the device cannot be reached or has no POSIX
    shell, when its answer is cut off, or when ``limit_s`` seconds pass without one.
    """
    script = Path(__file__).with_name("probe.sh")
    text = ask_machine(address, script, runner=runner, environ=environ, limit_s=limit_s, options=options)
    asked_s = time.time()
    said = parse_answer(text)
    if not is_whole(said):
        if "machine" in said:
            raise DeviceError(f"the answer of {address.host} was cut off", hint="ask again; the link may be weak")
        raise DeviceError(f"{address.host} answers ssh, but runs no POSIX shell", hint="Linux is needed there")
    return Answer(said=said, asked_s=asked_s)


def probe_all(
    addresses: Sequence[Address], *, runner: Runner, environ: Mapping[str, str], limit_s: float
) -> tuple[Answer | JetsonxError, ...]:
    """What each device says, or the error instead, in their order; each has ``limit_s`` seconds."""

    def ask(address: Address) -> Answer | JetsonxError:
        try:
            return probe_device(address, runner=runner, environ=environ, limit_s=limit_s)
        except JetsonxError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, min(_AT_ONCE, len(addresses)))) as pool:  # all of it is waiting
        return tuple(pool.map(ask, addresses))
