"""A virtual Jetson: made, booted, used as a device, harmed and taken away."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from jetsonx.elf.load import read_elf
from jetsonx.vm import machine
from tests.integration.conftest import Need, Run
from tests.integration.docker_engine import Engine
from tests.integration.registry import RunningRegistry
from tests.integration.test_dockerfile_build import SELF_TEST
from tests.integration.vm import CLI, TARGET, Booted, call, machines

_RUN = "tar -C / -c usr/bin/busybox | docker import - tiny >/dev/null && docker run --rm tiny /usr/bin/busybox "


def test_two_starts_at_once_are_one_machine(virtual_jetson: Booted) -> None:
    assert [each.returncode for each in virtual_jetson.starts] == [0, 0]
    assert sum("runs already" in each.stdout for each in virtual_jetson.starts) == 1
    rows = json.loads(virtual_jetson.call("list", "--json").stdout)["machines"]
    assert [(row["device"], row["running"], row["cpu"]) for row in rows] == [("vm:test", True, "cortex-a76")]


def test_it_is_probed_as_the_device_that_it_stands_for(virtual_jetson: Booted, jetsonx: Run) -> None:
    done = jetsonx("device", "probe", virtual_jetson.device, "--json", "--timeout", "300", env=virtual_jetson.env)
    said = json.loads(done.out)
    assert done.status == 0, done.out
    assert said["target"] == "orin-nano@39.2.0"
    assert said["address"] == "vm:test"
    checks = {check["name"]: check["found"] for check in said["checks"]}
    assert "it has no GPU" in checks["module"]
    assert "L4T 39.2.0" in checks["release"]


def test_it_has_a_name_like_any_device(virtual_jetson: Booted, jetsonx: Run, tmp_path: Path) -> None:
    env = {**virtual_jetson.env, "JETSONX_CONFIG": str(tmp_path / "config.toml")}
    added = jetsonx("device", "add", "lab", "vm:test", "--timeout", "300", env=env)
    assert (added.status, added.out) == (0, "added lab: vm:test, orin-nano@39.2.0\n")


def test_its_user_has_sudo_and_docker_and_its_engine_runs_a_container(virtual_jetson: Booted) -> None:
    assert virtual_jetson.ssh("id -un; sudo -n id -un; uname -m").split() == ["jetson", "root", "aarch64"]
    assert virtual_jetson.ssh(_RUN + "uname -m") == "aarch64"


def test_its_engine_answers_on_a_socket_of_this_host(virtual_jetson: Booted, docker_client: str) -> None:
    host = f"unix://{virtual_jetson.root}/test/docker.sock"
    words = [docker_client, "--host", host, "version", "--format", "{{.Server.Arch}}"]
    assert subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout.strip() == "arm64"


@pytest.fixture(scope="module")
def node(
    virtual_jetson: Booted, engine_20: Engine, jetsonx: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """A Docker client of its own that knows the machine as a builder node."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "cli-plugins").symlink_to(Path(engine_20.env["DOCKER_CONFIG"], "cli-plugins"))
    client = {"DOCKER_CONFIG": str(folder), "DOCKER_HOST": "", "PATH": engine_20.env["PATH"]}
    env = {**virtual_jetson.env, **client}
    added = jetsonx("builder", "add", "vm:test", env=env)
    assert (added.status, added.out) == (0, "jetsonx-vm-test\n"), added.err
    yield env
    assert jetsonx("builder", "remove", "jetsonx-vm-test", env=env).status == 0


def test_it_is_a_builder_node(node: Mapping[str, str], jetsonx: Run) -> None:
    (row,) = json.loads(jetsonx("builder", "list", "--json", "--timeout", "60", env=node).out)["nodes"]
    assert (row["ready"], row["machine"], row["emulated"]) == (True, "aarch64", False), row


def test_a_cuda_program_is_built_and_run_on_it(
    virtual_jetson: Booted,
    node: Mapping[str, str],
    light_registry: RunningRegistry,
    jetsonx: Run,
    sample: Callable[[str], Path],
) -> None:
    project, env = sample("vector-add"), {**node, "JETSONX_MIRRORS": f"nvcr.io={light_registry.url}"}
    virtual_jetson.lend(urlsplit(light_registry.url).port or 0)
    built = jetsonx("-v", "build", project, "--strategy", "native", "-t", TARGET, env=env, timeout_s=1800)
    assert built.status == 0, built.err
    assert "native: as asked, on jetsonx-vm-test" in built.err
    report = json.loads((project / "out/report.json").read_text())
    assert report["verdict"] != "error", report
    assert read_elf(project / "out/files/vector-add").machine == "AArch64"
    ran = jetsonx("run", "-C", project, "--", "--self-test", env=env)
    assert SELF_TEST.fullmatch(ran.out), ran.err


def test_what_runs_in_the_guest_is_plain_sh(need: Need) -> None:
    scripts = sorted(Path(machine.__file__).parent.glob("*.sh"))
    assert len(scripts) == 4
    subprocess.run([need("shellcheck"), "--shell=sh", *scripts], check=True)


def test_a_link_that_is_down_is_silence_and_comes_back(virtual_jetson: Booted, jetsonx: Run) -> None:
    assert virtual_jetson.call("fault", "test", "link-down").returncode == 0
    done = jetsonx("device", "probe", virtual_jetson.device, "--timeout", "3", env=virtual_jetson.env)
    assert done.status == 6
    assert virtual_jetson.call("fault", "test", "link-up").returncode == 0
    assert virtual_jetson.ssh("echo back") == "back"


def test_a_disk_that_is_full_takes_nothing_until_it_is_freed(virtual_jetson: Booted) -> None:
    assert virtual_jetson.call("fault", "test", "disk-full").returncode == 0
    write = "sudo dd if=/dev/zero of=/var/tmp/file bs=64k count=16 status=none 2>&1 || true"
    assert "No space left" in virtual_jetson.ssh(write)
    assert virtual_jetson.call("fault", "test", "disk-free").returncode == 0
    assert "No space left" not in virtual_jetson.ssh(write)


def test_after_a_power_cut_it_is_restored_and_starts_again(virtual_jetson: Booted) -> None:
    virtual_jetson.ssh("echo before >/home/jetson/state; sync")
    assert virtual_jetson.call("snapshot", "test", "good").returncode == 0
    assert virtual_jetson.call("snapshot", "test").stdout.split() == ["good"]
    virtual_jetson.ssh("echo after >/home/jetson/state; sync")
    refused = virtual_jetson.call("restore", "test", "good")
    assert (refused.returncode, "vm:test runs" in refused.stderr) == (2, True)

    assert virtual_jetson.call("fault", "test", "power-cut").returncode == 0
    assert not json.loads(virtual_jetson.call("list", "--json").stdout)["machines"][0]["running"]
    off = virtual_jetson.call("ssh", "test", "true")
    assert (off.returncode, "hint: jetsonx vm start test" in off.stderr) == (6, True)
    unknown = virtual_jetson.call("restore", "test", "none")
    assert (unknown.returncode, "it has: good" in unknown.stderr) == (2, True)
    assert virtual_jetson.call("restore", "test", "good").returncode == 0

    started = virtual_jetson.call("start", "test", "--docker", "--timeout", "900")
    assert started.returncode == 0, started.stderr
    assert virtual_jetson.ssh("cat /home/jetson/state") == "before"


def _create(root: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return call(root, "create", name, "--memory", "512", *words)


@pytest.mark.usefixtures("virtual_jetson")
def test_names_and_ports_are_given_once() -> None:
    with machines() as root, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        taken = _create(root, "one", "--port", port)
        assert (taken.returncode, f"port {port} of 127.0.0.1 is taken" in taken.stderr) == (2, True)
        assert _create(root, "one").returncode == 0
        again = _create(root, "one")
        assert (again.returncode, "there is a virtual machine one already" in again.stderr) == (2, True)
        assert _create(root, "Two/..").returncode == 2
        assert sorted(path.name for path in root.iterdir() if not path.name.startswith(".")) == ["one"]


@pytest.mark.usefixtures("virtual_jetson")
def test_a_port_that_somebody_took_meanwhile_is_named() -> None:
    with machines() as root:
        assert _create(root, "one").returncode == 0
        port = json.loads((root / "one/vm.json").read_text())["port"]
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
            other.listen()
            done = call(root, "start", "one")
        assert (done.returncode, f"port {port} of 127.0.0.1" in done.stderr) == (3, True)


@pytest.mark.usefixtures("virtual_jetson")
def test_a_machine_that_never_answers_is_switched_off_and_quoted() -> None:
    with machines() as root:
        assert _create(root, "slow").returncode == 0
        done = call(root, "start", "slow", "--timeout", "2")
        assert done.returncode == 6
        assert "vm:slow does not answer" in done.stderr
        assert "hint: give it longer" in done.stderr
        assert not json.loads(call(root, "list", "--json").stdout)["machines"][0]["running"]


@pytest.mark.usefixtures("virtual_jetson")
def test_a_machine_outlives_the_jetsonx_that_started_it_and_is_removed_while_it_runs() -> None:
    with machines() as root:
        assert _create(root, "alone").returncode == 0
        env = {**os.environ, "JETSONX_VMS": str(root)}
        starting = subprocess.Popen([*CLI, "vm", "start", "alone"], env=env, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while not json.loads(call(root, "list", "--json").stdout)["machines"][0]["running"]:
                assert time.monotonic() < until
        finally:
            starting.send_signal(signal.SIGKILL)
            starting.wait()
        assert json.loads(call(root, "list", "--json").stdout)["machines"][0]["running"]
        gone = call(root, "remove", "alone")
        assert (gone.returncode, gone.stdout) == (0, "removed vm:alone\n")
        assert not list(root.glob("[!.]*"))
    assert not any(b"jetsonx-alone" in _read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_without_qemu_the_packages_are_named(tmp_path: Path, jetsonx: Run) -> None:
    env = {"PATH": str(tmp_path), "JETSONX_VMS": str(tmp_path / "vms")}
    done = jetsonx("vm", "create", "dev", env=env)
    assert done.status == 3
    assert "qemu-system-aarch64" in done.err
    assert "apt-get install qemu-system-arm qemu-utils" in done.err
