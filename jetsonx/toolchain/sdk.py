"""The SDK directory: one place where every program finds the cross tools under the names it expects.

    <sdk>/sysroot/                        the sysroot, plus the x86-64 CUDA compiler where NVIDIA's cross packages
      usr/local/cuda-X.Y/bin/nvcc          put it, so that --sysroot, CUDAToolkit_ROOT and /usr/local/cuda agree
    <sdk>/bin/                            gcc, g++, clang, ar, nvcc, pkg-config …: for PATH and for makefiles
    <sdk>/share/{config.sh,common.sh}     what the shims read
    <sdk>/share/probes/uname              answers for the target, to makefiles
    <sdk>/toolchain.cmake, meson.ini      the same for CMake and Meson

It holds links and small scripts only; everything else stays in the store. The directory is named by what it was made
of, so the same inputs give the same directory and a change gives a new one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from shlex import join, quote

from jetsonx.packages.package import Archive, Wheel, archive_from_json, wheel_from_json
from jetsonx.toolchain import crossfiles
from jetsonx.toolchain.compiler import TRIPLE, HostCompiler, cross_argv
from jetsonx.toolchain.nvcc import Nvcc

PROBES = "share/probes"
"""Directory of an SDK with programs that answer for the target, for build files that know no cross build."""
_COMPILERS = ("cc", "gcc", "clang", f"{TRIPLE}-gcc", "c++", "g++", "clang++", f"{TRIPLE}-g++")
# Build files ask for the version that their CUDA of old needed; this SDK has one compiler, which its nvcc takes.
_VERSIONED = (
    *(f"{name}-{major}" for name in ("gcc", "g++") for major in (*range(5, 17), "4.8", "4.9")),
    *(f"{name}-{major}" for name in ("clang", "clang++") for major in range(6, 23)),
)
_PROFILE = """\
TOP              = $(_HERE_)/..
CICC_PATH        = $(TOP)/nvvm/bin
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
LD_LIBRARY_PATH += $(TOP)/lib:
PATH            += $(CICC_PATH):$(_HERE_):
INCLUDES        +=  "-I$(TOP)/$(_TARGET_DIR_)/include" $(_SPACE_)
{cccl}LIBRARIES        =+ $(_SPACE_) "-L$(TOP)/$(_TARGET_DIR_)/lib/stubs" "-L$(TOP)/$(_TARGET_DIR_)/lib"
CUDAFE_FLAGS    +=
PTXAS_FLAGS     +=
"""
# Where CUDA 13 keeps Thrust, CUB and libcu++; before, they lay in include itself.
_CCCL = 'SYSTEM_INCLUDES +=  "-isystem" "$(TOP)/$(_TARGET_DIR_)/include/cccl" $(_SPACE_)\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """Which device code a build makes: machine code for each SM of ``sms``, and PTX of the highest."""

    sms: tuple[int, ...]

    @property
    def gencode(self) -> tuple[str, ...]:
        """Arguments for nvcc."""
        exact = tuple(f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in self.sms[:-1])
        top = self.sms[-1]
        return (*exact, f"-gencode=arch=compute_{top},code=[sm_{top},compute_{top}]")

    @property
    def cmake(self) -> str:
        """Value of ``CMAKE_CUDA_ARCHITECTURES``."""
        return ";".join([*(f"{sm}-real" for sm in self.sms[:-1]), str(self.sms[-1])])

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Compute capabilities, "8.7" for SM 87."""
        return tuple(f"{sm // 10}.{sm % 10}" for sm in self.sms)


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkPlan:
    """What an SDK directory is made of.

    ``sysroot``: the store's tree; ``cuda_dir``: "usr/local/cuda-13.2"; ``cuda_targets``: the directory that holds the
    target's CUDA headers and libraries; ``gcc``: major version of the GCC in the sysroot; ``cpu_flags``: for the
    compiler, may be empty; ``emulator``: QEMU's user emulation, when this host has one.
    """

    sysroot: Path
    sysroot_digest: str
    gcc: int
    cuda_dir: str
    cuda_target: str
    cuda_targets: Path
    nvcc: Nvcc
    compiler: HostCompiler
    device_code: DeviceCode
    cpu_flags: str
    pkg_config: str | None
    emulator: str | None
    cache: Path

    @property
    def key(self) -> str:
        """Names the SDK directory: equal for equal inputs."""
        parts = [str(self), code_fingerprint()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """A finished SDK directory.

    ``why`` says, a line each, what was chosen and for which reason; ``wheels`` and ``archives`` are those the programs
    came from.
    """

    path: Path
    sysroot_digest: str
    cuda_dir: str
    cuda_target: str
    compiler_kind: str
    device_code: DeviceCode
    cpu_flags: str
    emulator: str | None
    why: tuple[str, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    archives: tuple[Archive, ...] = ()

    @property
    def sysroot(self) -> Path:
        """For ``--sysroot`` and ``CMAKE_SYSROOT``."""
        return self.path / "sysroot"

    @property
    def cuda(self) -> Path:
        """The CUDA toolkit: x86-64 ``bin``, AArch64 ``targets``."""
        return self.sysroot / self.cuda_dir

    @property
    def cxx(self) -> Path:
        """The C++ compiler under the name nvcc recognises its kind by."""
        return self.path / "bin" / ("g++" if self.compiler_kind == "gcc" else "clang++")

    @property
    def cc(self) -> Path:
        """The C compiler."""
        return self.path / "bin" / ("gcc" if self.compiler_kind == "gcc" else "clang")

    def environment(self) -> dict[str, str]:
        """Variables for makefiles, Meson, CMake and hand-driven compilers."""
        cuda, code = str(self.cuda), self.device_code
        return {
            "PATH": f"{self.path / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "CC": str(self.cc),
            "CXX": str(self.cxx),
            "AR": str(self.path / "bin/ar"),
            "RANLIB": str(self.path / "bin/ranlib"),
            "PKG_CONFIG": str(self.path / "bin/pkg-config"),
            "NVCC": str(self.cuda / "bin/nvcc"),
            "CUDA_HOME": cuda,
            "CUDA_PATH": cuda,
            "CUDA_ROOT": cuda,
            "CUDA_TOOLKIT_ROOT": cuda,  # the only name that the old FindCUDA looks at when cross-compiling
            "CUDA_TOOLKIT_ROOT_DIR": cuda,
            "CUDACXX": str(self.cuda / "bin/nvcc"),
            "CUDAHOSTCXX": str(self.cxx),
            "CUDAARCHS": code.cmake,
            "SMS": " ".join(str(sm) for sm in code.sms),  # makefiles of NVIDIA's samples
            "TORCH_CUDA_ARCH_LIST": ";".join(code.capabilities) + "+PTX",
            "CMAKE_TOOLCHAIN_FILE": str(self.path / "toolchain.cmake"),
        }


@cache
def code_fingerprint() -> str:
    """Changes with any file of this package, shims included: an SDK is made anew when its recipe is another."""
    package = resources.files("jetsonx.toolchain")
    files = [entry for folder in (package, package / "shims") for entry in folder.iterdir() if entry.is_file()]
    return hashlib.sha256(b"\0".join(entry.read_bytes() for entry in sorted(files, key=str))).hexdigest()


def make_sdk(plan: SdkPlan, why: tuple[str, ...], wheels: tuple[Wheel, ...], archives: tuple[Archive, ...] = ()) -> Sdk:
    """Write the SDK directory under the cache, or find it there. Safe to interrupt and to race."""
    parent = plan.cache / "sdk"
    final = parent / plan.key
    sdk = Sdk(
        path=final,
        sysroot_digest=plan.sysroot_digest,
        cuda_dir=plan.cuda_dir,
        cuda_target=plan.cuda_target,
        compiler_kind=plan.compiler.kind,
        device_code=plan.device_code,
        cpu_flags=plan.cpu_flags,
        emulator=plan.emulator,
        why=why,
        wheels=wheels,
        archives=archives,
    )
    if not final.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        try:
            _write(plan, work, sdk)
            work.chmod(0o755)
            work.rename(final)
        except OSError:
            if not final.is_dir():  # otherwise another process was faster
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return sdk


def dump_sdk(sdk: Sdk) -> str:
    """JSON text that :func:`parse_sdk` reads back."""
    return json.dumps({**dataclasses.asdict(sdk), "path": str(sdk.path), "device_code": sdk.device_code.sms})


def parse_sdk(text: str) -> Sdk:
    """The value :func:`dump_sdk` wrote. Raises ValueError, KeyError or TypeError when the text is not that."""
    fields = json.loads(text)
    return Sdk(
        **{
            **fields,
            "path": Path(fields["path"]),
            "device_code": DeviceCode(sms=tuple(fields["device_code"])),
            "why": tuple(fields["why"]),
            "wheels": tuple(wheel_from_json(each) for each in fields["wheels"]),
            "archives": tuple(archive_from_json(each) for each in fields["archives"]),
        }
    )


def _write(plan: SdkPlan, root: Path, sdk: Sdk) -> None:
    """``root`` is being written; ``sdk.path`` is the name it will have, which the scripts must use."""
    final = sdk.path
    cuda = root / "sysroot" / plan.cuda_dir
    _link_sysroot(plan, root / "sysroot")
    _link_cuda(plan, cuda)
    names = {"@SDK@": quote(str(final)), "@NVCC_ROOT@": quote(str(plan.nvcc.root))}
    _script(cuda / "bin/nvcc", "nvcc", names)
    _script(cuda / "libexec/nvlink", "nvlink", names)
    _script(cuda / "libexec/cudafe++", "frontend", names)
    _script(cuda / "nvvm/bin/cicc", "frontend", names)
    # CMake takes the directory from here, and refuses one that is not there.
    has_cccl = (plan.cuda_targets / "include/cccl").is_dir()
    (cuda / "libexec/nvcc.profile").write_text(_PROFILE.format(cccl=_CCCL if has_cccl else ""))
    for name in _COMPILERS:
        _script(root / "bin" / name, "compiler", names)
    for name in _VERSIONED:
        (root / "bin" / name).symlink_to(name.partition("-")[0])
    for name, _ in plan.compiler.tools:
        for prefix in ("", f"{TRIPLE}-"):
            _script(root / "bin" / f"{prefix}{name}", "binutils", names)
    for name in ("pkg-config", f"{TRIPLE}-pkg-config", "pkgconf"):
        _script(root / "bin" / name, "pkg-config", names)
    _script(root / "bin/nvidia-smi", "nvidia-smi", names)
    _script(root / PROBES / "uname", "uname", names)
    (root / "bin/nvcc").symlink_to(final / "sysroot" / plan.cuda_dir / "bin/nvcc")
    _script(root / "share/common.sh", "common", names)
    if plan.compiler.linker:
        linker = root / "share/ld.lld"
        linker.write_text(f'#!/bin/sh\nexec {join(plan.compiler.linker)} "$@"\n')
        linker.chmod(0o755)
    (root / "share/config.sh").write_text(render_config(plan, final))
    _stub_libraries(plan, root / "share/driver-stubs", final)
    paths = {"sysroot": sdk.sysroot, "cuda": sdk.cuda, "cc": sdk.cc, "cxx": sdk.cxx, "bin": final / "bin"}
    paths["stubs"] = final / "share/driver-stubs"
    (root / "toolchain.cmake").write_text(
        crossfiles.render_toolchain(paths, architectures=plan.device_code.cmake, emulator=plan.emulator)
    )
    (root / "meson.ini").write_text(crossfiles.render_meson(paths, emulator=plan.emulator))


def render_config(plan: SdkPlan, sdk: Path) -> str:
    """The text of ``share/config.sh``: variables, and one function for each program the shims start."""
    linker = sdk / "share/ld.lld" if plan.compiler.linker else None
    sysroot = sdk / "sysroot"
    # The compilers get the store's own tree, not the view: GNU ld takes the absolute paths in libc.so as the sysroot's
    # only when that file really lies in the directory it was told of.
    cxx = cross_argv(plan.compiler, plan.sysroot, gcc=plan.gcc, cxx=True, linker=linker)
    cc = cross_argv(plan.compiler, plan.sysroot, gcc=plan.gcc, cxx=False, linker=linker)
    toolkit = sysroot / plan.cuda_dir
    variables = {
        "JX_CACHE": str(plan.cache),
        "JX_SYSROOT": str(sysroot),
        "JX_TREE": str(plan.sysroot),
        "JX_TOOLKIT": str(toolkit),
        "JX_CUDA": str(toolkit / "targets" / plan.cuda_target),
        "JX_HOST_CXX": str(sdk / "bin" / ("g++" if plan.compiler.kind == "gcc" else "clang++")),
        "JX_CPU_FLAGS": plan.cpu_flags,
        "JX_GENCODE": " ".join(plan.device_code.gencode),
        "JX_SMS": " ".join(str(sm) for sm in plan.device_code.sms),
        "JX_FIRST_SM": str(plan.device_code.sms[0]),
        "JX_COMPUTE_CAPABILITIES": " ".join(plan.device_code.capabilities),
    }
    lines = [f"{name}={quote(value)}" for name, value in variables.items()]
    lines += [
        f'jx_cc() {{ exec {join(cc)} $JX_CPU_FLAGS "$@"; }}',
        f'jx_cxx() {{ exec {join(cxx)} $JX_CPU_FLAGS "$@"; }}',
    ]
    lines += [f'jx_{name.replace("-", "_")}() {{ exec {join(words)} "$@"; }}' for name, words in plan.compiler.tools]
    lines.append(f'jx_pkg_config() {{ exec {quote(plan.pkg_config or "pkg-config")} "$@"; }}')
    return "\n".join(lines) + "\n"


def _link_sysroot(plan: SdkPlan, view: Path) -> None:
    """Mirror the sysroot's top levels with links, leaving usr/local open for the CUDA compiler."""
    for directory in ("", "usr", "usr/local"):
        (view / directory).mkdir(parents=True)
        source = plan.sysroot / directory
        skip = {"": {"usr"}, "usr": {"local"}, "usr/local": {"cuda", Path(plan.cuda_dir).name}}[directory]
        for entry in sorted(source.iterdir()) if source.is_dir() else ():
            if entry.name in skip:
                continue
            target = entry.readlink() if entry.is_symlink() else entry
            (view / directory / entry.name).symlink_to(target)
    (view / "usr/local/cuda").symlink_to(Path(plan.cuda_dir).name)


def _link_cuda(plan: SdkPlan, cuda: Path) -> None:
    """The x86-64 compiler beside the target's CUDA files, as NVIDIA's cross packages lay them out."""
    for directory in ("bin", "libexec", "nvvm/bin", "targets"):
        (cuda / directory).mkdir(parents=True)
    for entry in sorted((plan.nvcc.root / "bin").iterdir()):
        if entry.name in {"nvcc.profile", "nvlink", "cudafe++"}:
            continue
        (cuda / "libexec" / entry.name).symlink_to(entry)
        if entry.name != "nvcc":
            (cuda / "bin" / entry.name).symlink_to(entry)
    (cuda / "bin/nvlink").symlink_to("../libexec/nvlink")
    (cuda / "nvvm/libdevice").symlink_to(plan.nvcc.root / "nvvm/libdevice")
    (cuda / "targets" / plan.cuda_target).symlink_to(plan.cuda_targets)
    for alias in {"sbsa-linux", "aarch64-linux"} - {plan.cuda_target}:
        (cuda / "targets" / alias).symlink_to(plan.cuda_target)
    (cuda / "include").symlink_to(f"targets/{plan.cuda_target}/include")
    for name in ("lib", "lib64"):
        (cuda / name).symlink_to(f"targets/{plan.cuda_target}/lib")


def _stub_libraries(plan: SdkPlan, directory: Path, final: Path) -> None:
    """Driver libraries under the names a program asks for, so that it starts under QEMU without a driver."""
    directory.mkdir(parents=True)
    stubs = final / "sysroot" / plan.cuda_dir / "targets" / plan.cuda_target / "lib/stubs"
    for name in ("libcuda.so", "libnvidia-ml.so"):
        (directory / f"{name}.1").symlink_to(stubs / name)


def _script(path: Path, shim: str, names: dict[str, str]) -> None:
    text = _shim(shim)
    for mark, value in names.items():
        text = text.replace(mark, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _shim(name: str) -> str:
    return (resources.files("jetsonx.toolchain") / "shims" / f"{name}.sh").read_text()
