"""A Docker engine behind a virtual machine's wall: made, built in, and taken away again.

arm64, as the image of virtual Jetsons is then its image too; x86-64 differs in QEMU's words and Debian's kernel.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.integration.conftest import CLI, Need, Run
from tests.integration.desk import docker, serve_desk
from tests.unit.test_vm_coreos import disk

LIMIT_S = 900
_WORDS = ("--arch", "arm64", "--memory", "1536", "--yes")


@pytest.fixture
def desk(need: Need) -> Iterator[Mapping[str, str]]:
    """A workstation of its own."""
    with serve_desk(need) as env:
        yield env


def test_an_engine_is_made_used_and_taken_away(desk: Mapping[str, str], jetsonx: Run) -> None:
    words = ("vm", "engine", "create", "isolated", *_WORDS, "--timeout", str(LIMIT_S))
    with _running(desk, words) as making:
        _await_qemu(desk, making)
        second = jetsonx(*words, env=desk)
        assert (second.status, "isolated already" in second.err) == (2, True), second.err
        out, err = making.communicate(timeout=LIMIT_S * 2)
    assert (making.returncode, out) == (0, "isolated\n"), err
    config = Path(desk["HOME"], ".ssh/config")
    assert config.read_text().startswith(f'Include "{desk["JETSONX_VMS"]}/*/engine_ssh"')
    inside = docker(desk, "--context", "isolated", "info", "--format", "{{.Name}} {{.Architecture}}")
    assert inside.out == "isolated aarch64\n", inside.err
    built = docker(desk, "--context", "isolated", "import", "/dev/null", "empty")
    assert built.status == 0, built.err
    assert "empty" in docker(desk, "--context", "isolated", "image", "ls").out
    listed = jetsonx("vm", "engine", "list", env=desk)
    assert listed.out == "isolated  arm64  qemu  runs\n"
    again = jetsonx(*words, env=desk)
    assert again.status == 2
    assert "there is a Docker context isolated already" in again.err
    unasked = jetsonx("vm", "engine", "remove", "isolated", env=desk)
    assert (unasked.status, "take it away?" in unasked.err) == (130, True), "it asks before it changes ~/.ssh/config"
    gone = jetsonx("vm", "engine", "remove", "isolated", "--yes", env=desk)
    assert gone.status == 0, gone.err
    _check_nothing_left(desk)
    unknown = jetsonx("vm", "engine", "remove", "isolated", env=desk)
    assert unknown.status == 2


def test_an_engine_that_never_answers_is_taken_away(desk: Mapping[str, str], jetsonx: Run) -> None:
    done = jetsonx("vm", "engine", "create", "slow", *_WORDS, "--timeout", "3", env=desk, timeout_s=LIMIT_S)
    assert done.status == 6, done.err
    assert "vm:slow does not answer" in done.err
    _check_nothing_left(desk)


def test_ctrl_c_leaves_nothing_of_an_engine(desk: Mapping[str, str]) -> None:
    with _running(desk, ("vm", "engine", "create", "half", *_WORDS)) as making:
        _await_qemu(desk, making)
        making.send_signal(signal.SIGINT)
        _, err = making.communicate(timeout=60)
    assert making.returncode not in (0, None)
    assert "Traceback" not in err
    _check_nothing_left(desk)


def test_what_cannot_be_is_refused_before_anything_is_made(
    desk: Mapping[str, str], jetsonx: Run, tmp_path: Path
) -> None:
    create = ("vm", "engine", "create", "isolated", "--yes")
    greedy = jetsonx(*create, "--memory", "1000000", env=desk)
    assert (greedy.status, "are free here" in greedy.err) == (3, True), greedy.err
    forced = jetsonx(*create, "--kvm", "on", env=desk)
    assert (forced.status, "--kvm on is for --connect" in forced.err) == (2, True), forced.err
    missing = jetsonx(*create, "--coreos", tmp_path / "none.qcow2.xz", env=desk)
    assert (missing.status, "does not exist" in missing.err) == (2, True), missing.err
    _check_nothing_left(desk)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "is no disk image"),
        ("packed text", "is no disk image"),
        ("cut off", "cannot be unpacked"),
        ("cd", "is a CD"),
        ("disk", "not one of Fedora CoreOS"),
        ("cut off disk", "is damaged"),
        ("other machine", "is for x86-64 machines, not arm64"),
    ],
)
def test_a_file_that_is_no_fedora_coreos_is_told_by_its_content(
    kind: str, said: str, desk: Mapping[str, str], jetsonx: Run, tmp_path: Path
) -> None:
    image, cache = tmp_path / "fedora-coreos-qemu.qcow2.xz", tmp_path / "cache"
    image.write_bytes(_make(kind, tmp_path))
    words = ("vm", "engine", "create", "isolated", "--arch", "arm64", "--yes", "--coreos", image)
    done = jetsonx(*words, env={**desk, "JETSONX_CACHE": str(cache)})
    assert (done.status, said in done.err) == (2, True), done.err
    assert "hint: " in done.err
    _check_nothing_left(desk)
    assert not list(cache.glob("vm/*")), "nothing of it is kept"
    assert not list(cache.glob("tmp/*"))


def _make(kind: str, folder: Path) -> bytes:
    """The bytes of a file of that kind."""
    if kind == "text":
        return b"404 Not Found"
    if kind == "packed text":
        return lzma.compress(b"404 Not Found")
    if kind == "cut off":
        return lzma.compress(os.urandom(1 << 16))[:-1000]
    if kind == "cd":
        return b"\0" * 0x8001 + b"CD001" + b"\0" * 0x8000
    raw, packed = folder / "raw", folder / "packed"
    names = ("BIOS-BOOT", "EFI-SYSTEM", "boot", "root") if kind == "other machine" else ("root",)
    raw.write_bytes(disk(*names) + bytes(1 << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, packed], check=True)
    return packed.read_bytes()[:-70_000] if kind == "cut off disk" else lzma.compress(packed.read_bytes())


@contextlib.contextmanager
def _running(desk: Mapping[str, str], words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, **desk}
    pipe = subprocess.PIPE
    with subprocess.Popen([*CLI, *words], env=env, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _await_qemu(desk: Mapping[str, str], making: subprocess.Popen[str]) -> None:
    """Until its machine runs; the image that all share may have to be made first."""
    until = time.monotonic() + LIMIT_S
    while not _machines(desk):
        assert making.poll() is None, making.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def _machines(desk: Mapping[str, str]) -> list[str]:
    """The QEMUs that run below this desk's home, by their current directory."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            found.append(str(place.readlink()))
    return [place for place in found if place.startswith(f"{desk['JETSONX_VMS']}/")]


def _check_nothing_left(desk: Mapping[str, str]) -> None:
    """No process, no machine, no context and no line for ssh."""
    assert not _machines(desk)
    assert not list(Path(desk["JETSONX_VMS"]).glob("[!.]*"))
    assert not list(Path(desk["JETSONX_VMS"]).glob(".*.part"))
    assert docker(desk, "context", "ls", "--format", "{{.Name}}").out == "default\n"
    assert not Path(desk["HOME"], ".ssh/config").exists()
