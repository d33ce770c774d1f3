"""Which compilers can serve, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.catalog import CudaFacts, load_catalog
from jetsonx.runner import Command, Completed, Runner
from jetsonx.toolchain.compiler import cross_argv, find_compilers, judge_version, probe_flags, zig_compiler
from jetsonx.toolchain.search import SHIM_MARK, which_host
from jetsonx.toolchain.tools import nvcc, place_file
from tests.unit.toolchain_values import GCC

SYSROOT = Path("/trees/sysroot")


class FakeRunner(Runner):
    """Answers each call by its words; a call nobody expected is an error of the program."""

    def __init__(self, answer: Callable[[tuple[str, ...]], str | None]) -> None:
        super().__init__()
        self._answer = answer

    def run(self, command: Command, **_: object) -> Completed:
        out = self._answer(command.argv)
        return Completed(command=command, status=1 if out is None else 0, stdout=out or "", tail=out or "")


@pytest.fixture
def cuda() -> CudaFacts:
    return replace(load_catalog().cuda["13.2"], gcc_min=6, gcc_max=15, clang_max=21)


@pytest.mark.parametrize(
    ("kind", "major", "reason"),
    [
        ("gcc", 12, None),
        ("gcc", 15, None),
        ("gcc", 16, "newer"),
        ("gcc", 5, "older"),
        ("gcc", 11, "libstdc++"),
        ("clang", 14, None),
        ("clang", 21, None),
        ("clang", 22, "newer"),
    ],
)
def test_limits_of_nvcc_and_of_the_sysroot(cuda: CudaFacts, kind: str, major: int, reason: str | None) -> None:
    said = judge_version("gcc" if kind == "gcc" else "clang", major, cuda, sysroot_gcc=12)
    assert (said is None) if reason is None else (said is not None and reason in said)


def _which(names: dict[str, str]) -> Callable[[str], str | None]:
    return names.get


def _versions(versions: dict[str, str]) -> FakeRunner:
    def answer(argv: tuple[str, ...]) -> str | None:
        return versions.get(argv[0]) if argv[1] == "-dumpversion" else "/usr/lib/include\n"

    return FakeRunner(answer)


def test_the_first_gcc_that_nvcc_takes_is_chosen_and_the_others_said(cuda: CudaFacts) -> None:
    names = {"aarch64-linux-gnu-g++": "/usr/bin/aarch64-linux-gnu-g++", "aarch64-linux-gnu-g++-13": "/opt/g++-13"}
    runner = _versions({"/usr/bin/aarch64-linux-gnu-g++": "16\n", "/opt/g++-13": "13.1.0\n"})
    found, rejected = find_compilers(runner, cuda, sysroot_gcc=12, which=_which(names))
    assert found is not None
    assert (found.kind, found.major, found.cxx) == ("gcc", 13, ("/opt/g++-13",))
    assert [each.name for each in rejected] == ["aarch64-linux-gnu-g++"]


def test_tools_are_whole_paths_because_their_names_lead_back_to_the_shims(cuda: CudaFacts) -> None:
    names = {name: f"/usr/bin/{name}" for name in ("aarch64-linux-gnu-g++", "aarch64-linux-gnu-ar", "ar", "strip")}
    runner = _versions({"/usr/bin/aarch64-linux-gnu-g++": "12\n"})
    found, _ = find_compilers(runner, cuda, sysroot_gcc=12, which=_which(names))
    assert found is not None
    assert found.tools == (("ar", ("/usr/bin/aarch64-linux-gnu-ar",)),)


def test_clang_takes_llvms_tools_and_falls_back_to_those_that_know_any_elf_file(cuda: CudaFacts) -> None:
    names = {name: f"/usr/bin/{name}" for name in ("clang++-18", "ld.lld-18", "llvm-ar-18", "nm", "strip", "objcopy")}
    runner = _versions({"/usr/bin/clang++-18": "18.1.8\n"})
    found, _ = find_compilers(runner, cuda, sysroot_gcc=12, which=_which(names))
    assert found is not None
    assert found.cc == ("/usr/bin/clang-18",)
    assert dict(found.tools) == {
        "ar": ("/usr/bin/llvm-ar-18",),
        "ld": ("/usr/bin/ld.lld-18",),
        "nm": ("/usr/bin/nm",),
    }


def test_a_clang_without_lld_is_refused(cuda: CudaFacts) -> None:
    runner = _versions({"/usr/bin/clang++": "18\n"})
    found, rejected = find_compilers(runner, cuda, sysroot_gcc=12, which=_which({"clang++": "/usr/bin/clang++"}))
    assert found is None
    assert "lld" in rejected[0].reason


def test_a_compiler_that_does_not_say_its_version_is_refused(cuda: CudaFacts) -> None:
    names = {"aarch64-linux-gnu-g++": "/broken"}
    found, rejected = find_compilers(_versions({}), cuda, sysroot_gcc=12, kinds=("gcc",), which=_which(names))
    assert found is None
    assert "version" in rejected[0].reason


def test_gcc_is_told_every_directory_of_the_sysroot_in_libstdcxx_order() -> None:
    words = cross_argv(GCC, SYSROOT, gcc=12, cxx=True, linker=None)
    assert words[:3] == ("/usr/bin/aarch64-linux-gnu-g++", "--sysroot=/trees/sysroot", "-nostdinc")
    includes = [words[at + 1] for at, word in enumerate(words) if word == "-isystem"]
    assert includes == [
        "/trees/sysroot/usr/include/c++/12",
        "/trees/sysroot/usr/include/aarch64-linux-gnu/c++/12",
        "/trees/sysroot/usr/include/c++/12/backward",
        "/usr/lib/gcc-cross/aarch64-linux-gnu/12/include",
        "/trees/sysroot/usr/include/aarch64-linux-gnu",
        "/trees/sysroot/usr/include",
    ]
    assert "-B/trees/sysroot/usr/lib/gcc/aarch64-linux-gnu/12" in words


def test_zigs_clang_gets_target_sysroot_and_its_own_lld() -> None:
    zig = zig_compiler(Path("/trees/zig"), "0.16.0", 21)
    words = cross_argv(zig, SYSROOT, gcc=12, cxx=True, linker=Path("/sdk/share/ld.lld"))
    assert words[:3] == ("/trees/zig/ziglang/zig", "clang", "--driver-mode=g++")
    assert {"--target=aarch64-linux-gnu", "--sysroot=/trees/sysroot", "--ld-path=/sdk/share/ld.lld"} < set(words)
    assert "--driver-mode=g++" not in cross_argv(zig, SYSROOT, gcc=12, cxx=False, linker=None)


def test_the_first_cpu_flag_that_the_compiler_accepts() -> None:
    runner = FakeRunner(lambda argv: "" if "-mcpu=cortex-a78" in argv else None)
    assert probe_flags(runner, ("cc",), ("-mcpu=cortex-a78ae", "-mcpu=cortex-a78")) == "-mcpu=cortex-a78"
    assert probe_flags(runner, ("cc",), ("-mcpu=cortex-a78ae",)) == ""


def test_shims_on_path_are_not_programs_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in ("sdk/bin", "host"):
        place = tmp_path / directory / "g++"
        place.parent.mkdir(parents=True)
        place.write_text("")
        place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/sdk/bin:{tmp_path}/host")
    assert which_host("g++") == f"{tmp_path}/sdk/bin/g++"  # so far it is a directory like any other
    (tmp_path / "sdk" / SHIM_MARK).parent.mkdir()
    (tmp_path / "sdk" / SHIM_MARK).write_text("")
    assert which_host("g++") == f"{tmp_path}/host/g++"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("nvidia/cu13/bin/nvcc", "bin/nvcc"),
        ("nvidia/cu13/bin/crt/link.stub", "bin/crt/link.stub"),
        ("nvidia/cu13/nvvm/bin/cicc", "nvvm/bin/cicc"),
        ("nvidia/cu13/nvvm/libdevice/libdevice.10.bc", "nvvm/libdevice/libdevice.10.bc"),
        ("nvidia/cu13/lib/libnvvm.so.4", None),
        ("nvidia_cuda_nvcc-13.2.78.dist-info/METADATA", None),
    ],
)
def test_nvidias_wheels_become_a_toolkit(path: str, place: str | None) -> None:
    assert place_file(nvcc(()), path) == place
