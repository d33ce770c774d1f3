"""The real kernel's binfmt_misc. What was registered before is there afterwards."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.host.binfmt import MOUNT, NAME, probe_binfmt, tiny_program
from tests.integration.conftest import Need, Run


@pytest.fixture
def kernel(need: Need) -> Iterator[None]:
    """Entries for AArch64 that others made are switched off meanwhile; a mount of ours is undone."""
    need("qemu-aarch64-static")
    if os.geteuid() != 0:
        pytest.skip("binfmt_misc takes root")
    was_mounted = probe_binfmt().mounted
    others = []
    while (found := probe_binfmt()).enabled and found.name and found.name != NAME:
        (Path("/") / MOUNT / found.name).write_text("0")
        others.append(found.name)
    try:
        yield
    finally:
        for name in others:
            (Path("/") / MOUNT / name).write_text("1")
        if not was_mounted and probe_binfmt().mounted:
            subprocess.run(["umount", f"/{MOUNT}"], check=False)


def test_install_status_remove(kernel: None, jetsonx: Run, tmp_path: Path) -> None:
    program = tmp_path / "arm64"
    program.write_bytes(tiny_program())
    program.chmod(0o755)
    before = jetsonx("binfmt", "status")
    assert before.status == 1
    assert "does not start" in before.out

    try:
        for _ in range(2):  # it may be said twice
            installed = jetsonx("binfmt", "install")
            assert installed.status == 0, installed.err
        assert "nothing to do" in installed.out
        assert subprocess.run([program], check=False).returncode == 42
        status = jetsonx("binfmt", "status", "--json")
        assert status.status == 0
        told = json.loads(status.out)
        assert (told["schema"], told["name"], told["works"], "F" in told["flags"]) == (1, NAME, True, True)
    finally:
        removed = jetsonx("binfmt", "remove")
    assert "is removed" in removed.out
    assert jetsonx("binfmt", "remove").out.startswith(f"{NAME} is not registered")
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([program], check=False)
