"""Waves of a fleet."""

from __future__ import annotations

import pytest

from jetsonx.deploy.fleet import Rollout, plan_waves, wave_size
from jetsonx.errors import ConfigError


@pytest.mark.parametrize(
    ("count", "rollout", "sizes"),
    [
        (0, Rollout(), []),
        (1, Rollout(), [1]),
        (3, Rollout(), [1, 2]),
        (10, Rollout(canary=1, wave="25%"), [1, 2, 2, 2, 2, 1]),
        (10, Rollout(canary=0, wave="4"), [4, 4, 2]),
        (3, Rollout(canary=5), [3]),
        (3, Rollout(canary=0, wave="1%"), [1, 1, 1]),
    ],
)
def test_every_device_is_in_one_wave(count: int, rollout: Rollout, sizes: list[int]) -> None:
    devices = list(range(count))
    waves = list(plan_waves(devices, rollout))
    assert [len(wave) for wave in waves] == sizes
    assert [device for wave in waves for device in wave] == devices


@pytest.mark.parametrize("text", ["", "0", "-1", "101%", "half", "1.5", "5 %"])
def test_what_is_no_wave_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--wave"):
        wave_size(text, of=3)
    with pytest.raises(ConfigError, match="--wave"):
        Rollout(wave=text)
