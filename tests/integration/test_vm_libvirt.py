"""Machines for libvirt and for Fedora CoreOS: judged by libvirt's and Ignition's own programs, and really started."""

from __future__ import annotations

import io
import os
import select
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, HostError
from jetsonx.packages.apt import fetch_packages, resolve_packages
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.debs import find_suite, read_deb, suite_lists
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.vm import libvirt_kvm
from jetsonx.vm.guest import load_guest
from jetsonx.vm.hardware import ARM64, KINDS, X86_64, Hardware
from jetsonx.vm.libvirt import Disk, Domain, render_domain
from jetsonx.vm.libvirt_run import Virsh, domain_name
from tests.integration.conftest import Need, Run
from tests.integration.libvirtd import Libvirt, serve_libvirt, serve_system_libvirt

_BOOT_S = 120


@pytest.fixture(scope="module")
def libvirt(root_rights: None, need: Need) -> Iterator[Libvirt]:
    need("virsh")
    need("qemu-system-x86_64")
    with serve_libvirt(need("libvirtd", "/usr/sbin/libvirtd")) as served:
        yield served


@pytest.fixture(params=["session", "system"])
def either(request: pytest.FixtureRequest, libvirt: Libvirt, need: Need) -> Iterator[Libvirt]:
    """qemu:///session, and qemu:///system, where files are root's until libvirt hands them to QEMU."""
    if request.param == "session":
        yield libvirt
    else:
        with serve_system_libvirt(need("libvirtd", "/usr/sbin/libvirtd")) as served:
            yield served


@pytest.fixture(scope="module")
def kernel(store: Store) -> bytes:
    """The kernel of x86-64 engines. It finds no disk to go on from: that it comes so far is enough."""
    effects = Effects(store=store, runner=Runner(), console=Console(-1))
    suite = find_suite(load_guest().suite)
    assert suite is not None
    apt = suite_lists(suite, X86_64, effects)
    debs = resolve_packages(apt, (X86_64.kernel,), store=store, runner=effects.runner)
    deb = next(each for each in debs if each.name.startswith("linux-image-") and each.name != X86_64.kernel)
    paths = fetch_packages(apt, (deb,), store=store, runner=effects.runner, console=effects.console)
    members = iter_deb(io.BytesIO(read_deb(deb, paths, effects)), name=deb.filename)
    return next(content.read() for info, content in members if content and "boot/vmlinuz-" in info.name)


def virsh(libvirt: Libvirt, pool: str = "default") -> Virsh:
    return Virsh(uri=libvirt.uri, pool=pool, runner=Runner(), console=Console(-1))


@pytest.mark.parametrize("hardware", KINDS.values(), ids=lambda each: each.name)
def test_the_xml_fits_libvirts_own_schema(hardware: object, need: Need, tmp_path: Path) -> None:
    validate = need("virt-xml-validate")
    need("xmllint")
    domain = Domain(
        name="jetsonx-a",
        hardware=ARM64 if hardware is ARM64 else X86_64,
        memory_mib=2048,
        cpus=2,
        disks=(Disk(path="/a & b.qcow2", format="qcow2"), Disk(path="/c", format="raw", is_read_only=True)),
        port=2222,
        kernel="/k",
        initrd="/i",
        words="console=ttyS0",
    )
    for each in (
        domain,
        replace(domain, kernel="", initrd="", words="", ignition="/a.ign"),
        replace(domain, uses_kvm=True),
    ):
        (tmp_path / "a.xml").write_text(render_domain(each))
        done = subprocess.run([validate, tmp_path / "a.xml", "domain"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_real_libvirtd_boots_it_from_its_pool_and_forgets_it(either: Libvirt, kernel: bytes, tmp_path: Path) -> None:
    """What `vm engine create --connect` does with libvirt, with an empty disk: the kernel is seen on its console."""
    hand, libvirt = virsh(either), either
    hand.check("probe")
    disk = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
    (tmp_path / "vmlinuz").write_bytes(kernel)
    (tmp_path / "config.ign").write_text("{}")
    domain = Domain(
        name=domain_name("probe"),
        hardware=X86_64,
        memory_mib=256,
        cpus=1,
        disks=(Disk(path=hand.upload("probe", disk, "qcow2"), format="qcow2"),),
        port=_free_port(),
        kernel=hand.upload("probe", tmp_path / "vmlinuz", "raw"),
        words="console=ttyS0 panic=-1",
        ignition=hand.upload("probe", tmp_path / "config.ign", "raw"),
    )
    xml = tmp_path / "domain.xml"
    xml.write_text(render_domain(domain))
    hand.define_and_start("probe", xml)
    assert hand.is_running("probe")
    said = _console(libvirt, domain_name("probe"), "Linux version")
    assert "Command line: console=ttyS0 panic=-1" in said
    with pytest.raises(ConfigError, match="has a machine jetsonx-probe already"):
        hand.check("probe")
    hand.remove("probe")
    assert domain_name("probe") not in libvirt.virsh("list", "--all", "--name")
    assert not libvirt.virsh("vol-list", "default")
    hand.remove("probe")  # what is gone already is well


def test_a_domain_of_somebody_else_is_left_alone(libvirt: Libvirt, tmp_path: Path) -> None:
    xml = tmp_path / "a.xml"
    xml.write_text(
        f"<domain type='qemu'><name>{domain_name('theirs')}</name><memory>65536</memory><os><type>hvm</type></os>"
        "</domain>"
    )
    libvirt.virsh("define", xml)
    with pytest.raises(HostError, match="was not made by jetsonx"):
        virsh(libvirt).remove("theirs")
    libvirt.virsh("undefine", domain_name("theirs"))


def test_a_port_that_is_taken_on_the_hypervisor_is_named(libvirt: Libvirt, tmp_path: Path) -> None:
    import socket

    hand = virsh(libvirt)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        domain = Domain(name=domain_name("late"), hardware=X86_64, memory_mib=64, cpus=1, disks=(), port=port)
        (tmp_path / "domain.xml").write_text(render_domain(domain))
        with pytest.raises(HostError, match="could not start the machine") as error:
            hand.define_and_start("late", tmp_path / "domain.xml")
    assert "--port" in str(error.value.hint)
    assert str(port) in str(error.value.details)
    hand.remove("late")
    assert not libvirt.virsh("list", "--all", "--name")


def test_what_libvirt_lacks_is_said(libvirt: Libvirt, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no storage pool missing") as error:
        virsh(libvirt, pool="missing").check("a")
    assert "pool-define-as missing" in str(error.value.hint)
    nobody = Virsh(uri=f"qemu:///session?socket={tmp_path}/none", pool="default", runner=Runner(), console=Console(-1))
    with pytest.raises(HostError, match="could not be asked for its version"):
        nobody.check("a")


@pytest.mark.parametrize("hardware", KINDS.values(), ids=lambda each: each.name)
def test_the_guest_that_kvm_is_tried_with_ends_by_itself(hardware: Hardware, libvirt: Libvirt, tmp_path: Path) -> None:
    """By emulation here, as no KVM that works is at hand; that it is needed is seen from a guest that does not end."""
    hand = virsh(libvirt)
    assert libvirt_kvm.ends_by_itself("tried", hardware, hand, tmp_path, uses_kvm=False)
    assert not libvirt.virsh("list", "--all", "--name")
    assert not libvirt.virsh("vol-list", "default")


def test_a_guest_that_does_not_end_proves_nothing_and_is_ended(
    libvirt: Libvirt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_kvm, "_X86_SECTOR", b"\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa")
    assert not libvirt_kvm.ends_by_itself("stuck", X86_64, virsh(libvirt), tmp_path, uses_kvm=False)
    assert not libvirt.virsh("list", "--all", "--name")
    assert not libvirt.virsh("vol-list", "default")


def test_kvm_that_libvirt_does_not_have_is_not_used_and_not_promised(libvirt: Libvirt, tmp_path: Path) -> None:
    """For arm64 machines, an x86-64 host has none."""
    hand = virsh(libvirt)
    assert libvirt_kvm.choose_kvm("off", "a", ARM64, hand, tmp_path) == (False, "")
    chosen, why = libvirt_kvm.choose_kvm("auto", "a", ARM64, hand, tmp_path)
    assert (chosen, "libvirt has no KVM for arm64 machines there" in why) == (False, True)
    with pytest.raises(HostError, match="has no KVM for arm64") as error:
        libvirt_kvm.choose_kvm("on", "a", ARM64, hand, tmp_path)
    assert error.value.details


def test_ignition_takes_the_first_boot_configuration(need: Need, jetsonx: Run, tmp_path: Path) -> None:
    validate = need("ignition-validate")
    subprocess.run([need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    ran = jetsonx("vm", "engine", "ignition", "isolated", "--key", tmp_path / "key.pub")
    assert ran.status == 0, ran.err
    config = tmp_path / "config.ign"
    config.write_text(ran.out)
    done = subprocess.run([validate, config], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    config.write_text(ran.out.replace('"sshAuthorizedKeys"', '"sshKeys"').replace("3.3.0", "3.9.0"))
    assert subprocess.run([validate, config], capture_output=True, check=False).returncode != 0, "it does look"
    private = jetsonx("vm", "engine", "ignition", "isolated", "--key", tmp_path / "key")
    assert private.status == 2
    assert "PRIVATE" not in private.err


def _free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _console(libvirt: Libvirt, domain: str, mark: str) -> str:
    """What the guest says on its serial console until ``mark`` has come and a little more."""
    said = ""
    node = os.open(libvirt.virsh("ttyconsole", domain), os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        until = time.monotonic() + _BOOT_S
        while not (mark in said and "Command line" in said and said.endswith("\n")) and time.monotonic() < until:
            if select.select([node], [], [], 1.0)[0]:
                said += os.read(node, 4096).decode(errors="replace").replace("\r", "")
    finally:
        os.close(node)
    assert mark in said, said
    return said
