"""Hands an engine's machine to libvirt: its files go into a storage pool there, and a domain is made of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jetsonx.effects import Effects
from jetsonx.errors import HostError
from jetsonx.runner import Command
from jetsonx.vm.disk import Base
from jetsonx.vm.hardware import KINDS
from jetsonx.vm.libvirt import Disk, Domain, render_domain
from jetsonx.vm.libvirt_kvm import choose_kvm
from jetsonx.vm.libvirt_run import Virsh, domain_name
from jetsonx.vm.place import Place
from jetsonx.vm.tools import Tools
from jetsonx.vm.values import Vm

Kvm = Literal["auto", "on", "off"]


def hand_over(vm: Vm, place: Place, virsh: Virsh, tools: Tools, effects: Effects, *, kvm: Kvm) -> None:
    """Copy the machine's files to the hypervisor, make a domain of them and start it.

    Raises HostError with libvirt's words, and when KVM is insisted on where there is none.
    """
    disk = _upload_disk(vm, place, virsh, tools, effects)
    hardware = KINDS[vm.arch]
    domain = Domain(
        name=domain_name(vm.name),
        hardware=hardware,
        memory_mib=vm.memory_mib,
        cpus=vm.cpus,
        disks=(disk,),
        port=vm.port,
    )
    if vm.system == "coreos":
        domain = replace(domain, ignition=virsh.upload(vm.name, place.ignition, "raw"))
    else:
        base = Base(path=Path(vm.base))
        config = Disk(path=virsh.upload(vm.name, place.config, "raw"), format="raw", is_read_only=True)
        domain = replace(
            domain,
            disks=(disk, config),
            kernel=virsh.upload(vm.name, base.kernel, "raw"),
            initrd=virsh.upload(vm.name, base.initrd, "raw"),
            words=hardware.kernel_words,
        )
    uses_kvm, why = choose_kvm(kvm, vm.name, hardware, virsh, place.path)
    if why:
        effects.console.say(f"{domain.name}: {why}")
    xml = place.path / "domain.xml"
    xml.write_text(render_domain(replace(domain, uses_kvm=uses_kvm)))
    virsh.define_and_start(vm.name, xml)


def _upload_disk(vm: Vm, place: Place, virsh: Virsh, tools: Tools, effects: Effects) -> Disk:
    """The machine's disk on the hypervisor, in one file; it is gone here, as that copy is the disk from now on."""
    whole = place.path / "whole" / place.disk.name
    whole.parent.mkdir()
    effects.console.say("making one file of the disk, for libvirt")
    words = (tools.qemu_img, "convert", "-f", "qcow2", "-O", "qcow2", str(place.disk), str(whole))
    done = effects.runner.run(Command(argv=words))
    if not done.ok:
        raise HostError("could not make one file of the disk", details=done.tail, hint=f"it was: {' '.join(words)}")
    disk = Disk(path=virsh.upload(vm.name, whole, "qcow2"), format="qcow2")
    shutil.rmtree(whole.parent)
    place.disk.unlink()
    return disk
