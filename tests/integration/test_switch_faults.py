"""dockerd is killed in the middle of a switch, and comes back or does not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jetsonx.deploy.control import carry_out, make_request
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.values import Health
from tests.integration.conftest import Need
from tests.integration.deploy_site import Site, await_true, serve_deploy_site
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.sshd import find_sshd


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
    ],
    ids=lambda value: {True: "before", False: "after"}.get(value, value),
)
def test_a_switch_waits_for_dockerd(site: Site, daemon: Daemon, words: str, first: bool) -> None:
    old, new = site.release(), site.release(health=Health(kind="command", command=("true",), timeout_s=20))
    assert site.switch(old).ok
    site.trap(words, daemon.kill, first=first)
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(site.switch(new)))
    thread.start()
    await_true(daemon.killed.exists)
    daemon.start()
    thread.join()
    assert ended[0].ok, ended
    site.check_tidy(running=new.id, previous=old.id)


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
