"""The cable of a device is pulled at every step of a switch and of a rollback, and comes back when that is over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from jetsonx.deploy.ask import probe_state
from jetsonx.deploy.control import carry_out, make_request
from jetsonx.deploy.history import append_history, history_file, merge_histories, read_history
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.request import Request
from jetsonx.deploy.values import Health
from tests.integration.conftest import CLI, Need, Run
from tests.integration.deploy_site import Site, await_true, serve_deploy_site
from tests.integration.device_net import NetDevice, serve_device
from tests.integration.docker_engine import Engine
from tests.integration.sshd import SshHost, find_sshd

GOOD = Health(kind="command", command=("true",), timeout_s=15)
BAD = Health(kind="command", command=("false",), timeout_s=1)


class Cabled:
    """A site at the other end of a cable."""

    def __init__(self, site: Site, net: NetDevice) -> None:
        self.site = site
        self.net = net

    def cut_at(self, words: str, *, first: bool) -> None:
        """The cable is out as soon as docker is called with ``words``, or has done what they ask."""
        self.site.trap(words, f"ip link set {self.net.far} down; touch {self._cut}", first=first)

    @property
    def _cut(self) -> Path:
        return self.site.wrapper.parent / "cut"

    def await_cut(self) -> None:
        await_true(self._cut.exists)
        self._cut.unlink()

    def restore(self) -> None:
        """Put it back. The device gave the sessions up meanwhile, as it does after some minutes."""
        sshd = str(self.site.host.pid)
        for child in subprocess.run(["pgrep", "-P", sshd], capture_output=True, text=True).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.net.link_up()


@pytest.fixture(scope="module")
def device(need: Need, engine_26: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cabled]:
    for program in ("ssh", "ip", "pgrep"):
        need(program)
    if find_sshd() is None:
        need("sshd")
    nets: list[NetDevice] = []

    @contextlib.contextmanager
    def serve(tmp: Path, *, environ: Mapping[str, str]) -> Iterator[SshHost]:
        with serve_device(tmp, environ=environ) as net:
            nets.append(net)
            yield net.host

    with serve_deploy_site(tmp_path_factory.mktemp("device"), engine_26, need("busybox"), serve=serve) as site:
        yield Cabled(site, nets[0])


@pytest.fixture
def cabled(device: Cabled, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cabled]:
    monkeypatch.setattr("jetsonx.device.link._OPTIONS", ("BatchMode=yes", "ConnectTimeout=2", "ServerAliveInterval=2"))
    device.site.clear()
    yield device
    device.net.link_up()
    device.site.clear()


def known(site: Site) -> list[str]:
    """Where each operation is known, by the histories of the device and of this host."""
    here = read_history(history_file(site.link.address, "demo", site.env))
    return [where for _, where in merge_histories(probe_state(site.link).apps["demo"].history, here)]


def remember(site: Site, outcome: Outcome) -> None:
    append_history(history_file(site.link.address, "demo", site.env), outcome.history)


def forget(site: Site) -> None:
    history_file(site.link.address, "demo", site.env).unlink(missing_ok=True)


def carry_out_cut_off(cabled: Cabled, request: Request, check: Callable[[], None]) -> Outcome:
    """``check`` is called when it is over there and the cable is still out."""
    site = cabled.site
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.append(carry_out(site.link, request, patience_s=60)))
    thread.start()
    try:
        cabled.await_cut()
        await_true(lambda: site.has_ended(request.op), limit_s=60)
        assert not ended
        check()
    finally:
        cabled.restore()
        thread.join()
    return ended[0]


STEPS = [
    ("create", False, GOOD),
    ("rename", False, GOOD),
    ("update", False, GOOD),
    ("stop", False, GOOD),
    ("exec", True, GOOD),
    ("tag", False, GOOD),
    ("logs", False, BAD),
    ("rm", False, BAD),
]


@pytest.mark.parametrize(
    ("words", "first", "health"),
    STEPS,
    ids=[f"{'before' if first else 'after'}-{words}" for words, first, _ in STEPS],
)
def test_a_switch_ends_well_without_its_cable(cabled: Cabled, words: str, first: bool, health: Health) -> None:
    site = cabled.site
    forget(site)
    old, new = site.release(), site.release(health=health)
    remember(site, site.switch(old))
    cabled.cut_at(words, first=first)
    running, previous = (new.id, old.id) if health is GOOD else (old.id, None)
    request = make_request("switch", "demo", release=new)
    outcome = carry_out_cut_off(cabled, request, lambda: site.check_tidy(running=running, previous=previous))
    assert outcome.ending == ("ok" if health is GOOD else "rolled-back"), outcome
    assert ("up" in outcome.log) == (health is BAD)
    remember(site, outcome)
    assert known(site) == ["both", "both"]


@pytest.mark.parametrize("words", ["create", "rename", "stop", "exec", "tag"])
def test_a_rollback_ends_well_without_its_cable(cabled: Cabled, jetsonx: Run, tmp_path: Path, words: str) -> None:
    """Nor without its client, which is killed while the cable is out: the next command sees what became of it."""
    site = cabled.site
    forget(site)
    first, second = site.release(), site.release()
    for release in (first, second):
        remember(site, site.switch(release))
    if words == "create":  # what was put into its container since it was deployed is taken away again
        site.modify(site.inspect("demo.prev", "{{.Id}}"))
    cabled.cut_at(words, first=True)
    env = {**os.environ, **site.env}
    argv = [*CLI, "rollback", "jetson", "--app", "demo"]
    with subprocess.Popen(argv, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL) as client:
        try:
            cabled.await_cut()
            client.kill()
            await_true(lambda: not (site.app_dir() / "holder").exists(), limit_s=60)
            site.check_tidy(running=first.id, previous=second.id)
        finally:
            client.kill()
            cabled.restore()
    status = json.loads(jetsonx("status", "jetson", "--json", env=site.env, cwd=tmp_path).out)
    assert (status["current"]["release"], status["busy"], status["unfinished"]) == (first.id, None, None)
    assert known(site) == ["both", "both", "device"]
