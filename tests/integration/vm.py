"""A virtual Jetson for the tests that need a device: booted once, by two `jetsonx vm start` at the same moment."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CLI = (sys.executable, "-m", "jetsonx")
_LIMIT_S = 1800  # a machine image is made first, on a machine that never made one
TARGET = "orin-nano@39.2"
"""A release whose CUDA is among the packages that everybody can fetch: what is built for it runs there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """A virtual Jetson that runs. ``env`` lets jetsonx find it; ``starts`` are how the two starts ended."""

    name: str
    root: Path
    starts: tuple[subprocess.CompletedProcess[str], ...]

    @property
    def env(self) -> Mapping[str, str]:
        """For `jetsonx`: where the machines are."""
        return {"JETSONX_VMS": str(self.root)}

    @property
    def device(self) -> str:
        """As devices are named."""
        return f"vm:{self.name}"

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`jetsonx vm WORDS`, whatever comes of it."""
        return call(self.root, *words)

    def ssh(self, script: str) -> str:
        """What a command line of the guest's prints; it has to succeed."""
        done = self.call("ssh", self.name, script)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def lend(self, port: int) -> None:
        """A port of this host's loopback is the same port of the guest's, too, until it ends.

        QEMU's user networking has this host's loopback at 10.0.2.2. `ssh -R` does the same in twice the time.
        """
        nat = "sudo iptables -w -t nat -A"
        self.ssh(
            "sudo sysctl -q net.ipv4.conf.all.route_localnet=1"
            f" && {nat} OUTPUT -p tcp -d 127.0.0.1 --dport {port} -j DNAT --to-destination 10.0.2.2"
            f" && {nat} POSTROUTING -p tcp -d 10.0.2.2 --dport {port} -j MASQUERADE"
        )


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`jetsonx vm WORDS` for the machines below ``root``."""
    done = subprocess.run(
        [*CLI, "vm", *words],
        env={**os.environ, "JETSONX_VMS": str(root)},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@contextlib.contextmanager
def machines() -> Iterator[Path]:
    """A place for virtual machines; whatever is in there at the end is ended and removed.

    Not below pytest's directories: the path of the socket to the guest's engine may have no more than 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="jetsonx-vms-") as folder:
        root = Path(folder)
        try:
            yield root
        finally:
            for record in root.glob("*/vm.json"):
                call(root, "remove", record.parent.name)


@contextlib.contextmanager
def boot(name: str = "test", *, memory_mib: int = 1536) -> Iterator[Booted]:
    """A virtual Orin Nano that lets us in and whose Docker answers."""
    with machines() as root:
        made = call(root, "create", name, "-t", TARGET, "--memory", str(memory_mib))
        assert made.returncode == 0, made.stderr
        words = [*CLI, "vm", "start", name, "--docker", "--timeout", str(_LIMIT_S)]
        env = {**os.environ, "JETSONX_VMS": str(root)}
        both = [
            subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"
        ]
        ends = [(each, *each.communicate(timeout=_LIMIT_S)) for each in both]
        starts = tuple(subprocess.CompletedProcess(words, each.returncode, out, err) for each, out, err in ends)
        assert any(each.returncode == 0 for each in starts), starts
        yield Booted(name=name, root=root, starts=starts)
