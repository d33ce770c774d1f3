"""What goes wrong with devices, at the press of a button: for tests of what is deployed, and of the deploying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from jetsonx.errors import DeviceError
from jetsonx.vm.machine import Machine, cut_power
from jetsonx.vm.place import Places
from jetsonx.vm.wire import ask_qemu


def _set_link(*, up: bool) -> Callable[[Machine, Places], None]:
    def act(machine: Machine, places: Places) -> None:
        places.check_running(machine.vm.name)
        ask_qemu(machine.place.control, "set_link", {"name": "nic", "up": up})

    return act


def _run_script(name: str) -> Callable[[Machine, Places], None]:
    def act(machine: Machine, places: Places) -> None:
        places.check_running(machine.vm.name)
        script = Path(__file__).with_name(name).read_text(encoding="ascii")
        done = machine.ssh("sudo", "sh", "-c", script, limit_s=120)
        if not done.ok:
            raise DeviceError(f"{machine.name}: could not be done there", details=done.tail)

    return act


FAULTS: Mapping[str, Callable[[Machine, Places], None]] = {
    "link-down": _set_link(up=False),
    "link-up": _set_link(up=True),
    "power-cut": cut_power,
    "disk-full": _run_script("disk_full.sh"),
    "disk-free": _run_script("disk_free.sh"),
}
"""Button -> what it does. Each raises DeviceError for a machine that does not run."""
