"""Which devices are switched together, and when to stop: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from jetsonx.errors import ConfigError

T = TypeVar("T")
_SIZE = re.compile(r"([1-9][0-9]{0,5})(%?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a fleet is switched: first ``canary`` devices, then waves of ``wave`` (``"25%"`` of all, or a number).

    No wave is begun once ``max_failures`` devices failed; devices that are off do not count.
    """

    canary: int = 1
    wave: str = "100%"
    max_failures: int = 1

    def __post_init__(self) -> None:
        """Raise ConfigError for a wave that is none."""
        wave_size(self.wave, of=1)


def wave_size(text: str, *, of: int) -> int:
    """How many of ``of`` devices a wave has, at least one. Raises ConfigError for what is neither number nor share."""
    found = _SIZE.fullmatch(text)
    if found is None or (found[2] and int(found[1]) > 100):
        message = f"--wave {text}: expected a number of devices or a share of them"
        raise ConfigError(message, hint="--wave 5 or --wave 25%")
    return max(1, of * int(found[1]) // 100) if found[2] else int(found[1])


def plan_waves(devices: Sequence[T], rollout: Rollout) -> Iterator[tuple[T, ...]]:
    """The devices in the waves that they are switched in. A single one has no canary."""
    size = wave_size(rollout.wave, of=len(devices))
    at = min(rollout.canary, len(devices))
    if at:
        yield tuple(devices[:at])
    for start in range(at, len(devices), size):
        yield tuple(devices[start : start + size])
