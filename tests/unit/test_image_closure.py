"""The NEEDED closure over a small sysroot of real (tiny) ELF files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jetsonx.errors import BuildError
from jetsonx.image.closure import Closure, Missing, needed_closure
from tests.elf.synthetic import ElfSpec, make_elf

LIB = "usr/lib/aarch64-linux-gnu"
CUDA = "usr/local/cuda-13.2/targets/sbsa-linux/lib"


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    root = tmp_path / "sysroot"
    library(root, f"{LIB}/libc.so.6", soname="libc.so.6")
    library(root, f"{LIB}/libstdc++.so.6.0.30", "libc.so.6", soname="libstdc++.so.6")
    link(root, f"{LIB}/libstdc++.so.6", "libstdc++.so.6.0.30")
    link(root, "lib", "usr/lib")
    return root


OWNERS = {
    f"{LIB}/libc.so.6": "libc6",
    f"{LIB}/libstdc++.so.6.0.30": "libstdc++6",
    f"{LIB}/libstdc++.so.6": "libstdc++6",
    f"{LIB}/blas/libblas.so.3": "libblas3",
    f"{CUDA}/libcublas.so.13": "nvidia-cublas",
}
DEBS = {"libc6", "libstdc++6", "libblas3"}


def library(root: Path, path: str, *needed: str, soname: str | None = None) -> Path:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(make_elf(ElfSpec(needed=needed, soname=soname, interpreter=None)))
    return place


def link(root: Path, path: str, target: str) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def program(sysroot: Path, *needed: str) -> Path:
    path = sysroot.parent / "demo"
    path.write_bytes(make_elf(ElfSpec(needed=needed)))
    return path


def close(outputs: Sequence[Path], sysroot: Path) -> Closure:
    return needed_closure(
        outputs,
        sysroot,
        owners=OWNERS,
        packages=DEBS,
        library_dirs=(CUDA, LIB, "usr/lib"),
        driver_libraries=("libcuda.so*", "libnvrm*.so*"),
    )


def test_packages_through_their_libraries(sysroot: Path) -> None:
    assert close([program(sysroot, "libstdc++.so.6")], sysroot) == Closure(
        files=(f"{LIB}/libc.so.6", f"{LIB}/libstdc++.so.6.0.30"),
        packages=("libc6", "libstdc++6"),
        loose=(),
        driver=(),
        missing=(),
    )


def test_the_drivers_libraries_are_not_looked_for(sysroot: Path) -> None:
    library(sysroot, f"{LIB}/libcuda.so.1")
    closure = close([program(sysroot, "libcuda.so.1", "libnvrm_gpu.so")], sysroot)
    assert closure.driver == ("libcuda.so.1", "libnvrm_gpu.so")
    assert closure.files == ()


def test_a_wheels_library_is_loose(sysroot: Path) -> None:
    library(sysroot, f"{CUDA}/libcublas.so.13", "libc.so.6")
    closure = close([program(sysroot, "libcublas.so.13")], sysroot)
    assert closure.loose == (f"{CUDA}/libcublas.so.13",)
    assert closure.packages == ("libc6",)


def test_a_link_that_no_package_owns_is_carried_along(sysroot: Path) -> None:
    library(sysroot, f"{LIB}/blas/libblas.so.3")
    link(sysroot, f"{LIB}/libblas.so.3", "../../../etc/alternatives/libblas.so.3")
    link(sysroot, "etc/alternatives/libblas.so.3", f"../../lib/{LIB.rpartition('/')[2]}/blas/libblas.so.3")
    closure = close([program(sysroot, "libblas.so.3")], sysroot)
    assert closure.loose == ("etc/alternatives/libblas.so.3", f"{LIB}/libblas.so.3")
    assert closure.files == (f"{LIB}/blas/libblas.so.3",)  # found through the directory link lib -> usr/lib
    assert closure.packages == ("libblas3",)


def test_outputs_provide_their_names_and_sonames(sysroot: Path) -> None:
    made = library(sysroot.parent, "libdemo.so.1.2", "libgone.so.9", soname="libdemo.so.1")
    plugin = library(sysroot.parent, "plugin.so")
    closure = close([program(sysroot, "libdemo.so.1", "plugin.so"), made, plugin], sysroot)
    assert closure.missing == (Missing(name="libgone.so.9", needed_by="libdemo.so.1.2"),)


def test_files_that_are_no_elf_need_nothing(sysroot: Path) -> None:
    (sysroot.parent / "run.sh").write_text("#!/bin/sh\n")
    assert close([sysroot.parent / "run.sh"], sysroot).files == ()


def test_libraries_that_cudnn_opens_by_name(sysroot: Path) -> None:
    for name in ("libcudnn.so.9", "libcudnn_ops.so.9", "libcudnn_graph.so.9", "libcudnn_ops.so", "libother.so.9"):
        library(sysroot, f"{CUDA}/{name}")
    closure = close([program(sysroot, "libcudnn.so.9")], sysroot)
    assert closure.loose == tuple(f"{CUDA}/libcudnn{part}.so.9" for part in ("", "_graph", "_ops"))


@pytest.mark.parametrize(
    "target",
    ["libloop.so.1", "/nowhere/libloop.so.1", "../../../../outside", ".", "../../../../../../../../etc/passwd"],
)
def test_links_that_lead_nowhere_or_outside(sysroot: Path, target: str) -> None:
    library(sysroot.parent, "outside")
    link(sysroot, f"{LIB}/libloop.so.1", target)
    assert [gap.name for gap in close([program(sysroot, "libloop.so.1")], sysroot).missing] == ["libloop.so.1"]


@pytest.mark.parametrize("name", ["../../../outside", "/etc/passwd", ""])
def test_names_that_are_no_library_names(sysroot: Path, name: str) -> None:
    assert [gap.name for gap in close([program(sysroot, name)], sysroot).missing] == [name]


def test_a_damaged_library_is_named(sysroot: Path) -> None:
    (sysroot / LIB / "libbad.so.1").write_bytes(b"\x7fELF" + bytes(10))
    with pytest.raises(BuildError, match=r"libbad\.so\.1"):
        close([program(sysroot, "libbad.so.1")], sysroot)
