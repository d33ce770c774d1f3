"""`jetsonx doctor` on the machine that the tests run on, as it is."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Run

STATUSES = {"ok", "warn", "fail", "absent"}


def test_this_host_can_build_without_docker(jetsonx: Run) -> None:
    ran = jetsonx("doctor", "--json")
    assert ran.status == 0, ran.out
    document = json.loads(ran.out)
    checks = {row["name"]: row for row in document["checks"]}
    assert {row["status"] for row in document["checks"]} <= STATUSES
    assert checks["kernel"]["found"].startswith(f"Linux {os.uname().release}")
    assert (checks["make"]["status"] == "ok") is (shutil.which("make") is not None)
    assert (checks["ssh"]["status"] == "ok") is (shutil.which("ssh") is not None)
    assert next(row for row in document["abilities"] if row["name"] == "embedded")["possible"]
    shown = jetsonx("doctor")
    assert shown.status == 0
    for name in checks:
        assert f"  {name} " in shown.out


def test_a_cache_that_cannot_be_is_status_3(jetsonx: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = jetsonx("doctor", env={"JETSONX_CACHE": str(tmp_path / "file/cache")})
    assert ran.status == 3
    assert "no      embedded" in ran.out


def test_an_engine_that_never_answers_is_given_up(jetsonx: Run, tmp_path: Path) -> None:
    """A socket that takes connections and keeps silent, which the Docker client would wait on for ever."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not on this host")
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        held: list[socket.socket] = []

        def hold() -> None:
            with contextlib.suppress(OSError):  # the test ends it by shutting the socket
                while True:
                    held.append(listener.accept()[0])

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        started = time.monotonic()
        ran = jetsonx("doctor", env={"DOCKER_HOST": f"unix://{path}"}, timeout_s=60)
        took_s = time.monotonic() - started
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in held:
            connection.close()
    assert held, "docker never came to the socket"
    assert ran.status == 0
    assert "does not answer in time" in ran.out
    assert "unset DOCKER_HOST" in ran.out
    assert took_s < 20  # 1.5 s of patience; the rest is room for a busy machine


def test_a_docker_that_hangs_is_given_up(jetsonx: Run, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nsleep 300\n")
    docker.chmod(0o755)
    ran = jetsonx("doctor", env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout_s=60)
    assert ran.status == 0
    assert "does not answer in time" in ran.out


def test_a_bare_path_still_gets_an_answer(jetsonx: Run, tmp_path: Path) -> None:
    """Not even timeout(1): nothing can be asked, and it is said rather than raised."""
    ran = jetsonx("doctor", env={"PATH": str(tmp_path)})
    assert ran.status == 0
    assert "no docker command" in ran.out


def test_virtual_machines_are_looked_at_when_asked_for(jetsonx: Run) -> None:
    ran = jetsonx("doctor", "--for", "vm", "--json", timeout_s=120)
    document = json.loads(ran.out)
    checks = {row["name"]: row for row in document["checks"]}
    possible = {row["name"]: row["possible"] for row in document["abilities"]}
    assert {row["status"] for row in document["checks"]} <= STATUSES
    assert (checks["qemu-arm"]["status"] == "ok") is (shutil.which("qemu-system-aarch64") is not None)
    assert (checks["tun"]["status"] == "ok") is Path("/dev/net/tun").exists()
    if not Path("/dev/kvm").exists():
        assert checks["trial"]["status"] != "ok"
    assert ran.status == (0 if possible["vm"] else 3)
