"""The shims run for real under /bin/sh, with compilers that only say how they were called."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx import toolchain
from jetsonx.toolchain.sdk import Sdk, make_sdk
from tests.integration.conftest import Need
from tests.unit.toolchain_values import GCC, sdk_plan

_SAY = '#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n'
GENCODE = ["-gencode=arch=compute_87,code=sm_87", "-gencode=arch=compute_110,code=[sm_110,compute_110]"]

Call = Callable[..., list[str]]


@pytest.fixture
def sdk(tmp_path: Path) -> Sdk:
    def program(path: str) -> str:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_SAY)
        place.chmod(0o755)
        return str(place)

    for name in ("nvcc", "nvlink", "cudafe++", "ptxas"):
        program(f"trees/nvcc/bin/{name}")
    program("trees/nvcc/nvvm/bin/cicc")
    targets = tmp_path / "trees/sysroot/usr/local/cuda-13.2/targets/sbsa-linux"
    (targets / "lib").mkdir(parents=True)
    (targets / "lib/libcudadevrt.a").write_text("")
    for directory in ("usr/include", "usr/lib", "opt"):
        (tmp_path / "trees/sysroot" / directory).mkdir(parents=True, exist_ok=True)
    compiler = replace(
        GCC,
        cc=(program("host/real-gcc"),),
        cxx=(program("host/real-g++"),),
        tools=(("ar", (program("host/real-ar"),)), ("objcopy", (program("host/real-objcopy"),))),
    )
    plan = replace(sdk_plan(compiler, tmp_path), pkg_config=program("host/real-pkg-config"))
    return make_sdk(plan, (), ())


@pytest.fixture
def call(sdk: Sdk, tmp_path: Path) -> Call:
    def run(name: str, *words: str, **variables: str) -> list[str]:
        """What the real program was called with, its own name first. ``name``: in the SDK's bin, or a whole path."""
        environment = {
            "PATH": f"{sdk.path / 'bin'}{os.pathsep}{os.defpath}",
            "JETSONX_NOTES": str(tmp_path / "notes.txt"),
            "JETSONX_SOURCE_DIR": "/home/me/project",
            **variables,
        }
        done = subprocess.run(
            (str(sdk.path / "bin" / name), *words),
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout.splitlines()

    return run


def notes(tmp_path: Path) -> str:
    path = tmp_path / "notes.txt"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(
    ("name", "real"),
    [
        *((name, "real-gcc") for name in ("cc", "gcc", "clang", "gcc-9", "clang-14", "aarch64-linux-gnu-gcc")),
        *((name, "real-g++") for name in ("c++", "g++", "clang++", "g++-11", "clang++-18", "aarch64-linux-gnu-g++")),
    ],
)
def test_every_name_of_a_compiler_leads_to_the_one(call: Call, name: str, real: str) -> None:
    assert call(name, "-c", "a.c")[0] == real


def test_a_compiler_sees_the_sysroot_alone(call: Call, tmp_path: Path) -> None:
    words = call("g++", "-c", "a.cpp", "-o", "a.o")
    assert f"--sysroot={tmp_path}/trees/sysroot" in words
    assert "-nostdinc" in words
    assert "-mcpu=cortex-a78ae" in words
    assert "-ffile-prefix-map=/home/me/project=." in words
    assert not [word for word in words if word.startswith("-L") and "/cuda" in word]  # nothing to link with -c


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("-I/usr/local/cuda/include", "-I{view}/usr/local/cuda/include"),
        ("-I/usr/local/cuda-11.4", "-I{view}/usr/local/cuda"),
        ("-L/usr/local/cuda-10.2/lib64", "-L{view}/usr/local/cuda/lib64"),
        ("-I/usr/include/opencv4", "-I{tree}/usr/include/opencv4"),
        ("-isystem/usr/include/opencv4", "-isystem{tree}/usr/include/opencv4"),
        ("-L/usr/lib/x86_64-linux-gnu", "-L{tree}/usr/lib/aarch64-linux-gnu"),
        ("-L{view}/usr/lib", "-L{tree}/usr/lib"),  # from pkg-config
        ("{view}/usr/lib/libm.so", "{tree}/usr/lib/libm.so"),  # from CMake
        ("-L{view}/usr/local/cuda/lib64", "-L{view}/usr/local/cuda/lib64"),
        ("-L/home/me/lib", "-L/home/me/lib"),
        ("-I/usr/local/include", "-I/usr/local/include"),
        ("/usr/share/a.c", "/usr/share/a.c"),
    ],
)
def test_paths_of_the_workstation_become_the_sysroots(
    call: Call, sdk: Sdk, tmp_path: Path, given: str, expected: str
) -> None:
    places = {"view": sdk.sysroot, "tree": tmp_path / "trees/sysroot"}
    words = call("gcc", "-DBEFORE", given.format(**places), "-DAFTER")
    assert words[words.index("-DBEFORE") + 1 : words.index("-DAFTER")] == [expected.format(**places)]


@pytest.mark.parametrize("flag", ["-I", "-L", "-isystem", "-idirafter"])
def test_a_directory_in_a_word_of_its_own(call: Call, sdk: Sdk, tmp_path: Path, flag: str) -> None:
    words = call("gcc", flag, "/usr/local/cuda-10.2/include", flag, "/usr/include/opencv4")
    start = words.index(f"{sdk.sysroot}/usr/local/cuda/include") - 1
    assert words[start : start + 4] == [
        *(flag, f"{sdk.sysroot}/usr/local/cuda/include", flag, f"{tmp_path}/trees/sysroot/usr/include/opencv4")
    ]


def test_a_run_path_reads_as_on_the_device(call: Call, sdk: Sdk) -> None:
    cuda = f"{sdk.sysroot}/usr/local/cuda/lib64"
    words = call("g++", "a.o", f"-Wl,-rpath={cuda}", "-Wl,-rpath", f"-Wl,{cuda}:{cuda}", f"-Wl,-rpath-link,{cuda}")
    assert "-Wl,-rpath=/usr/local/cuda/lib64" in words
    assert "-Wl,/usr/local/cuda/lib64:/usr/local/cuda/lib64" in words
    assert f"-Wl,-rpath-link,{cuda}" in words  # where the linker looks, here


def test_cmakes_padding_of_run_paths_is_trimmed(call: Call) -> None:
    assert "-Wl,-rpath,$ORIGIN:/opt/x" in call("g++", "a.o", "-Wl,-rpath,$ORIGIN:/opt/x:::", JETSONX_TRIM_RPATH="1")
    assert "-Wl,-rpath,$ORIGIN::" in call("g++", "a.o", "-Wl,-rpath,$ORIGIN::")  # a later install looks for it


@pytest.mark.parametrize("word", ["-march=native", "-mcpu=native", "-msse4.2", "-mavx2", "-m64", "-march=x86-64-v3"])
def test_flags_of_this_workstation_are_left_out_and_said(call: Call, tmp_path: Path, word: str) -> None:
    assert word not in call("gcc", word, "-c", "a.c")
    assert notes(tmp_path).startswith(word)


def test_words_with_spaces_and_quotes_survive(call: Call) -> None:
    words = call("gcc", '-DNAME="it\'s $HOME"', "-D A=1", "a b.c", "")
    assert '-DNAME="it\'s $HOME"' in words
    assert "-D A=1" in words
    assert "a b.c" in words
    assert "" in words


def test_strip_is_a_link_flag(call: Call) -> None:
    assert "-Wl,-s" in call("gcc", "a.o", JETSONX_STRIP="1")
    assert "-Wl,-s" not in call("gcc", "-c", "a.c", JETSONX_STRIP="1")
    assert "-Wl,-s" not in call("gcc", "a.o", JETSONX_STRIP="0")


def test_nvcc_gets_the_host_compiler_and_the_targets_architectures(call: Call, sdk: Sdk) -> None:
    words = call("nvcc", "-ccbin", "/usr/bin/g++-6", "-c", "a.cu", "-o", "a.o")
    assert words == ["nvcc", "-ccbin", f"{sdk.path}/bin/g++", "-objtemp", *GENCODE, "-c", "a.cu", "-o", "a.o"]


def test_nvcc_keeps_the_architectures_a_project_asks_for(call: Call, tmp_path: Path) -> None:
    words = call("nvcc", "-arch=sm_75", "a.cu")
    assert words[3:] == ["-arch=sm_75", "a.cu"]
    assert notes(tmp_path) == ""


@pytest.mark.parametrize(
    "given",
    [
        ("-arch=sm_35",),
        ("-arch", "sm_35"),
        ("-gencode", "arch=compute_35,code=sm_35", "-gencode", "arch=compute_50,code=[sm_50,compute_50]"),
        ("--generate-code=arch=compute_35,code=[sm_35]",),
        ("--gpu-architecture=compute_35", "--gpu-code=sm_35"),
    ],
)
def test_nvcc_replaces_architectures_when_told_to(call: Call, tmp_path: Path, given: tuple[str, ...]) -> None:
    words = call("nvcc", *given, "a.cu", JETSONX_OVERRIDE_ARCH="1")
    assert words[3:] == [*GENCODE, "a.cu"]
    assert "replaced by" in notes(tmp_path)


def test_replacing_an_architecture_by_itself_is_no_news(call: Call, tmp_path: Path) -> None:
    words = call("nvcc", "--generate-code=arch=compute_87,code=[sm_87]", "a.cu", JETSONX_OVERRIDE_ARCH="1")
    assert words[3:] == [*GENCODE, "a.cu"]
    assert notes(tmp_path) == ""


@pytest.mark.parametrize("given", [("-arch=native",), ("-arch", "native")])
def test_nvcc_native_means_the_target(call: Call, tmp_path: Path, given: tuple[str, ...]) -> None:
    assert call("nvcc", *given, "a.cu")[3:] == [*GENCODE, "a.cu"]
    assert "native replaced by" in notes(tmp_path)


def test_nvcc_makes_one_cubin_for_the_first_module(call: Call) -> None:
    assert call("nvcc", "-cubin", "a.cu")[3:] == ["-arch=sm_87", "-cubin", "a.cu"]


def test_nvcc_takes_the_threads_it_is_given_unless_the_project_has_its_own(call: Call) -> None:
    assert call("nvcc", "a.cu", JETSONX_NVCC_THREADS="2")[3] == "--threads=2"
    for own in (["-t", "4"], ["-t4"], ["--threads=4"]):
        assert "--threads=2" not in call("nvcc", *own, "a.cu", JETSONX_NVCC_THREADS="2")


def test_binutils_are_those_that_the_compiler_has(call: Call, sdk: Sdk) -> None:
    assert call("ar", "rcs", "a.a") == ["real-ar", "rcs", "a.a"]
    assert call("aarch64-linux-gnu-objcopy", "-S", "a") == ["real-objcopy", "-S", "a"]
    assert not (sdk.path / "bin/strip").exists()  # the workstation's is found instead


def test_nvidia_smi_answers_for_the_target(call: Call, tmp_path: Path) -> None:
    assert call("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader") == ["8.7", "11.0"]
    assert "compute capability" in notes(tmp_path)


def test_nvlink_records_no_directory(call: Call, sdk: Sdk) -> None:
    directory = f"{sdk.sysroot}/usr/local/cuda/lib64"
    words = call(str(sdk.cuda / "libexec/nvlink"), "-L/usr/local/cuda/lib64", "-lcudadevrt", "-lcudart", "a.o")
    assert words == ["nvlink", f"{directory}/libcudadevrt.a", "a.o"]


@pytest.mark.parametrize("program", ["libexec/cudafe++", "nvvm/bin/cicc"])
def test_front_ends_get_the_path_inside_the_project(call: Call, sdk: Sdk, program: str) -> None:
    words = call(str(sdk.cuda / program), "--orig_src_path_name", "/home/me/project/src/a.cu", "/home/me/project/x")
    assert words[1:] == ["--orig_src_path_name", "./src/a.cu", "/home/me/project/x"]


def test_uname_answers_for_the_target(call: Call, sdk: Sdk, tmp_path: Path) -> None:
    assert call(str(sdk.path / "share/probes/uname"), "-m") == ["aarch64"]
    assert call(str(sdk.path / "share/probes/uname"), "-s") == ["Linux"]
    assert (notes(tmp_path) == "") == (os.uname().machine == "aarch64")


def test_shellcheck_has_nothing_to_say(need: Need) -> None:
    shims = sorted((Path(toolchain.__file__).parent / "shims").glob("*.sh"))
    # 1091: the sourced file is elsewhere in an SDK. 2034, 2154: variables that cross from one file to the other.
    argv = (need("shellcheck"), "-s", "sh", "-e", "SC1091,SC2034,SC2154", *map(str, shims))
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == ""
    assert done.returncode == 0
