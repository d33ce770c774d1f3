"""Jobs on a device, which is this machine."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jetsonx.deploy.job import look_at_job, start_job, watch_job
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import UnreachableError
from tests.integration.test_upload import NearLink

JOBS = ".local/state/jetsonx/jobs"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / 'it\'s a "$(touch ran)" home'
    home.mkdir()
    return home


@pytest.mark.parametrize("status", [0, 7])
def test_a_job_is_watched_to_its_end(home: Path, status: int) -> None:
    came: list[bytes] = []
    link = NearLink(home)
    start_job("load", ["sh", "-c", 'echo "$1"; sleep 0.5; seq 30000; exit "$2"', "sh", "a  'b", str(status)], link)
    look = watch_job("load", link, on_output=came.append)
    assert (look.state, look.status) == ("ended", status)
    assert b"".join(came) == b"a  'b\n" + b"".join(b"%d\n" % number for number in range(1, 30001))
    assert not Path("ran").exists()


def test_a_job_goes_on_while_nobody_looks(home: Path) -> None:
    start_job("load", ["sh", "-c", "echo one; sleep 1; echo two"], NearLink(home))
    pauses: list[float] = []
    came: list[bytes] = []
    look = watch_job("load", NearLink(home, [0]), on_output=came.append, sleep=pauses.append)
    assert (look.state, look.status, b"".join(came)) == ("ended", 0, b"one\ntwo\n")


def test_a_job_that_is_running_is_not_started_twice(home: Path, tmp_path: Path) -> None:
    link, sign = NearLink(home), tmp_path / "sign"
    words = ["sh", "-c", 'echo x >>"$0"; until [ -f "$0.go" ]; do sleep 0.05; done', str(sign)]
    start_job("load", words, link)
    start_job("load", words, link)
    wait_for(sign.exists)
    Path(f"{sign}.go").touch()
    assert watch_job("load", link).status == 0
    assert sign.read_text() == "x\n"
    start_job("load", words, link)
    assert watch_job("load", link).status == 0
    assert sign.read_text() == "x\nx\n"


def test_a_killed_job_is_lost(home: Path) -> None:
    link = NearLink(home)
    start_job("load", ["sleep", "60"], link)
    assert look_at_job("load", link).state == "running"
    pid = int((home / JOBS / "load/pid").read_text().split()[0])
    os.killpg(pid, signal.SIGKILL)
    assert watch_job("load", link).state == "lost"


def test_a_job_from_before_the_device_went_down_is_lost(home: Path) -> None:
    link = NearLink(home)
    start_job("load", ["sleep", "60"], link)
    place = home / JOBS / "load/pid"
    pid = int(place.read_text().split()[0])
    place.write_text(f"{pid} another-boot\n")
    try:
        assert look_at_job("load", link).state == "lost"
    finally:
        os.killpg(pid, signal.SIGKILL)


def test_where_there_is_no_job_that_is_said(home: Path) -> None:
    assert look_at_job("load", NearLink(home)).state == "none"


def test_a_link_that_stays_down_ends_the_watching(home: Path) -> None:
    link = NearLink(home)
    start_job("load", ["true"], link)

    class Down(NearLink):
        def check(self, done: object) -> None:
            raise UnreachableError("down")

    with pytest.raises(UnreachableError):
        watch_job("load", Down(home), attempts=3, sleep=lambda _: None)


def test_a_directory_that_cannot_be_made_is_said(home: Path) -> None:
    (home / ".local").write_text("a file")
    with pytest.raises(DeviceError, match="jobs start failed"):
        start_job("load", ["true"], NearLink(home))


def wait_for(ready: Callable[[], bool], within_s: float = 20) -> None:
    until = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)
