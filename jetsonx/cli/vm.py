"""``jetsonx vm``: virtual machines."""

from __future__ import annotations

import click

from jetsonx.cli.late import Late, LateGroup

_COMMANDS = {
    "create": Late("Make a virtual Jetson.", "vm_machines", "create"),
    "start": Late("Start it, and return when it lets us in.", "vm_machines", "start"),
    "stop": Late("Shut it down.", "vm_machines", "stop"),
    "list": Late("List the virtual Jetsons and say which of them run.", "vm_machines", "list_machines"),
    "ssh": Late("Log in, or run a command there.", "vm_machines", "ssh"),
    "logs": Late("Print what it said on its console.", "vm_machines", "logs"),
    "snapshot": Late("Keep its disk as it is now.", "vm_machines", "snapshot"),
    "restore": Late("Put its disk back to a snapshot.", "vm_machines", "restore"),
    "fault": Late("Let something go wrong with it: link, power, disk.", "vm_machines", "fault"),
    "remove": Late("Take it away.", "vm_machines", "remove"),
    "compose": Late("Write a compose file, docker run or Kubernetes manifest for QEMU in a container.", "vm_compose"),
    "engine": Late("Docker engines behind a virtual machine's wall: create, list, start and remove them.", "vm_engine"),
}


@click.group("vm", cls=LateGroup, late=_COMMANDS)
def command() -> None:
    """Virtual Jetsons: real arm64 machines under QEMU, with sshd and Docker, and without a GPU.

    A started one is a device by name, vm:NAME, wherever a device is named. No root, no KVM and no emulator registered
    in the kernel are needed.
    """
