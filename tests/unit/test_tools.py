"""Tools from wheels: what the first build fetched serves the builds that its lock pins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.package import Wheel, to_json
from jetsonx.runner import Runner
from jetsonx.store import Store, TreeWriter
from jetsonx.toolchain.tools import NINJA, Fetcher

WHEEL = Wheel(name="ninja", version="1.13.2", filename="ninja-1.13.2.whl", sha256="a" * 64)


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    """Offline, with a ninja that was fetched when nothing was pinned."""
    console = Console(-1)
    store = Store(tmp_path / "cache", console)

    def fill(writer: TreeWriter) -> None:
        writer.add_file("ninja", b"x", mode=0o755)

    key = json.dumps([NINJA.requirements, (), NINJA.keep, NINJA.drop, NINJA.moves, NINJA.launcher])
    store.create("tool", key, fill, info={"name": "ninja", "wheels": [to_json(WHEEL)]})
    return Fetcher(effects=Effects(store=store, runner=Runner(), console=console, offline=True))


def test_what_was_fetched_unpinned_serves_when_it_is_what_the_lock_pins(fetcher: Fetcher) -> None:
    pinned = replace(fetcher, pins=(WHEEL,), used=[])
    assert pinned.fetch(NINJA) == fetcher.fetch(NINJA)
    assert pinned.used == [WHEEL]


@pytest.mark.parametrize("other", [replace(WHEEL, version="1.12.0"), replace(WHEEL, sha256="b" * 64)])
def test_another_wheel_than_the_pinned_one_does_not(fetcher: Fetcher, other: Wheel) -> None:
    pinned = replace(fetcher, pins=(other,), used=[])
    with pytest.raises(DownloadError, match="offline"):
        pinned.fetch(NINJA)
