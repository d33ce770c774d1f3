"""Looks at this host. Nothing is changed, nothing is downloaded, and what does not answer in time is given up.

Only a Docker client that is set to a remote engine goes over the network, and it for no longer than
`REMOTE_PATIENCE_S`.
"""

from __future__ import annotations

import grp
import importlib.metadata
import importlib.util
import os
import platform
import pwd
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from jetsonx.catalog import load_catalog
from jetsonx.console import Console
from jetsonx.errors import DownloadError, HostError
from jetsonx.host.ask import Ask, find_version, free_bytes, group_of
from jetsonx.host.binfmt import probe_binfmt
from jetsonx.host.facts import Apt, Compiler, CudaToolkit, Disk, HostFacts, Kvm, Program, Python, User
from jetsonx.host.mend import ALL_NAMES
from jetsonx.host.probe_docker import probe_docker
from jetsonx.host.probe_vm import probe_vm
from jetsonx.packages.mirrors import Host as AptHost
from jetsonx.packages.mirrors import load_host, resolve_sources
from jetsonx.runner import Runner
from jetsonx.store.cachedir import CacheDir, default_root
from jetsonx.toolchain.compiler import TRIPLE
from jetsonx.toolchain.resolve import QEMU_NAMES
from jetsonx.toolchain.search import which_host

_T = TypeVar("_T")
# Program -> what to call it with for its version.
_PROGRAMS: Mapping[str, str] = {
    **dict.fromkeys(("cmake", "ninja", "ninja-build", "make", "ccache", "sccache", *QEMU_NAMES), "--version"),
    "nvidia-ctk": "--version",
    "ssh": "-V",
}
_TOOLKITS = ("usr/local/cuda*", "opt/cuda*")
_CGROUP_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def probe_host(
    runner: Runner,
    environ: Mapping[str, str],
    root: Path = Path("/"),
    *,
    for_vm: bool = False,
    wants_bridge: bool = False,
    tries_kvm: bool = True,
) -> HostFacts:
    """Everything `doctor` judges, read at once. ``root``: where the files of the system lie.

    ``for_vm``: what virtual machines need as well, with ``wants_bridge`` for their network; ``tries_kvm``: by
    starting a guest, which takes 3 s where KVM hangs.
    """
    ask = Ask(runner)
    apt_host = load_host(root)
    with ThreadPoolExecutor(max_workers=8) as pool:  # all of it is waiting for other programs
        docker = pool.submit(probe_docker, ask, environ)
        vm = (
            pool.submit(probe_vm, ask, platform.machine() if tries_kvm else "", wants_bridge=wants_bridge, root=root)
            if for_vm
            else None
        )
        packages = pool.submit(_packages, ask)
        python = pool.submit(_python, ask)
        paths = {name: path for name in _PROGRAMS if (path := which_host(name))}
        programs = {name: pool.submit(_program, ask, path, _PROGRAMS[name]) for name, path in paths.items()}
        compilers = [pool.submit(_compiler, ask, name) for name in _compiler_names()]
        toolkits = [pool.submit(_toolkit, ask, each) for each in _toolkit_roots(environ, root)]
        binfmt = probe_binfmt(root)
        interpreter = pool.submit(_interpreter, ask, binfmt.interpreter)
    return HostFacts(
        kernel=platform.release(),
        machine=platform.machine(),
        glibc=_glibc(),
        has_systemd=(root / "run/systemd/system").is_dir(),
        distribution=apt_host.distribution,
        codename=apt_host.codename,
        packages=packages.result(),
        user=_user(),
        jetsonx=own_words(),
        memory_bytes=_memory(root),
        cache=_cache(environ),
        python=python.result(),
        apt=_apt(apt_host, environ.get("JETSONX_APT_MIRROR", "")),
        programs={name: future.result() for name, future in programs.items()},
        compilers=_there(compilers),
        toolkits=_there(toolkits),
        docker=docker.result(),
        binfmt=binfmt,
        interpreter=interpreter.result(),
        kvm=_kvm(root),
        has_gpu=(root / "dev/nvidiactl").exists(),
        vm=vm.result() if vm is not None else None,
    )


def own_words() -> tuple[str, ...]:
    """How jetsonx is started again, also by sudo, whose PATH is another."""
    program = Path(sys.executable).with_name("jetsonx")
    return (str(program),) if os.access(program, os.X_OK) else (sys.executable, "-m", "jetsonx")


def _glibc() -> str:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return ""
    return version if name == "glibc" else ""


def _user() -> User:
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a container started with any number
        name = str(number)
    session = {os.getegid(), *os.getgroups()}
    named = {each.gr_gid: each.gr_name for each in grp.getgrall()}
    return User(
        name=name,
        is_root=number == 0,
        groups=frozenset(named[gid] for gid in session if gid in named),
        member_of=frozenset(each.gr_name for each in grp.getgrall() if name in each.gr_mem),
        has_sudo=which_host("sudo") is not None,
    )


def _memory(root: Path) -> int | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    amounts = [int(match[1]) * 1024] if match else []
    limits = [_text(root / path).strip() for path in _CGROUP_LIMITS]
    return min([*amounts, *(int(limit) for limit in limits if limit.isdecimal())], default=None)


def _cache(environ: Mapping[str, str]) -> Disk:
    root = default_root(environ)
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    is_writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    try:
        CacheDir(root, Console(-1))
    except HostError as error:
        return Disk(path=str(root), free_bytes=None, is_writable=is_writable, problem=error.message)
    return Disk(path=str(root), free_bytes=free_bytes(place), is_writable=is_writable)


def _python(ask: Ask) -> Python:
    try:
        pip = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        pip = ""
    said = ask(sys.executable, "-m", "pip", "config", "list") if pip else None
    lines = re.findall(r"^([^=\s]+)='(.*)'$", said.stdout if said else "", re.MULTILINE)
    return Python(
        version=platform.python_version(),
        executable=sys.executable,
        in_venv=sys.prefix != sys.base_prefix,
        has_venv_module=importlib.util.find_spec("ensurepip") is not None,
        pip=pip,
        pip_settings=dict(lines),
    )


def _apt(host: AptHost, override: str) -> Apt:
    if which_host("apt-get") is None:
        return Apt(is_there=False)
    try:
        sources = resolve_sources(host, host.codename, override)
    except DownloadError as error:
        return Apt(is_there=True, problem=error.message)
    return Apt(is_there=True, places=tuple(uri for source in sources for uri in source.uris))


def _packages(ask: Ask) -> frozenset[str]:
    # It never asks anybody else, but reads tens of megabytes where its own cache is switched off, as in containers.
    said = ask("apt-cache", "policy", *ALL_NAMES, patience_s=10) if which_host("apt-cache") else None
    return parse_policy(said.stdout) if said else frozenset()


def parse_policy(text: str) -> frozenset[str]:
    """The packages that `apt-cache policy` (in the C locale) has something to install for."""
    found = re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (.*)$", text, re.MULTILINE)
    return frozenset(name for name, candidate in found if candidate != "(none)")


def _program(ask: Ask, path: str, word: str) -> Program:
    return Program(path=path, version=find_version(ask(path, word)))


def _interpreter(ask: Ask, path: str | None) -> Program | None:
    return _program(ask, path, "--version") if path is not None and os.access(path, os.X_OK) else None


def _there(futures: Iterable[Future[_T | None]]) -> tuple[_T, ...]:
    """What was found, without what was not."""
    return tuple(found for future in futures if (found := future.result()) is not None)


def _compiler_names() -> Sequence[str]:
    cuda = load_catalog().cuda.values()
    gcc = max(each.gcc_max for each in cuda)
    clang = max(each.clang_max for each in cuda)
    return (
        f"{TRIPLE}-g++",
        *(f"{TRIPLE}-g++-{major}" for major in range(gcc, 4, -1)),
        "clang++",
        *(f"clang++-{major}" for major in range(clang, 9, -1)),
    )


def _compiler(ask: Ask, name: str) -> Compiler | None:
    path = which_host(name)
    if path is None:
        return None
    major = find_version(ask(path, "-dumpversion")).partition(".")[0]
    suffix = name.removeprefix("clang++")
    is_gcc = name.startswith(TRIPLE)
    has_linker = is_gcc or any(map(which_host, (f"ld.lld{suffix}", "ld.lld")))
    return Compiler(name=name, kind="gcc" if is_gcc else "clang", major=int(major or 0), has_linker=has_linker)


def _toolkit_roots(environ: Mapping[str, str], root: Path) -> Sequence[Path]:
    named = [Path(environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if environ.get(name)]
    usual = [path for pattern in _TOOLKITS for path in sorted(root.glob(pattern))]
    on_path = which_host("nvcc")
    beside = [Path(on_path).resolve().parent.parent] if on_path else []
    return tuple(dict.fromkeys(path.resolve() for path in (*named, *usual, *beside)))


def _toolkit(ask: Ask, root: Path) -> CudaToolkit | None:
    """The toolkit in a directory; an SDK of ours, which `jetsonx env` exports as CUDA_HOME, is none."""
    nvcc = root / "bin/nvcc"
    if not os.access(nvcc, os.X_OK) or (root / "libexec/nvcc.profile").exists():
        return None
    match = re.search(r"release (\d+\.\d+)", said.stdout if (said := ask(str(nvcc), "--version")) else "")
    is_complete = all(os.access(root / path, os.X_OK) for path in ("nvvm/bin/cicc", "bin/ptxas"))
    return CudaToolkit(root=str(root), version=match[1] if match else "", is_complete=is_complete)


def _kvm(root: Path) -> Kvm:
    flags = re.search(r"^flags\s*:(.*)$", _text(root / "proc/cpuinfo"), re.MULTILINE)
    words = flags[1].split() if flags else []
    node = root / "dev/kvm"
    return Kvm(
        cpu_flag=next((flag for flag in ("vmx", "svm") if flag in words), ""),
        has_node=node.exists(),
        is_accessible=os.access(node, os.R_OK | os.W_OK),
        group=group_of(node),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
