"""Layers read by worker processes: what they leave in the store is what reading them one after the other gives."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.artifact import workers
from jetsonx.artifact.layers import LayerReader
from jetsonx.artifact.workers import StoredLayer, read_ahead
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from tests.elf.synthetic import make_elf

pytestmark = pytest.mark.integration


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LayerReader:
    monkeypatch.setattr(workers, "_WORTH_BYTES", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    console, scratch = Console(-1), tmp_path / "scratch"
    scratch.mkdir()
    effects = Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)
    return LayerReader(options=Options(host_prefixes=("/home/me",)), effects=effects, scratch=scratch)


def layer(path: Path, files: dict[str, bytes]) -> StoredLayer:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    raw = path.read_bytes()
    return StoredLayer(path=path, digest=f"sha256:{hashlib.sha256(raw).hexdigest()}", size_bytes=len(raw))


def test_workers_find_what_reading_finds(tmp_path: Path, reader: LayerReader) -> None:
    layers = [
        layer(tmp_path / "a", {"usr/bin/x": make_elf(), "y": b"#!/bin/sh\n"}),
        layer(tmp_path / "b", {"z": make_elf()}),
    ]
    read_ahead(layers, reader)
    assert not list(reader.scratch.iterdir())
    for each in layers:
        found = reader.known(each.digest)
        with each.path.open("rb") as file:
            assert found == reader.read(file.read, each.size_bytes, name="x", expected=each.digest)[0]


def test_a_damaged_layer_is_left_to_who_needs_it(tmp_path: Path, reader: LayerReader) -> None:
    good, other = layer(tmp_path / "a", {"x": make_elf()}), layer(tmp_path / "b", {"y": make_elf()})
    damaged = replace(other, digest=f"sha256:{'0' * 64}")
    read_ahead([good, damaged], reader)
    assert reader.is_known(good.digest)
    assert not reader.is_known(damaged.digest)
