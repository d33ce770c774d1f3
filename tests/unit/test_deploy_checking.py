"""Verdicts about an image before it goes to a device: read while the device is asked, judged once, remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jetsonx.artifact.load import load_artifact
from jetsonx.catalog import load_catalog
from jetsonx.console import Console
from jetsonx.deploy.built import Built
from jetsonx.deploy.checking import Checks
from jetsonx.deploy.options import parse_image
from jetsonx.device.identify import identify
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.verify import command
from tests.unit.deploy_images import image_in, tar_of
from tests.unit.device_answers import answer, device

DEVICE = device(answer())
IDENTITY = identify(DEVICE, load_catalog())


@pytest.fixture
def built(tmp_path: Path) -> Built:
    image = image_in(tmp_path / "image", [tar_of({"opt/app/notes": b"no program"})])
    return Built(path=tmp_path / "image", image=image, facts=parse_image(image.id, image.config))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read, in order."""
    done: list[str] = []
    load = load_artifact

    def noting(reference: str, *rest: Any) -> object:
        done.append(reference)
        return load(reference, *rest)

    monkeypatch.setattr(command, "load_artifact", noting)
    return done


def checks(folder: Path) -> Checks:
    console = Console(-1)
    return Checks(folder, Effects(store=Store(folder / "cache", console), runner=Runner(), console=console))


def test_what_was_read_ahead_is_judged_and_not_read_again(tmp_path: Path, built: Built, reads: list[str]) -> None:
    ours = checks(tmp_path)
    ours.expect(built)
    assert ours.verdict(built, IDENTITY, DEVICE) == ()
    assert ours.verdict(built, IDENTITY, DEVICE) == ()
    assert reads == [f"oci:{built.path}"]


def test_a_verdict_of_an_earlier_run_is_enough(tmp_path: Path, built: Built, reads: list[str]) -> None:
    assert checks(tmp_path).verdict(built, IDENTITY, DEVICE) == ()
    assert checks(tmp_path).verdict(built, IDENTITY, DEVICE) == ()
    assert len(reads) == 1


def test_what_cannot_be_read_is_said_to_whom_asks(tmp_path: Path, built: Built) -> None:
    for blob in (built.path / "blobs/sha256").iterdir():
        blob.write_bytes(blob.read_bytes()[:20])
    ours = checks(tmp_path)
    ours.expect(built)
    with pytest.raises(ConfigError, match=str(built.path)):
        ours.verdict(built, IDENTITY, DEVICE)
