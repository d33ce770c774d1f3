"""What a device says of itself, as values; "" , () and None stand for what it does not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

By = Literal["", "user", "sudo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """The Docker client of a device and the engine behind it.

    ``client`` is its path, ``endpoint`` where it looks for the engine, ``socket`` a line of `ls -l`, ``trouble`` its
    complaint when the engine does not answer this user. ``by`` is how the engine was reached; "" when it was not, and
    then all below is empty but for what
    is free where Docker would be. ``engine`` and ``api`` are versions. ``driver`` is the storage driver;
    ``has_containerd_store``: images lie in containerd's store, not in Docker's own. ``free_bytes``: where these lie.
    ``cdi_dirs``: where the engine looks for CDI specifications, if it does.
    """

    client: str = ""
    endpoint: str = ""
    socket: str = ""
    trouble: str = ""
    by: By = ""
    engine: str = ""
    api: str = ""
    root: str = ""
    driver: str = ""
    has_containerd_store: bool = False
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    cdi_dirs: tuple[str, ...] = ()
    free_bytes: int | None = None

    @property
    def store(self) -> str:
        """The kind of image store: ``"containerd"``, else the storage driver of Docker's own: ``"overlay2"``."""
        return "containerd" if self.has_containerd_store else self.driver

    @property
    def socket_group(self) -> str:
        """The group of the engine's socket."""
        fields = self.socket.split()
        return fields[3] if len(fields) > 3 and fields[0].startswith("s") else "docker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What answered at an SSH address.

    ``machine`` is its processor (``"aarch64"``); ``starts_aarch64``: programs for that run there, by QEMU if need be.
    ``model`` and ``compatible`` are of the device tree. ``virtual`` is the module that a virtual machine of jetsonx
    stands for: its device tree is QEMU's and names none. ``l4t`` is ``"36.4.3"``; ``l4t_source`` is where that was
    read, "nv_tegra_release" or "nvidia-l4t-core" (the package). ``jetpack``, ``toolkit`` (the NVIDIA container
    toolkit) and ``cuda_compat`` (package name, version) are packages, ``cuda`` is the version of the toolkit in
    /usr/local/cuda. ``cdi_specs`` are file names. ``group_ids`` are the numbers of the groups docker, video and
    render. ``has_sudo``: without a password. ``clock_offset_s``: seconds that its clock is ahead of this one.
    """

    machine: str = ""
    starts_aarch64: bool = False
    kernel: str = ""
    host: str = ""
    system: str = ""
    model: str = ""
    compatible: tuple[str, ...] = ()
    virtual: str = ""
    l4t: str | None = None
    l4t_source: str = ""
    jetpack: str = ""
    cuda: str = ""
    cuda_compat: tuple[tuple[str, str], ...] = ()
    toolkit: str = ""
    cdi_specs: tuple[str, ...] = ()
    cores: int | None = None
    page_bytes: int | None = None
    glibc: str = ""
    cpu_flags: tuple[str, ...] = ()
    memory_bytes: int | None = None
    memory_free_bytes: int | None = None
    user: str = ""
    is_root: bool = False
    groups: tuple[str, ...] = ()
    group_ids: tuple[tuple[str, int], ...] = ()
    has_sudo: bool = False
    home: str = ""
    home_free_bytes: int | None = None
    python: str = ""
    clock_offset_s: int | None = None
    docker: Docker = field(default_factory=Docker)

    @property
    def has_root(self) -> bool:
        """True when root's rights are to be had without asking anybody."""
        return self.is_root or self.has_sudo
