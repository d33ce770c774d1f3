"""Switches between releases on a device: a real sshd and a real engine, whose containers end, hang and crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.deploy.values import Health
from tests.integration.conftest import Need
from tests.integration.deploy_site import Site, serve_deploy_site
from tests.integration.docker_engine import Engine
from tests.integration.sshd import find_sshd


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


def test_releases_are_switched_and_rolled_back_to(site: Site) -> None:
    first, second = site.release(), site.release()
    outcome = site.switch(first)
    assert (outcome.ending, outcome.downtime_s) == ("ok", None), outcome
    site.check_tidy(running=first.id, previous=None)
    outcome = site.switch(second)
    print(outcome)
    assert outcome.ok, outcome
    assert outcome.downtime_s is not None
    assert outcome.downtime_s <= 1
    site.check_tidy(running=second.id, previous=first.id)
    for running, previous in ((first, second), (second, first)):
        outcome = site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}"))
        print(outcome)
        assert outcome.ok, outcome
        site.check_tidy(running=running.id, previous=previous.id)


@pytest.mark.parametrize(
    ("command", "health", "why"),
    [
        (("sh", "-c", "echo cannot start; exit 3"), Health(kind="stays", stays_s=1), "it ended with status 3"),
        (("sh", "-c", "sleep 0.3; echo gone; exit 0"), Health(kind="stays", stays_s=2), "it ended with status 0"),
        (("no-such-program",), Health(kind="stays", stays_s=1), "no-such-program"),
        ((), Health(kind="command", command=("false",), timeout_s=2), "not healthy within"),
        ((), Health(kind="command", command=("sleep", "60"), timeout_s=2), "not healthy within"),
        ((), Health(kind="http", url="http://127.0.0.1:1/", timeout_s=2), "not healthy within"),
    ],
)
def test_a_bad_release_is_rolled_back(site: Site, command: tuple[str, ...], health: Health, why: str) -> None:
    good = site.release()
    assert site.switch(good).ok
    bad = site.release(*command, health=health)
    outcome = site.switch(bad)
    print(outcome)
    assert outcome.ending == "rolled-back"
    assert why in outcome.why
    site.check_tidy(running=good.id, previous=None)
