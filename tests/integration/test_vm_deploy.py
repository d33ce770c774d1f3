"""A cross-built CUDA program on a virtual Jetson: deployed, taken back, cut off, and without power in a switch.

The machine is the one of test_vm.py; each test leaves it running.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import CLI, SAMPLES, Need, Ran, Run
from tests.integration.vm import TARGET, Booted

pytestmark = pytest.mark.xdist_group("test_vm")  # a machine boots once for a worker

CI = Path(__file__).parents[2] / "docs/ci"
DEPLOY = """[deploy]
gpu = "none"
health = { command = ["vector-add", "--self-test"], timeout_s = 300 }
"""
FILES = """[deploy]
kind = "files"
unit = true
health = { stays_s = 5, timeout_s = 300 }
"""
STATE = "~/.local/state/jetsonx"
# As logind would, which the machine lacks: the manager of the user's own units.
MANAGER = """
sudo install -d -o jetson -g jetson -m 700 /run/user/1000
sudo systemd-run -q --uid=jetson --gid=jetson -p Delegate=yes -p Type=notify \\
  -E XDG_RUNTIME_DIR=/run/user/1000 -E HOME=/home/jetson /lib/systemd/systemd --user
"""
_LIMIT_S = 1800  # everything is emulated there, and two workers of these tests share two cores


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A workstation with the sample vector-add as a service, and the machine that it goes to."""

    project: Path
    env: Mapping[str, str]
    machine: Booted
    run: Run

    def build(self, says: str) -> None:
        """The program, which says this when its test went well."""
        source = self.project / "vector_add.cu"
        text = (SAMPLES / "vector-add/vector_add.cu").read_text()
        source.write_text(text.replace("CPU reference: ok", f"CPU reference: {says}"))
        self.call("build", self.project)

    def call(self, *words: object, status: int = 0) -> Ran:
        done = self.run(*words, cwd=self.project, env=self.env)
        assert done.status == status, f"{done.status}\n{done.out[-4000:]}\n{done.err[-4000:]}"
        return done

    def deploy(self, *words: str) -> dict[str, Any]:
        [device] = json.loads(self.call("deploy", self.machine.device, "--json", *words).out)["devices"]
        return device  # type: ignore[no-any-return]

    def running(self) -> str:
        return str(json.loads(self.call("status", self.machine.device, "--json").out)["current"]["release"])

    @contextlib.contextmanager
    def deploying(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`jetsonx deploy` at work; it is ended when the test is."""
        with subprocess.Popen(
            [*CLI, "deploy", self.machine.device, *words],
            cwd=self.project,
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="module")
def desk(virtual_jetson: Booted, jetsonx: Run, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    tmp = tmp_path_factory.mktemp("desk")
    project = tmp / "vector-add"
    shutil.copytree(SAMPLES / "vector-add", project)
    config = project / "jetsonx.toml"
    text = config.read_text().partition("[deploy]")[0]
    text = text.replace('["vector-add"]', '["vector-add", "--self-test", "--every", "5"]')
    text = text.replace('modules = ["orin-nano", "agx-thor"]', 'modules = ["orin-nano"]')
    text = text.replace("[image]\n", '[image]\nfiles = ["noise"]\n')
    config.write_text(text + DEPLOY)
    env = {**virtual_jetson.env, "JETSONX_STATE": str(tmp / "state")}
    return Desk(project=project, env=env, machine=virtual_jetson, run=jetsonx)


def await_true(what: Callable[[], object]) -> None:
    until = time.monotonic() + _LIMIT_S
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.2)


def test_the_documented_chain_deploys_a_change_as_its_difference_and_rolls_back(
    desk: Desk, virtual_jetson: Booted, tmp_path: Path
) -> None:
    """docs/ci/run.sh itself checks that each release runs and says its own words."""
    env = {**os.environ, **desk.env, "JETSONX": " ".join(CLI), "VM": virtual_jetson.name}
    results = tmp_path / "results"
    words = ["sh", str(CI / "run.sh"), str(results)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert json.loads((results / "verify.sarif").read_text())["version"] == "2.1.0"
    assert "<testsuite" in (results / "verify.xml").read_text()

    [first] = json.loads((results / "first.json").read_text())["devices"]
    assert (first["status"], first["plan"]["transfer"]["method"]) == ("deployed", "thin")
    [change] = json.loads((results / "change.json").read_text())["devices"]
    transfer = change["plan"]["transfer"]
    assert (change["status"], transfer["method"]) == ("deployed", "recipe")
    assert transfer["send_bytes"] < 50_000 < transfer["prices"]["thin"]
    release = first["plan"]["release"]
    assert json.loads((results / "status.json").read_text())["current"]["release"] == release
    assert done.stdout.count(release) >= 2, "in the history twice: deployed, and gone back to"
    assert virtual_jetson.ssh("echo it is left running") == "it is left running"


def test_files_run_in_a_unit_of_a_real_systemd_and_go_back_when_they_end(desk: Desk) -> None:
    config, machine = desk.project / "jetsonx.toml", desk.machine
    usual = config.read_text()
    text = usual.partition("[deploy]")[0].replace('files = ["noise"]\n', "")
    text = text.replace('"vector-add"', '"adder"')
    machine.ssh(MANAGER)
    shown = "XDG_RUNTIME_DIR=/run/user/1000 systemctl --user show -p ActiveState --value jetsonx-adder"

    config.write_text(text + FILES)
    desk.call("build", desk.project)
    good = desk.deploy()
    assert (good["status"], machine.ssh(shown)) == ("deployed", "active")

    config.write_text(text.replace('"--every", "5"', '"--nonsense"') + FILES)
    desk.call("build", desk.project)
    bad = desk.call("deploy", machine.device, status=7)
    assert "was started again; the release before runs again" in bad.err
    assert machine.ssh(shown) == "active"
    assert desk.running() == good["plan"]["release"]
    desk.call("stop", machine.device)
    assert machine.ssh(shown) == "inactive"
    config.write_text(usual)


def test_a_cut_upload_is_finished_and_after_a_power_cut_in_the_switch_one_release_is_well(desk: Desk) -> None:
    """A megabyte of noise at 50 kB a second with the cable out in the middle; then no power while releases change."""
    (desk.project / "noise").write_bytes(os.urandom(1_000_000))
    desk.build("two")
    machine = desk.machine
    with desk.deploying("--bwlimit", "50k") as process:
        await_true(lambda: int(machine.ssh(f"cat {STATE}/staging/*.part 2>/dev/null | wc -c")) > 100_000)
        assert machine.call("fault", machine.name, "link-down").returncode == 0
        time.sleep(2)
        assert process.poll() is None
        assert machine.call("fault", machine.name, "link-up").returncode == 0
        machine.ssh(f"until grep -qs ^step= {STATE}/apps/vector-add/journal; do sleep 0.1; done")
        assert machine.call("fault", machine.name, "power-cut").returncode == 0
    started = machine.call("start", machine.name, "--docker", "--timeout", str(_LIMIT_S))
    assert started.returncode == 0, started.stderr

    again = desk.deploy()
    assert again["status"] in ("deployed", "current")
    assert desk.running() == again["plan"]["release"]
    names = machine.ssh("docker ps -a --format '{{.Names}} {{.State}}'").splitlines()
    assert sorted(names) == ["vector-add running", "vector-add.prev exited"]
    assert "CPU reference: two" in desk.call("logs", machine.device).out
    desk.call("stop", machine.device)


def test_the_workflow_does_what_the_script_does(need: Need) -> None:
    subprocess.run([need("shellcheck"), "--shell=sh", CI / "run.sh"], check=True)
    workflow = yaml.safe_load((CI / "github-actions.yml").read_text())
    steps = workflow["jobs"]["virtual-jetson"]["steps"]
    assert any(step.get("run") == "sh docs/ci/run.sh ci-results" for step in steps)
    [sarif] = [step["with"]["sarif_file"] for step in steps if "sarif_file" in step.get("with", {})]
    assert sarif == "ci-results/verify.sarif"
    assert f"target={TARGET}" in (CI / "run.sh").read_text()
