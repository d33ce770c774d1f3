"""Symbol versions against the library that will really be loaded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetsonx.verify.profile import DriverNeed
from tests.unit.verify_values import (
    MULTIARCH,
    OLD,
    ORIN,
    THOR,
    check,
    glibc_versions,
    library,
    make_profile,
    make_root,
    make_tree,
    need,
    only,
    program,
    rules,
    wants,
)

STDCXX = "libstdc++.so.6"


@pytest.mark.parametrize("version", ["GLIBC_2.31", "GLIBC_2.17", "GLIBC_2.28"])
def test_versions_that_the_target_has(version: str) -> None:
    assert check(make_tree({"app": program("libc.so.6", version_needs=(need(version),))}), OLD) == ()


@pytest.mark.parametrize("version", ["GLIBC_2.32", "GLIBC_2.100", "GLIBC_3.0", "GLIBC_2.31.1"])
def test_glibc_too_new(version: str) -> None:
    imports = (wants("pow", version, "libc.so.6"), wants("exp", version, "libc.so.6"))
    elf = program("libc.so.6", version_needs=(need(version),), imports=imports)
    finding = only(check(make_tree({"app": elf}), OLD))
    assert (finding.rule, finding.severity, finding.library) == ("JX201", "error", "libc.so.6")
    assert finding.message == f"needs {version} of libc.so.6 (pow, exp); the target has GLIBC_2.31"
    assert finding.symbols == ("pow", "exp")


def test_glibcxx_and_cxxabi_are_those_of_the_library() -> None:
    needs = [need(x, STDCXX) for x in ("GLIBCXX_3.4", "GLIBCXX_3.4.28", "CXXABI_1.3.9")]
    assert check(make_tree({"app": program(STDCXX, version_needs=tuple(needs))})) == ()
    newer = program(STDCXX, version_needs=(need("GLIBCXX_3.4.29", STDCXX), need("CXXABI_1.3.15", STDCXX)))
    messages = [each.message for each in check(make_tree({"app": newer}))]
    assert messages == [
        "needs CXXABI_1.3.15 of libstdc++.so.6; a list does not define it",
        "needs GLIBCXX_3.4.29 of libstdc++.so.6; the target has GLIBCXX_3.4.28",
    ]


def test_a_library_whose_versions_are_not_known_is_compared_by_number() -> None:
    bare = make_profile("agx-orin@35.4.1", "2.31", libraries={})
    elf = program(version_needs=(need("GLIBC_2.32"), need("GLIBCXX_3.4.29", STDCXX), need("NAME_9", "libx.so")))
    assert rules(check(make_tree({"app": elf}), bare)) == ["JX201", "JX201"]


def test_a_weak_need_is_a_note() -> None:
    elf = program("libc.so.6", version_needs=(need("GLIBC_2.38", is_weak=True),))
    assert only(check(make_tree({"app": elf}), OLD)).severity == "note"


def test_glibc_private_is_a_warning() -> None:
    assert (
        only(check(make_tree({"app": program("libc.so.6", version_needs=(need("GLIBC_PRIVATE"),))}))).severity
        == "warning"
    )


def test_packed_relative_relocations_need_glibc_2_36() -> None:
    elf = program("libc.so.6", version_needs=(need("GLIBC_ABI_DT_RELR"),), has_relr=True)
    assert rules(check(make_tree({"app": elf}), OLD)) == ["JX202"]
    without = replace(elf, version_needs=())
    assert rules(check(make_tree({"app": without}), OLD)) == ["JX202"]
    assert check(make_tree({"app": without}), ORIN) == ()


@pytest.mark.parametrize("version", ["", "GLIBC_", "GLIBC_2.", "GLIBC_x.y", "GLIBC_99999999999999999999", "NAME_1"])
def test_odd_version_names_do_not_raise(version: str) -> None:
    assert rules(check(make_tree({"app": program("libc.so.6", version_needs=(need(version),))}))) == ["JX201"]


def test_the_same_finding_for_two_targets_is_one() -> None:
    tree = make_tree({"app": program("libc.so.6", version_needs=(need("GLIBC_2.40"),))})
    assert only(check(tree, ORIN, THOR)).targets == ("orin-nano@39.2.0", "agx-thor@39.2.0")


# -- in a root file system ---------------------------------------------------------------------------------------------


def test_the_images_library_counts_and_not_the_targets() -> None:
    elf = program("libc.so.6", version_needs=(need("GLIBC_2.38"),))
    finding = only(check(make_root({"usr/bin/app": elf}, "2.36"), ORIN))
    assert finding.message == (
        "needs GLIBC_2.38 of libc.so.6; lib/aarch64-linux-gnu/libc.so.6 in the image has GLIBC_2.36"
    )
    assert check(make_root({"usr/bin/app": elf}, "2.38"), OLD) == ()


def test_another_library_of_that_name_in_a_run_path_counts() -> None:
    needs = (need("FOO_2", "libfoo.so.1"),)
    old = library(soname="libfoo.so.1", version_definitions=("FOO_1",))
    new = library(soname="libfoo.so.1", version_definitions=("FOO_1", "FOO_2"))
    files = {f"{MULTIARCH}/libfoo.so.1": new, "opt/lib/libfoo.so.1": old}
    files["opt/bin/app"] = program("libfoo.so.1", runpath="$ORIGIN/../lib", version_needs=needs)
    finding = only(check(make_root(files)))
    assert "opt/bin/../lib/libfoo.so.1" in finding.message
    files["opt/bin/app"] = program("libfoo.so.1", version_needs=needs)
    assert check(make_root(files)) == ()


def test_a_library_without_versions_answers_to_any() -> None:
    files = {f"{MULTIARCH}/libfoo.so.1": library(soname="libfoo.so.1")}
    files["usr/bin/app"] = program("libfoo.so.1", version_needs=(need("FOO_1", "libfoo.so.1"),))
    assert check(make_root(files)) == ()


def test_glibcs_own_libraries_may_use_its_private_symbols() -> None:
    libc = library(soname="libc.so.6", version_definitions=(*glibc_versions("2.36"), "GLIBC_PRIVATE"))
    files = {
        f"{MULTIARCH}/libc.so.6": libc,
        f"{MULTIARCH}/libm.so.6": library("libc.so.6", version_needs=(need("GLIBC_PRIVATE"),)),
    }
    assert check(make_root(files)) == ()


def test_a_program_that_brings_an_old_library_gives_it_to_all_that_it_loads() -> None:
    """libfoo.so.1 gets the libbar.so.1 that is loaded already, not the one of the system that it would find itself."""
    files: dict[str, object] = {
        "opt/lib/libbar.so.1": library(soname="libbar.so.1", version_definitions=("BAR_1",)),
        f"{MULTIARCH}/libbar.so.1": library(soname="libbar.so.1", version_definitions=("BAR_1", "BAR_2")),
        f"{MULTIARCH}/libfoo.so.1": library("libbar.so.1", version_needs=(need("BAR_2", "libbar.so.1"),)),
    }
    assert check(make_root(files | {"app": program("libfoo.so.1")})) == ()
    finding = only(check(make_root(files | {"app": program("libbar.so.1", "libfoo.so.1", runpath="/opt/lib")})))
    assert (finding.rule, finding.path) == ("JX201", f"{MULTIARCH}/libfoo.so.1")
    assert "loaded by app" in finding.message


def test_a_library_that_is_only_loaded_with_the_right_one_beside_it_is_fine() -> None:
    files: dict[str, object] = {
        f"{MULTIARCH}/libbar.so.1": library(soname="libbar.so.1", version_definitions=("BAR_1",)),
        "opt/lib/libbar.so.1": library(soname="libbar.so.1", version_definitions=("BAR_1", "BAR_2")),
        "opt/lib/libfoo.so.1": library("libbar.so.1", version_needs=(need("BAR_2", "libbar.so.1"),)),
    }
    assert rules(check(make_root(files))) == ["JX201"]
    assert check(make_root(files | {"app": program("libfoo.so.1", rpath="/opt/lib")})) == ()


# -- the driver's libraries --------------------------------------------------------------------------------------------

NEED = DriverNeed(
    library=STDCXX, version="GLIBCXX_3.4.29", asker="libnvdla.so", confidence="reported", sources=("a#1",)
)


def image(newest: int) -> dict[str, object]:
    versions = tuple(f"GLIBCXX_3.4.{n}" for n in range(newest + 1))
    return {
        f"{MULTIARCH}/{STDCXX}": library(soname=STDCXX, version_definitions=versions),
        "usr/bin/app": program("libcuda.so.1", STDCXX),
    }


def test_what_the_drivers_libraries_are_known_to_need() -> None:
    profile = make_profile(glibc="2.35", glibcxx="GLIBCXX_3.4.30", driver_needs=(NEED,))
    finding = only(check(make_root(image(28)), profile))
    assert (finding.rule, finding.severity) == ("JX203", "error")
    assert "libnvdla.so, which is mounted from the device, needs GLIBCXX_3.4.29 (a#1)" in finding.message
    assert finding.path == f"{MULTIARCH}/{STDCXX}"
    assert only(check(make_root(image(29)), profile)).severity == "warning"
    assert check(make_root(image(30)), profile) == ()


def test_an_image_older_than_the_device_is_a_warning_when_nothing_is_known() -> None:
    profile = make_profile(glibc="2.39")
    found = check(make_root(image(28), "2.36"), profile)
    assert [(each.rule, each.severity) for each in found] == [("JX203", "warning")]
    assert "GLIBC_2.36" in found[0].message


def test_a_glibc_is_as_new_as_the_newest_of_its_libraries() -> None:
    libm = library(soname="libm.so.6", version_definitions=("GLIBC_2.17", "GLIBC_2.31"))
    profile = make_profile(glibc="2.31")
    assert check(make_root(image(30) | {f"{MULTIARCH}/libm.so.6": libm}, "2.30"), profile) == ()
    assert only(check(make_root(image(30), "2.30"), profile)).rule == "JX203"


def test_an_image_that_uses_no_driver_does_not_care() -> None:
    files = image(27) | {"usr/bin/app": program(STDCXX)}
    assert check(make_root(files, "2.31"), make_profile(driver_needs=(NEED,))) == ()
