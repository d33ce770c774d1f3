"""Virtual machines as values: names, records, QEMU's and ssh's words, the initial RAM disk, packages as a tar."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jetsonx.catalog import load_catalog
from jetsonx.cli import cli
from jetsonx.console import Console
from jetsonx.device.answer import parse_device
from jetsonx.device.judge import assess
from jetsonx.device.registry import Named, open_registry
from jetsonx.engine.node_plan import plan_virtual
from jetsonx.errors import ConfigError, DeviceError, DownloadError, HostError
from jetsonx.rootfs.identity import parse_l4t
from jetsonx.rootfs.ssh import ssh_command
from jetsonx.runner import Command, Completed, Runner
from jetsonx.vm.acceleration import choose_acceleration
from jetsonx.vm.disk import base_key
from jetsonx.vm.display import Viewer, find_viewer, prepare_screen, show_console
from jetsonx.vm.guest import load_guest
from jetsonx.vm.hardware import ARM64, X86_64
from jetsonx.vm.initrd import needed_modules, order_modules, pack_initrd
from jetsonx.vm.machine import console_text
from jetsonx.vm.make import render_release, render_ssh_config
from jetsonx.vm.place import Place, Places, discard, open_places, write_record
from jetsonx.vm.qemu import KVM, TCG, Start, start_command
from jetsonx.vm.render import render_rows, rows_json
from jetsonx.vm.root import Root
from jetsonx.vm.tools import find_tools
from jetsonx.vm.values import Vm, check_name, check_size, parse_vm, render_vm
from tests.unit.device_answers import ASKED_S, ORIN

VM = Vm(
    name="dev",
    target="orin-nano@36.4.3",
    cpu="cortex-a76",
    cpus=2,
    memory_mib=2048,
    disk_gib=16,
    port=40022,
    base="/cache/vm/0123",
    created_s=1_700_000_000.0,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """The machines of a user who has one, `dev`."""
    places = open_places({"JETSONX_VMS": str(tmp_path / "vms")})
    place = places.place("dev")
    place.path.mkdir(parents=True)
    place.disk.write_bytes(b"disk")
    write_record(place, VM)
    return places


def make_deb(files: dict[str, bytes], control: dict[str, bytes]) -> bytes:
    """A package with these files and these of dpkg's; a name that ends in a slash is a directory."""

    def tar(members: dict[str, bytes]) -> bytes:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as out:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                info.uid, info.gid = 0, 42
                if name.endswith("/"):
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                out.addfile(info, io.BytesIO(data))
        return stream.getvalue()

    whole = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("control.tar.gz", tar(control)), ("data.tar.gz", tar(files))):
        whole += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return whole


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "..", "a.b", "x" * 41, "é", "a\n", "a;b", "vm:a"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a virtual machine"):
        check_name(name)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ({"memory_mib": 64}, "--memory 64: expected 512 to"),
        ({"cpus": 0}, "--cpus 0: expected 1 to 64"),
        ({"disk_gib": 4}, "--disk 4: expected 16 to"),
    ],
)
def test_sizes_that_cannot_be_are_refused(size: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_size(**{"memory_mib": 1024, "cpus": 2, "disk_gib": 16, **size})


def test_a_record_is_read_as_it_was_written() -> None:
    assert parse_vm(render_vm(VM), where="vm.json") == VM


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nothing", render_vm(replace(VM, port=0)), '{"schema": 2}', "[" * 9999]
)
def test_a_record_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"vm\.json: is no record"):
        parse_vm(text, where="vm.json")


def test_a_machine_is_found_by_name(places: Places) -> None:
    assert places.names() == ("dev",)
    assert places.load("vm:dev")[1] == VM
    assert places.ports() == {40022}
    with pytest.raises(ConfigError, match="there is no virtual machine 'other'; known: dev"):
        places.load("other")


def test_a_machine_that_was_discarded_is_gone(places: Places) -> None:
    discard(places.place("dev"))
    assert places.names() == ()
    assert list(places.root.iterdir()) == []


def test_ssh_gets_the_machine_s_own_configuration(places: Places) -> None:
    address = places.place("dev").address
    command = ssh_command(address, ("true",), {"JETSONX_SSH_CONFIG": "/mine"})
    assert command.argv[:3] == ("ssh", "-F", str(places.root / "dev/ssh_config"))
    assert "/mine" not in command.argv
    assert "vm:dev" in command.argv


def test_the_configuration_for_ssh_knows_one_key_and_nothing_of_the_user_s() -> None:
    text = render_ssh_config(VM, Path("/a b/dev"))
    for line in (
        "Host vm:dev",
        "Port 40022",
        'UserKnownHostsFile "/a b/dev/known_hosts"',
        "StrictHostKeyChecking yes",
        "IdentitiesOnly yes",
    ):
        assert line in text


def test_a_machine_is_a_device_by_name(places: Places, tmp_path: Path) -> None:
    registry = open_registry({"JETSONX_CONFIG": str(tmp_path / "config.toml"), "JETSONX_VMS": str(places.root)})
    assert registry.address("vm:dev") == places.place("dev").address
    registry.add(Named(name="lab", address="vm:dev"))
    assert registry.address(registry.load()["lab"].address).config == places.root / "dev/ssh_config"
    with pytest.raises(ConfigError, match="there is no virtual machine 'none'"):
        registry.find("vm:none")


def test_a_machine_is_a_builder_by_its_socket(places: Places) -> None:
    request = plan_virtual(places.place("dev"), driver="docker")
    assert request.node.endpoint == f"unix://{places.root}/dev/docker.sock"
    assert request.node.builder == "jetsonx-vm-dev"
    assert request.node.is_remote
    assert request.address == places.place("dev").address


def test_qemu_is_called_with_short_names_in_the_machine_s_directory() -> None:
    start = Start(vm=VM, kernel=Path("/k"), initrd=Path("/i"), folder=Path("/v/dev"))
    command = start_command("qemu-system-aarch64", start)
    words = " ".join(command.argv)
    assert command.cwd == Path("/v/dev")
    for part in (
        "-cpu cortex-a76",
        "-smp 2",
        "-m 2048",
        "hostfwd=tcp:127.0.0.1:40022-:22",
        "-qmp unix:qmp,",
        "tcg,thread",
    ):
        assert part in words


def test_under_kvm_the_processor_is_the_host_s() -> None:
    start = Start(vm=VM, kernel=Path("/k"), initrd=Path("/i"), folder=Path("/v/dev"), acceleration=KVM)
    words = start_command("qemu-system-aarch64", start).argv
    assert (words[words.index("-accel") + 1], words[words.index("-cpu") + 1]) == ("kvm", "host")


def test_a_screen_is_one_socket_in_the_machine_s_directory_and_the_console_is_still_kept() -> None:
    start = Start(vm=VM, kernel=Path("/k"), initrd=Path("/i"), folder=Path("/v/dev"))
    plain = " ".join(start_command("qemu-system-aarch64", start).argv)
    shown = " ".join(start_command("qemu-system-aarch64", replace(start, has_screen=True)).argv)
    assert ("-serial file:console.log" in plain, "-vnc" in plain) == (True, False)
    for part in ("-vnc unix:vnc ", "logfile=console.log -serial chardev:screen", "pipe,id=life,path=life"):
        assert part in shown


def test_a_viewer_that_is_missing_is_named_with_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetsonx.vm.display.which_host", lambda _: None)
    with pytest.raises(HostError, match="takes websockify and noVNC") as error:
        find_viewer(tmp_path)
    assert "apt-get install novnc websockify" in str(error.value.hint)
    (tmp_path / "vnc.html").touch()
    with pytest.raises(HostError, match="takes websockify, not on this host"):
        find_viewer(tmp_path)


def test_a_machine_that_runs_without_a_screen_gets_none(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetsonx.vm.display.is_served", lambda _: False)
    viewer = Viewer(websockify="/bin/websockify", pages=Path("/usr/share/novnc"))
    with pytest.raises(DeviceError, match="vm:dev runs without a screen") as error:
        show_console(viewer, places.place("dev"), Runner())
    assert "jetsonx vm start dev --display web" in str(error.value.hint)


def test_a_screen_needs_a_directory_that_sockets_can_be_in(places: Places, tmp_path: Path) -> None:
    deep = Place(path=tmp_path / ("d" * 100))
    with pytest.raises(HostError, match="bytes too long for a socket in it"):
        prepare_screen(deep)
    place = places.place("dev")
    place.viewer.write_text("http://127.0.0.1:1/")
    for _ in range(2):  # what an earlier run left is no hindrance
        prepare_screen(place)
        assert place.life.is_fifo()
        assert not place.viewer.exists()


class Kvm(Runner):
    """A host whose trial of KVM says this."""

    def __init__(self, said: str) -> None:
        super().__init__()
        self.said = said

    def run(self, command: Command, **_: object) -> Completed:
        return Completed(command=command, status=124, stdout=self.said, tail=self.said)


@pytest.mark.parametrize(
    ("machine", "said", "expected", "why"),
    [
        ("x86_64", "Linux version 6.1", TCG, "this host's processor is x86_64"),
        ("aarch64", "[0.0] Linux version 6.1\n[0.1] Kernel panic", KVM, ""),
        (
            "aarch64",
            "failed to initialize kvm: Permission denied",
            TCG,
            "(failed to initialize kvm: Permission denied)",
        ),
        ("aarch64", "", TCG, "(it says nothing)"),
    ],
)
def test_kvm_is_believed_when_a_kernel_started_under_it(
    machine: str, said: str, expected: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("os.access", lambda *_: True)
    chosen, reason = choose_acceleration("qemu", ARM64, Path("/k"), Kvm(said))
    assert chosen == expected
    assert why in reason
    assert bool(reason) == (expected == TCG)


def test_without_the_device_kvm_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "has no /dev/kvm" in choose_acceleration("qemu", ARM64, Path("/k"), Kvm("Linux version"))[1]


def test_every_module_of_the_catalog_has_a_processor() -> None:
    cpus = {module.id: load_guest().cpu(module.soc) for module in load_catalog().modules.values()}
    assert cpus["orin-nano"] == "cortex-a76"
    assert cpus["nano"] == "cortex-a57"
    assert cpus["thor-t5000"] == "max"


def test_the_release_file_says_the_release_and_that_it_is_none_of_nvidia_s() -> None:
    text = render_release(VM)
    assert parse_l4t(text.splitlines()[0]) == "36.4.3"
    assert "no GPU" in text


def test_an_image_is_known_by_its_inputs() -> None:
    guest = load_guest()
    assert base_key(guest, ARM64) == base_key(guest, ARM64) != base_key(guest, X86_64)
    assert base_key(guest, ARM64) != base_key(replace(guest, text=guest.text + "#"), ARM64)


def test_a_probe_says_what_a_virtual_machine_stands_for() -> None:
    said = {**ORIN, "compatible": "linux,dummy-virt", "model": "linux,dummy-virt", "virtual": "orin-nano@36.4.3"}
    assessment = assess(parse_device(said, asked_s=ASKED_S), load_catalog())
    lines = {line.name: line.finding for line in assessment.lines}
    assert assessment.identity.target is not None
    assert assessment.identity.target.name == "orin-nano@36.4.3"
    assert "has no GPU" in lines["module"].found
    assert lines["cuda"].status == "warn"
    assert lines["runtime"].status == "ok"


def test_a_device_that_names_a_module_nobody_knows_is_no_jetson() -> None:
    said = {**ORIN, "compatible": "linux,dummy-virt", "model": "linux,dummy-virt", "virtual": "../../etc"}
    assert assess(parse_device(said, asked_s=ASKED_S), load_catalog()).identity.module is None


def test_the_list_says_what_runs() -> None:
    rows = [(VM, True, 13_000_000)]
    assert list(render_rows(rows))[1].split()[:3] == ["vm:dev", "running", "orin-nano@36.4.3"]
    assert rows_json(rows)["machines"][0]["running"] is True
    assert "vm create" in next(iter(render_rows([])))


def test_the_console_is_shown_without_what_a_terminal_should_not_get(tmp_path: Path) -> None:
    place = Place(path=tmp_path)
    assert console_text(place) == ""
    place.console.write_bytes(b"one\r\n\x1b[0;32mtwo\x1b[0m \x07\xff\r\nthree\r\n")
    assert console_text(place) == "one\ntwo ?\N{REPLACEMENT CHARACTER}\nthree"
    assert console_text(place, 1) == "three"


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetsonx.vm.tools.which_host", lambda name: None if name.startswith("qemu") else f"/bin/{name}")
    monkeypatch.setattr("jetsonx.vm.tools._in_sbin", lambda _: None)
    with pytest.raises(HostError, match="needs qemu-system-aarch64, qemu-img") as error:
        find_tools()
    assert "apt-get install qemu-system-arm qemu-utils" in str(error.value.hint)


def test_the_lock_is_one_at_a_time(places: Places) -> None:
    with places.lock("dev", Console(-1)), places.lock("other", Console(-1)):
        pass
    with places.lock("dev", Console(-1)):
        pass


@pytest.mark.parametrize("words", [("start", "none"), ("stop", "none"), ("ssh", "none"), ("fault", "none", "link-up")])
def test_a_machine_that_is_not_there_is_said_so(
    words: tuple[str, ...], places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETSONX_VMS", str(places.root))
    done = CliRunner().invoke(cli, ["vm", *words])
    assert isinstance(done.exception, ConfigError)
    assert "known: dev" in done.exception.message


def test_modules_are_loaded_after_what_they_need() -> None:
    files = {
        "virtio_blk": b"\0license=GPL\0depends=virtio,virtio_ring\0",
        "virtio_ring": b"x\0depends=virtio\0",
        "virtio": b"x\0depends=\0",
        "other": b"x\0depends=virtio\0",
    }
    assert order_modules(("virtio_blk", "built_in"), files) == ("virtio", "virtio_ring", "virtio_blk")
    assert needed_modules(b"no such section") == ()


def test_the_initial_ram_disk_is_a_cpio_archive() -> None:
    data = gzip.decompress(pack_initrd(b"busybox!", {"a.ko": b"xyz"}, b"#!/bin/busybox sh\n"))
    names, place = {}, 0
    while (head := data[place : place + 110]).startswith(b"070701"):
        numbers = [int(head[at : at + 8], 16) for at in range(6, 110, 8)]
        name = data[place + 110 : place + 110 + numbers[11] - 1].decode()
        content = (place + 110 + numbers[11] + 3) // 4 * 4
        names[name] = (numbers[1], data[content : content + numbers[6]])
        place = (content + numbers[6] + 3) // 4 * 4
    assert place == len(data)
    assert names["init"] == (0o100755, b"#!/bin/busybox sh\n")
    assert names["modules/order"][1] == b"a.ko\n"
    assert names["dev/console"][0] == 0o020600
    assert list(names)[-1] == "TRAILER!!!"


@pytest.fixture
def unpacked() -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """The tar of two small packages."""
    control = b"Package: tool\nVersion: 1\nArchitecture: arm64\nMulti-Arch: same\n"
    first = make_deb(
        {"./": b"", "./lib/": b"", "./lib/x": b"library", "./etc/": b"", "./etc/tool.conf": b"a = 1\n"},
        {
            "./control": control,
            "./conffiles": b"/etc/tool.conf\n",
            "./postinst": b"#!/bin/sh\n",
            "./triggers": b"interest-noawait /usr/share/x\ninterest ldconfig\n",
        },
    )
    kernel = make_deb({"./boot/vmlinuz": b"kernel"}, {"./control": b"Package: linux-image-1\nVersion: 1\n"})
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as out:
        root = Root(out=out)
        root.begin()
        root.add_package(first, name="tool.deb")
        root.add_package(kernel, name="kernel.deb", is_recorded=False)
        root.finish()
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        members = archive.getmembers()
        contents = {info.name: archive.extractfile(info) for info in members if info.isreg()}
        return {info.name: (info, data.read() if (data := contents.get(info.name)) else b"") for info in members}


def test_packages_become_one_merged_tree_with_their_owners(unpacked: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
    assert unpacked["lib"][0].linkname == "usr/lib"
    assert unpacked["usr/lib/x"][1] == b"library"
    assert unpacked["usr/lib/x"][0].gid == 42
    assert unpacked["boot/vmlinuz"][1] == b"kernel"


def test_packages_are_known_to_dpkg_as_unpacked(unpacked: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
    status = unpacked["var/lib/dpkg/status"][1].decode()
    assert status.splitlines()[:2] == ["Package: tool", "Status: install ok unpacked"]
    digest = hashlib.md5(b"a = 1\n").hexdigest()
    assert f"Conffiles:\n /etc/tool.conf {digest}\n" in status
    assert "linux-image" not in status
    assert unpacked["var/lib/dpkg/info/tool:arm64.list"][1] == b"/.\n/lib/x\n/etc\n/etc/tool.conf\n"
    assert unpacked["var/lib/dpkg/info/tool:arm64.postinst"][0].mode == 0o755
    assert unpacked["var/lib/dpkg/triggers-after/File"][1] == b"/usr/share/x tool:arm64/noawait\n"
    assert unpacked["var/lib/dpkg/triggers-after/ldconfig"][1] == b"tool:arm64\n"


def test_a_package_that_leads_outside_is_refused() -> None:
    bad = make_deb({"./../x": b""}, {"./control": b"Package: bad\nVersion: 1\nArchitecture: all\n"})
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as out, pytest.raises(DownloadError, match="outside its tree"):
        Root(out=out).add_package(bad, name="bad.deb")
