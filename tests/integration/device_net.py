"""A device of the tests' own at the other end of a cable: a network namespace with a veth pair, rates shaped on both
ends by HTB, and an sshd in it. What logs in there finds a home of its own, the files of a Jetson, and an engine.

with serve_device(tmp_path, engine=engine) as device:
    device.rate(20)                                    # Mbit/s, both ways; None: as fast as it goes
    jetsonx("deploy", "jetson", env=device.env)        # "jetson" is its name for ssh
    device.link_down()                                 # packets get lost, nobody is told
    device.link_up()
    print(device.sent_bytes(), device.received_bytes())  # over the cable so far, headers of Ethernet, IP and TCP too
    print(list(device.home.rglob("*")))                # $HOME of who logs in
    with open_link(device.address, runner=Runner(), environ=device.env) as link: ...

The engine may run outside of the namespace: it is reached by a socket in the file system. Needs root, iproute2 and the
kernel's sch_htb and veth. All names are this run's own; what a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.rootfs.ssh import Address
from tests.integration.docker_engine import Engine
from tests.integration.sshd import SshHost, serve_ssh

_NAMESPACES = Path("/run/netns")
_BURST = "64k"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetDevice:
    """A running device. ``env``: what jetsonx needs to find it; ``host`` is its sshd, ``address`` for our own code.

    ``near`` and ``far`` are the ends of the cable, ``far`` in the network namespace ``namespace``.
    """

    host: SshHost
    env: Mapping[str, str]
    home: Path
    root: Path
    namespace: str
    near: str
    far: str
    ip: str

    @property
    def address(self) -> Address:
        """As the user of jetsonx would name it."""
        return Address(host=self.host.name)

    def link_down(self) -> None:
        """Pull the cable, at the device's end: here the route stays, so that packets get lost and take no other way."""
        _call("ip", "-n", self.namespace, "link", "set", self.far, "down")

    def link_up(self) -> None:
        """Put it back."""
        _call("ip", "-n", self.namespace, "link", "set", self.far, "up")

    def rate(self, mbit: float | None) -> None:
        """Shape both directions to ``mbit`` million bits a second; None: no limit."""
        for inside, name in (((), self.near), (("-n", self.namespace), self.far)):
            _succeeds("tc", *inside, "qdisc", "del", "dev", name, "root")
            if mbit is not None:
                limit = ("rate", f"{round(mbit * 1e6)}bit", "burst", _BURST, "quantum", "60000")
                _call("tc", *inside, "qdisc", "add", "dev", name, "root", "handle", "1:", "htb", "default", "1")
                _call("tc", *inside, "class", "add", "dev", name, "parent", "1:", "classid", "1:1", "htb", *limit)

    def sent_bytes(self) -> int:
        """What went to the device since it was started."""
        return self._counter("tx_bytes")

    def received_bytes(self) -> int:
        """What came from the device since it was started."""
        return self._counter("rx_bytes")

    def _counter(self, name: str) -> int:
        return int(Path(f"/sys/class/net/{self.near}/statistics/{name}").read_text())


@contextlib.contextmanager
def serve_device(
    tmp: Path, name: str = "jetson", *, engine: Engine | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[NetDevice]:
    """A device whose files lie in ``tmp``, until the block is left. ``engine`` is its Docker.

    ``environ`` is set for those who log in, above what ``engine`` asks for: PATH, HOME and JETSONX_ROOT too.
    """
    home = tmp / "home"
    home.mkdir(parents=True)
    there = {"HOME": str(home), "JETSONX_ROOT": str(make_jetson(tmp / "root"))}
    if engine is not None:
        there |= {"DOCKER_HOST": f"unix://{engine.socket}", "PATH": f"{engine.env['PATH']}:/usr/bin:/bin"}
    there |= environ or {}
    with _cable() as (number, namespace):
        ip = f"198.19.{number}.1"
        # Not `ip netns exec`: that hides /sys/fs/cgroup. sshd goes when this process does.
        inside = ("nsenter", f"--net={_NAMESPACES / namespace}", "setpriv", "--pdeathsig", "TERM")
        with serve_ssh(tmp / "ssh", name, environ=there, ip=ip, inside=inside) as host:
            yield NetDevice(
                host=host,
                env={"JETSONX_SSH_CONFIG": str(host.config), "JETSONX_CONFIG": str(tmp / "config/config.toml")},
                home=home,
                root=tmp / "root",
                namespace=namespace,
                near=f"jxd{number}",
                far="far0",
                ip=ip,
            )


def make_jetson(root: Path) -> Path:
    """The files of a Jetson that the probe reads, for JETSONX_ROOT."""
    files = {
        "etc/nv_tegra_release": b"# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n# KERNEL_VARIANT\n",
        "etc/os-release": b'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
        "proc/device-tree/model": b"NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/device-tree/compatible": b"nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "usr/local/cuda/version.json": b'{\n  "cuda": {\n    "name": "CUDA SDK",\n    "version": "12.6.68"\n  }\n}\n',
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@contextlib.contextmanager
def _cable() -> Iterator[tuple[int, str]]:
    """A number that no other cable has, and the namespace at its far end. 198.18.0.0/15 is for tests (RFC 2544)."""
    _sweep()
    # The name says whose it is, for the sweep of a later run.
    number, namespace = next(
        (number, f"jxd-{os.getpid()}-{number}")
        for number in range(256)
        if not _is_taken(number) and _succeeds("ip", "netns", "add", f"jxd-{os.getpid()}-{number}")
    )
    try:
        near = f"jxd{number}"
        _call("ip", "link", "add", near, "type", "veth", "peer", "name", "far0", "netns", namespace)
        _call("ip", "address", "add", f"198.19.{number}.2/30", "dev", near)
        _call("ip", "link", "set", near, "up")
        _call("ip", "-n", namespace, "address", "add", f"198.19.{number}.1/30", "dev", "far0")
        for name in ("lo", "far0"):
            _call("ip", "-n", namespace, "link", "set", name, "up")
        yield number, namespace
    finally:
        _succeeds("ip", "link", "delete", f"jxd{number}")  # the kernel keeps a namespace while connections linger
        _succeeds("ip", "netns", "delete", namespace)


def _is_taken(number: int) -> bool:
    return Path(f"/sys/class/net/jxd{number}").exists()


def _sweep() -> None:
    """Remove the cables of runs that were killed."""
    for place in _NAMESPACES.glob("jxd-*-*"):
        _, pid, number = place.name.split("-")
        if not Path(f"/proc/{pid}").exists():
            _succeeds("ip", "link", "delete", f"jxd{number}")
            _succeeds("ip", "netns", "delete", place.name)


def _call(*argv: str) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0
