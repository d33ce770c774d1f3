"""The engines that the other tests use: real, of the generation they are called, and gone without a trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from jetsonx.host.binfmt import read_entries, tiny_program
from tests.integration.arm64 import serve_arm64
from tests.integration.conftest import Need
from tests.integration.docker_engine import Engine, serve_engine


@pytest.mark.parametrize(
    ("name", "version", "driver"),
    [
        ("engine_20", "20.10", "overlay2"),
        ("engine_26", "26.1", "overlay2"),
        ("engine_26_containerd", "26.1", "overlayfs"),
    ],
)
def test_each_generation_builds_and_runs(
    name: str, version: str, driver: str, request: pytest.FixtureRequest, arm64: None, tmp_path: Path
) -> None:
    engine: Engine = request.getfixturevalue(name)
    told = engine.docker("version", "--format", "{{.Client.Version}} {{.Server.Version}}").out.split()
    assert [one[: len(version)] for one in told] == [version, version]
    assert engine.docker("info", "--format", "{{.Driver}}").out.strip() in (driver, "vfs")
    (tmp_path / "arm64").write_bytes(tiny_program())
    (tmp_path / "arm64").chmod(0o755)
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY arm64 /arm64\nRUN ["/arm64"]\n')
    failed = engine.docker("buildx", "build", "--platform=linux/arm64", ".", cwd=tmp_path, check=False)
    assert "exit code: 42" in failed.err
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY arm64 /arm64\nENTRYPOINT ["/arm64"]\n')
    engine.docker("buildx", "build", "--platform=linux/arm64", "--load", "-t", "tiny", ".", cwd=tmp_path)
    assert engine.docker("run", "--rm", "--platform=linux/arm64", "tiny", check=False).status == 42
    engine.docker("image", "rm", "tiny")


def test_nothing_is_left_of_an_engine(root_rights: None) -> None:
    with serve_engine("26.1") as engine:
        (engine.folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        engine.docker("buildx", "build", "-t", "one", engine.folder)
        engine.docker("create", "one", "/nothing")
        assert len(_told_of(engine)) > 4
    assert not engine.folder.exists()
    assert _told_of(engine) == []


def test_nothing_is_left_of_binfmt(root_rights: None, need: Need) -> None:
    before = _own_entries()
    with serve_arm64(need("qemu-aarch64-static")):
        during = _own_entries()
    assert _own_entries() == before
    assert len(during - before) in (0, 1)  # none where this machine starts AArch64 programs anyhow


def _own_entries() -> set[str]:
    """Those of this process: other test runs on this machine have theirs."""
    return {name for name in read_entries(Path("/")) if name.startswith(f"jetsonx-tests-{os.getpid()}-")}


def _told_of(engine: Engine) -> list[str]:
    """Rules, interfaces, processes and mounts that name the engine's bridge or its files."""
    rules = [line for table in ("nat", "filter") for line in _lines("iptables", "-t", table, "-S")]
    seen = [line for line in rules if f" {engine.bridge} " in line]
    seen += [path.name for path in Path("/sys/class/net").glob(engine.bridge)]
    seen += [mount for mount in _mounts() if str(engine.folder) in mount]
    return seen + [line for line in _lines("ps", "-e", "-o", "args") if str(engine.folder) in line]


def _lines(*argv: str) -> list[str]:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def _mounts() -> tuple[str, ...]:
    return tuple(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
