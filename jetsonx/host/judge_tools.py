"""Judges compilers and build tools: pure. Most of them jetsonx fetches itself, so that few can be missed."""

from __future__ import annotations

from jetsonx.catalog import load_catalog
from jetsonx.catalog.versions import parse_version
from jetsonx.host.facts import Compiler, HostFacts
from jetsonx.host.mend import Finding, resolve_package
from jetsonx.toolchain.compiler import judge_version

_CMAKE_MIN = "3.18"  # the first that knows CMAKE_CUDA_ARCHITECTURES


def judge_nvcc(facts: HostFacts) -> Finding:
    """CUDA toolkits of this host; where they do not fit, NVIDIA's wheels and archives are fetched."""
    whole = [toolkit for toolkit in facts.toolkits if toolkit.is_complete]
    parts = tuple(f"{each.root} is incomplete and passed over" for each in facts.toolkits if not each.is_complete)
    if not whole:
        found = "no toolkit: jetsonx fetches NVIDIA's (from CUDA 13 on as wheels, before as archives)"
        return Finding(status="absent", found=found, notes=parts)
    found = ", ".join(f"{each.version or 'unknown version'} in {each.root}" for each in whole)
    return Finding(status="ok", found=f"{found}; others are fetched", notes=parts)


def judge_compiler(facts: HostFacts) -> Finding:
    """GCC or clang of this host for AArch64; without one, the clang of the ziglang wheel is fetched."""
    if not facts.compilers:
        found = "none: jetsonx fetches the clang of the ziglang wheel"
        return Finding(status="absent", found=found, mend=resolve_package("compiler", facts))
    usable = [each for each in facts.compilers if each.has_linker and _newest_cuda(each)]
    if not usable:
        names = ", ".join(dict.fromkeys(map(_name, facts.compilers)))
        unlinked = any(not each.has_linker for each in facts.compilers)
        reason = "no linker for AArch64 beside it" if unlinked else "too new or too old for every nvcc"
        mend = resolve_package("lld" if unlinked else "compiler", facts)
        return Finding(status="warn", found=f"{names}: {reason}; jetsonx fetches zig's clang", mend=mend)
    named = dict.fromkeys(f"{_name(each)} (nvcc up to {_newest_cuda(each)})" for each in usable)
    return Finding(status="ok", found=", ".join(named))


def _name(compiler: Compiler) -> str:
    """One name for `g++` and `g++-12`, which are the same program more often than not."""
    name = "aarch64 GCC" if compiler.kind == "gcc" else "clang"
    return f"{name} {compiler.major or '(unknown version)'}"


def _newest_cuda(compiler: Compiler) -> str:
    """The newest CUDA whose nvcc takes this compiler, "" for none."""
    takes = [
        cuda.version
        for cuda in load_catalog().cuda.values()
        if compiler.major and judge_version(compiler.kind, compiler.major, cuda, sysroot_gcc=0) is None
    ]
    return max(takes, key=parse_version, default="")


def judge_cmake(facts: HostFacts) -> Finding:
    """CMake, for projects that use it; a fitting one is fetched."""
    program = facts.programs.get("cmake")
    if program is None:
        return Finding(status="absent", found="none: jetsonx fetches it", mend=resolve_package("cmake", facts))
    if not program.version or parse_version(program.version) < parse_version(_CMAKE_MIN):
        return Finding(status="ok", found=f"{program.path} {program.version}, too old: jetsonx fetches its own")
    return Finding(status="ok", found=program.version)


def judge_ninja(facts: HostFacts) -> Finding:
    """Ninja, under CMake and Meson; fetched where it is missing."""
    program = facts.programs.get("ninja") or facts.programs.get("ninja-build")
    if program is None:
        return Finding(status="absent", found="none: jetsonx fetches it", mend=resolve_package("ninja", facts))
    return Finding(status="ok", found=program.version or program.path)


def judge_make(facts: HostFacts) -> Finding:
    """make, which projects with a makefile need from this host."""
    return _judge_program(facts, "make")


def judge_ccache(facts: HostFacts) -> Finding:
    """ccache or sccache, which save compiling the same file again."""
    return _judge_program(facts, "ccache", "sccache")


def judge_ssh(facts: HostFacts) -> Finding:
    """The way to devices."""
    return _judge_program(facts, "ssh")


def _judge_program(facts: HostFacts, *names: str) -> Finding:
    found = next((facts.programs[name] for name in names if name in facts.programs), None)
    if found is None:
        return Finding(status="absent", found=f"no {' or '.join(names)}", mend=resolve_package(names[0], facts))
    return Finding(status="ok", found=found.version or found.path)
