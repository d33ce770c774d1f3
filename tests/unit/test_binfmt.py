"""binfmt_misc as text: entries read, plans made and carried out on a made-up /proc, with a kernel that is played."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest
from elftools.elf.elffile import ELFFile

from jetsonx.errors import HostError
from jetsonx.host import binfmt_install
from jetsonx.host.binfmt import (
    MOUNT,
    Binfmt,
    judge_entries,
    parse_entry,
    probe_binfmt,
    prove,
    serves_aarch64,
    tiny_program,
)
from jetsonx.host.binfmt_install import (
    CONTAINER,
    NAME,
    RECORD,
    Plan,
    find_interpreter,
    install,
    plan_install,
    registration,
    remove,
)
from jetsonx.host.binfmt_status import MOUNT_CALL, BinfmtStatus, find_notes, render_status, status_json
from jetsonx.host.facts import DESKTOP, DESKTOP_CONTEXT, Docker, Program
from jetsonx.runner import Command, Completed, Runner

QEMU = """\
enabled
interpreter /usr/bin/qemu-aarch64-static
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""
OF_THE_CONTAINER = QEMU.replace("qemu-aarch64-static", "qemu-aarch64").replace("POCF", "CF")
ARM = QEMU.replace("b700", "2800").replace("0201010", "0101010").replace("aarch64", "arm")
JAR = "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n"
DISABLED = QEMU.replace("enabled", "disabled")

SERVED = Binfmt(mounted=True, name="qemu", interpreter="/usr/bin/qemu-aarch64-static", flags="POCF", enabled=True)
GOOD = BinfmtStatus(found=SERVED, works=True, kernel="6.1.0", distribution="debian", version="7.2.22")
BARE = BinfmtStatus(found=Binfmt(mounted=False), works=False, kernel="6.1.0")
ENGINE = Docker(client=Program(path="/usr/bin/docker", version="28.0"), endpoint="unix:///d.sock", answer="yes")


class Kernel(Runner):
    """Plays mount, umount, the container and the start of an AArch64 program on a made-up root."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.calls: list[tuple[str, ...]] = []
        self.starts = True
        self.container: dict[str, str] = {"qemu-aarch64": OF_THE_CONTAINER}
        self.fails = ""
        self.interrupted_by = ""

    def run(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        status_fd: Callable[[str], None] | None = None,
        stdin: bytes | None = None,
        stdout: Callable[[IO[bytes]], None] | None = None,
    ) -> Completed:
        self.calls.append(command.argv)
        folder = self.root / MOUNT
        name = command.argv[0]
        status = 1 if name == self.fails else 0
        if status == 0 and name == "mount":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "register").touch()
            (folder / "status").write_text("enabled\n")
        elif status == 0 and name == "umount":
            for path in folder.iterdir():
                path.unlink()
        elif status == 0 and name == "docker":
            for entry, text in self.container.items():
                (folder / entry).write_text(text)
        elif name.startswith(tempfile.gettempdir()):
            status = 42 if self.starts else 1
        if name == self.interrupted_by:
            raise KeyboardInterrupt
        return Completed(command=command, status=status, stdout="", tail="as the program said it")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with binfmt_misc mounted, where the user is root and the register file makes entries as the kernel does:
    writing "-1" takes one away.
    """
    folder = tmp_path / MOUNT
    folder.mkdir(parents=True)
    (folder / "register").touch()
    (folder / "status").write_text("enabled\n")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def write(path: Path, data: bytes) -> None:
        assert path.exists(), path
        if path.name == "register":
            name, interpreter = data.split(b":")[1].decode(), data.split(b":")[6].decode()
            (path.parent / name).write_text(QEMU.replace("/usr/bin/qemu-aarch64-static", interpreter))
        else:
            assert data == b"-1"
            path.unlink()

    monkeypatch.setattr(binfmt_install, "_write", write)
    return tmp_path


def entries(root: Path) -> set[str]:
    return {path.name for path in (root / MOUNT).iterdir()} - {"register", "status"}


# Reading


def test_an_entry_is_known_by_what_it_takes_not_by_its_name(root: Path) -> None:
    (root / MOUNT / "arm").write_text(ARM)
    (root / MOUNT / "jar").write_text(JAR)
    assert probe_binfmt(root) == Binfmt(mounted=True)
    (root / MOUNT / "whatever").write_text(QEMU)
    assert probe_binfmt(root) == replace(SERVED, name="whatever")


def test_the_youngest_enabled_entry_serves() -> None:
    assert judge_entries([("c", ARM), ("b", QEMU), ("a", QEMU)]).name == "b"
    assert judge_entries([("b", DISABLED), ("a", QEMU)]) == replace(SERVED, name="a")
    assert judge_entries([("b", DISABLED), ("a", DISABLED)]) == replace(SERVED, name="b", enabled=False)


def test_switched_off_as_a_whole(root: Path) -> None:
    (root / MOUNT / "qemu").write_text(QEMU)
    (root / MOUNT / "status").write_text("disabled\n")
    assert probe_binfmt(root) == replace(SERVED, enabled=False, is_on=False)


def test_no_binfmt_misc(tmp_path: Path) -> None:
    assert probe_binfmt(tmp_path) == Binfmt(mounted=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "enabled\n",
        QEMU.replace("magic 7f", "magic zz"),
        QEMU.replace("magic 7f454c460201010000000000000000000200b700", "magic "),
        QEMU.replace("offset 0", "offset x"),
        QEMU.replace("offset 0", "offset -20"),
        QEMU.replace("offset 0", "offset 4096"),
        QEMU.replace("feffffff", "ff"),
        QEMU.replace("feffffff", "ffffffff"),
        JAR,
        ARM,
    ],
    ids=[
        "empty",
        "no magic",
        "no hexadecimal",
        "empty magic",
        "no offset",
        "negative offset",
        "offset past the header",
        "short mask",
        "no position-independent programs",
        "extension",
        "32 bits",
    ],
)
def test_what_does_not_serve_aarch64(text: str) -> None:
    assert not serves_aarch64(parse_entry(text))


def test_a_magic_further_on_serves_too() -> None:
    assert serves_aarch64({"offset": "18", "magic": "b700"})


# The program and the line


def test_the_registration_line_byte_for_byte() -> None:
    assert registration("/usr/bin/qemu-aarch64-static") == (
        rb":jetsonx-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        rb":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        rb":/usr/bin/qemu-aarch64-static:POCF"
    )


def test_the_tiny_program_is_one_for_aarch64() -> None:
    elf = ELFFile(io.BytesIO(tiny_program()))
    assert (elf["e_machine"], elf["e_type"], elf.num_segments()) == ("EM_AARCH64", "ET_EXEC", 1)
    assert elf["e_entry"] == elf.get_segment(0)["p_vaddr"] + 64 + 56


def test_the_proof_leaves_nothing_and_knows_noexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kernel = Kernel(tmp_path)
    assert prove(kernel)
    kernel.starts = False
    assert not prove(kernel)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_NOEXEC))
    with pytest.raises(HostError, match="noexec"):
        prove(kernel)


# What is told


def test_status_in_words() -> None:
    assert list(render_status(GOOD)) == [
        "qemu: AArch64 programs go to /usr/bin/qemu-aarch64-static (7.2.22)",
        "flags POCF: F (fix binary) is set: the kernel holds the interpreter open, so that containers are served too",
        "an AArch64 program was started",
    ]
    assert list(render_status(BARE)) == [
        "binfmt_misc is not mounted; to mount it: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc",
        "an AArch64 program does not start",
    ]
    off = "\n".join(render_status(replace(GOOD, works=False, found=replace(SERVED, enabled=False, is_on=False))))
    assert "echo 1 > /proc/sys/fs/binfmt_misc/status" in off
    assert "binfmt_misc/qemu" not in off
    disabled = "\n".join(render_status(replace(GOOD, works=False, found=replace(SERVED, enabled=False))))
    assert "echo 1 > /proc/sys/fs/binfmt_misc/qemu" in disabled


NO_F = replace(SERVED, flags="OC")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (GOOD, ""),
        (replace(GOOD, version="10.1.3"), "tonistiigi/binfmt#298"),
        (replace(GOOD, distribution="ubuntu", kernel="6.8.0-50-generic"), "6.8.0-49"),
        (replace(BARE, distribution="ubuntu", kernel="6.8.0-50-generic"), ""),
        (replace(GOOD, found=NO_F, support="2.1.6"), "from 2.1.7"),
        (replace(GOOD, found=NO_F, support="2.1.7"), ""),
        (replace(GOOD, found=NO_F, support=""), ""),
        (replace(GOOD, support="2.1.6"), ""),  # it did not matter
        (replace(GOOD, found=NO_F, support="2.1.6", kernel="4.4.0-21-generic"), "came with 4.8"),
        (replace(BARE, docker=replace(ENGINE, operating_system=DESKTOP)), "nothing to do"),
    ],
)
def test_notes(status: BinfmtStatus, words: str) -> None:
    notes = find_notes(status)
    assert len(notes) == bool(words)
    assert words in "".join(notes)


def test_status_for_programs() -> None:
    assert status_json(GOOD) == {
        "schema": 1,
        "mounted": True,
        "is_on": True,
        "name": "qemu",
        "interpreter": "/usr/bin/qemu-aarch64-static",
        "version": "7.2.22",
        "flags": "POCF",
        "enabled": True,
        "works": True,
        "docker_desktop": False,
        "notes": [],
    }
    bare = status_json(BARE)
    assert (bare["name"], bare["interpreter"], bare["version"], bare["flags"]) == (None, None, None, "")


# Plans


def test_plans() -> None:
    qemu = "/usr/bin/qemu-aarch64-static"
    assert "here already" in plan_install(GOOD, qemu).nothing
    assert plan_install(GOOD, qemu).steps == ()
    assert plan_install(BARE, qemu) == Plan(mounts=True, interpreter=qemu)
    assert plan_install(BARE, qemu).steps == (
        " ".join(MOUNT_CALL),
        f"register {qemu} for AArch64 as {NAME}, flags POCF",
    )
    mounted = replace(BARE, found=Binfmt(mounted=True), docker=ENGINE)
    assert plan_install(mounted, None).steps == ("docker run --privileged --rm tonistiigi/binfmt --install arm64",)
    without_f = replace(GOOD, found=NO_F)
    assert plan_install(without_f, qemu) == Plan(interpreter=qemu)


def test_a_machine_that_needs_no_entry() -> None:
    assert plan_install(replace(GOOD, found=Binfmt(mounted=True)), None).nothing.endswith("without an entry")


@pytest.mark.parametrize(
    "docker", [replace(ENGINE, operating_system=DESKTOP), replace(ENGINE, context=DESKTOP_CONTEXT, answer="no")]
)
def test_docker_desktop_needs_nothing(docker: Docker) -> None:
    assert "Docker Desktop" in plan_install(replace(BARE, docker=docker), "/usr/bin/qemu-aarch64-static").nothing


@pytest.mark.parametrize(
    ("status", "interpreter", "words"),
    [
        (replace(BARE, kernel="4.4.0-21-generic"), "/usr/bin/qemu-aarch64-static", "since 4.8"),
        (replace(BARE, found=Binfmt(mounted=True, is_on=False)), "/usr/bin/qemu-aarch64-static", "switched off"),
        (BARE, None, "no docker"),
        (replace(BARE, docker=replace(ENGINE, is_podman=True)), None, "no docker"),
        (replace(BARE, docker=replace(ENGINE, answer="silence")), None, "does not answer"),
        (replace(BARE, docker=replace(ENGINE, endpoint="ssh://there")), None, "another machine"),
    ],
)
def test_what_cannot_be(status: BinfmtStatus, interpreter: str | None, words: str) -> None:
    with pytest.raises(HostError, match=words) as caught:
        plan_install(status, interpreter)
    assert caught.value.hint


def test_only_a_static_interpreter_is_taken(tmp_path: Path) -> None:
    assert find_interpreter(tmp_path) is None
    folder = tmp_path / "usr/bin"
    folder.mkdir(parents=True)

    def write(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o755)

    dynamic = bytearray(tiny_program())
    dynamic[64] = 3  # its only segment becomes PT_INTERP
    write("qemu-aarch64", bytes(dynamic))
    assert find_interpreter(tmp_path) is None
    write("qemu-aarch64-static", b"#!/bin/sh\n")
    assert find_interpreter(tmp_path) is None
    write("qemu-aarch64-static", b"\x7fELF")
    assert find_interpreter(tmp_path) is None
    write("qemu-aarch64", tiny_program())
    assert find_interpreter(tmp_path) == "/usr/bin/qemu-aarch64"
    write("qemu-aarch64-static", tiny_program())
    assert find_interpreter(tmp_path) == "/usr/bin/qemu-aarch64-static"
    (folder / "qemu-aarch64-static").chmod(0o644)
    if os.geteuid() != 0 or not os.access(folder / "qemu-aarch64-static", os.X_OK):
        assert find_interpreter(tmp_path) == "/usr/bin/qemu-aarch64"


# Done and taken back

HOST = Plan(interpreter="/usr/bin/qemu-aarch64-static")


def test_install_twice_and_remove(root: Path) -> None:
    kernel = Kernel(root)
    (root / MOUNT / "arm").write_text(ARM)
    assert install(HOST, kernel, root=root) == NAME
    assert install(HOST, kernel, root=root) == NAME
    assert entries(root) == {"arm", NAME}
    assert remove(kernel, root=root) == (f"{NAME} is removed",)
    assert entries(root) == {"arm"}
    assert remove(kernel, root=root) == ()


def test_what_was_mounted_is_unmounted(root: Path) -> None:
    kernel = Kernel(root)
    for path in (root / MOUNT).iterdir():
        path.unlink()
    install(replace(HOST, mounts=True), kernel, root=root)
    assert remove(kernel, root=root) == (f"{NAME} is removed", "binfmt_misc is unmounted")
    assert not probe_binfmt(root).mounted
    assert not (root / RECORD).exists()


def test_what_another_uses_stays_mounted(root: Path) -> None:
    kernel = Kernel(root)
    install(replace(HOST, mounts=True), kernel, root=root)
    (root / MOUNT / "arm").write_text(ARM)
    assert remove(kernel, root=root) == (f"{NAME} is removed",)
    assert entries(root) == {"arm"}


def test_the_container_s_entry_is_ours_and_an_older_one_is_not(root: Path) -> None:
    kernel = Kernel(root)
    (root / MOUNT / "arm").write_text(ARM)
    assert install(Plan(), kernel, root=root) == "qemu-aarch64"
    assert CONTAINER in kernel.calls
    (root / MOUNT / "qemu-aarch64").write_text(OF_THE_CONTAINER.replace("enabled", "disabled"))
    assert remove(kernel, root=root) == ("qemu-aarch64 is removed",)
    assert entries(root) == {"arm"}


def test_another_s_entry_of_the_same_name_stays(root: Path) -> None:
    kernel = Kernel(root)
    install(Plan(), kernel, root=root)
    (root / MOUNT / "qemu-aarch64").write_text(QEMU)  # a package has replaced it
    assert remove(kernel, root=root) == ()
    assert entries(root) == {"qemu-aarch64"}
    assert not (root / RECORD).exists()


@pytest.mark.parametrize("plan", [HOST, Plan()], ids=["host", "container"])
def test_what_does_not_work_is_taken_back(root: Path, plan: Plan) -> None:
    kernel = Kernel(root)
    kernel.starts = False
    with pytest.raises(HostError, match="taken back"):
        install(plan, kernel, root=root)
    assert entries(root) == set()
    assert not (root / RECORD).exists()


def test_a_container_that_ends_with_0_and_did_nothing(root: Path) -> None:
    kernel = Kernel(root)
    kernel.container = {}
    with pytest.raises(HostError, match="do not start"):
        install(Plan(), kernel, root=root)


@pytest.mark.parametrize("program", ["mount", "docker"])
def test_a_step_that_fails(root: Path, program: str) -> None:
    kernel = Kernel(root)
    kernel.fails = program
    with pytest.raises(HostError) as caught:
        install(Plan(mounts=True), kernel, root=root)
    assert caught.value.details == "as the program said it"
    assert entries(root) == set()
    assert not (root / RECORD).exists()


@pytest.mark.parametrize("program", ["mount", "docker"])
def test_an_interrupt_takes_everything_back(root: Path, program: str) -> None:
    kernel = Kernel(root)
    kernel.interrupted_by = program
    with pytest.raises(KeyboardInterrupt):
        install(Plan(mounts=True), kernel, root=root)
    assert not probe_binfmt(root).mounted
    assert not (root / RECORD).exists()


def test_a_killed_install_is_still_known(root: Path) -> None:
    """Killed after the mount: the record says so."""
    (root / RECORD).parent.mkdir(parents=True)
    (root / RECORD).write_text(json.dumps({"schema": 1, "mounted": True, "entries": {}}))
    assert remove(Kernel(root), root=root) == ("binfmt_misc is unmounted",)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"mounted": true}', '{"mounted": true, "entries": 3}', "null"])
def test_a_damaged_record_is_none(root: Path, text: str) -> None:
    (root / RECORD).parent.mkdir(parents=True)
    (root / RECORD).write_text(text)
    (root / MOUNT / "qemu-aarch64").write_text(QEMU)
    assert remove(Kernel(root), root=root) == ()
    assert entries(root) == {"qemu-aarch64"}


def test_busy_when_taken_back(root: Path) -> None:
    """The reason of the failure is told, not that of the failed unmount; a later remove can try again."""
    kernel = Kernel(root)
    kernel.starts, kernel.fails = False, "umount"
    with pytest.raises(HostError, match="taken back"):
        install(replace(HOST, mounts=True), kernel, root=root)
    assert entries(root) == set()
    with pytest.raises(HostError, match="stays mounted"):
        remove(kernel, root=root)
    kernel.fails = ""
    assert remove(kernel, root=root) == ("binfmt_misc is unmounted",)


def test_an_ordinary_user_with_nothing_but_a_record(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(Plan(), Kernel(root), root=root)
    (root / MOUNT / "qemu-aarch64").unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="root"):
        remove(Kernel(root), root=root)


def test_without_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(root)
    install(HOST, kernel, root=root)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    kernel.calls.clear()
    with pytest.raises(HostError, match="root") as caught:
        install(HOST, kernel, root=root)
    assert (caught.value.hint or "").startswith("sudo /")
    assert (caught.value.hint or "").endswith(" binfmt install")
    with pytest.raises(HostError, match="root"):
        remove(kernel, root=root)
    assert kernel.calls == []
    assert entries(root) == {NAME}
