"""Libraries and symbols, looked for as ld.so does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from jetsonx.elf.facts import DlopenNote, FileFacts
from jetsonx.verify.profile import Library
from tests.unit.verify_values import (
    LIBRARY,
    MULTIARCH,
    NANO,
    check,
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

FOO = library(soname="libfoo.so.1")


def conf(text: str, path: str = "etc/ld.so.conf") -> FileFacts:
    return FileFacts(path=path, kind="other", text=text)


def missing(files: Mapping[str, object], *, env: Mapping[str, str] | None = None) -> list[str]:
    """The names that JX301 tells of."""
    return [x.library for x in check(make_root(files, env=env)) if x.rule == "JX301"]


# -- build outputs -----------------------------------------------------------------------------------------------------


def test_a_missing_library_is_an_error() -> None:
    finding = only(check(make_tree({"app": program("libc.so.6", "libfoo.so.1")})))
    assert (finding.rule, finding.severity, finding.library) == ("JX301", "error", "libfoo.so.1")
    assert "libfoo.so.1" in finding.fix


def test_a_library_missing_further_down_names_who_needs_it() -> None:
    libraries = {"libbar.so.2": Library(soname="libbar.so.2", needed=("libqux.so.3",))}
    finding = only(check(make_tree({"app": program("libbar.so.2")}), make_profile(libraries=libraries)))
    assert "libqux.so.3 (for libbar.so.2)" in finding.message


@pytest.mark.parametrize(
    ("kind", "name", "severity"),
    [
        ("deb", "libfoo.so.1", "warning"),
        ("wheel", "libcudart.so.13", "warning"),
        ("wheel", "libfoo.so.1", "error"),
        ("file", "libcudart.so.13", "error"),
    ],
)
def test_what_the_dependencies_of_a_package_may_bring(kind: str, name: str, severity: str) -> None:
    assert only(check(make_tree({"lib/libx.so": library(name)}, kind=kind))).severity == severity


def test_nothing_is_missing_where_anything_may_be_there() -> None:
    elf = program("libfoo.so.1", "libc.so.6", imports=(wants("f"),))
    assert check(make_tree({"app": elf}), make_profile(is_open=True)) == ()
    newer = replace(elf, version_needs=(need("GLIBC_2.99"),))
    assert rules(check(make_tree({"app": newer}), make_profile(is_open=True))) == ["JX201"]


def test_the_driver_brings_its_own() -> None:
    assert check(make_tree({"app": program("libcuda.so.1", "libnvrm_gpu.so")})) == ()


def test_outputs_find_each_other_by_soname_file_name_and_link() -> None:
    files = {
        "lib/libx.so.1.2": library(soname="libx.so.1"),
        "lib/liby-2.so": LIBRARY,
        "lib/liby.so": "liby-2.so",
        "app": program("libx.so.1", "liby-2.so", "liby.so"),
    }
    assert check(make_tree(files)) == ()


@pytest.mark.parametrize("name", ["../../etc/passwd", "/build/libfoo.so", "a/b.so", "", "*.so*"])
def test_names_that_are_no_names_are_not_looked_up(name: str) -> None:
    finding = only(check(make_tree({"app": program(name), "build/libfoo.so": LIBRARY, "a/b.so": LIBRARY})))
    assert finding.rule == "JX301"
    assert not name.startswith("/") or "-soname,libfoo.so" in finding.fix


# -- a root file system ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place", ["lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "usr/local/cuda/lib64", "opt/more"]
)
def test_system_directories_and_those_of_ld_so_conf(place: str) -> None:
    files = {
        "etc/ld.so.conf": conf("# a comment\ninclude /etc/ld.so.conf.d/*.conf\n/opt/more   # and why\n"),
        "etc/ld.so.conf.d/cuda.conf": conf("/usr/local/cuda/lib64\ninclude /etc/ld.so.conf\n"),
        "etc/ld.so.conf.d/not.txt": conf("/nowhere\n"),
        "usr/bin/app": program("libfoo.so.1"),
    }
    assert missing(files) == ["libfoo.so.1"]
    path = "usr/lib/aarch64-linux-gnu" if place == "lib/aarch64-linux-gnu" else place
    assert missing(files | {f"{path}/libfoo.so.1": FOO}) == []


def test_a_library_that_is_in_no_directory_of_the_loader_is_missing() -> None:
    files = {"opt/lib/libfoo.so.1": FOO, "usr/bin/app": program("libfoo.so.1")}
    assert missing(files) == ["libfoo.so.1"]
    assert missing(files, env={"LD_LIBRARY_PATH": "/opt/lib:/x"}) == []


def test_runpath_is_not_inherited_and_rpath_is() -> None:
    files: dict[str, object] = {
        "opt/lib/libdeep.so": library(soname="libdeep.so"),
        "opt/lib/libmid.so": library("libdeep.so", soname="libmid.so"),
    }
    by_rpath, by_runpath = program("libmid.so", rpath="/opt/lib"), program("libmid.so", runpath="/opt/lib")
    assert missing(files | {"opt/app": by_rpath}) == []
    assert missing(files | {"opt/app": by_runpath}) == ["libdeep.so"]
    assert missing(files | {"opt/app": by_rpath, "opt/other": by_runpath}) == ["libdeep.so"]


def test_a_runpath_of_the_asker_switches_inherited_rpath_off() -> None:
    files = {
        "opt/lib/libdeep.so": library(soname="libdeep.so"),
        "opt/lib/libmid.so": library("libdeep.so", soname="libmid.so", runpath="/elsewhere"),
        "opt/app": program("libmid.so", rpath="/opt/lib"),
    }
    assert missing(files) == ["libdeep.so"]


def test_runpath_comes_after_ld_library_path_and_rpath_before() -> None:
    old, new = (library(soname="libfoo.so.1", exports=frozenset(names)) for names in ((), ("f",)))
    files = {"a/libfoo.so.1": old, "b/libfoo.so.1": new}
    app = program("libfoo.so.1", imports=(wants("f"),))
    env = {"LD_LIBRARY_PATH": "/a"}
    by_runpath = check(make_root(files | {"app": replace(app, runpath="/b")}, env=env))
    assert "JX302" in rules(by_runpath)
    assert check(make_root(files | {"app": replace(app, rpath="/b")}, env=env)) == ()


@pytest.mark.parametrize("entry", ["$ORIGIN/../lib", "${ORIGIN}/../lib", "/opt/x/lib"])
def test_origin_is_where_the_file_was_found(entry: str) -> None:
    files = {
        "opt/x/lib/libfoo.so.1": FOO,
        "opt/x/bin/app": program("libfoo.so.1", runpath=entry),
        "usr/bin/app": "/opt/x/bin/app",
    }
    assert missing(files) == []


def test_candidates_of_another_processor_are_passed_over() -> None:
    files = {
        "opt/libfoo.so.1": replace(FOO, machine="x86-64"),
        "opt/app": program("libfoo.so.1", runpath="$ORIGIN"),
        f"{MULTIARCH}/libfoo.so.1": FOO,
    }
    assert missing(files) == []
    del files[f"{MULTIARCH}/libfoo.so.1"]
    assert missing(files) == ["libfoo.so.1"]


def test_links_do_not_lead_out_of_the_root() -> None:
    files = {f"{MULTIARCH}/libfoo.so.1": "../../../../../../opt/libfoo.so.1", "app": program("libfoo.so.1")}
    assert missing(files) == ["libfoo.so.1"]
    assert missing(files | {"opt/libfoo.so.1": FOO}) == []


def test_a_loop_of_links_ends() -> None:
    files = {
        f"{MULTIARCH}/libfoo.so.1": "libfoo.so.2",
        f"{MULTIARCH}/libfoo.so.2": "libfoo.so.1",
        "app": program("libfoo.so.1"),
    }
    assert missing(files) == ["libfoo.so.1"]


def test_libraries_that_need_each_other() -> None:
    files = {
        f"{MULTIARCH}/liba.so": library("libb.so", soname="liba.so"),
        f"{MULTIARCH}/libb.so": library("liba.so", soname="libb.so"),
        "app": program("liba.so"),
    }
    assert check(make_root(files)) == ()


def test_directories_for_better_processors_come_first_on_an_old_glibc() -> None:
    better = library(soname="libfoo.so.1", exports=frozenset({"f"}))
    files = {f"{MULTIARCH}/libfoo.so.1": FOO, f"{MULTIARCH}/atomics/libfoo.so.1": better}
    files["app"] = program("libfoo.so.1", imports=(wants("f"),))
    assert check(make_root(files, "2.31"), make_profile(glibc="2.31")) == ()
    assert "JX302" in rules(check(make_root(files, "2.38")))
    assert "JX302" in rules(check(make_root(files, "2.27"), NANO))


def test_the_targets_own_libraries_are_not_in_an_image() -> None:
    files = {"app": program("libstdc++.so.6", "libcuda.so.1")}
    assert missing(files) == ["libstdc++.so.6"]


# -- symbols -----------------------------------------------------------------------------------------------------------


def test_a_symbol_that_nothing_defines() -> None:
    elf = program(
        "libc.so.6", imports=(wants("gone"), wants("puts", "GLIBC_2.17", "libc.so.6"), wants("weak", is_weak=True))
    )
    finding = only(check(make_tree({"app": elf})))
    assert (finding.rule, finding.severity, finding.symbols) == ("JX302", "error", ("gone",))


def test_a_finding_lists_a_hundred_symbols_at_most() -> None:
    elf = program("libc.so.6", imports=tuple(wants(f"f{n}") for n in range(5000)))
    finding = only(check(make_tree({"app": elf})))
    assert len(finding.symbols) == 100
    assert "and 4992 more" in finding.message


def test_a_versioned_symbol_is_looked_for_with_its_version() -> None:
    elf = program("libc.so.6", imports=(wants("puts", "GLIBC_2.28", "libc.so.6"),))
    assert only(check(make_tree({"app": elf}))).symbols == ("puts@GLIBC_2.28",)


def test_any_library_of_the_closure_may_define_it() -> None:
    libpthread = library("libc.so.6", soname="libpthread.so.0", version_definitions=("GLIBC_2.17",))
    files = {f"{MULTIARCH}/libpthread.so.0": libpthread}
    files["app"] = program("libpthread.so.0", imports=(wants("puts", "GLIBC_2.17", "libpthread.so.0"),))
    assert check(make_root(files)) == ()


def test_nothing_is_said_when_a_library_cannot_be_looked_into() -> None:
    elf = program("libcuda.so.1", imports=(wants("cuInit"),))
    assert check(make_tree({"app": elf})) == ()
    assert rules(check(make_tree({"app": program("libgone.so", imports=(wants("f"),))}))) == ["JX301"]


def test_a_plug_in_takes_symbols_from_whoever_loads_it() -> None:
    plug_in = library("libc.so.6", imports=(wants("host_api"),))
    assert only(check(make_tree({"plugin.so": plug_in}))).severity == "note"


def test_a_library_that_a_program_loads_is_a_warning_unless_the_program_defines_it() -> None:
    files = {f"{MULTIARCH}/libfoo.so.1": replace(FOO, imports=(wants("callback"),)), "app": program("libfoo.so.1")}
    found = check(make_root(files))
    assert [(each.rule, each.severity, each.path) for each in found] == [
        ("JX302", "warning", f"{MULTIARCH}/libfoo.so.1")
    ]
    files["app"] = program("libfoo.so.1", exports=frozenset({"callback"}))
    assert check(make_root(files)) == ()


# -- dlopen and CUDA ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("priority", "severity"), [("required", "warning"), ("recommended", "note")])
def test_libraries_for_dlopen(priority: str, severity: str) -> None:
    note = DlopenNote(sonames=("libx.so.2", "libx.so.1"), priority=priority, description="more formats")
    files = {"usr/bin/app": program("libc.so.6", dlopen_notes=(note,))}
    finding = only(check(make_root(files)))
    assert (finding.rule, finding.severity) == ("JX303", severity)
    assert "libx.so.2 or libx.so.1" in finding.message
    assert check(make_root(files | {f"{MULTIARCH}/libx.so.1": library(soname="libx.so.1")})) == ()


def test_two_versions_of_a_cuda_library_are_told_where_they_meet() -> None:
    files: dict[str, object] = {
        "libold.so": library("libcudart.so.12", soname="libold.so"),
        "libcudart.so.12": library(soname="libcudart.so.12"),
        "libcudart.so.13": library(soname="libcudart.so.13"),
        "libboth.so": library("libold.so", "libcudart.so.13", soname="libboth.so"),
        "app": program("libboth.so"),
    }
    finding = only(check(make_tree(files)))
    assert (finding.rule, finding.severity, finding.path) == ("JX304", "warning", "libboth.so")
    assert "libcudart.so.12 and libcudart.so.13" in finding.message
