"""Switches between releases on a device: a real sshd and a real engine, whose containers end, hang and crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.deploy.ask import probe_state
from jetsonx.deploy.control import carry_out, make_request, switch_script
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.values import Health
from tests.integration.conftest import Need, Run
from tests.integration.deploy_site import SERVE, Site, await_true, journal_step, serve_deploy_site
from tests.integration.docker_engine import Engine
from tests.integration.sshd import find_sshd

HERE = Path(__file__).parents[2] / "jetsonx/deploy"


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


def test_the_scripts_are_plain_sh(need: Need, tmp_path: Path) -> None:
    whole = tmp_path / "switch.sh"
    whole.write_bytes(b"#!/bin/sh\n" + switch_script(make_request("rollback", "demo")))
    # The release's variables are read from its file, and functions are handed to others by name.
    subprocess.run([need("shellcheck"), "--shell=sh", "--exclude=SC2154,SC2317", whole], check=True)
    subprocess.run([need("shellcheck"), "--shell=sh", HERE / "state.sh"], check=True)


def test_releases_are_switched_and_rolled_back_to(site: Site) -> None:
    first, second = site.release(), site.release()
    outcome = site.switch(first)
    assert (outcome.ending, outcome.downtime_s) == ("ok", None), outcome
    site.check_tidy(running=first.id, previous=None)
    outcome = site.switch(second)
    assert outcome.ok, outcome
    assert outcome.downtime_s is not None
    assert outcome.downtime_s <= 1
    site.check_tidy(running=second.id, previous=first.id)
    for running, previous in ((first, second), (second, first)):
        outcome = site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}"))
        assert outcome.ok, outcome
        site.check_tidy(running=running.id, previous=previous.id)
        assert site.engine.docker("image", "inspect", "-f", "{{.Id}}", "jetsonx/demo:current").out.strip() == site.image
    assert [(entry["kind"], entry["outcome"]) for entry in site.history()] == [
        ("switch", "ok"),
        ("switch", "ok"),
        ("rollback", "ok"),
        ("rollback", "ok"),
    ]


@pytest.mark.parametrize(
    ("command", "health", "why"),
    [
        (("sh", "-c", "echo cannot start; exit 3"), Health(kind="stays", stays_s=1), "it ended with status 3"),
        (
            ("sh", "-c", "sleep 0.3; echo gone; exit 0"),
            Health(kind="stays", stays_s=3),
            "it ended and was started again",
        ),
        (("no-such-program",), Health(kind="stays", stays_s=1), "executable file not found"),
        ((), Health(kind="command", command=("sleep", "60"), timeout_s=1), "not healthy within 1 s (command)"),
        ((), Health(kind="http", url="http://127.0.0.1:1/", timeout_s=1), "not healthy within"),
    ],
    ids=["exits", "crash-loops", "cannot-start", "hangs", "no-answer"],
)
def test_a_bad_release_is_rolled_back(site: Site, command: tuple[str, ...], health: Health, why: str) -> None:
    good = site.release()
    assert site.switch(good).ok
    bad = site.release(*command, health=health)
    outcome = site.switch(bad)
    assert outcome.ending == "rolled-back"
    assert why in outcome.why
    site.check_tidy(running=good.id, previous=None)
    if "echo" in str(command):
        assert outcome.log[0] in ("cannot start", "gone")
        assert outcome.log[0] in (site.app_dir() / "failed").read_text()
    assert site.history()[-1]["outcome"] == "rolled-back"


@pytest.mark.parametrize("restart", ["no", "on-failure:3"])
def test_a_program_that_need_not_run_on_may_end_well(site: Site, restart: str) -> None:
    for status, ending in ((0, "ok"), (4, "rolled-back")):
        release = site.release(
            "sh", "-c", f"sleep 0.2; exit {status}", health=Health(kind="stays", stays_s=5), restart=restart
        )
        outcome = site.switch(release)
        assert outcome.ending == ending, outcome
        assert site.inspect("demo", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"


def test_the_image_s_own_health_check_counts(site: Site) -> None:
    good, sick = (
        site.release(
            health=Health(kind="image", timeout_s=15),
            options=("--health-cmd", check, "--health-interval", "100ms", "--health-retries", "2"),
        )
        for check in ("true", "false")
    )
    assert site.switch(good).ok
    outcome = site.switch(sick)
    assert (outcome.ending, outcome.why) == ("rolled-back", "its health check says unhealthy")
    site.check_tidy(running=good.id, previous=None)


@pytest.mark.parametrize("client", ["curl", "python3", "bash"])
def test_health_by_http(site: Site, client: str) -> None:
    for name in ("curl", "wget", "python3"):
        if name != client:  # one that the shell finds, but that is not there
            site.hide(name)
    serve = "mkdir -p /w; echo ok >/w/up; exec httpd -f -p 127.0.0.1:18437 -h /w"
    health = Health(kind="http", url="http://127.0.0.1:18437/up", timeout_s=15)
    release = site.release("sh", "-c", serve, health=health, options=("--network", "host"))
    assert site.switch(release).ok
    missing = Health(kind="http", url="http://127.0.0.1:18437/none", timeout_s=1)
    assert (
        site.switch(site.release("sh", "-c", serve, health=missing, options=("--network", "host"))).ending
        == "rolled-back"
    )


def test_blue_green_has_no_downtime(site: Site) -> None:
    first, second = site.release(), site.release(is_blue_green=True)
    assert site.switch(first).ok
    outcome = site.switch(second)
    assert (outcome.ending, outcome.downtime_s) == ("ok", 0.0)
    site.check_tidy(running=second.id, previous=first.id)
    started = site.inspect("demo", "{{.State.StartedAt}}")
    bad = site.release("false", is_blue_green=True, health=Health(kind="stays", stays_s=1))
    outcome = site.switch(bad)
    assert (outcome.ending, outcome.downtime_s) == ("rolled-back", 0.0)
    site.check_tidy(running=second.id, previous=first.id)
    assert site.inspect("demo", "{{.State.StartedAt}}") == started  # it never stopped


KILLED = [
    ("create", True, "rolled-back"),
    ("create", False, "rolled-back"),
    ("rename", False, "rolled-back"),
    ("update", False, "rolled-back"),
    ("stop", True, "rolled-back"),
    ("stop", False, "rolled-back"),
    ("start", True, "rolled-back"),
    ("start", False, "ok"),
    ("exec", True, "ok"),
    ("tag", True, "ok"),
]


@pytest.mark.parametrize(
    ("words", "first", "ending"),
    KILLED,
    ids=[f"{'before' if first else 'after'}-{words}" for words, first, _ in KILLED],
)
def test_a_killed_switch_is_recovered(site: Site, words: str, first: bool, ending: str) -> None:
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    site.trap(words, site.kill, first=first)
    outcome = site.switch(new)
    assert outcome.ending == ending, outcome
    site.check_tidy(running=new.id if ending == "ok" else old.id, previous=old.id if ending == "ok" else None)
    assert [entry["outcome"] for entry in site.history()] == ["ok", ending]


@pytest.mark.parametrize(("words", "ending"), [("rename", "rolled-back"), ("stop", "rolled-back"), ("start", "ok")])
def test_a_killed_rollback_is_recovered(site: Site, words: str, ending: str) -> None:
    first, second = site.release(), site.release()
    assert site.switch(first).ok
    assert site.switch(second).ok
    site.trap(words, site.kill)
    outcome = site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}"))
    assert outcome.ending == ending, outcome
    running, previous = (first, second) if ending == "ok" else (second, first)
    site.check_tidy(running=running.id, previous=previous.id)


def test_a_recovery_that_is_killed_is_recovered_too(site: Site) -> None:
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    site.trap("stop", site.kill)
    request = make_request("switch", "demo", release=new)
    thread = threading.Thread(target=lambda: carry_out(site.link, request, patience_s=60))
    thread.start()
    await_true(lambda: not (site.wrapper.parent / "trap").exists())
    site.trap("start", site.kill, first=True)  # of the old release, by the recovery
    thread.join()
    unfinished = probe_state(site.link).apps["demo"].unfinished
    assert unfinished is not None
    assert (unfinished.op, unfinished.step) == (request.op, "undo")
    assert site.do("recover").recovered == "rolled-back"
    site.check_tidy(running=old.id, previous=None)


def test_the_link_may_go_down_meanwhile(site: Site) -> None:
    old = site.release()
    new = site.release(health=Health(kind="stays", stays_s=2, timeout_s=20))
    assert site.switch(old).ok
    ended: list[Outcome] = []
    troubles: list[object] = []
    request = make_request("switch", "demo", release=new)
    thread = threading.Thread(
        target=lambda: ended.append(carry_out(site.link, request, on_trouble=troubles.append, patience_s=60))
    )
    thread.start()
    await_true(lambda: journal_step(site) == "gate")
    for child in subprocess.run(["pgrep", "-P", str(site.host.pid)], capture_output=True, text=True).stdout.split():
        os.kill(int(child), signal.SIGKILL)
    thread.join()
    assert troubles
    assert ended[0].ok, ended
    site.check_tidy(running=new.id, previous=old.id)
    assert carry_out(site.link, request, patience_s=60).ok  # sent again, it is not done again
    assert len(site.history()) == 2


def test_the_second_at_once_is_refused_with_who_and_when(site: Site) -> None:
    slow = site.release(health=Health(kind="stays", stays_s=3, timeout_s=20))
    ended: list[Outcome] = []
    request = make_request("switch", "demo", release=slow)
    thread = threading.Thread(target=lambda: ended.append(carry_out(site.link, request, patience_s=60)))
    thread.start()
    await_true(lambda: journal_step(site) == "gate")
    holder = probe_state(site.link).apps["demo"].holder
    assert holder is not None
    assert (holder.who, holder.when, holder.kind) == (request.who, request.when, "switch")
    outcome = site.switch(site.release())
    assert (outcome.ending, outcome.fault) == ("busy", f"{request.who} has been at it since {request.when} (switch)")
    thread.join()
    assert ended[0].ok
    site.check_tidy(running=slow.id, previous=None)


def test_without_flock_timeout_and_with_a_clock_years_off(site: Site) -> None:
    for name in ("flock", "timeout", "setsid"):
        site.hide(name)
    site.shim("date", "echo Thu Jan  1 00:00:00 UTC 1970")
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    (site.app_dir() / "lock.by").symlink_to("4194304.17.boot")  # of one that was killed before it said who it was
    site.trap("start", site.kill)
    assert site.switch(new).ok
    site.check_tidy(running=new.id, previous=old.id)
    assert str(site.history()[-1]["when"]).startswith("20")


def test_an_image_that_went_away_changes_nothing(site: Site) -> None:
    old = site.release()
    assert site.switch(old).ok
    gone = site.release(image_id="sha256:" + "0" * 64)
    outcome = site.switch(gone)
    assert (outcome.ending, outcome.step, outcome.downtime_s) == ("rolled-back", "create", None)
    assert "No such image" in outcome.why
    site.check_tidy(running=old.id, previous=None)


def test_an_old_release_that_does_not_start_again_blocks_nothing(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    old = site.release(options=("--mount", f"type=bind,source={place},target=/mounted"))
    assert site.switch(old).ok
    place.rmdir()
    outcome = site.switch(site.release("false", health=Health(kind="stays", stays_s=1)))
    assert outcome.ending == "failed"
    assert "the old release does not run either" in outcome.why
    new = site.release()
    assert site.switch(new).ok
    site.check_tidy(running=new.id, previous=old.id)


def test_a_container_of_somebody_else_is_left_alone(site: Site) -> None:
    site.engine.docker("run", "-d", "--network", "none", "--name", "demo", "--rm", "site/base", *SERVE)
    outcome = site.switch(site.release())
    assert (outcome.ending, outcome.step) == ("failed", "begin")
    assert "jetsonx did not make" in outcome.why
    assert site.inspect("demo", "{{.State.Status}}") == "running"


def test_secrets_are_seen_in_the_container_alone_and_values_stay_values(site: Site, jetsonx: Run) -> None:
    secret = b"s3cr3t-\x00\xff\n'$(touch /tmp/owned)"
    hostile = 'a\'b "c" $(touch owned) `touch owned`\n; touch owned #'
    release = site.release(
        secrets={"token": secret},
        options=("--env", f"HOSTILE={hostile}", "--user", "1000:1000"),
        labels={"note": hostile},
        health=Health(kind="command", command=("sh", "-c", '[ "$HOSTILE" = "$0" ]', hostile), timeout_s=5),
    )
    assert site.switch(release).ok
    assert json.loads(site.inspect("demo", "{{json .Config.Labels}}"))["note"] == hostile
    read = subprocess.run(
        ["docker", "exec", "demo", "cat", "/run/secrets/token"],
        env={**os.environ, **site.engine.env},
        capture_output=True,
        check=True,
    )
    assert read.stdout == secret  # by a user who is not root
    words = (
        site.inspect("demo", "{{json .}}")
        + site.engine.docker("logs", "demo").out
        + (site.app_dir() / "history.jsonl").read_text()
    )
    assert "s3cr3t" not in words
    assert "czNjcjN0" not in words  # the same in base 64
    holders = [path for path in site.state.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert [path.name for path in holders] == ["token"]
    assert holders[0].parent.stat().st_mode & 0o777 == 0o700
    assert not list(site.home.rglob("owned"))


def test_earlier_releases_are_kept_and_pruned_by_number(site: Site) -> None:
    releases = [site.release(keep=2) for _ in range(4)]
    for release in releases:
        assert site.switch(release).ok
    ids = [release.id for release in releases]
    assert {release for release, _ in site.containers().values()} == set(ids[1:])
    tags = site.engine.docker("image", "ls", "--format", "{{.Tag}}", "jetsonx/demo").out.split()
    assert ids[0] not in tags
    assert set(ids[1:]) <= set(tags)


def test_the_commands(site: Site, jetsonx: Run, tmp_path: Path) -> None:
    def run(*words: object, status: int = 0) -> str:
        ran = jetsonx(*words, env=site.env, cwd=tmp_path)
        assert ran.status == status, ran.out + ran.err
        return ran.out if status == 0 else ran.err

    assert "no app that jetsonx deployed" in run("status", "jetson", status=2)
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    assert "has no earlier release" in run("rollback", "jetson", status=6)
    assert site.switch(new).ok
    assert f"back to {old.id}" in run("rollback", "jetson")
    found = json.loads(run("status", "jetson", "--json"))
    assert (found["app"], found["current"]["release"], found["previous"]["release"]) == ("demo", old.id, new.id)
    assert found["current"]["since"] == site.history()[-1]["when"]
    text = run("status", "jetson", "--app", "demo")
    assert "running" in text
    assert "up" in run("logs", "jetson")
    assert "up" in run("logs", "jetson", "--previous", "--tail", "5")
    assert "no release of demo failed" in run("logs", "jetson", "--failed", status=2)
    operations = json.loads(run("history", "jetson", "--json"))["operations"]
    assert [(each["kind"], each["known"]) for each in operations] == [
        ("switch", "device"),
        ("switch", "device"),
        ("rollback", "both"),
    ]
    assert "only on the device" in run("history", "jetson")
    assert run("shell", "jetson", "--", "echo", "a b") == "a b\n"
    site.switch(site.release("sh", "-c", "echo last words; exit 1", health=Health(kind="stays", stays_s=1)))
    assert "last words" in run("logs", "jetson", "--failed")
    site.engine.docker("create", "--name", "left", "--label", "dev.jetsonx.tmp=1", "site/base", "true")
    assert run("device", "prune", "jetson", "--dry-run") == "would remove container left\n"
    assert run("device", "prune", "jetson") == "removed container left\n"
    assert run("device", "prune", "jetson") == "there is nothing to remove\n"
    assert "stopped demo on jetson" in run("stop", "jetson")
    assert "exited" in run("status", "jetson")
    assert "does not run" in run("shell", "jetson", status=2)
