"""What `doctor --for vm` looks at: machines that jetsonx starts itself, machines in containers, and libvirt."""

from __future__ import annotations

from jetsonx.host import judge_docker, judge_vm
from jetsonx.host.doctor import Ability, Check, Topic

VIRTUAL_MACHINES = Topic(
    checks=(
        (
            "Virtual machines",
            (
                Check(
                    name="qemu-arm",
                    purpose="virtual Jetsons",
                    judge=judge_vm.judge_program("qemu-system-aarch64", "qemu-arm"),
                ),
                Check(
                    name="qemu-x86",
                    purpose="isolated x86-64 engines",
                    judge=judge_vm.judge_program("qemu-system-x86_64", "qemu-x86"),
                ),
                Check(name="qemu-img", purpose="their disks", judge=judge_vm.judge_program("qemu-img", "qemu-img")),
                Check(
                    name="ovmf",
                    purpose="other people's x86-64 images",
                    judge=judge_vm.judge_firmware("x86_64", "ovmf"),
                ),
                Check(
                    name="aavmf",
                    purpose="Fedora CoreOS and other arm64 images",
                    judge=judge_vm.judge_firmware("aarch64", "aavmf"),
                ),
                Check(name="memory", purpose="a guest of 2 GB", judge=judge_vm.judge_memory),
                Check(name="room", purpose="disks", judge=judge_vm.judge_room),
            ),
        ),
        (
            "KVM (without it guests run by emulation)",
            (
                Check(name="module", purpose="guests at full speed", judge=judge_vm.judge_module),
                Check(name="kvm", purpose="guests at full speed", judge=judge_vm.judge_access),
                Check(name="trial", purpose="guests at full speed", judge=judge_vm.judge_trial, follows="kvm"),
                Check(name="nested", purpose="guests inside guests", judge=judge_vm.judge_nested),
            ),
        ),
        (
            "Machines in containers, and libvirt",
            (
                Check(name="docker", purpose="vm compose", judge=judge_docker.judge_client),
                Check(name="daemon", purpose="vm compose", judge=judge_docker.judge_daemon, follows="docker"),
                Check(name="tun", purpose="vm compose", judge=judge_vm.judge_tun),
                Check(name="libvirt", purpose="vm engine create --connect", judge=judge_vm.judge_libvirt),
                Check(name="bridge", purpose="guests on this host's network", judge=judge_vm.judge_bridge),
            ),
        ),
    ),
    abilities=(
        Ability(name="vm", purpose="start virtual Jetsons", needs=("qemu-arm", "qemu-img", "room")),
        Ability(name="engine", purpose="wall in an x86-64 Docker engine", needs=("qemu-x86", "qemu-img", "room")),
        Ability(name="kvm", purpose="run guests of its own processor fast", needs=("kvm", "trial")),
        Ability(name="compose", purpose="start machines in containers", needs=("docker", "daemon", "tun")),
        Ability(name="libvirt", purpose="hand machines to libvirt", needs=("libvirt",)),
    ),
    essential="vm",
)
