"""`doctor --for vm` on hosts that are made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jetsonx.host.ask import Ask
from jetsonx.host.doctor import Diagnosis, diagnose, render_diagnosis
from jetsonx.host.doctor_vm import VIRTUAL_MACHINES
from jetsonx.host.facts import HostFacts, Kvm, Program, VmHost
from jetsonx.host.kvm import _judge
from jetsonx.host.probe_vm import busy_ports, parse_family, probe_vm
from jetsonx.host.vm_packages import load_vm_packages
from jetsonx.runner import Command, Completed, Runner
from tests.unit.test_doctor import BARE, FULL, GB

ALL = {
    name: Program(path=f"/usr/bin/{name}", version="9.2")
    for name in ("qemu-system-aarch64", "qemu-system-x86_64", "qemu-img", "virsh")
}
BARE_VM = VmHost(family="debian", trial="untried", free_memory_bytes=8 * GB)
FULL_VM = VmHost(
    family="debian",
    trial="works",
    modules=frozenset({"kvm", "kvm_intel"}),
    nested=True,
    has_tun=True,
    programs=ALL,
    firmware={"x86_64": "/usr/share/OVMF/OVMF_CODE_4M.fd", "aarch64": "/usr/share/AAVMF/AAVMF_CODE.fd"},
    free_memory_bytes=8 * GB,
)


def look(facts: HostFacts, vm: VmHost = BARE_VM, **changes: Any) -> Diagnosis:
    return diagnose(replace(facts, vm=replace(vm, **changes)), VIRTUAL_MACHINES)


def found(diagnosis: Diagnosis, name: str) -> tuple[str, str, str]:
    finding = next(line.finding for line in diagnosis.lines if line.check.name == name)
    return finding.status, finding.found, finding.mend.text if finding.mend else ""


def test_a_host_with_everything_is_all_ok() -> None:
    root = replace(FULL, user=replace(FULL.user, is_root=True))
    diagnosis = look(root, FULL_VM)
    assert {line.finding.status for line in diagnosis.lines} == {"ok"}
    assert all(not verdict.missing for verdict in diagnosis.verdicts)
    assert not diagnosis.mends


def test_a_bare_host_is_told_the_packages_of_its_distribution() -> None:
    diagnosis = look(BARE)
    assert found(diagnosis, "qemu-arm")[2] == "sudo apt-get install -y qemu-system-arm"
    assert found(diagnosis, "libvirt")[2] == "sudo apt-get install -y libvirt-daemon-system libvirt-clients"
    assert not diagnosis.can("vm")
    fedora = look(BARE, family="fedora")
    assert found(fedora, "aavmf")[2] == "sudo dnf install -y edk2-aarch64"
    centos = look(BARE, family="centos")
    assert found(centos, "qemu-x86")[2] == "sudo dnf install -y qemu-kvm"
    assert "own processor alone" in found(centos, "qemu-arm")[2]
    assert "of your distribution" in found(look(BARE, family=""), "ovmf")[2]


def test_every_package_has_names_or_a_way_for_every_distribution() -> None:
    for key, entry in load_vm_packages().items():
        assert entry["role"], key
        for family in ("debian", "ubuntu", "fedora", "centos"):
            assert entry[family] or entry["otherwise"], (key, family)


def test_bridges_are_looked_at_only_when_asked_for() -> None:
    assert found(look(BARE), "bridge")[0] == "ok"
    assert found(look(BARE, wants_bridge=True), "bridge")[2] == "sudo apt-get install -y bridge-utils"


@pytest.mark.parametrize(
    ("trial", "status", "words"),
    [("works", "ok", "three times"), ("hangs", "warn", "does not come to its end"), ("refused", "absent", "emulation")],
)
def test_a_device_node_alone_is_no_kvm(trial: Any, status: str, words: str) -> None:
    diagnosis = look(FULL, FULL_VM, trial=trial)
    assert found(diagnosis, "trial")[0] == status
    assert words in found(diagnosis, "trial")[1]


def test_joining_the_group_of_kvm_is_a_mend_that_is_asked_for() -> None:
    shut = replace(FULL, kvm=Kvm(cpu_flag="vmx", has_node=True, is_accessible=False, group="kvm"))
    diagnosis = look(shut, FULL_VM, trial="refused")
    assert found(diagnosis, "kvm")[2] == "sudo usermod -aG kvm ada and log in again"
    assert ("sudo", "usermod", "-aG", "kvm", "ada") in [call for mend in diagnosis.mends for call in mend.calls]
    member = replace(shut, user=replace(shut.user, member_of=frozenset({"kvm"})))
    assert found(look(member, FULL_VM), "kvm")[2] == "newgrp kvm, or log in again"


def test_modules_and_nested_guests() -> None:
    amd = replace(BARE, kvm=Kvm(cpu_flag="svm"))
    assert found(look(amd), "module") == ("absent", "kvm_amd is not loaded", "sudo modprobe kvm_amd")
    assert found(look(FULL), "module")[1] == "built into the kernel"
    assert found(look(BARE), "module")[0] == "absent"
    off = look(FULL, FULL_VM, nested=False)
    assert "options kvm_intel nested=1" in found(off, "nested")[2]
    assert not any("nested" in mend.text for mend in off.mends), "settings that need a restart are the user's to make"
    assert found(look(BARE), "nested")[0] == "absent"


def test_room_and_memory_are_judged() -> None:
    tight = look(replace(FULL, cache=replace(FULL.cache, free_bytes=GB)), FULL_VM, free_memory_bytes=GB)
    assert found(tight, "room")[0] == "fail"
    assert found(tight, "memory")[0] == "warn"
    assert not tight.can("vm")
    assert found(look(FULL, free_memory_bytes=None), "memory")[0] == "warn"


def test_the_answer_is_for_people() -> None:
    text = "\n".join(render_diagnosis(look(BARE)))
    assert "no      vm" in text
    assert "missing: qemu-arm (absent)" in text


def test_how_a_trial_ended_is_told_apart() -> None:
    def ended(status: int, tail: str = "") -> Completed:
        return Completed(command=Command(argv=("qemu",)), status=status, stdout="", tail=tail)

    assert _judge(ended(33), 33) == "works"
    assert _judge(ended(124), 33) == "hangs"
    assert _judge(ended(1, "Could not access KVM kernel module: Permission denied"), 33) == "refused"
    assert _judge(ended(1, "unsupported machine type"), 33) == "untried"
    assert _judge(None, 33) == "untried"


@pytest.mark.parametrize(
    ("text", "family"),
    [
        ("ID=debian\n", "debian"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu"),
        ("ID=fedora\n", "fedora"),
        ('ID="centos"\nID_LIKE="rhel fedora"\n', "centos"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "centos"),
        ("ID=arch\n", ""),
        ("", ""),
    ],
)
def test_whose_package_names_hold(text: str, family: str) -> None:
    assert parse_family(text) == family


def test_a_host_is_read_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, text in {
        "etc/os-release": "ID=ubuntu\n",
        "sys/module/kvm_amd/parameters/nested": "1\n",
        "dev/net/tun": "",
        "proc/meminfo": "MemAvailable:  1000 kB\n",
        "usr/share/OVMF/OVMF_CODE.fd": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    facts = probe_vm(Ask(Runner()), "", root=tmp_path)
    assert (facts.family, facts.nested, facts.has_tun, facts.free_memory_bytes) == ("ubuntu", True, True, 1024000)
    assert facts.modules == {"kvm_amd"}
    assert facts.firmware == {"x86_64": f"{tmp_path}/usr/share/OVMF/OVMF_CODE.fd"}
    assert facts.trial == "untried"


def test_ports_that_something_listens_at(tmp_path: Path) -> None:
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "   0: 0100007F:1F46 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1\n"
        "   1: 0100007F:0016 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1\n"
    )
    assert busy_ports(tmp_path) == {8006}
