"""Files put into a running container: real sshd and engine, an image without a shell, AArch64 programs by QEMU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from jetsonx.deploy.values import Health
from tests.integration.conftest import Need, Ran, Run
from tests.integration.deploy_site import Site, serve_deploy_site
from tests.integration.docker_engine import Engine
from tests.integration.sshd import find_sshd

PROGRAM = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifndef STAY
#define STAY pause()
#endif
static void end(int signum) { _exit(signum - signum); }
int main(void) { signal(SIGTERM, end); puts("version " VERSION); fflush(stdout); for (;;) STAY; }
"""
TOML = """\
[project]
name = "demo"
[target]
modules = ["orin-nano"]
l4t = "36.4.3"
[build]
system = "make"
outputs = ["demo", "share/words.txt"]
"""
LABELS = ("LABEL jetsonx.target=orin-nano@36.4.3 jetsonx.l4t=36.4.3", 'ENTRYPOINT ["/opt/demo/demo"]')


@pytest.fixture(scope="module")
def device(need: Need, engine_26: Engine, arm64: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
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
def compiler(need: Need) -> str:
    need("qemu-aarch64-static")
    return need("aarch64-linux-gnu-gcc")


class Project:
    """What a build left in ``out/files``: a program, which says its version, and a file beside it."""

    def __init__(self, root: Path, compiler: str) -> None:
        self.root, self.compiler = root, compiler
        self.files = root / "out/files"
        self.files.mkdir(parents=True)
        (root / "jetsonx.toml").write_text(TOML)
        (self.files / "share").mkdir()
        (self.files / "share/words.txt").write_text("words\n" * 1000)
        self.build("1")

    def build(self, version: str, *words: str) -> None:
        subprocess.run(
            [self.compiler, "-x", "c", "-", "-static", f'-DVERSION="{version}"', *words, "-o", self.files / "demo"],
            input=PROGRAM,
            text=True,
            check=True,
        )

    def image(self, site: Site) -> str:
        """An image as jetsonx packs them: nothing but the app in /opt, no shell."""
        archive = BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(self.files, "opt/demo")
        changes = [word for change in LABELS for word in ("-c", change)]
        site.engine.docker("import", "--platform", "linux/arm64", *changes, "-", "demo/1", stdin=archive.getvalue())
        return site.inspect("demo/1", "{{.Id}}")


@pytest.fixture
def project(tmp_path: Path, compiler: str) -> Project:
    return Project(tmp_path / "project", compiler)


def deploy(site: Site, project: Project, *, stays_s: int = 1) -> str:
    base = site.image
    site.image = project.image(site)
    try:
        release = site.release(health=Health(kind="stays", stays_s=stays_s), command=())
    finally:
        site.image = base
    outcome = site.switch(release)
    assert outcome.ok, outcome
    return release.id


def said(site: Site) -> str:
    """The last line of the running container: what it said when it was last started."""
    ended = site.engine.docker("logs", "--tail", "1", "demo")
    return (ended.out + ended.err).strip()


def held(site: Site, name: str) -> bytes:
    done = subprocess.run(
        ["docker", "cp", f"demo:/opt/demo/{name}", "-"],
        env={**os.environ, **site.engine.env},
        capture_output=True,
        check=True,
    )
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        member = tar.extractfile(tar.getmembers()[0])
        assert member is not None
        return member.read()


@pytest.fixture
def sync(site: Site, project: Project, jetsonx: Run) -> Callable[[], Ran]:
    return lambda: jetsonx("sync", "jetson", cwd=project.root, env=site.env)


def test_what_changed_arrives_and_runs(site: Site, project: Project, sync: Callable[[], Ran], jetsonx: Run) -> None:
    first = deploy(site, project)
    ran = sync()
    assert (ran.status, "nothing was done" in ran.out) == (0, True), ran
    project.build("2")
    ran = sync()
    assert ran.status == 0, ran
    assert "demo on jetson: demo, " in ran.out
    assert "words.txt" not in ran.out
    assert "  version 2" in ran.out
    assert f"differs from release {first}" in ran.err
    assert said(site) == "version 2"
    assert held(site, "demo") == (project.files / "demo").read_bytes()
    ran = sync()
    assert "nothing was done" in ran.out, ran
    shown = json.loads(jetsonx("status", "jetson", "--json", cwd=project.root, env=site.env).out)
    assert shown["current"]["modified"].startswith("20")
    site.check_tidy(running=first, previous=None, also="contents")
    assert not list((site.state / "staging").iterdir())

    project.build("3")
    second = deploy(site, project)
    assert site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}")).ok
    assert said(site) == "version 1"  # not 2: a rollback goes to what was deployed
    site.check_tidy(running=first, previous=second)


def test_a_killed_sync_is_brought_to_its_end(site: Site, project: Project, sync: Callable[[], Ran]) -> None:
    release = deploy(site, project)
    project.build("2")
    site.trap("cp -", site.kill)
    ran = sync()
    assert not (site.wrapper.parent / "trap").exists()
    assert ran.status == 0, ran
    assert said(site) == "version 2"
    site.check_tidy(running=release, previous=None, also="contents")
    assert "nothing was done" in sync().out


def test_a_rollback_that_is_killed_while_it_cleans_is_recovered(
    site: Site, project: Project, sync: Callable[[], Ran]
) -> None:
    first = deploy(site, project)
    project.build("2")
    assert sync().status == 0
    second = deploy(site, project)
    site.trap("create", site.kill)
    assert site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}")).ending == "rolled-back"
    assert said(site) == "version 2"
    assert site.containers() == {"demo": (second, "running"), "demo.prev": (first, "created")}
    assert site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}")).ok
    assert said(site) == "version 1"


def test_the_link_may_break_meanwhile(site: Site, project: Project, sync: Callable[[], Ran]) -> None:
    deploy(site, project)
    project.build("2")
    sessions = f"pkill -KILL -P {site.host.pid}"
    site.trap("cp -", sessions, first=True)
    ran = sync()
    assert ran.status == 0, ran
    assert "trying again" in ran.err
    assert said(site) == "version 2"


def test_what_does_not_run_there_is_refused(site: Site, project: Project, sync: Callable[[], Ran], need: Need) -> None:
    deploy(site, project)
    program = (project.files / "demo").read_bytes()
    subprocess.run([need("gcc"), "-x", "c", "-", "-o", project.files / "demo"], input=b"int main(){}", check=True)
    ran = sync()
    assert ran.status == 2, ran
    assert "is for x86-64, and the container's image is for AArch64" in ran.err
    (project.files / "demo").write_bytes(program)
    for name, needed in (("libghost.so", ()), ("libplugin.so", (project.root / "libghost.so",))):
        where = project.root if not needed else project.files
        words = [project.compiler, "-shared", "-nostdlib", "-Wl,--no-as-needed", "-x", "c", "-", "-x", "none"]
        subprocess.run([*words, *needed, f"-Wl,-soname,{name}", "-o", where / name], input=b"int a;", check=True)
    ran = sync()
    assert ran.status == 2, ran
    assert "libplugin.so" in ran.err
    assert "JX" in ran.err
    assert said(site) == "version 1"


def test_a_program_that_crashes_is_shown(site: Site, project: Project, sync: Callable[[], Ran]) -> None:
    deploy(site, project, stays_s=2)
    project.build("2", "-DSTAY=_exit(3)")  # QEMU as process 1 cannot be killed by abort()
    ran = sync()
    assert ran.status == 6, ran
    assert "it is not well with them" in ran.err
    assert "version 2" in ran.err
    project.build("3")
    assert sync().status == 0
    assert said(site) == "version 3"


def test_it_goes_on_with_each_build(site: Site, project: Project) -> None:
    deploy(site, project)
    words = [sys.executable, "-m", "jetsonx", "sync", "jetson", "--watch"]
    environ = {**os.environ, **site.env}
    with subprocess.Popen(words, cwd=project.root, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert "nothing was done" in process.stdout.readline()
            project.build("2")
            assert "demo on jetson: demo, " in process.stdout.readline()
            assert said(site) == "version 2"
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130
