"""Hands machines to libvirt by virsh.

Not by libvirt's Python bindings: those are built against libvirt's headers when pip installs them, and a distribution's
package of them is not seen from a virtual environment. virsh comes with libvirt itself, speaks to every version of it
and to other hosts, and is one more program for the runner.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jetsonx.console import Console
from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Command, Completed, Runner
from jetsonx.toolchain.search import which_host
from jetsonx.vm.libvirt import TITLE, check_uri

_PREFIX = "jetsonx-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Virsh:
    """A hypervisor behind libvirt, and the storage pool on it that holds disks."""

    uri: str
    pool: str
    runner: Runner
    console: Console

    def call(self, *words: str) -> Completed:
        """Run virsh, in the C locale as its words are read. Raises HostError without it."""
        virsh = which_host("virsh")
        if virsh is None:
            raise HostError("there is no virsh here to reach libvirt with", hint="jetsonx doctor --for vm")
        argv = (virsh, "--quiet", "--connect", check_uri(self.uri), *words)
        return self.runner.run(Command(argv=argv, env={"LC_ALL": "C"}))

    def do(self, what: str, *words: str) -> str:
        """Run virsh and give back what it prints. Raises HostError that says ``what`` failed."""
        done = self.call(*words)
        if not done.ok:
            raise HostError(
                f"libvirt at {self.uri} could not {what}", details=done.tail, hint="jetsonx doctor --for vm"
            )
        return done.stdout

    def check(self, name: str) -> None:
        """Raise HostError when libvirt does not answer or has no such pool, ConfigError when the name is taken."""
        self.do("be asked for its version", "version")
        if not self.call("pool-info", self.pool).ok:
            place = "/var/lib/libvirt/images" if "/system" in self.uri else "~/.local/share/libvirt/images"
            base = f"virsh -c '{self.uri}'"
            raise HostError(
                f"libvirt at {self.uri} has no storage pool {self.pool}, where the machine's disks would go",
                hint=f"name another with --pool, or make it: {base} pool-define-as {self.pool} dir --target {place} && "
                f"{base} pool-build {self.pool} && {base} pool-start {self.pool}",
            )
        if self.call("dominfo", domain_name(name)).ok:
            raise ConfigError(
                f"{self.uri} has a machine {domain_name(name)} already", hint=f"jetsonx vm engine remove {name}"
            )

    def upload(self, name: str, file: Path, kind: str) -> str:
        """Copy a file into the pool, as a volume of the engine ``name``; its path on the hypervisor."""
        volume = f"{_PREFIX}{name}-{file.name}"
        size = str(file.stat().st_size)
        self.call("vol-delete", volume, "--pool", self.pool)  # what an interrupted one left
        self.do(f"make the volume {volume}", "vol-create-as", self.pool, volume, size, "--format", kind)
        self.do(f"take {file.name}", "vol-upload", volume, str(file), "--pool", self.pool)
        return self.do("say where a volume is", "vol-path", volume, "--pool", self.pool).strip()

    def define_and_start(self, name: str, xml: Path) -> None:
        """Make the domain and start it. Raises HostError with libvirt's words."""
        self.do("take the machine", "define", str(xml))
        self.start(name)

    def start(self, name: str) -> None:
        """Start the engine's domain, if it does not run already."""
        if self.is_running(name):
            return
        done = self.call("start", domain_name(name))
        if not done.ok:
            is_port = "host forwarding" in done.tail  # QEMU's own words
            raise HostError(
                f"libvirt at {self.uri} could not start the machine",
                details=done.tail,
                hint="that port is taken there: name another with --port" if is_port else "jetsonx doctor --for vm",
            )

    def is_running(self, name: str) -> bool:
        """True when the engine's domain runs."""
        return self.call("domstate", domain_name(name)).stdout.strip() == "running"

    def remove(self, name: str) -> None:
        """End the engine's domain and take it away with its volumes; what is gone already is well.

        Raises HostError when libvirt keeps it, or it is not ours.
        """
        domain = domain_name(name)
        if self.call("dominfo", domain).ok:
            title = self.call("desc", domain, "--title").stdout.strip()
            if title != TITLE:
                raise HostError(f"{domain} at {self.uri} was not made by jetsonx", hint=f"virsh undefine {domain}")
            self.call("destroy", domain)
            self.do("forget the machine", "undefine", domain, "--nvram")
        self.end_trial(name)
        for volume in self._volumes(name):
            self.do(f"remove the volume {volume}", "vol-delete", volume, "--pool", self.pool)

    def end_trial(self, name: str) -> None:
        """End the guest that tries KVM for an engine, if it still runs, and take its volume away."""
        self.call("destroy", trial_name(name))
        self.call("vol-delete", f"{_PREFIX}{name}-trial", "--pool", self.pool)

    def _volumes(self, name: str) -> Iterator[str]:
        listed = self.call("vol-list", self.pool).stdout
        pattern = rf"^\s*({re.escape(_PREFIX + name)}-(?:disk\.qcow2|config\.tar|config\.ign|vmlinuz|initrd))\s"
        yield from re.findall(pattern, listed, re.MULTILINE)


def domain_name(name: str) -> str:
    """What the engine's domain is called."""
    return f"{_PREFIX}{name}"


def trial_name(name: str) -> str:
    """What the guest that tries KVM for an engine is called; no engine can be called so, for the dot."""
    return f"{_PREFIX}{name}.trial"
