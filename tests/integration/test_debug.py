"""Programs on a device under gdb: a real sshd and engine, real gdb and gdbserver.

QEMU's user emulation has no ptrace, so that sessions are of x86-64 containers; for AArch64 it is shown that gdbserver
starts.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.build.output import claim_output
from jetsonx.console import Console
from jetsonx.deploy.gdbserver import load_tools
from jetsonx.deploy.values import Health
from jetsonx.effects import Effects
from jetsonx.runner import Runner
from jetsonx.store.store import Store, default_root
from tests.integration.conftest import CLI, Need, Run
from tests.integration.deploy_site import Site, await_true, journal_step, serve_deploy_site
from tests.integration.docker_engine import Engine
from tests.integration.sshd import find_sshd

PROGRAM = """\
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static void end(int signum) { _exit(signum - signum); }
int answer(int given) { return given + MORE; }
int main(int count, char **words) {
  signal(SIGTERM, end);
  printf("%s says %d\\n", words[count - 1], answer(41));
  fflush(stdout);
  for (;;) pause();
}
"""
TOML = """\
[project]
name = "demo"
[target]
modules = ["orin-nano"]
l4t = "36.4.3"
[build]
system = "make"
outputs = ["demo"]
[deploy]
network = "none"
health = { stays_s = 1 }
"""


@pytest.fixture(scope="module")
def device(need: Need, engine_26: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_deploy_site(tmp_path_factory.mktemp("device"), engine_26, need("busybox")) as site:
        yield site


@pytest.fixture
def site(device: Site) -> Iterator[Site]:
    device.clear()
    yield device
    device.clear()


@pytest.fixture(scope="module")
def project(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program of this machine as a build's output, with debug information."""
    root = tmp_path_factory.mktemp("project")
    (root / "jetsonx.toml").write_text(TOML)
    claim_output(root / "out")
    (root / "out/files").mkdir()
    need("gcc")
    build(root, 1)
    return root


def build(root: Path, more: int) -> None:
    words = ["gcc", "-x", "c", "-", "-g", "-O0", f"-DMORE={more}", "-o", str(root / "out/files/demo")]
    subprocess.run(words, input=PROGRAM.encode(), check=True)


def import_image(site: Site, project: Path) -> str:
    """An image without a shell: the program, its C library and loader, and which distribution they are of."""
    program = project / "out/files/demo"
    needed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        tar.add(program, "opt/demo/demo")
        for path in [word for word in needed if word.startswith("/")]:
            tar.add(path, path.lstrip("/"))
        tar.add("/etc/os-release", "etc/os-release")
    changes = ("-c", 'ENTRYPOINT ["/opt/demo/demo"]', "-c", 'CMD ["it"]')
    site.engine.docker("import", *changes, "-", "demo/debugged", stdin=archive.getvalue())
    return site.inspect("demo/debugged", "{{.Id}}")


@pytest.fixture
def release(site: Site, project: Path) -> str:
    base = site.image
    site.image = import_image(site, project)
    try:
        release = site.release(health=Health(kind="stays", stays_s=1), command=())
    finally:
        site.image = base
    assert site.switch(release).ok
    return release.id


@contextlib.contextmanager
def debugging(site: Site, project: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`jetsonx debug` at work, and the gdb command that it printed."""
    process = subprocess.Popen(
        [*CLI, *(words or ("debug",)), "jetson"],
        cwd=project,
        env={**os.environ, **site.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        command = next((line for line in process.stdout if "target remote" in line), "")
        assert command, process.communicate()
        yield process, command
    finally:
        process.kill()
        process.communicate()


def gdb(command: str, *commands: str) -> str:
    words = [*shlex.split(command), "-batch", *(word for each in commands for word in ("-ex", each))]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_a_breakpoint_is_hit(site: Site, project: Path, release: str, need: Need, jetsonx: Run) -> None:
    need("gdb-multiarch")
    build(project, 2)
    assert "demo on jetson: demo, " in jetsonx("sync", "jetson", cwd=project, env=site.env).out
    with debugging(site, project) as (process, command):
        names = {name: state for name, (_, state) in site.containers().items()}
        assert names["demo"] == "exited"
        for _ in range(2):  # each connection starts it anew
            said = gdb(command, "break answer", "continue", "print given", "backtrace", "finish", "kill")
            assert "Breakpoint 1, answer (given=41)" in said, said
            assert "$1 = 41" in said
            assert "main (count=2" in said
            assert "Value returned is $2 = 43" in said  # what was put there since the deployment
        launch = json.loads((project / "out/debug/launch.json").read_text())["configurations"][0]
        assert launch["miDebuggerServerAddress"] in command
        assert launch["program"] == str(project / "out/files/demo")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"release {release} of demo runs again" in out
    site.check_tidy(running=release, previous=None, also="contents")


@pytest.mark.parametrize("fault", ["client", "watcher"])
def test_the_release_runs_again_whatever_is_killed(site: Site, project: Path, release: str, fault: str) -> None:
    with debugging(site, project) as (process, _):
        assert site.inspect("demo", "{{.State.Running}}") == "false"
        if fault == "client":
            outcome = site.switch(site.release())
            assert outcome.ending == "busy"
            assert "(debug)" in outcome.fault
            process.kill()
        else:
            subprocess.run(["sh", "-c", site.kill], check=True)
            process.communicate(timeout=60)
    await_true(lambda: not journal_step(site))
    site.check_tidy(running=release, previous=None)


def test_gdbserver_for_arm64_is_complete(need: Need, tmp_path: Path) -> None:
    """By its own loader and libraries alone: emulated, it would otherwise find none."""
    qemu = need("qemu-aarch64-static")
    store = Store(default_root(os.environ), Console(-1))
    tools = load_tools(("bookworm",), "arm64", Effects(store=store, runner=Runner(), console=Console(-1)))
    with tarfile.open(fileobj=io.BytesIO(tools.archive)) as tar:
        assert "libthread_db.so.1" in tar.getnames()
        tar.extractall(tmp_path, filter="data")
    words = [qemu, f"{tmp_path}/{tools.loader}", "--library-path", str(tmp_path), f"{tmp_path}/gdbserver", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("GNU gdbserver"), done.stderr
    assert "aarch64" in done.stdout
    again = load_tools(("bookworm",), "arm64", Effects(store=store, runner=Runner(), console=Console(-1), offline=True))
    assert again.key == tools.key


def test_a_deployment_may_end_in_a_debugger(site: Site, project: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.tar"
    import_image(site, project)
    site.engine.docker("save", "-o", image, "demo/debugged")
    with debugging(site, project, "deploy", "--debug", "--image", str(image)) as (process, command):
        assert "Breakpoint 1, answer (given=41)" in gdb(command, "break answer", "continue", "kill")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "of demo runs again" in out
    assert site.containers()["demo"][1] == "running"
