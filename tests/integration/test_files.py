"""Releases of files on a small device: a real sshd, no Docker, and something that stands for systemd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.deploy.ask import probe_state
from jetsonx.deploy.values import Health
from tests.integration.conftest import Need
from tests.integration.files_site import FilesSite, serve_files_site
from tests.integration.sshd import find_sshd

SECRET = b"s3cr3t-\x00\xff\n'$(touch owned)"
ODD = "an odd 'name'\n\"$(touch owned)\" %s \\é"


@pytest.fixture
def site(need: Need, tmp_path: Path) -> Iterator[FilesSite]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_files_site(tmp_path) as served:
        yield served


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
    ("tar", "*staging*", "rolled-back"),
    ("sha256sum", "*app*", "rolled-back"),
    ("ln", "*previous.part", "rolled-back"),
    ("mv", "*current", "rolled-back"),
    ("test", "*", "ok"),
]


@pytest.mark.parametrize(("program", "words", "ending"), KILLED, ids=[program for program, _, _ in KILLED])
def test_a_killed_switch_is_recovered(site: FilesSite, program: str, words: str, ending: str) -> None:
    before, old = site.release(), site.release()
    new = site.release(health=Health(kind="http", url="http://127.0.0.1:1/", timeout_s=1) if program == "x" else None)
    assert site.switch(before).ok
    assert site.switch(old).ok
    site.kill_before(program, words)
    outcome = site.switch(new)
    assert outcome.ending == ending, outcome
    if ending == "ok":
        site.check_tidy(current=new, previous=old)
    else:
        site.check_tidy(current=old, previous=before)


def test_a_unit_runs_what_is_current(unit_site: FilesSite) -> None:
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
    assert site.do("stop").ok
    assert (site.unit()["ActiveState"], site.unit()["enabled"]) == ("inactive", False)
