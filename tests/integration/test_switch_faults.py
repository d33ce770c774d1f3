"""dockerd is killed in the middle of a switch, or all of the device by a power cut, and comes back or does not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jetsonx.deploy.control import carry_out, make_request
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.values import Health, Release
from tests.integration.conftest import Need
from tests.integration.deploy_site import Site, await_true, serve_deploy_site
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.sshd import find_sshd

GOOD = Health(kind="command", command=("true",), timeout_s=20)
BAD = Health(kind="command", command=("false",), timeout_s=1)


def at(value: object) -> str | None:
    """Names of cases: whether it is before or after what docker is asked for."""
    return ("after", "before")[value] if isinstance(value, bool) else None


@dataclass(kw_only=True)
class Daemon:
    """The engine's dockerd, which may be killed and started again."""

    engine: Engine
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kill(self) -> str:
        """For a trap."""
        return f"kill -9 $(cat {self.engine.folder}/docker.pid); touch {self.killed}"

    @property
    def killed(self) -> Path:
        return self.engine.folder / "killed"

    def kill_containers(self) -> None:
        """Nothing that ran is there any more when it comes back."""
        for place in self.engine.folder.glob("containerd-state/io.containerd.runtime.v2.task/moby/*/init.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(place.read_text()), signal.SIGKILL)

    def start(self) -> None:
        self.killed.unlink()
        (self.engine.folder / "docker.pid").unlink()  # its process is a child of ours still, and would seem to live
        argv = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--config-file", str(self.engine.folder / "daemon.json")]
        env = {**os.environ, "PATH": f"{self.engine.env['PATH']}:/usr/sbin:/sbin"}
        with (self.engine.folder / "dockerd.log").open("ab") as sink:
            self.started.append(subprocess.Popen(argv, env=env, stdout=sink, stderr=sink, start_new_session=True))
        await_true(lambda: self.engine.docker("version", check=False).status == 0, limit_s=60)

    def end(self) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def daemon(root_rights: None) -> Iterator[Daemon]:
    with serve_engine("26.1") as engine:
        daemon = Daemon(engine=engine)
        try:
            yield daemon
        finally:
            daemon.end()


@pytest.fixture(scope="module")
def device(need: Need, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_deploy_site(tmp_path_factory.mktemp("device"), daemon.engine, need("busybox")) as site:
        yield site


@pytest.fixture
def site(device: Site) -> Iterator[Site]:
    device.clear()
    yield device
    device.clear()


def switched_twice(site: Site, *, is_modified: bool) -> tuple[Release, Release, str]:
    """Two releases, the second of which runs, and the container of the first, with files put into it by choice."""
    one, two = site.release(health=GOOD), site.release()
    assert site.switch(one).ok
    assert site.switch(two).ok
    there = site.inspect("demo.prev", "{{.Id}}")
    if is_modified:
        site.modify(there)
    return one, two, there


def interrupt(
    daemon: Daemon, operation: Callable[[], Outcome], meanwhile: Callable[[], None] = lambda: None
) -> Outcome:
    """How ``operation`` ends, in which dockerd is killed; it is started again after ``meanwhile``."""
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(operation()))
    thread.start()
    await_true(daemon.killed.exists)
    meanwhile()
    daemon.start()
    thread.join()
    return ended[0]


def cut_power(site: Site, daemon: Daemon, operation: Callable[[], Outcome], words: str, *, first: bool) -> Outcome:
    """The script, dockerd and all containers are gone at once, and the device has another boot's ID from then on."""
    booted = daemon.killed.with_name("booted")
    booted.unlink(missing_ok=True)
    is_asked = f'[ "$1" = /proc/sys/kernel/random/boot_id ] && [ -e {booted} ]'
    site.shim("cat", f'if {is_asked}; then echo second; else exec /bin/cat "$@"; fi')
    site.trap(words, f"touch {booted}; {daemon.kill}; {site.kill}", first=first)
    return interrupt(daemon, operation, daemon.kill_containers)


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("create", True),
        ("rename", False),
        ("update", False),
        ("stop", True),
        ("start", True),
        ("start", False),
        ("exec", True),
        ("tag", True),
    ],
    ids=at,
)
def test_a_switch_waits_for_dockerd(site: Site, daemon: Daemon, words: str, first: bool) -> None:
    old, new = site.release(), site.release(health=GOOD)
    assert site.switch(old).ok
    site.trap(words, daemon.kill, first=first)
    outcome = interrupt(daemon, lambda: site.switch(new))
    assert outcome.ok, outcome
    site.check_tidy(running=new.id, previous=old.id)


@pytest.mark.parametrize(("words", "first"), [("rm", False), ("start OLD", True), ("rename OLD", True)], ids=at)
def test_going_back_waits_for_dockerd(site: Site, daemon: Daemon, words: str, first: bool) -> None:
    old, new = site.release(), site.release(health=BAD)
    assert site.switch(old).ok
    there = site.inspect("demo", "{{.Id}}")
    words = {"rename OLD": f"rename {there} demo"}.get(words, words.replace("OLD", there))
    site.trap(words, daemon.kill, first=first)
    outcome = interrupt(daemon, lambda: site.switch(new))
    assert outcome.ending == "rolled-back", outcome
    site.check_tidy(running=old.id, previous=None)


@pytest.mark.parametrize(
    ("words", "first"),
    [("create", False), ("stop", False), ("exec", True), ("tag", True)],
    ids=at,
)
def test_a_rollback_waits_for_dockerd(site: Site, daemon: Daemon, words: str, first: bool) -> None:
    one, two, there = switched_twice(site, is_modified=words == "create")
    site.trap(words, daemon.kill, first=first)
    outcome = interrupt(daemon, lambda: site.do("rollback", expected=there))
    assert outcome.ok, outcome
    site.check_tidy(running=one.id, previous=two.id)


@pytest.mark.parametrize(("words", "first"), [("rename", False), ("stop", False)], ids=at)
def test_blue_green_waits_for_dockerd(site: Site, daemon: Daemon, words: str, first: bool) -> None:
    old, new = site.release(), site.release(health=GOOD, is_blue_green=True)
    assert site.switch(old).ok
    site.trap(words, daemon.kill, first=first)
    outcome = interrupt(daemon, lambda: site.switch(new))
    assert outcome.ok, outcome
    site.check_tidy(running=new.id, previous=old.id)


def test_what_an_engine_that_is_away_may_have_in_use_is_not_pruned(site: Site, daemon: Daemon) -> None:
    old, new = site.release(secrets={"token": b"x"}), site.release(secrets={"token": b"y"})
    assert site.switch(old).ok
    assert site.switch(new).ok
    site.shim("docker", f'case $* in *"--format {{{{.Label"*directory*) {daemon.kill} ;; esac\nexec {site.docker} "$@"')
    outcome = interrupt(daemon, lambda: site.do("prune"))
    assert outcome.ok, outcome
    assert len(list(site.app_dir().glob("releases/*/secrets/token"))) == 2


@pytest.mark.parametrize(
    ("words", "first", "ending"),
    [
        ("create", False, "rolled-back"),
        ("rename", False, "rolled-back"),
        ("stop", False, "rolled-back"),
        ("start", False, "ok"),
        ("tag", True, "ok"),
    ],
    ids=at,
)
def test_a_power_cut_in_a_switch_is_recovered(site: Site, daemon: Daemon, words: str, first: bool, ending: str) -> None:
    old, new = site.release(), site.release(health=GOOD)
    assert site.switch(old).ok
    outcome = cut_power(site, daemon, lambda: site.switch(new), words, first=first)
    assert outcome.ending == ending, outcome
    assert outcome.downtime_s is None
    site.check_tidy(running=new.id if ending == "ok" else old.id, previous=old.id if ending == "ok" else None)
    assert [entry["outcome"] for entry in site.history()] == ["ok", ending]


def test_a_power_cut_while_going_back_is_recovered(site: Site, daemon: Daemon) -> None:
    old, new = site.release(), site.release(health=BAD)
    assert site.switch(old).ok
    outcome = cut_power(site, daemon, lambda: site.switch(new), "rm", first=False)
    assert (outcome.ending, outcome.why) == ("rolled-back", "not healthy within 1 s (command)")
    site.check_tidy(running=old.id, previous=None)


@pytest.mark.parametrize(
    ("words", "first", "ending"),
    [
        ("create", False, "rolled-back"),
        ("start", False, "rolled-back"),
        ("tag", True, "ok"),
    ],
    ids=at,
)
def test_a_power_cut_in_a_rollback_is_recovered(
    site: Site, daemon: Daemon, words: str, first: bool, ending: str
) -> None:
    one, two, there = switched_twice(site, is_modified=words == "create")
    outcome = cut_power(site, daemon, lambda: site.do("rollback", expected=there), words, first=first)
    assert outcome.ending == ending, outcome
    running, previous = (one, two) if ending == "ok" else (two, one)
    if words == "create":  # it was never started
        site.engine.docker("start", "demo.prev")
        site.engine.docker("stop", "demo.prev")
    site.check_tidy(running=running.id, previous=previous.id, also="contents")


def test_what_dockerd_did_not_come_back_for_waits_in_the_journal(site: Site, daemon: Daemon) -> None:
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    site.trap("stop", daemon.kill)
    site.shim("sleep", "[ $1 = 1 ] || exec /bin/sleep $1")  # a minute passes at once
    outcome = carry_out(site.link, make_request("switch", "demo", release=new), patience_s=60)
    assert (outcome.ending, outcome.step) == ("unfinished", "start")
    daemon.start()
    site.shim("sleep", 'exec /bin/sleep "$@"')
    assert site.do("recover").recovered == "rolled-back"
    site.check_tidy(running=old.id, previous=None)
