"""QEMU as a service in a container: what is asked for, checked, as one value that three formats are rendered from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from posixpath import join, normpath
from typing import Any, Literal
from urllib.parse import urlsplit

from jetsonx.errors import ConfigError
from jetsonx.toml import load_toml
from jetsonx.vm.boot import Format

Machine = Literal["x86-64", "arm64"]
Io = Literal["native", "threads", "io_uring"]
Restart = Literal["no", "always", "unless-stopped", "on-failure"]

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
_SIZE = re.compile(r"[1-9][0-9]*[MGT]")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PORT = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|\d+(?:\.\d+){3}):)?(?P<outer>[0-9]{1,5})(?::(?P<inner>[0-9]{1,5}))?")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """A port of the guest and where this host offers it. ``host``: an address, loopback unless told otherwise."""

    host: str
    outer: int
    inner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A file of this host, by its absolute path, and its place in the container."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A virtual machine in a container of qemux/qemu or qemux/qemu-arm.

    ``boot``: the value of BOOT, "" when ``mount`` is what it boots from. ``storage``: a directory (absolute) or the
    name of a volume. ``cpus``: a count, "half" or "max"; ``memory`` and ``disk``: sizes such as "8G"; memory also
    "half" or "max". ``ports[0]`` is the web viewer's.
    """

    name: str
    machine: Machine
    image: str
    boot: str
    mount: Mount | None
    storage: str
    ports: tuple[Publish, ...]
    cpus: str
    memory: str
    disk: str
    has_kvm: bool
    io: Io
    restart: Restart

    @property
    def is_stored_in_directory(self) -> bool:
        """True when ``storage`` is a directory of this host."""
        return self.storage.startswith("/")

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables; docs/environment.md of qemus/qemu says what each is."""
        given = {
            "BOOT": self.boot,
            "CPU_CORES": self.cpus,
            "RAM_SIZE": self.memory,
            "DISK_SIZE": self.disk,
            "DISK_IO": self.io,
            "KVM": "Y" if self.has_kvm else "N",
            "TIMEOUT": str(load_facts()["guest_stop_s"]),
        }
        return {name: value for name, value in given.items() if value}

    @property
    def devices(self) -> tuple[str, ...]:
        """Device nodes of this host that the container gets."""
        return ("/dev/kvm", "/dev/net/tun") if self.has_kvm else ("/dev/net/tun",)


@cache
def load_facts() -> Mapping[str, Any]:
    """What the images understand: qemux.toml."""
    return load_toml((files("jetsonx.vm") / "qemux.toml").read_text())


def check_name(name: str) -> str:
    """A name that Docker, Compose and Kubernetes all take. Raises ConfigError."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a container and a Kubernetes service",
            hint="at most 50 of a-z, 0-9 and dash, a letter first, no dash at the end",
        )
    return name


def check_size(text: str, option: str, *, words: tuple[str, ...] = ()) -> str:
    """A size such as 8G, or one of ``words``. Raises ConfigError."""
    size = text.upper().removesuffix("B").removesuffix("I")
    if text in words:
        return text
    if not _SIZE.fullmatch(size):
        also = f", or {' or '.join(words)}" if words else ""
        raise ConfigError(f"{option} {text!r} is no size", hint=f"a whole number with M, G or T, such as 8G{also}")
    return size


def check_cpus(text: str) -> str:
    """A count of processors, "half" or "max". Raises ConfigError."""
    if text not in ("half", "max") and not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise ConfigError(f"--cpus {text!r} is no count of processors", hint="a whole number, half or max")
    return text


def check_storage(text: str) -> str:
    """The name of a volume. Raises ConfigError. Directories are told by their slash, by the caller."""
    if not _VOLUME.fullmatch(text):
        raise ConfigError(
            f"--storage {text!r} cannot be the name of a volume", hint=f"a directory is written with a slash: ./{text}"
        )
    return text


def parse_publish(text: str, option: str, *, inner: int | None = None) -> Publish:
    """``[ADDRESS:]PORT[:GUEST]``: where a port of the guest is offered. ``inner``: the guest's, when it is fixed.

    Without an address it is loopback: a machine with a console and no password is nobody else's business.
    Raises ConfigError.
    """
    found = _PORT.fullmatch(text)
    ports = [int(port) for port in (found["outer"], found["inner"]) if port] if found else []
    if (
        found is None
        or not all(0 < port < 65536 for port in ports)
        or (inner is not None) is (found["inner"] is not None)
    ):
        form = "[ADDRESS:]PORT" if inner is not None else "[ADDRESS:]PORT:GUESTPORT"
        raise ConfigError(
            f"{option} {text!r} is no {form}", hint="ports are 1 to 65535; 0.0.0.0: in front opens it to all"
        )
    return Publish(host=found["host"] or _LOOPBACK, outer=ports[0], inner=inner or ports[1])


def check_boot_name(text: str, machine: Machine) -> str:
    """A name of a system, or an image's URL, as the container takes it for BOOT. Raises ConfigError."""
    if "://" in text:
        return _check_url(text)
    known = load_facts()["guest"][machine]["names"]
    if text in known:
        return text
    near = get_close_matches(text, known, n=1)
    raise ConfigError(
        f"--boot {text!r} is neither a file here nor a system that {load_facts()['guest'][machine]['image']} knows",
        hint=(f"did you mean {near[0]}? " if near else "") + f"it knows: {', '.join(known)}",
    )


def _check_url(text: str) -> str:
    facts = load_facts()
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or " " in text:
        raise ConfigError(
            f"--boot {text!r} is no http or https address of a disk image", hint="https://HOST/disk.qcow2"
        )
    suffixes = parts.path.rpartition("/")[2].lower().split(".")[1:]
    packing = suffixes.pop() if suffixes and suffixes[-1] in facts["url_packings"] else ""
    # An archive that holds several files need not be named after its image; one that is a single stream must be.
    if (suffixes and suffixes[-1] in facts["url_formats"]) or packing in ("7z", "zip", "rar"):
        return text
    raise ConfigError(
        f"--boot {text}: the container goes by the name of what it fetches, and takes none that ends so",
        hint=f"it takes .{', .'.join(facts['url_formats'])}, also packed as .{', .'.join(facts['url_packings'])}; "
        "fetch other files yourself and name the file",
    )


def mount_target(found: Format) -> str:
    """Where the container looks for a boot file of this format."""
    return str(load_facts()["mounts"][found])


def plan_service(
    *,
    name: str,
    machine: Machine,
    image: str,
    boot: str,
    mount: Mount | None,
    storage: str | None,
    port: str,
    publish: tuple[str, ...],
    cpus: str,
    memory: str,
    disk: str,
    has_kvm: bool,
    io: Io,
    restart: Restart,
    folder: str,
) -> Service:
    """Check everything that was asked for. ``folder``: the absolute one that relative directories start from.

    Raises ConfigError for what the container, Docker, Compose or Kubernetes would not take.
    """
    check_name(name)
    if storage and "/" in storage:
        storage = normpath(join(folder, storage))
    for text in (storage or "", mount.source if mount else "", image):
        if not text.isprintable():
            raise ConfigError(f"{text!r} holds a control character, which no such file can spell", hint="rename it")
    viewer = parse_publish(port, "--port", inner=int(load_facts()["web_port"]))
    ports = (viewer, *(parse_publish(each, "--publish") for each in publish))
    taken = [(each.host, each.outer) for each in ports]
    if len(set(taken)) != len(taken):
        raise ConfigError("two ports of the guest are offered at one port here", hint="give each --publish its own")
    if len({each.inner for each in ports}) != len(ports):
        raise ConfigError("one port of the guest is published twice", hint=f"{viewer.inner} is the viewer's: --port")
    return Service(
        name=name,
        machine=machine,
        image=image,
        boot=check_boot_name(boot, machine) if mount is None else "",
        mount=mount,
        storage=storage if storage and "/" in storage else check_storage(storage or name),
        ports=ports,
        cpus=check_cpus(cpus),
        memory=check_size(memory, "--memory", words=("half", "max")),
        disk=check_size(disk, "--disk"),
        has_kvm=has_kvm,
        io=io,
        restart=restart,
    )
