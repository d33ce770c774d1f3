"""From targets and a sysroot to an SDK: choose nvcc, host compiler and flags, fetch what is missing, say why."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.catalog import CudaFacts, Target, common_cpu, load_catalog
from jetsonx.errors import HostError
from jetsonx.net.faults import UnreachableError
from jetsonx.packages.package import Wheel
from jetsonx.sysroot.cuda import Toolkit
from jetsonx.sysroot.cuda_parts import fetch_constraints
from jetsonx.sysroot.pull import Sysroot
from jetsonx.toolchain import tools
from jetsonx.toolchain.compiler import HostCompiler, Kind, cross_argv, find_compilers, probe_flags, zig_compiler
from jetsonx.toolchain.nvcc import WHEELS, Nvcc, find_nvcc, host_roots, no_nvcc, read_version
from jetsonx.toolchain.sdk import DeviceCode, Sdk, SdkPlan, code_fingerprint, dump_sdk, make_sdk, parse_sdk
from jetsonx.toolchain.search import which_host
from jetsonx.toolchain.tools import Fetcher

QEMU_NAMES = ("qemu-aarch64", "qemu-aarch64-static")
# Programs whose coming, going or change may change the choice.
_WATCHED = (
    *QEMU_NAMES,
    "pkg-config",
    "pkgconf",
    "nvcc",
    "clang++",
    "ld.lld",
    "aarch64-linux-gnu-g++",
    *(f"aarch64-linux-gnu-g++-{major}" for major in range(5, 18)),
    *(f"clang++-{major}" for major in range(10, 24)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What of this host the choice depends on; a parameter so that tests can make one up."""

    environ: Mapping[str, str]
    which: Callable[[str], str | None] = which_host

    @property
    def emulator(self) -> str | None:
        """QEMU's user emulation for AArch64."""
        return next((path for name in QEMU_NAMES if (path := self.which(name))), None)

    def fingerprint(self, cuda_version: str) -> str:
        """Changes when a compiler or toolkit this host offers changes."""
        programs = {name: self.which(name) for name in _WATCHED}
        roots = [root / "bin/nvcc" for root in host_roots(cuda_version, self.environ)]
        paths = [*(Path(path) for path in programs.values() if path), *roots]
        return repr([(str(path), _stamp(path)) for path in paths])


def resolve_sdk(
    targets: Sequence[Target],
    sysroot: Sysroot,
    *,
    compiler: str,
    fetcher: Fetcher,
    host: Host,
    toolkit: Toolkit | None = None,
) -> Sdk:
    """The SDK for targets of one L4T release, which have the CUDA of ``toolkit``.

    ``compiler``: "auto" (a GCC of this host, else a clang of this host, else zig's clang), "gcc", "clang" or "zig".

    Raises HostError when this release's CUDA has no nvcc within reach or the compiler asked for cannot serve, and
    DownloadError when a wheel cannot be had.
    """
    target = targets[0]
    sms = tuple(sorted({each.sm for each in targets}))
    lowest = common_cpu(targets)
    parts = [
        code_fingerprint(),
        sysroot.digest,
        compiler,
        repr(sms),
        lowest.id,
        target.cuda_version,
        host.fingerprint(target.cuda_version),
        repr(toolkit),
    ]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    known = _recall(fetcher, key)
    if known is not None:
        return known
    fetcher = replace(fetcher, used=[], used_archives=[])
    nvcc, why_nvcc = _choose_nvcc(target, fetcher, host, toolkit)
    chosen, why_compiler = _choose_compiler(target, sysroot, nvcc, compiler, fetcher, host)
    cuda_targets = _cuda_targets(target, sysroot, nvcc)
    argv = cross_argv(chosen, sysroot.path, gcc=sysroot.gcc, cxx=False, linker=None)
    flags = probe_flags(fetcher.runner, argv, lowest.cpu_flags(chosen.kind, chosen.major))
    plan = SdkPlan(
        sysroot=sysroot.path,
        sysroot_digest=sysroot.digest,
        gcc=sysroot.gcc,
        cuda_dir=target.cuda_dir,
        cuda_target=target.cuda_target,
        cuda_targets=cuda_targets,
        nvcc=nvcc,
        compiler=chosen,
        device_code=DeviceCode(sms=sms),
        cpu_flags=flags,
        pkg_config=tools.find_pkg_config(fetcher, host.which),
        emulator=host.emulator,
        cache=fetcher.store.root,
    )
    why = (
        *([f"toolkit: {toolkit.why}"] if toolkit else []),
        f"nvcc {nvcc.version}: {why_nvcc}",
        f"host compiler: {why_compiler}",
        f"CPU: {flags or 'the baseline of the compiler'} (oldest of the modules: {lowest.id})",
        "device code: " + ", ".join(f"sm_{sm}" for sm in sms) + f", PTX {sms[-1]}",
    )
    sdk = make_sdk(plan, why, tuple(fetcher.used), tuple(fetcher.used_archives))
    fetcher.store.remember("sdk", key, dump_sdk(sdk))
    return sdk


def _recall(fetcher: Fetcher, key: str) -> Sdk | None:
    text = fetcher.store.recall("sdk", key)
    if text is None:
        return None
    try:
        sdk = parse_sdk(text)
    except (ValueError, KeyError, TypeError):
        return None
    whole = (sdk.path / "share/config.sh", sdk.cuda / "libexec/nvcc", sdk.sysroot / "usr/include")
    names = {pin.name for pin in fetcher.pins}
    as_pinned = all(wheel in fetcher.pins for wheel in map(_bare, sdk.wheels) if wheel.name in names)
    pinned = {(pin.name, pin.version, pin.platform): pin.sha256 for pin in fetcher.archive_pins}
    as_pinned = as_pinned and all(
        pinned.get((each.name, each.version, each.platform), each.sha256) == each.sha256 for each in sdk.archives
    )
    return sdk if as_pinned and all(path.exists() for path in whole) else None


def _bare(wheel: Wheel) -> Wheel:
    """The wheel as a lock file knows it."""
    return replace(wheel, size_bytes=0, url="")


def _choose_nvcc(target: Target, fetcher: Fetcher, host: Host, toolkit: Toolkit | None) -> tuple[Nvcc, str]:
    version = target.cuda_version
    found = find_nvcc(fetcher.runner, version, host_roots(version, host.environ))
    if found is not None:
        return found, found.origin
    reason = f"no nvcc {version} on this host"
    if target.cuda is not None and target.cuda.nvcc_on_index:
        nvcc = Nvcc(version=version, root=_fetch_wheels(target, target.cuda, fetcher), origin="NVIDIA's x86-64 wheels")
        return nvcc, f"{nvcc.origin} ({reason})"
    redist = (toolkit.redist if toolkit else None) or next(iter(target.cuda.redist if target.cuda else ()), None)
    if redist is None:
        raise no_nvcc(target)
    try:
        root = fetcher.fetch_compiler(redist)
    except UnreachableError as error:
        raise no_nvcc(target, error.message) from error
    said = read_version(fetcher.runner, root / "bin/nvcc")
    if said is None:
        raise HostError(f"{root}/bin/nvcc of NVIDIA's archives of CUDA {redist} does not start on this host")
    nvcc = Nvcc(version=said, root=root, origin=f"NVIDIA's archives of CUDA {redist}")
    return nvcc, f"{nvcc.origin} ({reason})"


def _fetch_wheels(target: Target, cuda: CudaFacts, fetcher: Fetcher) -> Path:
    constraints = fetch_constraints(target, fetcher.effects)
    if cuda.nvcc_wheels is not None:
        others = [line for line in constraints if re.split(r"[^\w-]", line)[0] not in WHEELS]
        constraints = (*others, *(f"{name}=={cuda.nvcc_wheels}" for name in WHEELS))
    return fetcher.fetch(tools.nvcc(WHEELS), constraints=constraints)


def _choose_compiler(
    target: Target, sysroot: Sysroot, nvcc: Nvcc, wanted: str, fetcher: Fetcher, host: Host
) -> tuple[HostCompiler, str]:
    cuda = load_catalog().cuda.get(nvcc.version)
    if cuda is None:
        raise no_nvcc(target)
    reasons = ["asked for"] if wanted == "zig" else []
    if wanted != "zig":
        kinds: tuple[Kind, ...] = ("gcc",) if wanted == "gcc" else ("clang",) if wanted == "clang" else ("gcc", "clang")
        found, rejected = find_compilers(fetcher.runner, cuda, sysroot_gcc=sysroot.gcc, kinds=kinds, which=host.which)
        reasons = [f"{each.name}: {each.reason}" for each in rejected]
        if found is not None:
            return found, "; ".join([found.origin, *reasons])
        if wanted != "auto":
            raise HostError(
                f"no {wanted} on this host that can build for {target.name}"
                + "".join(f"\n  {reason}" for reason in reasons),
                hint='install one, or set build.compiler = "auto" to use the clang of the ziglang wheel',
            )
        reasons = reasons or ["no AArch64 g++ or clang on this host"]
    if cuda.zig is None:
        raise HostError(
            f"no host compiler for nvcc {cuda.version}: it takes GCC up to {cuda.gcc_max}, and no ziglang wheel has a "
            f"clang old enough ({'; '.join(reasons)})",
            hint=f"install aarch64-linux-gnu-g++-{cuda.gcc_max}",
        )
    root = fetcher.fetch(tools.zig(cuda.zig))
    clang_major = int((cuda.zig_clang or str(cuda.clang_max)).partition(".")[0])
    chosen = zig_compiler(root, cuda.zig, clang_major)
    return chosen, f"{chosen.origin} ({'; '.join(reasons)})"


def _cuda_targets(target: Target, sysroot: Sysroot, nvcc: Nvcc) -> Path:
    """Where the target's CUDA headers and libraries are: in the sysroot, else in the host's toolkit."""
    places = (
        sysroot.path / target.cuda_dir / "targets" / target.cuda_target,
        nvcc.root / "targets" / target.cuda_target,
    )
    for place in places:
        if (place / "include/cuda_runtime.h").is_file():
            return place
    raise HostError(
        f"the CUDA {target.cuda_version} headers and libraries for {target.cuda_target} are neither in the sysroot "
        f"nor in {places[1]}",
        hint=f"install NVIDIA's cuda-cross packages for CUDA {target.cuda_version} (they fill {places[1]})",
    )


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
