"""What a virtual machine in a container would find on this host, from facts already read: pure."""

from __future__ import annotations

from collections.abc import Iterator

from jetsonx.console import amount
from jetsonx.host.doctor import diagnose
from jetsonx.host.doctor_vm import VIRTUAL_MACHINES
from jetsonx.host.facts import HostFacts
from jetsonx.vm.compose import Machine, Service, load_facts

_NEEDED = ("docker", "daemon", "tun")
_WHY = {
    "hangs": "/dev/kvm makes machines, but a guest of a few instructions does not come to its end in one",
    "refused": "no guest starts under KVM here",
    "untried": "KVM could not be tried, as there is no QEMU here to try it with",
}
_UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def decide_kvm(asked: str, machine: Machine, facts: HostFacts) -> tuple[bool, str]:
    """Whether the container uses KVM, and why not, "" for as asked ("on", "off").

    With "auto" it does when a guest came up under KVM here, and has this host's own kind of processor.
    """
    if asked != "auto":
        return asked == "on", ""
    if facts.machine != load_facts()["guest"][machine]["machine"]:
        return False, f"KVM runs no {machine} guests on {facts.machine}: this one is emulated, and slow"
    trial = facts.vm.trial if facts.vm is not None else "untried"
    if trial == "works":
        return True, ""
    return False, f"{_WHY[trial]}: written without KVM, so the guest is emulated, and slow; --kvm on insists"


def judge_host(service: Service, facts: HostFacts, busy_ports: frozenset[int]) -> Iterator[str]:
    """What this host lacks to start the machine, a line each, with what mends it.

    Only said: the file may be meant for another host. ``busy_ports``: those that something listens at.
    """
    for line in diagnose(facts, VIRTUAL_MACHINES).lines:
        if line.check.name in _NEEDED and line.finding.status != "ok":
            mend = f"; mend: {line.finding.mend.text}" if line.finding.mend else ""
            yield f"{line.finding.found}{mend}"
    if service.has_kvm and not facts.kvm.has_node:
        yield "there is no /dev/kvm here: jetsonx doctor --for vm"
    memory = facts.vm.free_memory_bytes if facts.vm is not None else None
    if memory is not None and memory < size_bytes(service.memory):
        yield f"{amount(memory)} of memory is free, and the guest is given {service.memory}: --memory gives it less"
    root = facts.docker.root if facts.docker is not None else None
    free = root.free_bytes if root is not None and not service.is_stored_in_directory else None
    if root is not None and free is not None and free < size_bytes(service.disk):
        yield f"{amount(free)} is free for {root.path}, and the disk may grow to {service.disk}"
    for each in service.ports:
        if each.outer in busy_ports:
            yield f"something listens at port {each.outer} already: choose another with --port or --publish"


def size_bytes(text: str) -> int:
    """What a size such as "8G" is in bytes; 0 for "half" and "max", which the container works out itself."""
    return int(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else 0
