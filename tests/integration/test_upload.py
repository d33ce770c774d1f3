"""Uploads that are cut, killed, damaged and crowded. Most of it without ssh: a link whose device is this machine, and
which breaks after as many bytes as it is told."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.deploy import upload as upload_module
from jetsonx.deploy.helper import frames
from jetsonx.deploy.sending import STAGING, Parcel
from jetsonx.deploy.upload import Uploaded, upload
from jetsonx.device.link import Link, open_link
from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import Address, UnreachableError
from jetsonx.runner import Command, Runner
from tests.integration.conftest import Need
from tests.integration.device_net import NetDevice, serve_device
from tests.integration.small_disk import small_disk

SMALL = 1_500_000
# What the receiver in sh calls, and what calls it; a device without python3 has no more of it.
PROGRAMS = [
    "sh",
    "env",
    "cat",
    "mkdir",
    "mktemp",
    "sha256sum",
    "mv",
    "rm",
    "ls",
    "grep",
    "tail",
    "stat",
    "dirname",
    "df",
]
PROGRAMS += ["tr", "ln", "sleep", "head", "sync", "true", "echo"]
BOTH = pytest.mark.parametrize("has_python", [True, False], ids=["python", "sh"])
CLIENT = """
import sys
from pathlib import Path
from jetsonx.console import Console
from jetsonx.deploy.sending import Parcel
from jetsonx.deploy.upload import upload
from jetsonx.device.link import open_link
from jetsonx.rootfs.ssh import Address
from jetsonx.runner import Runner
config, path, sha256, size = sys.argv[1:]
with open_link(Address(host="jetson"), runner=Runner(), environ={"JETSONX_SSH_CONFIG": config}) as link:
    parcel = Parcel(path=Path(path), sha256=sha256, size=int(size))
    upload(parcel, link, console=Console(), bytes_per_s=400_000)
"""


class NearLink(Link):
    """The device is this machine, its home directory ``home``. Once the receiver is installed, what goes to it breaks
    off after as many bytes as each of ``cuts`` says, the last first.
    """

    def __init__(self, home: Path, cuts: Sequence[int] = (), path: str = "/usr/bin:/bin") -> None:
        super().__init__(Address(host="near"), runner=Runner(), environ={}, folder=None)
        self._home = home
        self._path = path
        self._cuts = list(cuts)

    def _command(self, words: Sequence[str]) -> Command:
        if self._cuts and any((self._home / ".cache/jetsonx").glob("*")):
            words = ("sh", "-c", 'stdbuf -o0 head -c "$0" | "$@"; exit 255', str(self._cuts.pop()), *words)
        return Command(argv=("env", "LC_ALL=C", *words), env={"HOME": str(self._home), "PATH": self._path})


def make_parcel(folder: Path, size: int, seed: int = 1) -> Parcel:
    data = random.Random(seed).randbytes(size)
    path = folder / f"bundle-{seed}"
    path.write_bytes(data)
    return Parcel(path=path, sha256=hashlib.sha256(data).hexdigest(), size=size)


def send(parcel: Parcel, link: Link, *, has_python: bool = True, bytes_per_s: float | None = None) -> Uploaded:
    console = Console(err=io.StringIO())
    return upload(
        parcel, link, console=console, has_python=has_python, bytes_per_s=bytes_per_s, sleep=lambda _: time.sleep(0.01)
    )


def check_arrived(parcel: Parcel, home: Path) -> None:
    """It is there, whole, and nothing else is."""
    staging = home / STAGING
    assert (staging / parcel.sha256).read_bytes() == parcel.path.read_bytes()
    assert [path.name for path in staging.iterdir()] == [parcel.sha256]
    assert not Path("ran").exists()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """No name that needs no quotes."""
    home = tmp_path / 'it\'s a "$(touch ran)" home'
    home.mkdir()
    return home


@pytest.fixture
def parcel(tmp_path: Path) -> Parcel:
    return make_parcel(tmp_path, SMALL)


def test_the_scripts_are_plain_sh(need: Need) -> None:
    scripts = [Path(upload_module.__file__).with_name(name) for name in ("receive.sh", "jobs.sh")]
    subprocess.run([need("shellcheck"), "--shell=sh", *scripts], check=True)


@BOTH
def test_links_cut_at_fifty_offsets_lose_nothing(parcel: Parcel, home: Path, has_python: bool) -> None:
    chance = random.Random(7)
    cuts = [chance.randrange(1, 150_000 if has_python else 50_000) for _ in range(50 if has_python else 15)]
    link = NearLink(home, [*cuts, 0, 1])
    done = send(parcel, link, has_python=has_python)
    check_arrived(parcel, home)
    assert done.breaks >= 10
    assert done.kept_bytes == 0


@BOTH
def test_what_is_there_is_not_sent_again(parcel: Parcel, home: Path, has_python: bool) -> None:
    link = NearLink(home)
    assert send(parcel, link, has_python=has_python).sent_bytes >= SMALL
    assert send(parcel, link, has_python=has_python).sent_bytes == 0
    check_arrived(parcel, home)


@BOTH
def test_an_empty_file_is_a_file(tmp_path: Path, home: Path, has_python: bool) -> None:
    parcel = make_parcel(tmp_path, 0)
    send(parcel, NearLink(home), has_python=has_python)
    check_arrived(parcel, home)


def test_a_damaged_frame_is_refused_and_sent_again(parcel: Parcel, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    real = frames.pack_frame

    def damage(offset: int, data: bytes) -> bytes:
        frame = bytearray(real(offset, data))
        packed.append(offset)
        if len(packed) in (2, 9):
            frame[-1 if len(packed) == 2 else 30] ^= 1  # in the data, in the digest
        return bytes(frame)

    monkeypatch.setattr(frames, "pack_frame", damage)
    done = send(parcel, NearLink(home))
    check_arrived(parcel, home)
    assert done.breaks == 0
    assert len(packed) > len(set(packed))


def test_a_stream_that_is_no_frames_any_more_is_refused(
    parcel: Parcel, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "pack_frame", lambda offset, data: data)
    with pytest.raises(DeviceError, match="no frame"):
        send(parcel, NearLink(home))


def test_data_lost_in_a_power_cut_is_sent_again(parcel: Parcel, home: Path) -> None:
    with pytest.raises(UnreachableError):
        upload(parcel, NearLink(home, [900_000]), console=Console(err=io.StringIO()), attempts=1)
    part = home / STAGING / f"{parcel.sha256}.part"
    size = part.stat().st_size
    assert size > 5 * parcel.frame_bytes
    with part.open("r+b") as file:
        file.seek(2 * parcel.frame_bytes + 5)
        file.write(b"\0" * 100)
        file.truncate(size + 77)
    assert send(parcel, NearLink(home)).kept_bytes == 2 * parcel.frame_bytes
    check_arrived(parcel, home)


def test_without_frames_the_whole_is_checked_and_sent_again(parcel: Parcel, home: Path) -> None:
    staging = home / STAGING
    staging.mkdir(parents=True)
    (staging / f"{parcel.sha256}.part").write_bytes(b"\0" * 1000)
    done = send(parcel, NearLink(home), has_python=False)
    assert (done.kept_bytes, done.sent_bytes) == (1000, 2 * SMALL - 1000)
    check_arrived(parcel, home)


def test_a_file_that_is_not_what_its_name_says_is_refused(parcel: Parcel, home: Path) -> None:
    parcel.path.write_bytes(b"x" * SMALL)
    with pytest.raises(DeviceError, match="is not bundle-1, twice"):
        send(parcel, NearLink(home))
    assert list((home / STAGING).iterdir()) == []


@BOTH
def test_two_uploads_of_the_same_file_take_turns(parcel: Parcel, home: Path, has_python: bool) -> None:
    done: list[Uploaded] = []
    threads = [
        threading.Thread(target=lambda: done.append(send(parcel, NearLink(home), has_python=has_python)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_arrived(parcel, home)
    assert len(done) == 3
    assert sum(each.sent_bytes for each in done) < 1.1 * SMALL


@BOTH
def test_a_killed_receiver_is_started_again(parcel: Parcel, home: Path, has_python: bool) -> None:
    part = home / STAGING / f"{parcel.sha256}.part"
    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: part.exists() and part.stat().st_size > 200_000)
        killed.append(int((part.parent / f"{part.name}.by").read_text().split()[0]))
        os.kill(killed[0], signal.SIGKILL)

    class Killed(NearLink):
        def _command(self, words: Sequence[str]) -> Command:  # as sshd does: killed by a signal is 255
            return super()._command(("sh", "-c", '"$@"; s=$?; [ $s -lt 128 ] || exit 255; exit $s', "sh", *words))

    thread = threading.Thread(target=kill)
    thread.start()
    done = send(parcel, Killed(home), has_python=has_python, bytes_per_s=1_000_000)
    thread.join()
    check_arrived(parcel, home)
    assert killed
    assert done.breaks == 1
    assert done.sent_bytes < 1.7 * SMALL


@BOTH
def test_a_full_disk_is_said_with_what_is_needed(parcel: Parcel, home: Path, need: Need, has_python: bool) -> None:
    if os.geteuid() != 0:
        need("a mount by root")
    with small_disk(home, 1_000_000):
        with pytest.raises(DeviceError, match=r"near: the disk is full: .* kB free .*, 1\.5 MB needed") as caught:
            send(parcel, NearLink(home), has_python=has_python)
        assert "is kept" in (caught.value.hint or "")


@BOTH
def test_a_disk_that_fills_up_keeps_what_has_arrived(parcel: Parcel, home: Path, need: Need, has_python: bool) -> None:
    if os.geteuid() != 0:
        need("a mount by root")
    part = home / STAGING / f"{parcel.sha256}.part"
    filler = home / "filler"

    def fill() -> None:
        wait_for(lambda: part.exists() and part.stat().st_size > 200_000)
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], check=False, capture_output=True)

    with small_disk(home, 3_000_000):
        thread = threading.Thread(target=fill)
        thread.start()
        with pytest.raises(DeviceError, match="the disk is full"):
            send(parcel, NearLink(home), has_python=has_python, bytes_per_s=700_000)
        thread.join()
        filler.unlink()
        assert send(parcel, NearLink(home), has_python=has_python).kept_bytes > 0
        check_arrived(parcel, home)


@BOTH
def test_old_parts_go_but_never_one_that_is_running(parcel: Parcel, home: Path, has_python: bool) -> None:
    staging = home / STAGING
    staging.mkdir(parents=True)
    parts = [staging / (f"{number}" * 64 + ".part") for number in range(1, 7)]
    for number, part in enumerate(parts):
        part.write_bytes(b"x")
        os.utime(part, (number, number))
    with parts[0].open("r+b") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        stand_in = ["sh", "-c", "sleep 30; :", parts[0].name.removesuffix(".part")]
        with subprocess.Popen(stand_in, start_new_session=True) as other:
            (staging / f"{parts[0].name}.by").write_text(f"{other.pid} other\n")
            send(parcel, NearLink(home), has_python=has_python)
            os.killpg(other.pid, signal.SIGKILL)
    left = {path.name for path in staging.glob("*.part")}
    assert left == {parts[0].name, *(part.name for part in parts[3:])}


def test_a_directory_that_cannot_be_written_is_said(parcel: Parcel, home: Path) -> None:
    (home / ".local").write_text("a file")
    with pytest.raises(DeviceError, match="cannot be kept"):
        send(parcel, NearLink(home))


def test_attempts_are_counted_only_while_nothing_arrives(parcel: Parcel, home: Path) -> None:
    pauses: list[float] = []
    with pytest.raises(UnreachableError):
        upload(
            parcel,
            NearLink(home, [0, 0, 0, 0, 300_000, 0, 0]),
            console=Console(err=io.StringIO()),
            attempts=4,
            sleep=pauses.append,
        )
    assert pauses == [1, 2, 1, 2, 4][: len(pauses)]
    assert len(pauses) == 5


@pytest.fixture
def device(need: Need, tmp_path: Path) -> Iterator[NetDevice]:
    """Without python3; a test that wants it has a device of its own."""
    for program in ("ssh", "ip", "tc"):
        need(program)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(need(name))
    with serve_device(tmp_path / "device", environ={"PATH": str(programs)}) as served:
        yield served


def test_a_device_without_python_gets_it_over_ssh(device: NetDevice, parcel: Parcel) -> None:
    with open_link(device.address, runner=Runner(), environ=device.env) as link:
        done = send(parcel, link, has_python=False)
        assert send(parcel, link, has_python=False).sent_bytes == 0
    check_arrived(parcel, device.home)
    assert done.sent_bytes == SMALL
    assert device.host.log.read_text().count("Accepted publickey") == 1


@pytest.fixture
def with_python(need: Need, tmp_path: Path) -> Iterator[NetDevice]:
    for program in ("ssh", "ip", "tc", "python3"):
        need(program)
    with serve_device(tmp_path / "device") as served:
        yield served


def test_a_pulled_cable_costs_little(with_python: NetDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, parcel = with_python, make_parcel(tmp_path, 6_000_000)
    monkeypatch.setattr(
        "jetsonx.device.link._OPTIONS",
        ("BatchMode=yes", "ConnectTimeout=2", "ServerAliveInterval=1", "ServerAliveCountMax=2"),
    )
    part = device.home / STAGING / f"{parcel.sha256}.part"

    def pull() -> None:
        wait_for(lambda: part.exists() and part.stat().st_size > 2_000_000)
        device.link_down()
        time.sleep(5)
        device.link_up()

    device.rate(20)
    thread = threading.Thread(target=pull)
    with open_link(device.address, runner=Runner(), environ=device.env) as link:
        link.run(["true"])
        before = device.sent_bytes()
        thread.start()
        done = send(parcel, link)
        thread.join()
        on_the_wire = device.sent_bytes() - before
    check_arrived(parcel, device.home)
    assert done.breaks >= 1
    assert on_the_wire < 1.25 * parcel.size


def test_a_killed_client_goes_on_where_it_was(with_python: NetDevice, parcel: Parcel) -> None:
    device = with_python
    part = device.home / STAGING / f"{parcel.sha256}.part"
    words = [str(device.host.config), str(parcel.path), parcel.sha256, str(parcel.size)]
    with subprocess.Popen([sys.executable, "-c", CLIENT, *words], stderr=subprocess.DEVNULL) as client:
        wait_for(lambda: part.exists() and part.stat().st_size > 300_000)
        client.kill()
    with open_link(device.address, runner=Runner(), environ=device.env) as link:
        assert send(parcel, link).kept_bytes > 300_000
    check_arrived(parcel, device.home)


def test_a_device_that_wants_a_password_is_not_asked_for_ever(with_python: NetDevice, parcel: Parcel) -> None:
    config = with_python.host.config
    config.write_text(config.read_text().replace(str(with_python.host.user_key), "/dev/null"))
    with (
        open_link(with_python.address, runner=Runner(), environ=with_python.env) as link,
        pytest.raises(DeviceError) as caught,
    ):
        send(parcel, link)
    assert "ssh-copy-id" in (caught.value.hint or "")


def wait_for(ready: Callable[[], bool], within_s: float = 60) -> None:
    until = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.005)
