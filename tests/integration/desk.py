"""A workstation of its own for engines: a home, a Docker client that knows nothing, an ssh that reads that home."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from jetsonx.store.store import default_root
from tests.integration.conftest import Need
from tests.integration.docker_engine import Ended


@contextlib.contextmanager
def serve_desk(need: Need) -> Iterator[Mapping[str, str]]:
    """The environment of its programs. Engines that are left at the end are removed."""
    for program in ("qemu-system-aarch64", "qemu-img", "ssh-keygen", "docker"):
        need(program)
    with tempfile.TemporaryDirectory(prefix="jetsonx-desk-") as name:
        home = Path(name)
        (home / "bin").mkdir()
        (home / "bin/real-ssh").symlink_to(need("ssh"))
        # ssh goes by the account's home, whatever HOME says.
        (home / "bin/ssh").write_text(
            f'#!/bin/sh\n[ "$1" = -F ] || set -- -F {home}/.ssh/config "$@"\nexec {home}/bin/real-ssh "$@"\n'
        )
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
        for record in (*home.glob("vms/*/vm.json"), *home.glob("vms/.libvirt/*/vm.json")):
            words = [sys.executable, "-m", "jetsonx", "vm", "engine", "remove", "--yes", record.parent.name]
            subprocess.run(words, env={**os.environ, **env}, check=False)


def docker(env: Mapping[str, str], *words: str) -> Ended:
    """How Docker's client ended at that desk."""
    done = subprocess.run(
        ["docker", *words], env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    return Ended(status=done.returncode, out=done.stdout, err=done.stderr)
