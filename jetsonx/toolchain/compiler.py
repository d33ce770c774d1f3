"""The host C/C++ compiler that nvcc drives: found on this host, or the clang inside a ziglang wheel.

Whatever its origin, a compiler is used against the sysroot alone: its own C library, C++ headers and start files are
put out of reach by the flags that :func:`cross_argv` gives. A distribution's cross GCC needs every search directory
spelled out for that (it looks into its own ``/usr/aarch64-linux-gnu`` before any ``--sysroot``); a clang needs
``--sysroot`` and ``--gcc-toolchain``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jetsonx.catalog import CudaFacts
from jetsonx.runner import Command, Runner
from jetsonx.toolchain.search import which_host

TRIPLE = "aarch64-linux-gnu"
Kind = Literal["gcc", "clang"]
BINUTILS = ("ar", "ranlib", "ld", "strip", "nm", "objcopy", "objdump", "readelf")
"""Names under which build files call them; a compiler's ``tools`` has those that could be found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCompiler:
    """A C/C++ compiler that can make AArch64 code.

    ``kind``: "gcc" or "clang". ``cc`` and ``cxx``: the words that start it, before any flag. ``include``: the
    directory of a GCC's own headers (``stddef.h``), which ``-nostdinc`` hides. ``linker``: the program it must link
    with, when it would not find a right one by itself. ``tools``: those of :data:`BINUTILS` that are there, as words
    that do not depend on PATH: the shims of the same names come first in it.
    """

    kind: Kind
    major: int
    cc: tuple[str, ...]
    cxx: tuple[str, ...]
    include: str | None
    linker: tuple[str, ...] | None
    tools: tuple[tuple[str, tuple[str, ...]], ...]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A compiler that is there but cannot serve, and why."""

    name: str
    reason: str


def judge_version(kind: Kind, major: int, cuda: CudaFacts, *, sysroot_gcc: int) -> str | None:
    """Why this compiler cannot be nvcc's host compiler for that sysroot, or None when it can.

    The limits are those of nvcc's own crt/host_config.h. A GCC older than the sysroot's libstdc++ headers cannot
    read them.
    """
    if kind == "gcc":
        if major > cuda.gcc_max:
            return f"GCC {major} is newer than nvcc {cuda.version} takes (at most {cuda.gcc_max})"
        if cuda.gcc_min is not None and major < cuda.gcc_min:
            return f"GCC {major} is older than nvcc {cuda.version} takes (at least {cuda.gcc_min})"
        if major < sysroot_gcc:
            return f"GCC {major} cannot read the sysroot's libstdc++ headers (GCC {sysroot_gcc})"
        return None
    if major > cuda.clang_max:
        return f"clang {major} is newer than nvcc {cuda.version} takes (at most {cuda.clang_max})"
    return None


def find_compilers(
    runner: Runner,
    cuda: CudaFacts,
    *,
    sysroot_gcc: int,
    kinds: Iterable[Kind] = ("gcc", "clang"),
    which: Callable[[str], str | None] = which_host,
) -> tuple[HostCompiler | None, tuple[Rejected, ...]]:
    """The first accepted compiler of this host, and those that were looked at and refused."""
    rejected: list[Rejected] = []
    for kind in kinds:
        for name in _names(kind, cuda):
            path = which(name)
            if path is None:
                continue
            major = _read_major(runner, path)
            reason = "its version could not be read" if major is None else None
            if major is not None:
                reason = judge_version(kind, major, cuda, sysroot_gcc=sysroot_gcc)
            found = _describe(runner, kind, name, path, major or 0, which) if reason is None else None
            if found is not None:
                return found, tuple(rejected)
            rejected.append(Rejected(name=name, reason=reason or "no linker for AArch64 beside it (install lld)"))
    return None, tuple(rejected)


def zig_compiler(root: Path, version: str, clang_major: int) -> HostCompiler:
    """The plain clang and lld inside an unpacked ziglang wheel. ``root`` holds ``ziglang/zig``."""
    zig = str(root / "ziglang/zig")
    resources = ("-resource-dir", str(root / "ziglang/lib"))
    return HostCompiler(
        kind="clang",
        major=clang_major,
        cc=(zig, "clang", *resources),
        cxx=(zig, "clang", "--driver-mode=g++", *resources),
        include=None,
        linker=(zig, "ld.lld"),
        tools=(("ar", (zig, "ar")), ("ranlib", (zig, "ranlib")), ("ld", (zig, "ld.lld")), ("strip", ("/bin/true",))),
        origin=f"clang {clang_major} of the ziglang {version} wheel",
    )


def cross_argv(compiler: HostCompiler, sysroot: Path, *, gcc: int, cxx: bool, linker: Path | None) -> tuple[str, ...]:
    """The words that start ``compiler`` so that it sees ``sysroot`` and nothing else of this host.

    ``gcc``: major version of the GCC whose libstdc++ and libgcc the sysroot holds. ``linker``: path of a program
    for ``--ld-path``. Every word is needed for compiling as well as for linking, and harmless in the other.
    """
    words = compiler.cxx if cxx else compiler.cc
    if compiler.kind == "clang":
        ld = (f"--ld-path={linker}",) if linker else ("-fuse-ld=lld",)
        return (
            *words,
            f"--target={TRIPLE}",
            f"--sysroot={sysroot}",
            f"--gcc-toolchain={sysroot}/usr",
            *ld,
            "-Wno-unused-command-line-argument",
        )
    own = (f"{sysroot}/usr/lib/gcc/{TRIPLE}/{gcc}", f"{sysroot}/usr/lib/{TRIPLE}")
    own_headers = (compiler.include,) if compiler.include else ()
    includes = (*own_headers, f"{sysroot}/usr/include/{TRIPLE}", f"{sysroot}/usr/include")
    if cxx:
        base = f"{sysroot}/usr/include/c++/{gcc}"
        includes = (base, f"{sysroot}/usr/include/{TRIPLE}/c++/{gcc}", f"{base}/backward", *includes)
    return (
        *words,
        f"--sysroot={sysroot}",
        "-nostdinc",
        *(word for directory in own for word in (f"-B{directory}", f"-L{directory}")),
        *(word for directory in includes for word in ("-isystem", directory)),
        *(f"-Wl,-rpath-link,{directory}" for directory in own[1:]),
    )


def probe_flags(
    runner: Runner, argv: tuple[str, ...], candidates: Iterable[str], *, source: Path = Path("/dev/null")
) -> str:
    """The first of the catalog's CPU flags that this compiler accepts, or the empty string."""
    for flags in candidates:
        words = tuple(flags.split())
        done = runner.run(Command(argv=(*argv, *words, "-x", "c", "-fsyntax-only", str(source))))
        if done.ok:
            return flags
    return ""


def _names(kind: Kind, cuda: CudaFacts) -> tuple[str, ...]:
    if kind == "gcc":
        newest, oldest = cuda.gcc_max, cuda.gcc_min or 5
        return (f"{TRIPLE}-g++", *(f"{TRIPLE}-g++-{major}" for major in range(newest, oldest - 1, -1)))
    return ("clang++", *(f"clang++-{major}" for major in range(cuda.clang_max, 10, -1)))


def _read_major(runner: Runner, path: str) -> int | None:
    done = runner.run(Command(argv=(path, "-dumpversion")))
    match = re.match(r"(\d+)", done.stdout)
    return int(match[1]) if done.ok and match else None


def _describe(
    runner: Runner, kind: Kind, name: str, path: str, major: int, which: Callable[[str], str | None]
) -> HostCompiler | None:
    """What is beside ``path``, or None when it has no linker for AArch64."""
    origin = f"{name} {major} of this host"
    if kind == "gcc":
        cc = str(Path(path).with_name(name.replace("g++", "gcc")))
        found = {tool: which(f"{TRIPLE}-{tool}") for tool in BINUTILS}
        include = runner.run(Command(argv=(path, "-print-file-name=include"))).stdout.strip()
        tools = _tools(found)
        return HostCompiler(
            kind=kind, major=major, cc=(cc,), cxx=(path,), include=include, linker=None, tools=tools, origin=origin
        )
    suffix = name.removeprefix("clang++")
    lld = which(f"ld.lld{suffix}") or which("ld.lld")
    if lld is None:
        return None
    cc = str(Path(path).with_name(f"clang{suffix}"))
    beside = {tool: _llvm_tool(tool, suffix, which) for tool in BINUTILS}
    tools = _tools({**beside, "ld": lld})
    return HostCompiler(
        kind=kind, major=major, cc=(cc,), cxx=(path,), include=None, linker=(lld,), tools=tools, origin=origin
    )


def _llvm_tool(tool: str, suffix: str, which: Callable[[str], str | None]) -> str | None:
    """LLVM's tool of that name, or this host's AArch64 one, or GNU's own where it can handle any ELF file."""
    names = [f"llvm-{tool}{suffix}", f"llvm-{tool}", f"{TRIPLE}-{tool}"]
    names += [tool] if tool in {"ar", "ranlib", "nm", "readelf"} else []
    return next((path for name in names if (path := which(name))), None)


def _tools(found: Mapping[str, str | None]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((tool, (path,)) for tool, path in found.items() if path is not None)
