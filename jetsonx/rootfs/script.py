"""Asks another machine by a script of ours that its ``sh`` reads from standard input: one login, and nothing stays.

The answer is ``name=value``, a line each. The machine is not trusted: its answer may be cut off, endless or binary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import QUIET_OPTIONS, Address, check_connection, ssh_command
from jetsonx.runner import Runner

MOST_BYTES = 1 << 18
"""An answer of a few kilobytes is expected; whoever sends more than this has something else in mind."""
_SILENT = (124, 137)  # how timeout(1) says that it ended the program
_COUNT = re.compile(r"[0-9]{1,15}")


def ask_machine(
    address: Address,
    script: Path,
    *,
    runner: Runner,
    environ: Mapping[str, str],
    limit_s: float | None = None,
    options: Sequence[str] = QUIET_OPTIONS,
) -> str:
    """What ``script`` printed at ``address``; "" when there is no ``sh``.

    ``limit_s``: seconds until the machine counts as silent, None for as long as ssh waits. ``options`` are ssh's,
    those of a link to go over that. Raises DeviceError when it cannot be reached, does not answer in time or does not
    stop answering.
    """
    prelude = Path(__file__).with_name("script.sh").read_bytes()
    command = ssh_command(address, ("sh",), environ, options=options)
    if limit_s is not None:
        command = replace(command, argv=("timeout", "--kill-after=0.2", str(limit_s), *command.argv))
    came = bytearray()

    def read(stream: IO[bytes]) -> None:
        while data := stream.read(1 << 14):
            came.extend(data)
            if len(came) > MOST_BYTES:
                raise DeviceError(
                    f"{address.host} sends more than {MOST_BYTES} bytes where a few lines were asked for",
                    hint="see that its login shell and profile print nothing to those who log in without a terminal",
                )

    done = runner.run(command, stdin=prelude + script.read_bytes(), stdout=read)
    if limit_s is not None and done.status in _SILENT:
        raise DeviceError(f"{address.host} did not answer within {limit_s:g} s", hint="see that it is on and reachable")
    check_connection(address, done, environ)
    return came.decode("utf-8", "replace")


def parse_answer(text: str) -> dict[str, str]:
    """The values by name; lines that are none (a banner) are passed over, what no terminal should get becomes "?"."""
    said: dict[str, str] = {}
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            said[name] = "".join(each if each.isprintable() else "?" for each in value.strip())
    return said


def parse_count(text: str, unit: int = 1) -> int | None:
    """A number of ``unit``; None for anything else."""
    return int(text) * unit if _COUNT.fullmatch(text) else None
