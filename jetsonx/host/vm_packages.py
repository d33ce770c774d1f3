"""In which packages of which distribution the things are that virtual machines need."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jetsonx.host.facts import HostFacts
from jetsonx.host.mend import Mend, as_root
from jetsonx.toml import load_toml


@cache
def load_vm_packages() -> Mapping[str, Any]:
    """What virtual machines need, and in which packages it is: vm_packages.toml."""
    return load_toml((files("jetsonx.host") / "vm_packages.toml").read_text())


def resolve_vm_package(key: str, facts: HostFacts) -> Mend:
    """How one entry of vm_packages.toml is installed on this host."""
    entry = load_vm_packages()[key]
    family = facts.vm.family if facts.vm is not None else ""
    names = entry.get(family)
    if names is None:
        return Mend(text=f"install the package of your distribution that holds {entry['role']}")
    if not names:
        return Mend(text=entry["otherwise"])
    if family in ("debian", "ubuntu"):
        update = () if facts.packages else (("apt-get", "update"),)
        return as_root(facts, *update, ("apt-get", "install", "-y", *names))
    return as_root(facts, ("dnf", "install", "-y", *names))
