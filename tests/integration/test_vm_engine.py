"""A Docker engine behind a virtual machine's wall: made, built in, and taken away again.

arm64, as the image of virtual Jetsons is then its image too; x86-64 differs in QEMU's words and Debian's kernel.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jetsonx.store.store import default_root
from tests.integration.conftest import Need, Run
from tests.integration.docker_engine import Ended

LIMIT_S = 900


@pytest.fixture
def desk(need: Need) -> Iterator[Mapping[str, str]]:
    """A workstation of its own: a home, a Docker client that knows nothing yet, and an ssh that reads that home."""
    for program in ("qemu-system-aarch64", "qemu-img", "ssh-keygen", "docker"):
        need(program)
    with tempfile.TemporaryDirectory(prefix="jetsonx-desk-") as name:
        home = Path(name)
        (home / "bin").mkdir()
        (home / "bin/real-ssh").symlink_to(need("ssh"))
        # ssh goes by the account's home, whatever HOME says.
        (home / "bin/ssh").write_text(f'#!/bin/sh\nexec {home}/bin/real-ssh -F {home}/.ssh/config "$@"\n')
        (home / "bin/ssh").chmod(0o755)
        env = {
            "HOME": name,
            "PATH": f"{home}/bin:{os.environ['PATH']}",
            "DOCKER_CONFIG": f"{home}/docker",
            "DOCKER_HOST": "",
            "JETSONX_CACHE": str(default_root(os.environ)),
            "JETSONX_VMS": f"{home}/vms",
        }
        yield env
        for record in home.glob("vms/*/vm.json"):
            words = [shutil.which("python3") or "python3", "-m", "jetsonx", "vm", "remove", record.parent.name]
            subprocess.run(words, env={**os.environ, **env}, check=False)


def docker(env: Mapping[str, str], *words: str) -> Ended:
    done = subprocess.run(
        ["docker", *words], env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    return Ended(status=done.returncode, out=done.stdout, err=done.stderr)


def test_an_engine_is_made_used_and_taken_away(desk: Mapping[str, str], jetsonx: Run) -> None:
    words = ("--arch", "arm64", "--memory", "1536", "--yes", "--timeout", str(LIMIT_S))
    made = jetsonx("vm", "engine", "create", "isolated", *words, env=desk, timeout_s=LIMIT_S * 2)
    assert made.status == 0, made.err
    assert made.out == "isolated\n"
    config = Path(desk["HOME"], ".ssh/config")
    assert config.read_text().startswith(f'Include "{desk["JETSONX_VMS"]}/*/engine_ssh"')
    inside = docker(desk, "--context", "isolated", "info", "--format", "{{.Name}} {{.Architecture}}")
    assert inside.out == "isolated aarch64\n", inside.err
    built = docker(desk, "--context", "isolated", "import", "/dev/null", "empty")
    assert built.status == 0, built.err
    assert "empty" in docker(desk, "--context", "isolated", "image", "ls").out
    listed = jetsonx("vm", "engine", "list", env=desk)
    assert listed.out == "isolated  arm64  qemu  runs\n"
    again = jetsonx("vm", "engine", "create", "isolated", *words, env=desk)
    assert again.status == 2
    assert "there is a Docker context isolated already" in again.err
    gone = jetsonx("vm", "engine", "remove", "isolated", env=desk)
    assert gone.status == 0, gone.err
    assert "isolated" not in docker(desk, "context", "ls", "--format", "{{.Name}}").out
    assert not list(Path(desk["JETSONX_VMS"]).glob("*/vm.json"))
    unknown = jetsonx("vm", "engine", "remove", "isolated", env=desk)
    assert unknown.status == 2
