"""One connection to a device, over a real sshd."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.device.link import Link, open_link
from jetsonx.device.probe import probe_device
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import Address, HostKeyError, UnreachableError, parse_address
from jetsonx.runner import Runner
from tests.integration.conftest import Need
from tests.integration.sshd import SshHost, find_sshd, serve_ssh

HOLD = """
import sys, time
from jetsonx.device.link import open_link
from jetsonx.rootfs.ssh import Address
from jetsonx.runner import Runner
with open_link(Address(host="jetson"), runner=Runner(), environ={"JETSONX_SSH_CONFIG": sys.argv[1]}) as link:
    print(link.run(["sh", "-c", "echo $PPID"]).stdout, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def host(need: Need, tmp_path: Path) -> Iterator[SshHost]:
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    with serve_ssh(tmp_path / "ssh") as served:
        yield served


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    host: SshHost

    @property
    def environ(self) -> dict[str, str]:
        return {"JETSONX_SSH_CONFIG": str(self.host.config)}

    def logins(self) -> int:
        return self.host.log.read_text().count("Accepted publickey")


@pytest.fixture
def way(host: SshHost) -> Way:
    return Way(host=host)


@pytest.fixture
def link(way: Way) -> Iterator[Link]:
    with open_link(Address(host="jetson"), runner=Runner(), environ=way.environ) as opened:
        yield opened


def test_everything_goes_over_one_login(link: Link, way: Way) -> None:
    assert way.logins() == 0
    assert link.run(["echo", "a b", "$HOME", "'"]).stdout == "a b $HOME '\n"
    assert link.run(["cat"], stdin=b"x" * 100_000).stdout == "x" * 100_000 + "\n"
    assert link.run(["sh", "-c", "exit 3"]).status == 3
    with link.session(["cat"]) as session:
        session.stdin.write(b"ping\n")
        assert session.stdout.readline() == b"ping\n"
        assert session.end().ok
    answer = probe_device(link.address, runner=Runner(), environ=way.environ, options=link.options())
    assert answer.device.machine == os.uname().machine
    assert way.logins() == 1


def test_a_session_that_is_left_ends_on_the_device_too(link: Link) -> None:
    with link.session(["sh", "-c", "echo $$; cat"]) as session:
        pid = int(session.stdout.readline())
    assert gone(pid)


def test_more_sessions_than_sshd_allows_wait_for_each_other(link: Link, way: Way) -> None:
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(link.run(["sleep", "0.1"]).status)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0] * 12
    assert way.logins() == 1


def test_a_master_that_died_is_opened_anew(link: Link, way: Way) -> None:
    connection = int(link.run(["sh", "-c", "echo $PPID"]).stdout)
    os.kill(connection, signal.SIGKILL)
    assert gone(connection)
    time.sleep(0.2)
    assert link.run(["true"]).ok
    assert link.run(["true"]).ok
    assert way.logins() == 2


def test_a_broken_link_is_said_in_the_session(link: Link) -> None:
    connection = int(link.run(["sh", "-c", "echo $PPID"]).stdout)
    with link.session(["cat"]) as session:
        session.stdin.write(b"ping\n")
        assert session.stdout.readline() == b"ping\n"
        os.kill(connection, signal.SIGKILL)
        assert session.stdout.read(10) == b""
        with pytest.raises(UnreachableError):
            link.check(session.end())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_whoever_ends_the_client(signum: int, way: Way) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, way.host.config], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        connection = int(client.stdout.readline())
        assert not gone(connection, within_s=0)
        client.send_signal(signum)
    assert gone(connection)


def test_without_a_place_for_sockets_it_connects_each_time(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetsonx.device.link._private_folder", lambda environ: Path("/proc/self"))
    with open_link(Address(host="jetson"), runner=Runner(), environ=way.environ) as link:
        assert link.run(["echo", "1"]).stdout == "1\n"
        assert link.run(["echo", "2"]).stdout == "2\n"


def test_the_directory_is_private_and_goes_with_the_link(way: Way, tmp_path: Path) -> None:
    environ = {**way.environ, "XDG_RUNTIME_DIR": "/dev/shm"}
    before = set(Path("/dev/shm").glob("jetsonx-*"))
    with open_link(Address(host="jetson"), runner=Runner(), environ=environ) as link:
        link.run(["true"])
        (folder,) = set(Path("/dev/shm").glob("jetsonx-*")) - before
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_what_the_user_s_configuration_says_of_masters_does_no_harm(way: Way, tmp_path: Path) -> None:
    mux = f"Host *\n  ControlMaster auto\n  ControlPersist yes\n  ControlPath {tmp_path}/theirs\n"
    way.host.config.write_text(mux + way.host.config.read_text())
    with open_link(Address(host="jetson"), runner=Runner(), environ=way.environ) as link:
        connection = int(link.run(["sh", "-c", "echo $PPID"]).stdout)
        assert link.run(["true"]).ok
        assert way.logins() == 1
    assert gone(connection)
    assert not (tmp_path / "theirs").exists()


def test_jump_hosts_and_urls_are_ssh_s_own(way: Way) -> None:
    config = way.host.config.read_text()
    more = config.replace("Host jetson", "Host far") + "  ProxyJump jetson\n"
    way.host.config.write_text(f"{config}{more}Host 127.0.0.1\n  IdentityFile {way.host.user_key}\n")
    way.host.config.write_text(
        way.host.config.read_text() + f"  UserKnownHostsFile {way.host.known_hosts}\n  IdentityAgent none\n"
    )
    for host in ("far", f"ssh://127.0.0.1:{way.host.port}"):
        with open_link(parse_address(host), runner=Runner(), environ=way.environ) as link:
            assert link.run(["echo", "there"]).stdout == "there\n"


def test_odd_names_get_through_unharmed(way: Way, tmp_path: Path) -> None:
    name = "größe+1.x@y%h~"
    way.host.config.write_text(way.host.config.read_text().replace("Host jetson", f'Host "{name.rpartition("@")[2]}"'))
    user = f"{getpass.getuser()}@{name.rpartition('@')[2]}"
    with open_link(parse_address(user), runner=Runner(), environ=way.environ) as link:
        words = ["printf", "%s|", "$(touch ran)", "`touch ran`", "a\nb", "", "!!", "~", "*", "\\", "größe"]
        assert link.run(words).stdout == "|".join([*words[2:], ""]) + "\n"
    assert not Path("ran").exists()


def test_why_there_is_no_link_is_said_as_ever(way: Way) -> None:
    def failure() -> DeviceError:
        with (
            open_link(Address(host="jetson"), runner=Runner(), environ=way.environ) as link,
            pytest.raises(DeviceError) as caught,
        ):
            link.run(["true"])
        return caught.value

    config, known = way.host.config.read_text(), way.host.known_hosts.read_text()
    way.host.config.write_text(config.replace(str(way.host.user_key), "/dev/null"))
    assert "ssh-copy-id jetson" in (failure().hint or "")
    way.host.config.write_text(config)
    way.host.known_hosts.write_text("")
    assert isinstance(failure(), HostKeyError)
    other = way.host.user_key.with_name("user_key.pub").read_text().split()[1]
    way.host.known_hosts.write_text(" ".join([known.split()[0], "ssh-ed25519", other]) + "\n")
    assert "ssh-keygen" in (failure().hint or "")
    way.host.known_hosts.write_text(known)
    way.host.config.write_text(config.replace(f"Port {way.host.port}", "Port 1"))
    assert isinstance(failure(), UnreachableError)


def gone(pid: int, within_s: float = 10) -> bool:
    until = time.monotonic() + within_s
    while Path(f"/proc/{pid}/stat").exists():
        if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]:
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)
    return True
