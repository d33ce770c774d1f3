"""`jetsonx builder` with a real engine on the other side of a real sshd: x86-64 hardware, arm64 by binfmt."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

import pytest

from jetsonx.engine import node_machine
from jetsonx.engine.builders import choose_native
from jetsonx.errors import HostError
from jetsonx.runner import Runner
from tests.integration.conftest import CLI, Need, Run
from tests.integration.docker_engine import Engine
from tests.integration.sshd import SshHost, find_sshd, serve_ssh

NAME = "jetsonx-jetson"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A workstation of its own: ``env`` is a Docker client that knows nothing yet, and an ssh that finds the host."""

    env: Mapping[str, str]
    host: SshHost

    def stream(self, *words: str) -> bytes:
        """What the Docker client answers. Raises CalledProcessError when it fails."""
        return subprocess.run(["docker", *words], env={**os.environ, **self.env}, stdout=PIPE, check=True).stdout

    def docker(self, *words: str) -> str:
        """The same, as text."""
        return self.stream(*words).decode()

    @property
    def traces(self) -> list[str]:
        """All contexts and builders that it knows."""
        instances = Path(self.env["DOCKER_CONFIG"], "buildx/instances")
        builders = sorted(path.name for path in instances.iterdir()) if instances.is_dir() else []
        return sorted(self.docker("context", "ls", "--quiet").split()) + builders


@contextlib.contextmanager
def serve_client(engine: Engine, tmp: Path, *, socket_path: Path | None = None) -> Iterator[Client]:
    """A client of the machine that ``engine`` runs on, where docker looks for the engine at ``socket_path``."""
    there = {"DOCKER_HOST": f"unix://{socket_path or engine.socket}", "PATH": f"{engine.env['PATH']}:/usr/bin:/bin"}
    with serve_ssh(tmp / "ssh", environ=there) as host:
        # Docker calls `ssh`, which reads the configuration of the account and of nobody else.
        ssh = tmp / "bin/ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec {tmp}/real-ssh -F {host.config} "$@"\n')
        ssh.chmod(0o755)
        (tmp / "real-ssh").symlink_to(_find("ssh"))
        config = tmp / "docker"
        config.mkdir()
        (config / "cli-plugins").symlink_to(Path(engine.env["DOCKER_CONFIG"], "cli-plugins"))
        path = f"{ssh.parent}:{engine.env['PATH']}"
        yield Client(env={"DOCKER_CONFIG": str(config), "DOCKER_HOST": "", "PATH": path}, host=host)


def _find(program: str) -> str:
    return subprocess.run(["which", program], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def client(engine_20: Engine, need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_client(engine_20, tmp_path_factory.mktemp("builder")) as served:
        yield served


@pytest.fixture
def added(client: Client, jetsonx: Run, arm64: None) -> Iterator[str]:
    """A node on the machine, added and taken away."""
    ran = jetsonx("builder", "add", "jetson", "--emulated", env=client.env)
    assert (ran.status, ran.out) == (0, f"{NAME}\n"), ran.err
    yield NAME
    jetsonx("builder", "remove", NAME, env=client.env)


def test_what_runs_on_machines_is_plain_sh(need: Need) -> None:
    script = Path(node_machine.__file__).with_name("node_machine.sh")
    subprocess.run([need("shellcheck"), "--shell=sh", script], check=True)


def test_a_machine_of_another_processor_needs_a_word(client: Client, jetsonx: Run) -> None:
    ran = jetsonx("builder", "add", "jetson", env=client.env)
    assert ran.status == 6
    assert "no machine for linux/arm64: its processor is x86_64" in ran.err
    assert "--emulated" in ran.err
    assert client.traces == ["default"]


def test_a_node_is_listed_used_and_removed(
    client: Client, added: str, engine_20: Engine, jetsonx: Run, tmp_path: Path
) -> None:
    (row,) = json.loads(jetsonx("builder", "list", "--json", env=client.env).out)["nodes"]
    assert (row["builder"], row["endpoint"], row["driver"]) == (NAME, "ssh://jetson", "docker")
    assert row["ready"]
    assert row["added_by_jetsonx"]
    assert row["emulated"]
    assert row["engine"].startswith("20.10")
    assert row["cores"] == os.cpu_count()
    assert "linux/arm64" in row["builds_for"]
    assert 0 < row["answer_s"] < 8
    shown = jetsonx("builder", "list", env=client.env).out
    assert "x86_64, emulated" in shown
    doctor = json.loads(jetsonx("doctor", "--json", env=client.env).out)
    assert next(row for row in doctor["checks"] if row["name"] == "builder")["status"] == "ok"

    again = jetsonx("builder", "add", "jetson", "--emulated", env=client.env)
    assert again.status == 2
    assert "is a node already" in again.err

    ran = jetsonx("builder", "remove", NAME, env=client.env)
    assert (ran.status, ran.out) == (0, f"removed {NAME}\n"), ran.err
    assert client.traces == ["default"]
    gone = jetsonx("builder", "remove", NAME, env=client.env)
    assert gone.status == 2
    assert "no builder node" in gone.err


def test_no_node_is_no_native_build(client: Client, sample: Callable[[str], Path], jetsonx: Run) -> None:
    ran = jetsonx("build", sample("vector-add"), "--strategy", "native", "-t", "orin-nano@39.2", env=client.env)
    assert ran.status == 3
    assert "no builder node for linux/arm64 is known" in ran.err
    assert "jetsonx builder add USER@DEVICE" in ran.err


def test_what_ssh_refuses_is_said_with_what_to_type(client: Client, jetsonx: Run) -> None:
    known = client.host.known_hosts.read_text()
    client.host.known_hosts.write_text("")
    unknown = jetsonx("builder", "add", "jetson", "--emulated", env=client.env)
    client.host.known_hosts.write_text(known)
    assert unknown.status == 6
    assert "hint: look at its key and accept it once: ssh jetson" in unknown.err

    away = client.host.user_key.with_suffix(".away")
    client.host.user_key.rename(away)
    refused = jetsonx("builder", "add", "jetson", "--emulated", env=client.env)
    away.rename(client.host.user_key)
    assert refused.status == 6
    assert "ssh-copy-id jetson" in refused.err
    assert client.traces == ["default"]


def test_a_machine_whose_engine_is_off(engine_20: Engine, jetsonx: Run, tmp_path: Path, client: Client) -> None:
    with serve_client(engine_20, tmp_path, socket_path=tmp_path / "no.sock") as other:
        ran = jetsonx("builder", "add", "jetson", "--emulated", env=other.env)
        assert ran.status == 6
        assert "does not answer at unix://" in ran.err
        assert "systemctl enable --now docker" in ran.err
        assert other.traces == ["default"]


def test_a_machine_that_is_off_is_said_so_and_removed(
    engine_20: Engine, jetsonx: Run, arm64: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_client(engine_20, tmp_path) as other:
        added = jetsonx("builder", "add", "jetson", "--emulated", "--name", "orin", env=other.env)
        assert added.status == 0, added.err
    shown = jetsonx("builder", "list", "--json", "--timeout", "5", env=other.env)
    (row,) = json.loads(shown.out)["nodes"]
    assert (row["ready"], row["answer_s"]) == (False, None)
    assert "refused" in row["trouble"]
    for name, value in other.env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(HostError, match="no builder node for linux/arm64 answers") as error:
        choose_native(Runner(), os.environ)
    assert "orin (ssh://jetson): " in (error.value.details or "")
    removed = jetsonx("builder", "remove", "orin", env=other.env)
    assert (removed.status, removed.out) == (0, "removed orin\n"), removed.err
    assert other.traces == ["default"]


def test_nothing_is_left_of_a_buildkit_that_does_not_start(client: Client, jetsonx: Run, arm64: None) -> None:
    """Port 1 holds no registry, so that the image cannot be had wherever this runs."""
    words = ("--driver", "docker-container", "--name", "pool", "--driver-opt", "image=127.0.0.1:1/buildkit")
    ran = jetsonx("builder", "add", "jetson", "--emulated", *words, env=client.env)
    assert ran.status == 6
    assert "could not start BuildKit there; nothing of it is left" in ran.err
    assert "127.0.0.1:1" in ran.err
    assert client.traces == ["default"]


def test_ctrl_c_in_the_middle_leaves_nothing(client: Client) -> None:
    """A port that takes connections and keeps silent: buildx would wait for twenty seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        argv = [*CLI, "builder", "add", "--remote", url, "--name", "cut"]
        with subprocess.Popen(argv, env={**os.environ, **client.env}, stderr=subprocess.PIPE) as process:
            until = time.monotonic() + 20
            while client.traces == ["default"] and time.monotonic() < until:
                time.sleep(0.05)
            assert client.traces == ["default", "cut"]
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
    assert process.returncode == 130
    assert client.traces == ["default"]
