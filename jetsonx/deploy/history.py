"""What was deployed to a device from this host: one line of JSON for each operation, the same as on the device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jetsonx.deploy.state import parse_history
from jetsonx.rootfs.ssh import Address
from jetsonx.store.cachedir import state_root

_MOST_BYTES = 1 << 24


def history_file(address: Address, app: str, environ: Mapping[str, str]) -> Path:
    """Where this host's history of an app of a device lies; ``JETSONX_STATE`` moves it."""
    return state_root(environ) / "history" / quote(address.host, safe="@:") / f"{app}.jsonl"


def read_history(path: Path) -> tuple[Mapping[str, Any], ...]:
    """The operations in it, the oldest first."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return tuple(parse_history(file.read(_MOST_BYTES).decode("utf-8", "replace")))
    return ()


def append_history(path: Path, lines: Iterable[str]) -> None:
    """Add those that are not there yet, each in one write, so that two at once do not get mixed up."""
    known = {entry["op"] for entry in read_history(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        for line in lines:
            if any(entry["op"] not in known for entry in parse_history(line)):
                file.write(f"{line}\n".encode())
        os.fsync(file.fileno())


def merge_histories(
    there: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]
) -> tuple[tuple[Mapping[str, Any], str], ...]:
    """All operations, the oldest first, each with where it is known: "both", "device" (another host's, or this one did
    not learn how it ended), "host" (the device was set up anew, or forgot it), or "differs".

    Those that only one side knows keep their place among its others.
    """
    ours = {str(entry["op"]): entry for entry in here}
    theirs = {str(entry["op"]): entry for entry in there}
    merged: list[tuple[Mapping[str, Any], str]] = []
    waiting = [entry for entry in here if str(entry["op"]) not in theirs]
    for entry in there:
        mine = ours.get(str(entry["op"]))
        while waiting and str(waiting[0].get("when", "")) < str(entry.get("when", "")):
            merged.append((waiting.pop(0), "host"))
        merged.append((entry, "device" if mine is None else "both" if dict(mine) == dict(entry) else "differs"))
    merged.extend((entry, "host") for entry in waiting)
    return tuple(merged)
