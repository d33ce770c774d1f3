"""The whole command: a real ssh server behind a cable, a real Docker engine, an AArch64 image, and what goes wrong."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import CLI, Need, Ran, Run
from tests.integration.deploy_image import DEMO_PROJECT, compile_program, write_app
from tests.integration.device_net import NetDevice, serve_device
from tests.integration.docker_engine import Engine
from tests.integration.sshd import find_sshd

PROJECT = (
    DEMO_PROJECT
    + """\
health = { stays_s = 1 }
stop_timeout_s = 3
secrets = { token = "token.txt" }
"""
)
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
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    return compile_program(tmp_path_factory.mktemp("program"), need("aarch64-linux-gnu-gcc"))


def make_desk(tmp: Path, program: Path, run: Run, env: Mapping[str, str]) -> Desk:
    project = tmp / "project"
    project.mkdir()
    (project / "jetsonx.toml").write_text(PROJECT)
    (project / "token.txt").write_text(SECRET)
    own = {"JETSONX_CACHE": str(tmp / "cache"), "JETSONX_STATE": str(tmp / "state")}
    return Desk(project=project, program=program, env={**env, **own}, run=run)


@contextlib.contextmanager
def device_with(engine: Engine, tmp: Path, name: str = "jetson", **environ: str) -> Iterator[NetDevice]:
    """A device whose engine is empty before and after."""
    try:
        with serve_device(tmp, name, engine=engine, environ=environ) as device:
            yield device
    finally:
        if left := engine.docker("ps", "-aq").out.split():
            engine.docker("rm", "-f", "-v", *left)
        engine.docker("image", "prune", "-af")


@pytest.fixture
def device(engine_26: Engine, program: Path, tmp_path: Path) -> Iterator[NetDevice]:
    with device_with(engine_26, tmp_path / "device") as device:
        yield device


@pytest.fixture
def desk(device: NetDevice, program: Path, jetsonx: Run, tmp_path: Path) -> Desk:
    return make_desk(tmp_path, program, jetsonx, device.env)


def release_of(engine: Engine, name: str = "demo") -> str:
    """The release and state of a container."""
    template = '{{index .Config.Labels "dev.jetsonx.release"}} {{.State.Status}}'
    return engine.docker("inspect", "-f", template, name, check=False).out.strip()


def await_true(what: Callable[[], object], *, limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.02)


@pytest.mark.parametrize("engine_name", ["engine_20", "engine_26", "engine_26_containerd"])
def test_first_next_and_same_release(
    engine_name: str, request: pytest.FixtureRequest, program: Path, jetsonx: Run, tmp_path: Path
) -> None:
    engine: Engine = request.getfixturevalue(engine_name)
    with device_with(engine, tmp_path / "device") as device:
        desk = make_desk(tmp_path, program, jetsonx, device.env)
        desk.build("one")
        first = desk.told()
        assert first["status"] == "deployed"
        assert first["plan"]["transfer"]["method"] == "thin"
        assert release_of(engine) == f"{first['plan']['release']} running"
        assert "up one" in engine.docker("logs", "demo").out

        desk.build("two")
        before = device.sent_bytes()
        planned = desk.told("--dry-run")
        assert (planned["status"], planned["plan"]["running"]) == ("planned", first["plan"]["release"])
        assert device.sent_bytes() - before < 40_000
        before = device.sent_bytes()
        second = desk.told()
        transfer = second["plan"]["transfer"]
        assert transfer == planned["plan"]["transfer"]
        assert transfer["method"] == "recipe"
        assert transfer["send_bytes"] < 100_000 < transfer["prices"]["thin"]
        assert device.sent_bytes() - before < transfer["send_bytes"] + 100_000  # the helper and ssh's own
        assert release_of(engine) == f"{second['plan']['release']} running"
        assert release_of(engine, "demo.prev") == f"{first['plan']['release']} exited"

        containers = engine.docker("ps", "-aq", "--no-trunc").out
        third = desk.told()
        assert (third["status"], third["plan"]["is_current"]) == ("current", True)
        assert engine.docker("ps", "-aq", "--no-trunc").out == containers

        [mount] = json.loads(engine.docker("inspect", "-f", "{{json .Mounts}}", "demo").out)
        assert mount["Destination"] == "/run/secrets/token"
        assert Path(mount["Source"]).read_text() == SECRET
        assert SECRET not in engine.docker("inspect", "demo").out


def test_a_device_without_python_gets_whole_layers(
    engine_20: Engine, program: Path, jetsonx: Run, tmp_path: Path
) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3").write_text("#!/bin/sh\nexit 127\n")
    (shims / "python3").chmod(0o755)
    path = f"{shims}:{engine_20.env['PATH']}:/usr/bin:/bin"
    with device_with(engine_20, tmp_path / "device", PATH=path) as device:
        desk = make_desk(tmp_path, program, jetsonx, device.env)
        for mode in ("one", "two"):
            desk.build(mode)
            told = desk.told()
            assert (told["status"], told["plan"]["transfer"]["method"]) == ("deployed", "thin")
        assert told["plan"]["transfer"]["send_bytes"] < 1_500_000  # the base's layer is there
        assert f"up {mode}" in engine_20.docker("logs", "demo").out
        assert "the device has no python3" in told["plan"]["transfer"]["why"]
        assert not list((device.home / ".local/state/jetsonx/staging").glob("*"))


def test_a_dry_run_changes_nothing(desk: Desk, device: NetDevice, engine_26: Engine) -> None:
    desk.build("one")
    traces = engine_26.traces()
    done = desk.deploy("--dry-run")
    assert "send     5.3 MB by thin" in done.out
    assert "2. load it into Docker there" in done.out
    assert engine_26.traces() == traces
    assert list(device.home.iterdir()) == []


def test_a_bad_release_is_taken_back_and_its_last_words_are_told(desk: Desk, engine_26: Engine) -> None:
    desk.build("one")
    good = desk.told()["plan"]["release"]
    desk.build("bad")
    done = desk.deploy(status=7)
    assert "cannot open the camera" in done.err
    assert "the release before runs again" in done.err
    assert release_of(engine_26) == f"{good} running"
    desk.build("one")
    assert desk.told()["status"] == "current"


def test_options_alone_make_a_release_and_send_nothing(desk: Desk, engine_26: Engine) -> None:
    desk.build("one")
    first = desk.told()["plan"]["release"]
    (desk.project / "token.txt").write_text("another")
    second = desk.told()
    assert second["plan"]["transfer"]["method"] == "none"
    assert second["plan"]["release"] != first
    assert release_of(engine_26) == f"{second['plan']['release']} running"


def test_what_the_checks_forbid_is_not_begun(desk: Desk, device: NetDevice, engine_26: Engine) -> None:
    desk.build("one", {"jetsonx.target": "orin-nano@36.3.0"})
    done = desk.deploy(status=1)
    assert "FAIL target: built for orin-nano@36.3.0; the device runs L4T 36.4.3" in done.out
    assert "-> jetsonx build -t orin-nano@36.4.3" in done.out
    desk.build("one", {"jetsonx.sms": "72"})
    assert "FAIL device code: machine code for sm_72; the device's GPU is sm_87" in desk.deploy(status=1).out
    desk.build("one")
    desk.edit('gpu = "none"', 'gpu = "auto"')
    assert "FAIL gpu: the image holds device code" in desk.deploy(status=1).out
    desk.edit('gpu = "auto"', 'gpu = "none"')
    image = json.loads(desk.deploy("--dry-run", "--json").out)["devices"][0]["plan"]["reference"]
    assert image.startswith("jetsonx/demo:")
    engine_26.docker("import", "-", "strange:1", stdin=_EMPTY_TAR)
    engine_26.docker("create", "--name", "demo", "strange:1", "/x")
    assert "FAIL names: demo on the device is a container that jetsonx did not make" in desk.deploy(status=1).out
    assert list(device.home.iterdir()) == []
    assert desk.told("--app", "other")["status"] == "deployed"


def test_a_port_that_another_container_holds(desk: Desk, engine_26: Engine) -> None:
    desk.build("one")
    assert desk.told("--app", "web")["status"] == "deployed"
    desk.edit('network = "none"', 'ports = ["18080:80"]')
    assert desk.told("--app", "holder")["status"] == "deployed"
    done = desk.deploy("--app", "second", status=1)
    assert "FAIL ports: taken on the device: 18080/tcp (holder)" in done.out


def test_a_docker_that_may_not_be_used(desk: Desk, engine_26: Engine, tmp_path: Path) -> None:
    desk.build("one")
    with serve_device(tmp_path / "closed", "closed", environ={"DOCKER_HOST": "unix:///nowhere.sock"}) as device:
        done = desk.run("deploy", "closed", cwd=desk.project, env={**desk.env, **device.env})
    assert done.status == 1, done
    assert "FAIL docker:" in done.out


def test_mistakes_are_said_before_a_device_is_asked(desk: Desk) -> None:
    assert "holds no image" in desk.deploy(status=2).err
    desk.build("one")
    assert "no-such-device" in desk.deploy("no-such-device", status=6).err
    assert "--wave half" in desk.deploy("--wave", "half", status=2).err
    assert "is no rate" in desk.deploy("--bwlimit", "fast", status=2).err
    assert "holds no OCI image" in desk.deploy("--image", "out", status=2).err
    assert "cannot be the name of an app" in desk.deploy("--app", "Demo", status=2).err
    assert "--method recipe: no earlier release" in desk.deploy("--method", "recipe", status=2).err
    (desk.project / "token.txt").unlink()
    assert "deploy.secrets.token" in desk.deploy(status=2).err
    desk.edit('secrets = { token = "token.txt" }', "")
    desk.edit('devices = ["jetson"]\n', "")
    assert "nothing says where to deploy to" in desk.deploy(status=2).err


@contextlib.contextmanager
def running(desk: Desk, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The command at work, in a process group of its own as on a terminal."""
    with subprocess.Popen(
        [*CLI, "deploy", *words],
        cwd=desk.project,
        env={**os.environ, **desk.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_ctrl_c_in_an_upload_keeps_what_arrived(desk: Desk, device: NetDevice, engine_26: Engine) -> None:
    desk.build("one")
    device.rate(8)
    staging = device.home / ".local/state/jetsonx/staging"

    def arrived() -> int:
        return sum(path.stat().st_size for path in staging.glob("*.part")) if staging.is_dir() else 0

    with running(desk) as process:
        await_true(lambda: arrived() > 500_000)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
    device.rate(None)
    assert release_of(engine_26) == ""
    before, kept = device.sent_bytes(), arrived()
    assert desk.told()["status"] == "deployed"
    assert device.sent_bytes() - before < 5_500_000 - kept + 200_000


def test_ctrl_c_in_a_switch_lets_the_device_end_it(desk: Desk, device: NetDevice, engine_26: Engine) -> None:
    desk.build("one")
    desk.told()
    desk.build("two")
    desk.edit("stays_s = 1", "stays_s = 3")
    journal = device.home / ".local/state/jetsonx/apps/demo/journal"
    with running(desk) as process:
        await_true(lambda: journal.is_file() and "step=gate" in journal.read_text())
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) == 130
        assert "goes on there" in (process.stderr.read() if process.stderr else "")
    await_true(lambda: not journal.exists())
    assert "up two" in engine_26.docker("logs", "demo").out
    assert desk.told()["status"] == "current"


def test_a_fleet_with_one_bad_and_one_off(
    engine_20: Engine, engine_26: Engine, engine_26_containerd: Engine, program: Path, jetsonx: Run, tmp_path: Path
) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(device_with(engine_26, tmp_path / "one", "one"))
        path = f"{shims}:{engine_20.env['PATH']}:/usr/bin:/bin"
        two = stack.enter_context(device_with(engine_20, tmp_path / "two", "two", PATH=path))
        three = stack.enter_context(device_with(engine_26_containerd, tmp_path / "three", "three"))
        config = tmp_path / "ssh_config"
        config.write_text("".join(each.host.config.read_text() for each in (one, two, three)))
        desk = make_desk(tmp_path, program, jetsonx, {**one.env, "JETSONX_SSH_CONFIG": str(config)})
        for name, tag in (("one", "field"), ("two", "field"), ("three", "north")):
            assert desk.run("device", "add", name, name, "--tag", tag, "--no-probe", env=desk.env).status == 0
        desk.build("one")
        done = desk.deploy("all", "--wave", "50%")
        assert [line.split()[:2] for line in done.out.splitlines()] == [
            ["one", "deployed"],
            ["three", "deployed"],
            ["two", "deployed"],
        ]
        assert len(list((tmp_path / "cache/deployed/bundles").glob("*.json"))) == 1  # made once for all of them

        desk.build("two")
        _spoil_one_release(shims, engine_20)
        config.write_text(config.read_text().replace(f"Port {three.host.port}", "Port 9"))
        done = desk.deploy("field", "north", "--json", status=6)
        ended = {each["name"]: each for each in json.loads(done.out)["devices"]}
        assert {name: each["status"] for name, each in ended.items()} == {
            "one": "deployed",
            "two": "rolled-back",
            "three": "off",
        }
        assert "the next deployment brings it up to date" in done.err
        assert "up one" in engine_20.docker("logs", "demo").out

        config.write_text(config.read_text().replace("Port 9", f"Port {three.host.port}"))
        done = desk.deploy("all", "--max-failures", "3", "--canary", "0")
        states = {line.split()[0]: line.split()[1] for line in done.out.splitlines()}
        assert states == {"one": "current", "two": "deployed", "three": "deployed"}


def test_what_failed_keeps_the_others_from_being_switched(
    engine_20: Engine, engine_26: Engine, program: Path, jetsonx: Run, tmp_path: Path
) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    with contextlib.ExitStack() as stack:
        path = f"{shims}:{engine_20.env['PATH']}:/usr/bin:/bin"
        one = stack.enter_context(device_with(engine_20, tmp_path / "one", "one", PATH=path))
        two = stack.enter_context(device_with(engine_26, tmp_path / "two", "two"))
        config = tmp_path / "ssh_config"
        config.write_text(one.host.config.read_text() + two.host.config.read_text())
        desk = make_desk(tmp_path, program, jetsonx, {**one.env, "JETSONX_SSH_CONFIG": str(config)})
        desk.build("one")
        _spoil_one_release(shims, engine_20)
        done = desk.deploy("one", "two", status=6)
        assert [line.split()[:2] for line in done.out.splitlines()] == [["one", "failed"], ["two", "skipped"]]
        assert release_of(engine_26) == ""


def _spoil_one_release(shims: Path, engine: Engine) -> None:
    """Have a device make a container of a program that is not there, the next time."""
    flag = shims / "flag"
    flag.touch()
    real = next(path for each in engine.env["PATH"].split(":") if (path := Path(each) / "docker").exists())
    shim = shims / "docker"
    shim.write_text(
        f'#!/bin/sh\nif [ "$1" = create ] && [ "$2" = --name ] && rm {flag} 2>/dev/null; then\n'
        f'  shift; exec {real} create --entrypoint /opt/demo/none "$@"\nfi\nexec {real} "$@"\n'
    )
    shim.chmod(0o755)


_EMPTY_TAR = bytes(10240)
