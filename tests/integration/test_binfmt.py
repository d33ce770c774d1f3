"""The real kernel's binfmt_misc, in namespaces of the test's own: since Linux 6.7 each user namespace has its own
entries, so that nothing on this machine sees what is registered here, whatever becomes of the test.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.host.binfmt import MOUNT, read_entries, tiny_program
from jetsonx.host.binfmt_install import NAME, RECORD, registration
from tests.integration.conftest import BUILDS, CLI, Need, Ran

ENTRIES = Path("/") / MOUNT
STATIC = "/usr/bin/qemu-aarch64-static"
FOREIGN = registration(STATIC).replace(NAME.encode(), b"another")

pytestmark = pytest.mark.xdist_group(BUILDS)  # which register QEMU for the whole machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A user and a mount namespace where we are root, with a /run of its own and no binfmt_misc mounted."""

    enter: tuple[str, ...]

    def run(self, *words: object, env: Mapping[str, str] | None = None) -> Ran:
        done = subprocess.run(
            [*self.enter, *map(str, words)],
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(status=done.returncode, out=done.stdout, err=done.stderr)

    def binfmt(self, *words: str, env: Mapping[str, str] | None = None) -> Ran:
        return self.run(*CLI, "binfmt", *words, env=env)

    def write(self, name: str, data: bytes) -> None:
        script = "import os, sys; os.write(os.open(sys.argv[1], os.O_WRONLY), bytes.fromhex(sys.argv[2]))"
        done = self.run(sys.executable, "-c", script, ENTRIES / name, data.hex())
        assert done.status == 0, done.err

    def names(self) -> set[str]:
        return set(self.run("ls", ENTRIES).out.split()) - {"register", "status"}


@pytest.fixture
def namespace(need: Need) -> Iterator[Namespace]:
    if tuple(map(int, re.findall(r"\d+", platform.release())[:2])) < (6, 7):
        pytest.skip("before Linux 6.7 what a test registers would be seen by the whole machine")
    unshare, nsenter = need("unshare"), need("nsenter")
    setup = "mount -t tmpfs tmpfs /run && { ! mountpoint -q $0 || mount -t tmpfs tmpfs $0; } && echo ready && exec cat"
    new = (unshare, "--user", "--map-root-user", "--mount", "--propagation", "private")
    with subprocess.Popen(
        [*new, "sh", "-c", setup, str(ENTRIES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            holder.stdin.close()
            message = f"no namespace of our own here: {holder.stderr.read()}"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        yield Namespace(
            enter=(nsenter, "--target", str(holder.pid), "--user", "--mount", "--preserve-credentials", "--wd=.")
        )
        holder.stdin.close()  # cat ends, and with it the namespaces and what is registered in them


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An AArch64 program that ends with status 42."""
    path = tmp_path / "arm64"
    path.write_bytes(tiny_program())
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    before = read_entries(Path("/"))
    yield
    assert read_entries(Path("/")) == before


@pytest.fixture
def without_qemu(namespace: Namespace, tmp_path: Path) -> None:
    """No QEMU where install looks, for all else it stays."""
    empty = tmp_path / "empty"
    empty.touch()
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        for directory in ("/usr/bin", "/usr/local/bin"):
            if Path(directory, name).exists():
                done = namespace.run("mount", "--bind", empty, Path(directory, name))
                assert done.status == 0, done.err


def start(namespace: Namespace, program: Path) -> bool:
    """Start a program by execve alone: a shell would try its own ways."""
    script = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [*namespace.enter, sys.executable, "-c", script, str(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 42 or "Exec format error" in done.stderr, done.stderr
    return done.returncode == 42


def test_install_status_remove(namespace: Namespace, program: Path, need: Need) -> None:
    need("qemu-aarch64-static")
    before = namespace.binfmt("status")
    assert before.status == 1
    assert "not mounted" in before.out
    assert not start(namespace, program)

    first = namespace.binfmt("install")
    assert first.status == 0, first.err
    assert first.err.splitlines() == [
        "+ mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc",
        f"+ register {STATIC} for AArch64 as {NAME}, flags POCF",
    ]
    assert start(namespace, program)
    assert namespace.binfmt("install").out.startswith("nothing to do")
    told = json.loads(namespace.binfmt("status", "--json").out)
    version = subprocess.run([STATIC, "--version"], capture_output=True, text=True, check=True).stdout
    assert (told["schema"], told["name"], told["works"], told["flags"]) == (1, NAME, True, "POCF")
    assert f"version {told['version']} " in version

    removed = namespace.binfmt("remove")
    assert removed.out.splitlines() == [f"{NAME} is removed", "binfmt_misc is unmounted"]
    assert not start(namespace, program)
    assert namespace.run("test", "-e", f"/{RECORD}").status == 1
    assert namespace.binfmt("remove").out.startswith("nothing to remove")
    assert namespace.binfmt("status").out == before.out


def test_it_serves_a_root_that_has_no_qemu(namespace: Namespace, program: Path, need: Need) -> None:
    need("qemu-aarch64-static")
    assert namespace.run("chroot", program.parent, f"/{program.name}").status != 42
    assert namespace.binfmt("install").status == 0
    assert namespace.run("chroot", program.parent, f"/{program.name}").status == 42


def test_another_s_entry_without_f_is_passed_by_and_kept(namespace: Namespace, program: Path, need: Need) -> None:
    need("qemu-aarch64-static")
    assert namespace.run("mount", "-t", "binfmt_misc", "binfmt_misc", ENTRIES).status == 0
    namespace.write("register", FOREIGN.replace(b":POCF", b":PO"))
    status = namespace.binfmt("status")
    assert status.status == 0
    assert "F (fix binary) is not set" in status.out
    assert "binfmt install" in status.err

    assert namespace.binfmt("install").status == 0
    assert namespace.names() == {"another", NAME}
    assert json.loads(namespace.binfmt("status", "--json").out)["name"] == NAME  # the kernel's choice: the youngest
    assert namespace.binfmt("remove").out.splitlines() == [f"{NAME} is removed"]
    assert namespace.names() == {"another"}
    assert start(namespace, program)


def test_the_youngest_entry_is_told_whatever_its_name(namespace: Namespace, tmp_path: Path, need: Need) -> None:
    """Two entries with interpreters that give themselves away: status names the one that the kernel takes."""
    need("qemu-aarch64-static")
    assert namespace.run("mount", "-t", "binfmt_misc", "binfmt_misc", ENTRIES).status == 0
    for name in ("zz", "aa", "mm"):
        interpreter = tmp_path / name
        shutil.copy("/bin/echo", interpreter)
        line = FOREIGN.replace(b":another", b":" + name.encode()).replace(STATIC.encode(), os.fsencode(interpreter))
        namespace.write("register", line.replace(b":POCF", b":"))
    program = tmp_path / "arm64"
    program.write_bytes(tiny_program())
    program.chmod(0o755)
    for name in ("mm", "aa", "zz"):
        told = json.loads(namespace.binfmt("status", "--json").out)
        assert (told["name"], told["interpreter"], told["works"]) == (name, str(tmp_path / name), False)
        namespace.write(name, b"0")


def test_disabled_and_switched_off(namespace: Namespace, program: Path, need: Need) -> None:
    need("qemu-aarch64-static")
    assert namespace.binfmt("install").status == 0
    namespace.write(NAME, b"0")
    disabled = namespace.binfmt("status")
    assert disabled.status == 1
    assert "is disabled" in disabled.out
    assert namespace.binfmt("install").status == 0
    assert start(namespace, program)

    namespace.write("status", b"0")
    off = namespace.binfmt("status")
    assert off.status == 1
    assert "switched off as a whole" in off.out
    refused = namespace.binfmt("install")
    assert refused.status == 3
    assert "switched off" in refused.err
    assert namespace.names() == {NAME}


def docker(directory: Path, script: str) -> Mapping[str, str]:
    """A stand-in for docker before all others; its `info` is that of a local engine."""
    path = directory / "docker"
    path.parent.mkdir()
    info = json.dumps({"ServerVersion": "28.0", "OperatingSystem": "Debian", "ClientInfo": {"Context": "default"}})
    words = "case $1 in context) echo unix:///var/run/docker.sock; exit;; --version) echo 28.0; exit;;"
    path.write_text(f"#!/bin/sh\n{words} info) echo '{info}'; exit;; run) ;; *) exit 1;; esac\n{script}\n")
    path.chmod(0o755)
    return {"PATH": f"{path.parent}:{os.environ['PATH']}"}


def test_the_container_way(namespace: Namespace, without_qemu: None, program: Path, tmp_path: Path, need: Need) -> None:
    """tonistiigi/binfmt played by a script: it registers as that does, by the name qemu-aarch64 with the flags CF."""
    qemu = tmp_path / "qemu"
    shutil.copy(need("qemu-aarch64-static"), qemu)
    line = FOREIGN.replace(b"another", b"qemu-aarch64").replace(STATIC.encode(), os.fsencode(qemu))
    escaped = line.replace(b":POCF", b":CF").decode().replace("\\x", "\\\\x")
    env = docker(
        tmp_path / "bin",
        f'[ "$*" = "run --privileged --rm tonistiigi/binfmt --install arm64" ] || exit 7\n'
        f"printf '%b' '{escaped}' > {ENTRIES}/register; rm {qemu}",
    )
    installed = namespace.binfmt("install", env=env)
    assert installed.status == 0, installed.err
    assert "+ docker run --privileged --rm tonistiigi/binfmt --install arm64" in installed.err
    assert start(namespace, program)
    assert "version unknown" in namespace.binfmt("status").out

    removed = namespace.binfmt("remove", env=env)
    assert removed.out.splitlines() == ["qemu-aarch64 is removed", "binfmt_misc is unmounted"]
    assert not start(namespace, program)


def test_a_container_that_only_says_so(namespace: Namespace, without_qemu: None, tmp_path: Path) -> None:
    ran = namespace.binfmt("install", env=docker(tmp_path / "bin", "echo installing: arm64 OK"))
    assert ran.status == 3
    assert "do not start" in ran.err
    assert "not mounted" in namespace.binfmt("status").out


def test_neither_qemu_nor_docker(namespace: Namespace, without_qemu: None, tmp_path: Path) -> None:
    ran = namespace.binfmt("install", env={"PATH": "/usr/sbin:/sbin", "DOCKER_HOST": ""})
    assert ran.status == 3
    assert "no docker" in ran.err
    assert "qemu-user-static" in ran.err


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_stopped_half_way(namespace: Namespace, without_qemu: None, tmp_path: Path, stop: signal.Signals) -> None:
    """binfmt_misc is mounted and the container runs: Ctrl-C takes it back at once, a kill leaves it to `remove`."""
    started = tmp_path / "started"
    env = docker(tmp_path / "bin", f"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 60")
    with subprocess.Popen(
        [*namespace.enter, *CLI, "binfmt", "install"], env={**os.environ, **env}, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while not started.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        container = int(started.read_text())
        process.send_signal(stop)
        if stop is signal.SIGKILL:
            os.kill(container, signal.SIGKILL)  # nobody else ends it then
        _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    removed = namespace.binfmt("remove", env=env).out
    if stop is signal.SIGINT:
        assert "interrupted" in said
        assert removed.startswith("nothing to remove")
        with pytest.raises(ProcessLookupError):
            os.kill(container, 0)
    else:
        assert removed == "binfmt_misc is unmounted\n"
    assert "not mounted" in namespace.binfmt("status", env=env).out


def test_an_ordinary_user_is_told_what_to_type(need: Need, tmp_path: Path) -> None:
    """Without root's rights the plan is told and nothing is done."""
    need("qemu-aarch64-static")
    nobody = (need("unshare"), "--user") if os.geteuid() == 0 else ()  # who is root of nothing
    done = subprocess.run([*nobody, *CLI, "binfmt", "install"], capture_output=True, text=True, check=False)
    if "nothing to do" in done.stdout:
        pytest.skip("this machine starts AArch64 programs already")
    assert done.returncode == 3, done.stderr
    assert "+ register" in done.stderr
    assert re.search(r"hint: sudo /.* binfmt install", done.stderr)
