"""What an SDK directory says to shims, CMake and Meson."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.packages.package import Archive, Wheel
from jetsonx.runner import Runner
from jetsonx.toolchain.crossfiles import render_meson, render_toolchain
from jetsonx.toolchain.nvcc import find_nvcc
from jetsonx.toolchain.sdk import DeviceCode, dump_sdk, make_sdk, parse_sdk, render_config
from tests.unit.golden import check_golden
from tests.unit.toolchain_values import SDK, sdk_plan

PATHS = {
    name: Path("/sdk") / place
    for name, place in {
        "sysroot": "sysroot",
        "cuda": "sysroot/usr/local/cuda-13.2",
        "cc": "bin/gcc",
        "cxx": "bin/g++",
        "bin": "bin",
        "stubs": "share/driver-stubs",
    }.items()
}


def test_device_code_in_every_spelling() -> None:
    one, two = DeviceCode(sms=(87,)), DeviceCode(sms=(87, 110))
    assert one.gencode == ("-gencode=arch=compute_87,code=[sm_87,compute_87]",)
    assert two.gencode == ("-gencode=arch=compute_87,code=sm_87", "-gencode=arch=compute_110,code=[sm_110,compute_110]")
    assert (one.cmake, two.cmake) == ("87", "87-real;110")
    assert two.capabilities == ("8.7", "11.0")


def test_config_of_the_shims() -> None:
    check_golden("sdk-config.sh.txt", render_config(sdk_plan(), Path("/sdk")))


def test_cmake_toolchain_file() -> None:
    text = render_toolchain(PATHS, architectures="87-real;110", emulator="/usr/bin/qemu-aarch64")
    check_golden("cmake-toolchain.txt", text)


def test_no_emulator_no_word_of_it() -> None:
    assert "EMULATOR" not in render_toolchain(PATHS, architectures="87", emulator=None)
    assert "\nexe_wrapper =" not in render_meson(PATHS, emulator=None)


def test_meson_cross_file() -> None:
    check_golden("meson-cross.txt", render_meson(PATHS, emulator="/usr/bin/qemu-aarch64"))


def test_environment_is_the_same_sdk_under_many_names() -> None:
    environment = SDK.environment()
    cuda = "/cache/sdk/0123/sysroot/usr/local/cuda-13.2"
    assert {environment[name] for name in ("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT")} == {cuda}
    assert environment["TORCH_CUDA_ARCH_LIST"] == "8.7;11.0+PTX"
    assert environment["SMS"] == "87 110"
    assert environment["CUDAARCHS"] == "87-real;110"


def test_an_sdk_survives_being_written_down() -> None:
    wheel = Wheel(name="ziglang", version="0.9.1", filename="z.whl", sha256="ab")
    archive = Archive(
        name="cuda_nvcc", version="11.8.89", platform="linux-x86_64", filename="n.tar.xz", sha256="cd", size_bytes=3
    )
    why = ("nvcc 13.2: found", "host compiler: GCC")
    sdk = replace(SDK, why=why, emulator="/usr/bin/qemu-aarch64", wheels=(wheel,), archives=(archive,))
    assert parse_sdk(dump_sdk(sdk)) == sdk


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 1}', "null"])
def test_text_that_is_no_sdk(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_sdk(text)


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    for directory in (
        "nvcc/bin",
        "nvcc/nvvm/bin",
        "sysroot/usr/include",
        "sysroot/usr/local/cuda-13.2/targets/sbsa-linux",
    ):
        (tmp_path / "trees" / directory).mkdir(parents=True)
    for name in ("nvcc", "ptxas", "nvlink", "nvcc.profile"):
        (tmp_path / "trees/nvcc/bin" / name).write_text("")
    (tmp_path / "trees/sysroot/lib").symlink_to("usr/lib")
    return tmp_path


def test_an_sdk_is_made_once_and_found_again(trees: Path) -> None:
    plan = sdk_plan(root=trees)
    sdk = make_sdk(plan, ("why",), ())
    stamp = (sdk.path / "share/config.sh").stat().st_mtime_ns
    assert make_sdk(plan, ("why",), ()) == sdk
    assert (sdk.path / "share/config.sh").stat().st_mtime_ns == stamp
    assert [path.name for path in sdk.path.parent.iterdir()] == [sdk.path.name]


def test_both_names_of_the_target_directory_and_of_the_toolkit(trees: Path) -> None:
    sdk = make_sdk(sdk_plan(root=trees), (), ())
    assert (sdk.cuda / "targets/aarch64-linux").readlink() == Path("sbsa-linux")
    assert (sdk.sysroot / "usr/local/cuda").readlink() == Path("cuda-13.2")
    assert (sdk.sysroot / "lib").readlink() == Path("usr/lib")
    assert (sdk.cuda / "lib64").resolve() == (sdk.cuda / "lib").resolve()


def test_another_compiler_is_another_sdk(trees: Path) -> None:
    plan = sdk_plan(root=trees)
    other = replace(plan, compiler=replace(plan.compiler, major=13))
    assert make_sdk(plan, (), ()).path != make_sdk(other, (), ()).path


def test_a_failed_write_leaves_nothing(trees: Path) -> None:
    (trees / "trees/nvcc/bin/nvcc").unlink()
    (trees / "trees/nvcc/bin/ptxas").unlink()
    (trees / "trees/nvcc/bin/nvlink").unlink()
    (trees / "trees/nvcc/bin/nvcc.profile").unlink()
    (trees / "trees/nvcc/bin").rmdir()
    with pytest.raises(FileNotFoundError):
        make_sdk(sdk_plan(root=trees), (), ())
    assert list((trees / "cache dir/sdk").iterdir()) == []


def test_the_view_of_an_sdk_is_not_a_toolkit_of_the_host(trees: Path) -> None:
    sdk = make_sdk(sdk_plan(root=trees), (), ())
    assert os.access(sdk.cuda / "bin/nvcc", os.X_OK)
    assert find_nvcc(Runner(), "13.2", [sdk.cuda]) is None  # asking it for its version would start a process
