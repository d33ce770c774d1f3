"""Real Docker engines of the tests' own, whatever runs on this machine: Debian's packages unpacked aside, dockerd and
containerd started as root by their full names, with data, sockets and a bridge of their own.

with serve_engine("26.1") as engine:
    engine.docker("buildx", "build", "-t", "app", ".")
    jetsonx("build", "--engine", "docker", env=engine.env)

Two generations: 20.10, the last whose BuildKit has no named contexts, and 26.1; "26.1-containerd" is the latter with
containerd's image store. The storage driver is what dockerd finds: overlay2 (with containerd's store overlayfs), or vfs
where the directory for temporary files is an overlay itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.integration.debs import unpack_aside

Generation = Literal["20.10", "26.1", "26.1-containerd"]

_SUITES = {"20.10": "bookworm", "26.1": "trixie", "26.1-containerd": "trixie"}
_PACKAGES = {
    "bookworm": ("docker.io", "containerd", "runc"),
    "trixie": ("docker.io", "docker-cli", "containerd"),  # its runc asks for a newer glibc than Debian 12's
}
_START_S, _STOP_S = 60, 30
_PLENTY_KIB, _IN_MEMORY = 12 << 20, "6g"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a docker command ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A running engine. ``env``: what ``docker`` and ``jetsonx`` need to find it, its CLI of the same generation and
    buildx (DOCKER_HOST, DOCKER_CONFIG, PATH); ``folder`` holds all its files; ``bridge`` is its containers' interface.
    """

    generation: Generation
    socket: Path
    folder: Path
    bridge: str
    env: Mapping[str, str]

    def docker(
        self,
        *words: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        check: bool = True,
        timeout_s: float = 900,
    ) -> Ended:
        """Run the CLI on this engine. Raises AssertionError with what it said unless it ends with 0."""
        done = subprocess.run(
            ["docker", *map(str, words)],
            cwd=cwd,
            env={**os.environ, **self.env, **(env or {})},
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        ended = Ended(status=done.returncode, out=done.stdout.decode(), err=done.stderr.decode(errors="replace"))
        assert ended.status == 0 or not check, f"docker {' '.join(map(str, words))}:\n{ended.out}{ended.err}"
        return ended

    def traces(self) -> dict[str, list[str]]:
        """What is there of containers, image tags and builders, to be the same before and after a test."""
        asked = {
            "containers": ("ps", "--all", "--format", "{{.ID}} {{.Image}} {{.Names}}"),
            "tags": ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"),
            "builders": ("buildx", "ls"),
        }
        return {name: sorted(self.docker(*words).out.splitlines()) for name, words in asked.items()}


@contextlib.contextmanager
def serve_engine(generation: Generation, *, options: Mapping[str, object] | None = None) -> Iterator[Engine]:
    """An engine whose files all lie in a directory of its own, removed with its mounts and processes at the end.

    ``options`` are put into daemon.json. Needs root. Registries on 127.0.0.1 are allowed plain HTTP, as by default.
    """
    root = unpack_aside(_SUITES[generation], _PACKAGES[_SUITES[generation]])
    runtime = unpack_aside("bookworm", _PACKAGES["bookworm"])
    folder = Path(tempfile.mkdtemp(prefix="jetsonx-docker-"))  # not below pytest's: a socket's name has 107 bytes
    try:
        _into_memory(folder)
        path = _link_programs(folder / "bin", (root, runtime))
        with _own_bridge() as bridge, _containerd(folder, path) as containerd:
            config: dict[str, object] = {
                "data-root": str(folder / "data"),
                "exec-root": str(folder / "exec"),
                "pidfile": str(folder / "docker.pid"),
                "hosts": [f"unix://{folder}/docker.sock"],
                "containerd": str(containerd),
                "bridge": bridge.name,
                "mtu": bridge.mtu,
                # Its rules would get into other engines' way, and stay behind; the bridge brings those it needs.
                "iptables": False,
                "features": {"buildkit": True, "containerd-snapshotter": generation == "26.1-containerd"},
                **(options or {}),
            }
            (folder / "daemon.json").write_text(json.dumps(config))
            argv = ["dockerd", "--config-file", str(folder / "daemon.json")]
            with _running(argv, folder / "dockerd.log", path) as process:
                engine = Engine(
                    generation=generation,
                    socket=folder / "docker.sock",
                    folder=folder,
                    bridge=bridge.name,
                    env={
                        "DOCKER_HOST": f"unix://{folder}/docker.sock",
                        "DOCKER_CONFIG": str(_docker_config(folder / "config")),
                        "PATH": f"{path}:{os.environ['PATH']}",
                    },
                )
                _wait_until_ready(engine, process)
                yield engine
    finally:
        _end_shims(folder)
        _remove_tree(folder)


def _into_memory(folder: Path) -> None:
    """Put a directory into memory where there is plenty: images are gigabytes of small files that live for minutes.

    Measured: to remove those of three engines took 120 s on a disk with discard.
    """
    free = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    if free and int(free[1]) >= _PLENTY_KIB:
        _call("mount", "-t", "tmpfs", "-o", f"mode=700,size={_IN_MEMORY}", "tmpfs", str(folder))


def _docker_config(folder: Path) -> Path:
    """A DOCKER_CONFIG with nothing but buildx, which Debian 12 has no package of."""
    plugins = folder / "cli-plugins"
    plugins.mkdir(parents=True)
    buildx = unpack_aside("trixie", ("docker-buildx",)) / "usr/libexec/docker/cli-plugins/docker-buildx"
    (plugins / "docker-buildx").symlink_to(buildx)
    (folder / "config.json").write_text("{}")
    return folder


def _link_programs(folder: Path, roots: Sequence[Path]) -> Path:
    """A directory with the programs of ``roots``, the first that has one wins."""
    folder.mkdir()
    for root in reversed(roots):
        for program in (*root.glob("usr/bin/*"), *root.glob("usr/sbin/*")):
            (folder / program.name).unlink(missing_ok=True)
            (folder / program.name).symlink_to(program)
    return folder


@contextlib.contextmanager
def _containerd(folder: Path, path: Path) -> Iterator[Path]:
    """The socket of a containerd of our own: left to itself, dockerd takes the machine's where one runs."""
    address = folder / "containerd.sock"
    config = f"""\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{address}"
[ttrpc]
address = "{address}.ttrpc"
"""
    (folder / "containerd.toml").write_text(config)
    with _running(["containerd", "--config", str(folder / "containerd.toml")], folder / "containerd.log", path):
        yield address


@contextlib.contextmanager
def _running(argv: Sequence[str], log: Path, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server found in ``path`` first. It ends with this block, and with this process if that is killed."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *argv],
            env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}:/usr/sbin:/sbin"},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the tests; they end it in order
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        if engine.docker("version", check=False).status == 0:
            return
        time.sleep(0.1)
    raise RuntimeError(f"dockerd did not start:\n{(engine.folder / 'dockerd.log').read_text(errors='replace')[-4000:]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bridge:
    name: str
    mtu: int


@contextlib.contextmanager
def _own_bridge() -> Iterator[_Bridge]:
    """A bridge whose containers reach what this host reaches: its address range and its rules go with it.

    198.18.0.0/15 is set aside for tests of networks (RFC 2544), so that no site uses it.
    """
    mtu = _default_mtu()
    free = (number for number in range(256) if _succeeds("ip", "link", "add", f"jxt{number}", "type", "bridge"))
    number = next(free, None)
    if number is None:
        raise RuntimeError("no bridge can be made here: `ip link add jxt0 type bridge` says why")
    name, subnet = f"jxt{number}", f"198.18.{number}.0/24"
    rules = (
        ("nat", "POSTROUTING", "-s", subnet, "!", "-o", name, "-j", "MASQUERADE"),
        ("filter", "FORWARD", "-i", name, "-j", "ACCEPT"),
        ("filter", "FORWARD", "-o", name, "-j", "ACCEPT"),
    )
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    was = forwarding.read_text()
    try:
        _call("ip", "address", "add", f"198.18.{number}.1/24", "dev", name)
        _call("ip", "link", "set", name, "mtu", str(mtu), "up")
        forwarding.write_text("1")
        for table, chain, *words in rules:
            _call("iptables", "-w", "-t", table, "-I", chain, *words)
        yield _Bridge(name=name, mtu=mtu)
    finally:
        for table, chain, *words in rules:
            _succeeds("iptables", "-w", "-t", table, "-D", chain, *words)
        _succeeds("ip", "link", "delete", name)
        if not any(Path("/sys/class/net").glob("jxt*")):  # another engine may be up that found it on
            forwarding.write_text(was)


def _default_mtu() -> int:
    """Of the interface that the default route leaves by: packets of containers must fit through it."""
    words = subprocess.run(["ip", "-4", "route", "show", "default"], capture_output=True, text=True, check=True).stdout
    device = words.partition(" dev ")[2].split(" ")[0]
    return int(Path(f"/sys/class/net/{device}/mtu").read_text()) if device else 1500


def _end_shims(folder: Path) -> None:
    """Kill the shims that outlived their containerd: they name its socket."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if os.fsencode(folder / "containerd.sock") in place.read_bytes().split(b"\0"):
                os.kill(int(place.parent.name), 9)


def _remove_tree(folder: Path) -> None:
    """Remove a directory and whatever is mounted below it, the innermost first."""
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for place in reversed(mounts):
        if Path(place.encode().decode("unicode_escape")).is_relative_to(folder):
            _succeeds("umount", "--lazy", place)
    _call("rm", "-rf", str(folder))  # gigabytes of small files: rmtree takes three times as long


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, check=False, capture_output=True).returncode == 0
