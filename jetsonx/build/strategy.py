"""Which engine builds, and which of the three ways it goes in Docker, and why: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jetsonx.dockerfile import Strategy
from jetsonx.errors import ConfigError, HostError
from jetsonx.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What stands in the way of each strategy, "" for nothing.

    ``node`` describes the ARM machine that native would use: buildx's ``builder``, in the Docker context ``context``.
    """

    cross: str = ""
    emulate: str = ""
    native: str = ""
    node: str = ""
    builder: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The strategy taken, and why."""

    strategy: Strategy
    why: str


def choose_engine(asked: str, project: Project, *, asks_for_docker: bool) -> tuple[Literal["local", "docker"], str]:
    """The engine for ``asked`` ("auto", "local" or "docker"), and why, "" when there is nothing to say.

    "auto" takes the local engine, which needs no daemon, unless the project or the command line (``asks_for_docker``)
    wants what only Docker has. Raises ConfigError when the local engine was asked for what it has not.
    """
    strategy, base = project.build.strategy, project.image.base
    reason = ""
    if strategy in ("emulate", "native"):
        reason = f"the strategy {strategy} needs it"
    elif base != "minimal":
        reason = f"image.base is {base}"
    elif asks_for_docker:
        reason = "its options are given"
    if asked == "docker":
        return "docker", ""
    if asked == "local" and reason:
        raise ConfigError(
            f"--engine local: only Docker can do this: {reason}",
            hint="leave --engine out, or: --engine docker",
        )
    return ("docker", f"building in Docker: {reason}") if reason else ("local", "")


def runs_in_image(project: Project) -> str:
    """The key of jetsonx.toml that has AArch64 programs run in Docker even in a cross build; "" for none."""
    return "image.test" if project.image.test else "image.scripts" if project.image.scripts else ""


def choose_strategy(asked: str, means: Means) -> Choice:
    """The strategy for ``asked``; "auto" takes the fastest that can do this project on this host.

    A cross build needs no other machine and no emulator and is as fast as this workstation; an ARM machine comes next;
    emulation costs several times as much (benchmarks/RESULTS.md).

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
