"""What a workstation is found to have: values alone. `probe` fills them in, `checks` judge them, tests make them up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jetsonx.host.binfmt import Binfmt
from jetsonx.host.kvm import Trial
from jetsonx.toolchain.compiler import Kind

DESKTOP = "Docker Desktop"
"""The operating system that Docker Desktop's engine names: a virtual machine of its own."""
DESKTOP_CONTEXT = "desktop-linux"
"""The context that leads to it, also while it does not run."""
CONTEXT_DRIVER = "docker"
"""buildx's driver for the BuildKit inside a Docker engine."""
OWN_PREFIX = "jetsonx-"
"""What the names of nodes begin with that `jetsonx builder add` puts into builders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of this host. ``version``: as it says it ("25.1.2"), "" when it does not start or says nothing."""

    path: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A C++ compiler that can make AArch64 code. ``major`` 0: unknown. ``has_linker``: one for AArch64 is beside it."""

    name: str
    kind: Kind
    major: int
    has_linker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaToolkit:
    """A CUDA toolkit. ``is_complete``: nvcc, cicc and ptxas are there, so that it can compile."""

    root: str
    version: str
    is_complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who runs jetsonx. ``groups``: of this session; ``member_of``: by the accounts, so from the next login on."""

    name: str
    is_root: bool
    groups: frozenset[str] = frozenset()
    member_of: frozenset[str] = frozenset()
    has_sudo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """The Python that runs jetsonx. ``pip``: its version, "" without; ``pip_settings``: what `pip config list` says."""

    version: str
    executable: str
    in_venv: bool
    has_venv_module: bool
    pip: str
    pip_settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """apt's configuration. ``places``: where packages for arm64 would come from; ``problem``: why from nowhere."""

    is_there: bool
    places: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Room for a directory, in bytes for this user; None where it cannot be seen from here."""

    path: str
    free_bytes: int | None
    is_writable: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """A local socket of an engine. ``group``: the one it belongs to."""

    path: str
    exists: bool
    is_writable: bool
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a buildx builder: a machine, or a cluster, that builds.

    ``name`` is the node's own, ``builder`` that of the builder it belongs to; a node that is a Docker context (driver
    :data:`CONTEXT_DRIVER`) is a builder by itself, both of the same name. ``platforms``: those it was pinned to,
    "linux/arm64".
    """

    name: str
    builder: str
    driver: str
    endpoint: str
    platforms: tuple[str, ...]

    @property
    def is_remote(self) -> bool:
        """True when it is another machine, as far as its address says; behind a context's socket is a virtual one."""
        if self.is_context and self.endpoint.startswith("unix://"):
            return True
        return self.endpoint not in ("", "default") and not self.endpoint.startswith("unix://")

    @property
    def is_context(self) -> bool:
        """True when the node is the engine behind a Docker context, which keeps what it builds."""
        return self.driver == CONTEXT_DRIVER

    @property
    def is_ours(self) -> bool:
        """True for what `jetsonx builder add` has made: contexts are known by their description, others by name."""
        return self.is_context or self.name.startswith(OWN_PREFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Docker:
    """The Docker client and what answered it.

    ``endpoint``: where the client looks, chosen by ``DOCKER_HOST`` (``is_named_by_environment``) or a ``context``.
    ``answer``: "yes", "no" (refused, or nobody there) or "silence" (nothing came in time); ``words``: the client's own
    complaint. ``buildx`` and ``buildkit``: versions, "" without or unknown. ``root``: where the engine keeps images.
    """

    client: Program
    is_podman: bool = False
    has_engine: bool = False
    endpoint: str = ""
    is_named_by_environment: bool = False
    context: str = "default"
    socket: Socket | None = None
    answer: Literal["yes", "no", "silence"] = "no"
    words: str = ""
    server: str = ""
    operating_system: str = ""
    runtimes: tuple[str, ...] = ()
    root: Disk | None = None
    buildx: str = ""
    buildkit: str = ""
    nodes: tuple[Node, ...] = ()

    @property
    def is_desktop(self) -> bool:
        """True for Docker Desktop."""
        return self.operating_system == DESKTOP or self.context == DESKTOP_CONTEXT

    @property
    def is_local(self) -> bool:
        """True when the engine is a process of this kernel."""
        return self.endpoint.startswith("unix://") and not self.is_desktop


@dataclass(frozen=True, slots=True, kw_only=True)
class Kvm:
    """What `kvm-ok` looks at. ``cpu_flag``: "vmx" (Intel), "svm" (AMD) or "". ``group``: of the device node."""

    cpu_flag: str = ""
    has_node: bool = False
    is_accessible: bool = False
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmHost:
    """What virtual machines find here; read only when it is asked for, as a guest is started to try KVM.

    ``family``: whose package names hold, "debian", "ubuntu", "fedora", "centos" (RHEL and its rebuilds too) or "".
    ``trial``: how a guest under KVM fared. ``nested``: whether guests may have guests, None when unknown.
    ``modules``: the KVM modules of the kernel that are loaded. ``programs``: by the name they were looked for.
    ``firmware``: UEFI images found, by the guest's machine ("x86_64", "aarch64"). ``free_memory_bytes``: available now.
    ``wants_bridge``: guests are to be on this host's own network.
    """

    family: str
    trial: Trial
    modules: frozenset[str] = frozenset()
    nested: bool | None = None
    has_tun: bool = False
    programs: Mapping[str, Program] = field(default_factory=dict)
    firmware: Mapping[str, str] = field(default_factory=dict)
    free_memory_bytes: int | None = None
    wants_bridge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """Everything the checks look at.

    ``glibc``: its version, "" on another C library. ``memory_bytes``: what this process may use, a container's limit
    counted in. ``programs``: by the name they were looked for. ``packages``: names that apt could install now, empty
    without apt or without package lists. ``interpreter``: the file that binfmt_misc names, None when it is not on this
    host. ``jetsonx``: the words that start jetsonx again. ``vm``: None when virtual machines are not asked about.
    """

    kernel: str
    machine: str
    glibc: str
    has_systemd: bool
    distribution: str
    codename: str
    packages: frozenset[str]
    user: User
    jetsonx: tuple[str, ...]
    memory_bytes: int | None
    cache: Disk
    python: Python
    apt: Apt
    programs: Mapping[str, Program]
    compilers: tuple[Compiler, ...]
    toolkits: tuple[CudaToolkit, ...]
    docker: Docker | None
    binfmt: Binfmt
    interpreter: Program | None
    kvm: Kvm
    has_gpu: bool
    vm: VmHost | None = None

    @property
    def is_wsl(self) -> bool:
        """True under the Windows Subsystem for Linux, whose kernels carry the maker's name."""
        return "microsoft" in self.kernel.lower()
