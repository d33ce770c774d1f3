"""Releases of files on a small device: a real sshd, no Docker, and something that stands for systemd."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetsonx.deploy.ask import probe_state
from jetsonx.deploy.values import Health
from jetsonx.errors import DeviceError
from tests.integration.conftest import Need, Run
from tests.integration.files_site import FilesSite, serve_files_site
from tests.integration.small_disk import fill_command, make_room, small_disk
from tests.integration.sshd import find_sshd

SECRET = b"s3cr3t-\x00\xff\n'$(touch owned)"
ODD = "an odd 'name'\n\"$(touch owned)\" %s \\é"


@pytest.fixture(scope="module")
def device(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilesSite]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_files_site(tmp_path_factory.mktemp("device")) as served:
        yield served


@pytest.fixture
def site(device: FilesSite) -> Iterator[FilesSite]:
    device.clear()
    yield device
    device.clear()


@pytest.fixture
def unit_site(need: Need, tmp_path: Path) -> Iterator[FilesSite]:
    """Its home has a name that systemd and sh would make something else of."""
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_files_site(tmp_path, has_units=True, home="ho me %h $x") as served:
        yield served


def test_files_are_switched_and_rolled_back_to(site: FilesSite) -> None:
    first, second = site.release({ODD: b"1"}), site.release({ODD: b"2"})
    outcome = site.switch(first)
    assert outcome.ok, outcome
    site.check_tidy(current=first, previous=None)
    assert site.switch(second).ok
    site.check_tidy(current=second, previous=first)
    assert (site.share / "current" / ODD).read_bytes() == b"2"
    state = probe_state(site.link)
    app = state.apps["demo"]
    assert (app.form, state.by, state.has_units) == ("files", "", False)
    assert app.current is not None
    assert app.previous is not None
    assert (app.current.state, app.current.image_id) == ("placed", second.image_id)
    assert site.do("rollback", expected=app.previous.id).ok
    site.check_tidy(current=first, previous=second)
    assert (site.share / "current" / ODD).read_bytes() == b"1"
    assert [(entry["kind"], entry["outcome"]) for entry in site.history()] == [
        ("switch", "ok"),
        ("switch", "ok"),
        ("rollback", "ok"),
    ]
    assert not list(site.home.rglob("owned"))


def test_files_that_fail_never_become_current(site: FilesSite) -> None:
    good = site.release()
    assert site.switch(good).ok
    site.shim("ln", f'echo "$*" >>{site.wrapper.parent}/links; exec {site.wrapper.parent}/programs/ln "$@"')
    health = Health(kind="command", command=("sh", "-c", "echo no model; exit 1"), timeout_s=5)
    outcome = site.switch(site.release(health=health))
    assert (outcome.ending, outcome.step) == ("rolled-back", "create"), outcome
    assert outcome.log == ("no model",)
    assert not (site.wrapper.parent / "links").exists()
    site.check_tidy(current=good, previous=None)
    # What only fails when it is current is taken back.
    health = Health(
        kind="command",
        command=("sh", "-c", f'[ "$(readlink {site.share}/current)" = "releases/{site.slot("current")}" ]'),
        timeout_s=1,
    )
    outcome = site.switch(site.release(health=health))
    assert (outcome.ending, outcome.step) == ("rolled-back", "gate"), outcome
    site.check_tidy(current=good, previous=None)


KILLED = [
    ("tar", "*staging*", "create", "rolled-back"),
    ("sha256sum", "*app*", "create", "rolled-back"),
    ("test", "*", "create", "rolled-back"),
    ("ln", "*previous.part", "rename", "rolled-back"),
    ("mv", "*current", "rename", "rolled-back"),
    ("test", "*", "gate", "ok"),
    ("rm", "*staging*", "healthy", "ok"),
]


@pytest.mark.parametrize(("program", "words", "step", "ending"), KILLED, ids=[f"{k[2]}-{k[0]}" for k in KILLED])
def test_a_killed_switch_is_recovered(site: FilesSite, program: str, words: str, step: str, ending: str) -> None:
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    site.kill_before(program, words, step)
    outcome = site.switch(new)
    assert outcome.ending == ending, outcome
    assert not (site.wrapper.parent / "trap").exists()
    site.check_tidy(current=new if ending == "ok" else old, previous=old if ending == "ok" else None)


@pytest.mark.parametrize("is_eaten", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize(
    ("program", "words", "step"),
    [("tar", "*staging*", "create"), ("ln", "*previous.part", "rename"), ("rm", "*staging*", "healthy")],
    ids=["create", "rename", "healthy"],
)
def test_a_disk_that_fills_up_loses_nothing(
    site: FilesSite, root_rights: None, program: str, words: str, step: str, is_eaten: bool
) -> None:
    with small_disk(site.home, 8 << 20):
        old, new = site.release(), site.release({"model": b"x" * 1_500_000})
        assert site.switch(old).ok
        site.do_before(program, words, step, fill_command(site.home, is_eaten=is_eaten))
        with contextlib.suppress(DeviceError):  # how it ends may be more than can be told
            assert site.switch(new).ending in ("ok", "rolled-back", "unfinished")
        assert not (site.wrapper.parent / "trap").exists()
        make_room(site.home)
        site.do("recover")
        is_new = site.slot("current").partition(".")[0] == new.id
        assert step == "rename" or is_new == (step == "healthy")
        last = site.release()
        assert site.switch(last).ok
        site.check_tidy(current=last, previous=new if is_new else old)
        ended = [entry["outcome"] for entry in site.history()]
        assert ended == ["ok", "ok" if is_new else "rolled-back", "ok"]


def test_a_recovery_that_is_killed_is_recovered_too(site: FilesSite) -> None:
    old = site.release()
    assert site.switch(old).ok
    never = Health(kind="http", url="http://127.0.0.1:1/", timeout_s=1)
    site.kill_before("mv", "*current", "undo")
    outcome = site.switch(site.release(health=never))
    assert outcome.ending == "rolled-back", outcome
    assert not (site.wrapper.parent / "trap").exists()
    site.check_tidy(current=old, previous=None)


def test_a_unit_runs_what_is_current(unit_site: FilesSite, jetsonx: Run) -> None:
    site = unit_site
    health = Health(kind="stays", stays_s=1, timeout_s=10)
    odd = "a % $HOME '\"\n b"
    first = site.release(
        {"mode": b"one"},
        health=health,
        has_unit=True,
        command=("./app", odd),
        env={"ODD": odd},
        secrets={"key": SECRET},
    )
    outcome = site.switch(first)
    assert outcome.ok, outcome
    log = site.systemd / "jetsonx-demo.service.log"
    assert log.read_text() == f"up one {odd}\n"
    second = site.release({"mode": b"two"}, health=health, has_unit=True)
    outcome = site.switch(second)
    assert outcome.ok, outcome
    assert outcome.downtime_s is not None
    site.check_tidy(current=second, previous=first)
    state = probe_state(site.link)
    app = state.apps["demo"]
    assert state.has_units
    assert app.current is not None
    assert app.previous is not None
    assert (app.current.state, app.previous.state) == ("running", "rests")
    bad = site.release({"mode": b"bad"}, health=health, has_unit=True)
    outcome = site.switch(bad)
    assert outcome.ending == "rolled-back", outcome
    assert "status 3" in outcome.why
    assert "up bad" in outcome.log[-1]
    assert site.unit()["ActiveState"] == "active"
    site.check_tidy(current=second, previous=first)
    assert site.do("rollback", expected=app.previous.id).ok
    site.check_tidy(current=first, previous=second)
    assert log.read_text().endswith(f"up one {odd}\n")
    assert jetsonx("logs", "jetson", "--tail", "2", env=site.env).out == f"up one {odd}\n"
    assert jetsonx("stop", "jetson", env=site.env).out == "stopped demo on jetson\n"
    assert (site.unit()["ActiveState"], site.unit()["enabled"]) == ("inactive", False)


PROJECT = """
[project]
name = "demo"
[target]
modules = ["orin-nano"]
l4t = "36.4.3"
[build]
system = "cuda"
[image]
files = ["model/**"]
[deploy]
kind = "files"
devices = ["jetson"]
health = { command = ["./demo", "--self-test"], timeout_s = 10 }
secrets = { token = "token.txt" }
"""
SOURCE = r"""
#include <stdio.h>
#include <string.h>
static const unsigned char table[] = { TABLE };
int main(int argc, char **argv) {
  FILE *model = fopen("model/an odd 'name'", "r");
  printf("%s %d\n", VERSION, table[argc]);
  return !model || !strcmp(VERSION, "bad");
}
"""


def make_project(folder: Path) -> None:
    (folder / "model").mkdir(parents=True)
    (folder / "model/an odd 'name'").write_bytes(random.Random(1).randbytes(2_000_000))
    (folder / "token.txt").write_text("hush-hush-hush")
    (folder / "jetsonx.toml").write_text(PROJECT)
    (folder / "out/files").mkdir(parents=True)
    (folder / "out/report.json").write_text(json.dumps({"targets": ["orin-nano@36.4.3"]}))


def compile_program(compiler: str, folder: Path, version: str) -> None:
    """What `jetsonx build` would leave: an AArch64 program that tells its version."""
    table = ",".join(map(str, random.Random(2).randbytes(100_000)))
    argv = [
        compiler,
        "-static",
        "-O1",
        "-s",
        f'-DVERSION="{version}"',
        "-x",
        "c",
        "-",
        "-o",
        str(folder / "out/files/demo"),
    ]
    subprocess.run(argv, input=SOURCE.replace("TABLE", table).encode(), check=True)


@pytest.mark.parametrize("has_python", [True, False], ids=["python3", "no-python3"])
def test_a_project_of_files_is_deployed(
    site: FilesSite, need: Need, arm64: None, jetsonx: Run, tmp_path: Path, has_python: bool
) -> None:
    if not has_python:
        site.shim("python3", "exit 127")
    compiler, project = need("aarch64-linux-gnu-gcc"), tmp_path / "project"
    make_project(project)

    def deploy(*words: str, status: int = 0) -> dict[str, Any]:
        ran = jetsonx("deploy", "--json", *words, cwd=project, env=site.env)
        assert ran.status == status, f"{ran.out[-3000:]}{ran.err}"
        [told] = json.loads(ran.out)["devices"]
        return told  # type: ignore[no-any-return]

    compile_program(compiler, project, "one")
    first = deploy()
    assert first["status"] == "deployed"
    assert first["plan"]["transfer"]["send_bytes"] > 2_000_000
    assert "systemctl" in next(line["found"] for line in first["plan"]["checks"] if line["name"] == "systemd")
    compile_program(compiler, project, "two")
    planned = deploy("--dry-run")
    second = deploy()
    assert second["plan"]["transfer"] == planned["plan"]["transfer"]
    method, sent = (second["plan"]["transfer"][key] for key in ("method", "send_bytes"))
    assert (method, sent < 5_000) == ("recipe", True) if has_python else (method, sent > 2_000_000) == ("thin", True)
    if not has_python:
        return
    assert deploy()["status"] == "current"
    ran = jetsonx("shell", "jetson", "--", "./demo", cwd=project, env=site.env)
    assert ran.out.startswith("two "), ran.err
    with (site.share / "current/demo").open("r+b") as program:  # a recipe does not give what it should
        program.seek(-1, 2)
        program.write(b"x")
    compile_program(compiler, project, "bad")
    bad = deploy(status=7)
    assert bad["status"] == "rolled-back"
    assert (bad["outcome"]["step"], bad["plan"]["transfer"]["method"]) == ("create", "recipe")
    assert "bad" in jetsonx("logs", "jetson", "--failed", cwd=project, env=site.env).out
    assert jetsonx("shell", "jetson", "--", "./demo", cwd=project, env=site.env).out.startswith("two ")
    compile_program(compiler, project, "one")
    again = deploy()  # the files of the release before are there
    assert (again["status"], again["plan"]["transfer"]["method"]) == ("deployed", "none")
    ran = jetsonx("status", "jetson", "--json", cwd=project, env=site.env)
    status = json.loads(ran.out)
    assert (status["current"]["state"], status["current"]["release"]) == ("placed", again["plan"]["release"])
    ran = jetsonx("rollback", "jetson", cwd=project, env=site.env)
    assert ran.status == 0, ran.err
    assert jetsonx("shell", "jetson", "--", "./demo", cwd=project, env=site.env).out.startswith("two ")
    assert jetsonx("logs", "jetson", cwd=project, env=site.env).status == 2
    assert "no unit" in jetsonx("stop", "jetson", cwd=project, env=site.env).err
    assert jetsonx("device", "prune", "jetson", cwd=project, env=site.env).status == 0
    assert not list((site.state / "staging").iterdir())
    found = [path for path in site.home.rglob("*") if path.is_file() and b"hush-hush" in path.read_bytes()]
    assert {path.name for path in found} == {"token"}
