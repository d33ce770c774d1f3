"""The whole command: a real ssh server behind a cable, a real Docker engine, an AArch64 image, and what goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Need, Ran, Run
from tests.integration.deploy_image import compile_program, write_app
from tests.integration.device_net import NetDevice, serve_device
from tests.integration.docker_engine import Engine
from tests.integration.sshd import find_sshd

PROJECT = """
[project]
name = "demo"
[target]
modules = ["orin-nano"]
l4t = "36.4.3"
[build]
system = "cuda"
[deploy]
devices = ["jetson"]
gpu = "none"
network = "none"
health = { stays_s = 1 }
stop_timeout_s = 3
secrets = { token = "token.txt" }
"""
SECRET = "hush-hush-hush"


@dataclass(kw_only=True)
class Desk:
    """A workstation with a project, and what it deploys to."""

    project: Path
    program: Path
    env: Mapping[str, str]
    run: Run

    def build(self, mode: str, labels: Mapping[str, str] | None = None) -> None:
        """What `jetsonx build` would leave."""
        (self.project / "out").mkdir(exist_ok=True)
        write_app(self.project / "out/image", self.program, mode, labels=labels)

    def edit(self, old: str, new: str) -> None:
        file = self.project / "jetsonx.toml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    def deploy(self, *words: str, status: int = 0) -> Ran:
        done = self.run("deploy", *words, cwd=self.project, env=self.env)
        assert done.status == status, f"{done.status}\n{done.out[-6000:]}\n{done.err}"
        return done

    def told(self, *words: str, status: int = 0) -> dict[str, Any]:
        """The answer in JSON for the only device."""
        [device] = json.loads(self.deploy(*words, "--json", status=status).out)["devices"]
        return device  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def program(need: Need, arm64: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(tmp_path_factory.mktemp("program"), need("aarch64-linux-gnu-gcc"))


def make_desk(tmp: Path, program: Path, run: Run, env: Mapping[str, str]) -> Desk:
    project = tmp / "project"
    project.mkdir()
    (project / "jetsonx.toml").write_text(PROJECT)
    (project / "token.txt").write_text(SECRET)
    own = {"JETSONX_CACHE": str(tmp / "cache"), "JETSONX_STATE": str(tmp / "state")}
    return Desk(project=project, program=program, env={**env, **own}, run=run)


def clear(engine: Engine) -> None:
    left = engine.docker("ps", "-aq").out.split()
    if left:
        engine.docker("rm", "-f", "-v", *left)
    engine.docker("image", "prune", "-af")


@pytest.fixture
def device(need: Need, engine_26: Engine, tmp_path: Path) -> Iterator[NetDevice]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_device(tmp_path / "device", engine=engine_26) as device:
        yield device
    clear(engine_26)


@pytest.fixture
def desk(device: NetDevice, program: Path, jetsonx: Run, tmp_path: Path) -> Desk:
    return make_desk(tmp_path, program, jetsonx, device.env)


def test_first_second_third(desk: Desk, device: NetDevice, engine_26: Engine) -> None:
    desk.build("one")
    first = desk.told()
    print(json.dumps(first, indent=1)[:1500])
    desk.build("two")
    before = device.sent_bytes()
    second = desk.told()
    print(second["plan"]["transfer"], second["outcome"], device.sent_bytes() - before)
    started = time.monotonic()
    third = desk.told()
    print(third["status"], time.monotonic() - started)
    assert 0
