"""Which of the three ways to build in Docker, and why: pure."""

from __future__ import annotations

from dataclasses import dataclass

from jetsonx.dockerfile import Strategy
from jetsonx.errors import ConfigError, HostError


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What stands in the way of each strategy, "" for nothing. ``node``: the ARM machine that native would use."""

    cross: str = ""
    emulate: str = ""
    native: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The strategy taken, and why."""

    strategy: Strategy
    why: str


def choose_strategy(asked: str, means: Means) -> Choice:
    """The strategy for ``asked``; "auto" takes the fastest that can do this project on this host.

    A cross build needs no other machine and no emulator and is as fast as this workstation; an ARM machine comes next;
    emulation costs an order of magnitude (benchmarks/RESULTS.md).

    Raises HostError when this host lacks what the strategy needs, ConfigError when none of the three can be.
    """
    if asked == "cross" and not means.cross:
        return Choice(strategy="cross", why="cross: as asked")
    if asked == "native" and not means.native:
        return Choice(strategy="native", why=f"native: as asked, on {means.node}")
    if asked == "emulate" and not means.emulate:
        return Choice(strategy="emulate", why="emulate: as asked; everything runs under QEMU")
    if asked == "auto":
        return _fastest(means)
    problem = {"cross": means.cross, "native": means.native, "emulate": means.emulate}[asked]
    hints = {
        "cross": "--strategy emulate or native builds on the release's own image",
        "native": "jetsonx builder add USER@DEVICE, or name a builder of yours: --builder NAME",
        "emulate": "jetsonx binfmt install",
    }
    kind = ConfigError if asked == "cross" else HostError
    raise kind(f"--strategy {asked}: {problem}", hint=hints[asked])


def _fastest(means: Means) -> Choice:
    if not means.cross:
        return Choice(strategy="cross", why="cross: the compilers of this workstation are the fastest way")
    if not means.native:
        return Choice(strategy="native", why=f"native, on {means.node}: cross cannot be: {means.cross}")
    if not means.emulate:
        return Choice(
            strategy="emulate", why=f"emulate: cross cannot be: {means.cross}; native cannot be: {means.native}"
        )
    raise ConfigError(
        f"no way to build this in Docker: cross: {means.cross}; native: {means.native}; emulate: {means.emulate}",
        hint="jetsonx doctor says what mends the last two",
    )
