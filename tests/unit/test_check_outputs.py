"""Reading a build's outputs and the sysroot around them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.verify.outputs import check_outputs
from jetsonx.verify.report import Report
from tests.elf.synthetic import (
    CUDA,
    EXEC,
    REL,
    X86_64,
    ElfSpec,
    cubin_entry,
    cuda_program,
    make_archive,
    make_cubin,
    make_elf,
    make_fatbin,
    ptx_entry,
)

MULTIARCH = "usr/lib/aarch64-linux-gnu"
CUDA_LIB = "usr/local/cuda-13.2/targets/sbsa-linux/lib"


@dataclass(frozen=True)
class Place:
    """An output directory and a sysroot beside it."""

    out: Path
    sysroot: Path

    def library(self, path: str, spec: ElfSpec | None = None) -> None:
        at = self.sysroot / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_bytes(make_elf(spec or ElfSpec(interpreter=None)))

    def output(self, name: str, data: bytes) -> Path:
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def check(self, target: str = "orin-nano@39.2") -> Report:
        return check_outputs(self.out, targets=[resolve_target(load_catalog(), target)], sysroot=self.sysroot)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "out").mkdir()
    made = Place(out=tmp_path / "out", sysroot=tmp_path / "sysroot")
    made.library(f"{MULTIARCH}/libc.so.6")
    return made


def test_a_cuda_program_passes(place: Place) -> None:
    place.output(
        "app", cuda_program(make_fatbin(cubin_entry(75, kernels=())), make_fatbin(cubin_entry(87), ptx_entry(87)))
    )
    report = place.check()
    assert report.findings == ()
    assert [file.path for file in report.files] == ["app"]


def test_machine_code_for_another_gpu_fails(place: Place) -> None:
    place.output("bin/app", cuda_program(make_fatbin(cubin_entry(75), ptx_entry(75))))
    (finding,) = place.check().findings
    assert (finding.rule, finding.path) == ("JX703", "bin/app")


def test_libraries_are_found_where_the_loader_looks(place: Place) -> None:
    places = [
        f"{MULTIARCH}/liba.so.1",
        "lib/aarch64-linux-gnu/libb.so.1",
        "usr/lib/libc1.so",
        "lib/libd.so",
        f"{CUDA_LIB}/libe.so.13",
    ]
    places += [f"{MULTIARCH}/blas/libblas.so.3"]
    for path in places:
        place.library(path)
    names = [Path(path).name for path in places]
    spec = ElfSpec(needed=(*names, "libcuda.so.1", "libnvrm_gpu.so"), runpath="$ORIGIN:/opt/app")
    place.output("app", make_elf(spec))
    assert place.check().findings == ()


def test_what_a_library_of_the_sysroot_needs_is_looked_for_too(place: Place) -> None:
    place.library(f"{MULTIARCH}/liba.so.1", ElfSpec(needed=("libb.so.1",), interpreter=None))
    place.library(f"{MULTIARCH}/libb.so.1", ElfSpec(needed=("liba.so.1", "libgone.so.7"), interpreter=None))
    place.output("app", make_elf(ElfSpec(needed=("liba.so.1",))))
    (finding,) = place.check().findings
    assert "libgone.so.7 (for libb.so.1)" in finding.message


def test_outputs_find_each_other_by_soname_file_name_and_link(place: Place) -> None:
    place.output("lib/libx.so.1.2", make_elf(ElfSpec(soname="libx.so.1", interpreter=None)))
    place.output("lib/liby-2.so", make_elf(ElfSpec(interpreter=None, needed=("libc.so.6",))))
    (place.out / "lib/liby.so").symlink_to("liby-2.so")
    place.output("app", make_elf(ElfSpec(needed=("libx.so.1", "liby-2.so", "liby.so"))))
    report = place.check()
    assert report.findings == ()
    assert [file.path for file in report.files] == ["app", "lib/libx.so.1.2", "lib/liby-2.so"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "", "a/b.so", "*.so*"])
def test_names_that_are_no_names_are_not_looked_up(place: Place, name: str) -> None:
    place.output("app", make_elf(ElfSpec(needed=(name,))))
    (finding,) = place.check().findings
    assert finding.rule == "JX301"


def test_symbols_are_named_when_a_version_is_too_new(place: Place) -> None:
    spec = ElfSpec(
        needed=("libc.so.6",),
        version_needs={"libc.so.6": ("GLIBC_2.17", "GLIBC_2.34")},
        symbols={"puts": "GLIBC_2.17", "dlsym": "GLIBC_2.34"},
    )
    place.output("app", make_elf(spec))
    (finding,) = place.check(target="agx-orin@35.4.1").findings
    assert "GLIBC_2.34 of libc.so.6 (dlsym)" in finding.message


def test_a_sysroot_of_a_suite_does_not_stand_for_the_device(place: Place) -> None:
    """Its libstdc++ may be older than the device's: what the device's defines is known."""
    place.library(f"{MULTIARCH}/libstdc++.so.6", ElfSpec(version_definitions=("CXXABI_1.3",), interpreter=None))
    needs = {"libstdc++.so.6": ("CXXABI_1.3", "CXXABI_1.3.15", "CXXABI_1.3.99")}
    place.output("app", make_elf(ElfSpec(needed=tuple(needs), version_needs=needs, symbols={"f": "CXXABI_1.3.99"})))
    (finding,) = place.check().findings
    assert "CXXABI_1.3.99 of libstdc++.so.6 (f)" in finding.message


def test_a_sysroot_of_the_device_itself_does(place: Place) -> None:
    place.library(f"{MULTIARCH}/libstdc++.so.6", ElfSpec(version_definitions=("CXXABI_1.3",), interpreter=None))
    (place.sysroot / "etc").mkdir()
    (place.sysroot / "etc/nv_tegra_release").write_text("# R39")
    needs = {"libstdc++.so.6": ("CXXABI_1.3", "CXXABI_1.3.15")}
    place.output("app", make_elf(ElfSpec(needed=("libstdc++.so.6",), version_needs=needs)))
    (finding,) = place.check().findings
    assert "CXXABI_1.3.15 of libstdc++.so.6" in finding.message


def test_without_a_sysroot_no_library_is_missing(place: Place) -> None:
    place.output("app", make_elf(ElfSpec(needed=("libgone.so.7",), version_needs={"libc.so.6": ("GLIBC_2.99",)})))
    target = resolve_target(load_catalog(), "orin-nano@39.2")
    report = check_outputs(place.out, targets=[target], sysroot=None)
    assert [finding.rule for finding in report.findings] == ["JX201"]


def test_a_damaged_library_in_the_sysroot_is_no_traceback(place: Place) -> None:
    (place.sysroot / MULTIARCH / "libfoo.so.6").write_bytes(b"\x7fELF damaged")
    place.output("app", make_elf(ElfSpec(needed=("libfoo.so.6",))))
    assert [finding.rule for finding in place.check().findings] == ["JX301"]


def test_static_library_members(place: Place) -> None:
    arm = make_elf(ElfSpec(type=REL, sections={".nv_fatbin": make_fatbin(cubin_entry(87))}))
    relocatable = make_elf(ElfSpec(type=REL, sections={"__nv_relfatbin": make_fatbin(cubin_entry(75))}))
    members = {
        "first.o": arm,
        "a_name_longer_than_15.o": make_elf(ElfSpec(machine=X86_64, type=REL)),
        "r.o": relocatable,
    }
    place.output("libdemo.a", make_archive(members | {"readme.txt": b"odd"}))
    report = place.check()
    assert [finding.rule for finding in report.findings] == ["JX101", "JX701"]
    assert "a_name_longer_than_15.o" in report.findings[0].message
    assert [name for name, _ in report.files[0].members] == list(members)


def test_archives_that_cannot_be_read(place: Place) -> None:
    whole = make_archive({"a.o": make_elf(ElfSpec(type=REL))})
    place.output("cut.a", whole[:-100])
    place.output("thin.a", b"!<thin>\n" + whole[8:])
    place.output("size.a", whole.replace(f"{len(whole) - 68:<10}".encode(), b"-1        "))
    place.output("member.a", make_archive({"a.o": make_elf(ElfSpec(type=REL))[:200]}))
    place.output("empty.a", make_archive({}))
    findings = place.check().findings
    assert [(x.rule, x.path) for x in findings] == [("JX100", x) for x in ("cut.a", "member.a", "size.a", "thin.a")]
    assert "thin archive" in findings[3].message
    assert "member a.o" in findings[1].message


def test_bare_device_code(place: Place) -> None:
    place.output("good.cubin", make_cubin(87))
    place.output("old.cubin", make_cubin(75, abi_version=7))
    place.output("k.fatbin", make_fatbin(cubin_entry(75)))
    assert [(x.rule, x.path) for x in place.check().findings] == [("JX701", "k.fatbin"), ("JX701", "old.cubin")]


def test_damage_is_a_finding(place: Place) -> None:
    whole = cuda_program(make_fatbin(cubin_entry(87)))
    good_fatbin = make_fatbin(cubin_entry(87))
    place.output("cut", whole[: len(whole) // 2])
    place.output("fatbin", whole.replace(good_fatbin[:16], good_fatbin[:8] + b"\xff" * 8))
    place.output("empty", b"")
    place.output("script", b"#!/bin/sh\n")
    assert [(x.rule, x.path) for x in place.check().findings] == [("JX100", "cut"), ("JX100", "fatbin")]


def test_links_that_lead_nowhere_in_a_circle_and_out(place: Place) -> None:
    for name, target in (("broken", "gone"), ("loop", "loop"), ("out", "/etc/passwd")):
        (place.out / name).symlink_to(target)
    assert [(x.rule, x.path) for x in place.check().findings] == [("JX801", x) for x in ("broken", "loop", "out")]


def test_paths_of_the_sysroot_in_a_run_path_are_told(place: Place) -> None:
    place.output("app", make_elf(ElfSpec(type=EXEC, runpath=f"{place.sysroot}/usr/lib")))
    (finding,) = place.check().findings
    assert finding.rule == "JX401"


def test_cuda_machine_number_is_what_the_fixture_says() -> None:
    assert make_cubin(87)[18] == CUDA
