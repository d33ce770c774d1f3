"""What a virtual Jetson is made of: guest.toml as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jetsonx.toml import load_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """``packages`` and ``busybox``, and a kernel, are asked of apt; of what comes, ``left_out`` is not unpacked.

    ``by_hand`` are configured by setup.sh. ``modules`` are the kernel's drivers for what the machine has; ``cpus`` is
    QEMU's processor by SoC, with "other". ``text`` is the file itself: a base image is known by it.
    """

    suite: str
    packages: tuple[str, ...]
    busybox: str
    left_out: frozenset[str]
    by_hand: frozenset[str]
    modules: tuple[str, ...]
    cpus: Mapping[str, str]
    text: str

    def cpu(self, soc: str) -> str:
        """The processor that QEMU shows for a module of this SoC."""
        return self.cpus.get(soc, self.cpus["other"])


@cache
def load_guest() -> Guest:
    """Read the file that is shipped with jetsonx."""
    text = Path(__file__).with_name("guest.toml").read_text(encoding="utf-8")
    data = load_toml(text)
    return Guest(
        suite=data["suite"],
        packages=tuple(data["packages"]),
        busybox=data["busybox"],
        left_out=frozenset(data["left_out"]),
        by_hand=frozenset(data["by_hand"]),
        modules=tuple(data["modules"]),
        cpus=data["cpu"],
        text=text,
    )
