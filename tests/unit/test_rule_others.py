"""Processor, loader, run paths, hardening, instructions, permissions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetsonx.elf.facts import FileFacts, Instructions, Load
from tests.unit.verify_values import (
    LIBRARY,
    MULTIARCH,
    NANO,
    OBJECT,
    OLD,
    ORIN,
    PROGRAM,
    THOR,
    check,
    library,
    make_root,
    make_tree,
    node_of,
    only,
    program,
    rules,
    wants,
)

# -- architecture ------------------------------------------------------------------------------------------------------


def test_a_plain_program_passes() -> None:
    assert check(make_tree({"app": program("libc.so.6"), "run.sh": FileFacts(path="run.sh", kind="other")})) == ()


def test_an_unreadable_file_is_an_error() -> None:
    bad = FileFacts(path="app", kind="unreadable", reason="the ELF file is cut off")
    finding = only(check(make_tree({"app": bad})))
    assert (finding.rule, finding.severity) == ("JX100", "error")
    assert "cut off" in finding.message


def test_wrong_machine() -> None:
    elf = replace(PROGRAM, machine="x86-64", interpreter="/lib64/ld-linux-x86-64.so.2")
    finding = only(check(make_tree({"app": elf})))
    assert (finding.rule, finding.severity) == ("JX101", "error")
    assert finding.message == "is for x86-64, expected AArch64"


@pytest.mark.parametrize(("path", "machine"), [("usr/lib/firmware/dsp.elf", "Tensilica Xtensa"), ("opt/x.o", "BPF")])
def test_what_is_no_host_code_is_a_note(path: str, machine: str) -> None:
    assert only(check(make_root({path: replace(OBJECT, machine=machine)}))).severity == "note"


def test_wrong_machine_inside_a_static_library_names_the_member() -> None:
    x86 = replace(OBJECT, machine="x86-64")
    members = (("good.o", OBJECT), ("bad.o", x86), ("worse.o", x86))
    finding = only(check(make_tree({"lib.a": FileFacts(path="lib.a", kind="archive", members=members)})))
    assert finding.rule == "JX101"
    assert "bad.o" in finding.message
    assert "2 members" in finding.message


@pytest.mark.parametrize("change", [{"bits": 32}, {"endianness": "big"}])
def test_wrong_class_or_byte_order(change: dict[str, object]) -> None:
    assert "JX102" in rules(check(make_tree({"app": replace(PROGRAM, **change)})))  # type: ignore[arg-type]


# -- loader ------------------------------------------------------------------------------------------------------------


def test_wrong_interpreter_and_musl_by_name() -> None:
    finding = only(check(make_tree({"app": replace(PROGRAM, interpreter="/lib/ld-musl-aarch64.so.1")})))
    assert finding.rule == "JX103"
    assert "musl's" in finding.message
    assert ORIN.interpreter in finding.message
    assert "musl" not in only(check(make_tree({"app": replace(PROGRAM, interpreter="/nix/ld.so")}))).message


def test_no_interpreter_is_fine_for_libraries_and_static_programs() -> None:
    assert check(make_tree({"app": LIBRARY})) == ()


def test_in_a_root_the_interpreter_has_to_be_there() -> None:
    assert check(make_root({"app": program("libc.so.6")})) == ()
    gone = make_tree({"app": PROGRAM}, is_root=True)
    assert "is not in the image" in only(check(gone)).message
    musl = {"app": program(interpreter="/lib/ld-musl.so.1"), "usr/lib/ld-musl.so.1": LIBRARY}
    assert only(check(make_root(musl))).severity == "warning"
    foreign = {"app": program(interpreter="/x"), "x": replace(LIBRARY, machine="x86-64")}
    assert "is for x86-64" in {each.rule: each.message for each in check(make_root(foreign))}["JX103"]


def script(line: str) -> FileFacts:
    return FileFacts(path="x", kind="script", interpreter_line=line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("#!/bin/sh", ""),
        ("#! /bin/sh -e", ""),
        ("#!/usr/bin/env tool", ""),
        ("#!/usr/bin/env -S A=1 tool -x", ""),
        ("#!/usr/bin/perl", "is not in the image"),
        ("#!/usr/bin/env python3", "python3 (by env), which is not in the image"),
        ("#!/opt/x86", "is for x86-64"),
        ("#!perl", "is a relative path"),
        ("#!", ""),
    ],
)
def test_interpreters_of_scripts(line: str, why: str) -> None:
    files = {
        "bin": "usr/bin",
        "usr/bin/sh": program("libc.so.6"),
        "usr/bin/env": program("libc.so.6"),
        "usr/local/bin/tool": script("#!/bin/sh"),
        "opt/x86": replace(PROGRAM, machine="x86-64"),
        "usr/bin/run": script(line),
    }
    found = [each for each in check(make_root(files)) if each.rule == "JX104"]
    assert (why in only(tuple(found)).message) if why else not found


def test_scripts_of_one_missing_interpreter_are_one_finding() -> None:
    files: dict[str, object] = {f"opt/tool{n}": script("#!/usr/bin/perl") for n in range(3)}
    finding = only(check(make_root({"bin/sh": PROGRAM, **files})))
    assert (finding.path, finding.severity) == ("opt/tool0", "warning")
    assert finding.message.endswith("which is not in the image, and so are 2 other scripts")


def test_shell_scripts_where_there_is_no_shell_are_leftovers() -> None:
    assert only(check(make_root({"etc/init.d/x": script("#!/bin/sh")}))).severity == "note"
    assert only(check(make_root({"etc/init.d/x": script("#!/usr/bin/perl")}))).severity == "warning"


def test_scripts_nobody_starts_are_not_judged() -> None:
    files = {
        "usr/share/doc/x/example": script("#!/usr/bin/perl"),
        "etc/x": node_of("etc/x", script("#!/nowhere"), 0o644),
    }
    assert check(make_root(files)) == ()
    assert check(make_tree({"run": script("#!/nowhere")})) == ()


def test_segments_that_an_old_glibc_refuses() -> None:
    elf = program("libc.so.6", loads=(Load(0x1000, 0x412000, 0x10000, 5),))
    assert rules(check(make_tree({"app": elf}), OLD)) == ["JX506"]
    assert check(make_tree({"app": elf}), ORIN) == ()
    broken = program("libc.so.6", loads=(Load(0x1001, 0x412000, 0x10000, 5),))
    assert rules(check(make_tree({"app": broken}), ORIN)) == ["JX506"]


def test_segments_aligned_to_less_than_a_page() -> None:
    elf = program("libc.so.6", loads=(Load(0, 0, 0x1000, 5),))
    assert check(make_tree({"app": elf})) == ()
    assert rules(check(make_tree({"app": elf}), replace(ORIN, page_bytes=65536))) == ["JX507"]


def test_static_tls_of_libraries_that_no_program_starts_with() -> None:
    elf = library("libc.so.6", soname="libt.so", has_static_tls=True, tls_bytes=1024)
    assert rules(check(make_tree({"libt.so": elf}))) == ["JX508"]
    assert check(make_tree({"libt.so": elf}), OLD) == ()
    assert check(make_tree({"libt.so": elf, "app": program("libt.so")})) == ()
    assert check(make_tree({"libt.so": replace(elf, has_static_tls=False)})) == ()


# -- run paths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run_path",
    ["/home/me/build", "/tmp/x", "/root/p/build", "lib", "", "$ORIGIN:", "/work/out/lib", "/usr/lib/x86_64-linux-gnu"],
)
@pytest.mark.parametrize("kind", ["rpath", "runpath"])
def test_run_paths_of_the_build_machine(run_path: str, kind: str) -> None:
    tree = make_tree({"app": replace(PROGRAM, **{kind: run_path})})  # type: ignore[arg-type]
    finding = only(check(tree, host_prefixes=("/work/out",)))
    assert (finding.rule, finding.severity) == ("JX401", "error")
    assert finding.message.startswith(f"{kind.upper()} ")
    assert only(check(tree, host_prefixes=("/work/out",), warn_only=frozenset({"JX401"}))).severity == "warning"


@pytest.mark.parametrize(
    "run_path", ["$ORIGIN", "$ORIGIN/../lib:/opt/app/lib", "${ORIGIN}", "/usr/local/cuda-13.2/lib64"]
)
def test_run_paths_that_make_sense_on_the_target(run_path: str) -> None:
    assert check(make_tree({"app": replace(PROGRAM, runpath=run_path)}), host_prefixes=("/work/out", "/")) == ()


def test_a_directory_that_a_root_lacks_is_a_warning() -> None:
    run_path = "/opt/gone:/usr/lib/aarch64-linux-gnu/nvidia:/usr/lib:/home/app/lib"
    files = {"app": program("libc.so.6", runpath=run_path), "home/app/lib": None}
    finding = only(check(make_root(files)))
    assert (finding.rule, finding.severity) == ("JX401", "warning")
    assert finding.message.endswith(": /opt/gone")


def test_rpath_is_only_told_when_asked_for() -> None:
    tree = make_tree({"app": replace(PROGRAM, rpath="$ORIGIN")})
    assert check(tree) == ()
    assert rules(check(tree, only=frozenset({"JX402"}))) == ["JX402"]


def test_paths_of_the_build_machine_in_strings() -> None:
    facts = FileFacts(path="app", kind="elf", elf=PROGRAM, host_strings=("/work/src/a.c",))
    assert check(make_tree({"app": facts})) == ()
    finding = only(check(make_tree({"app": facts}), host_prefixes=("/work",)))
    assert (finding.rule, finding.severity) == ("JX403", "warning")


# -- hardening ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stack", "severity"), [(True, "error"), (None, "warning")])
def test_executable_stacks(stack: bool | None, severity: str) -> None:
    finding = only(check(make_tree({"app": replace(PROGRAM, has_exec_stack=stack)})))
    assert (finding.rule, finding.severity) == ("JX501", severity)


@pytest.mark.parametrize(
    ("change", "rule", "severity"),
    [
        ({"relro": "none"}, "JX502", "warning"),
        ({"relro": "partial"}, "JX502", "note"),
        ({"type": "executable", "is_pie": False}, "JX503", "warning"),
        ({"loads": (Load(0, 0, 0x10000, 7),)}, "JX504", "warning"),
        ({"has_textrel": True}, "JX504", "warning"),
        ({"has_bti": False}, "JX505", "note"),
    ],
)
def test_hardening_is_asked_for(change: dict[str, object], rule: str, severity: str) -> None:
    good = replace(PROGRAM, has_bti=True, has_pac=True)
    thor = replace(THOR, cpu_features=frozenset({"bti", "pac", "lse"}))
    tree = make_tree({"app": replace(good, **change)})  # type: ignore[arg-type]
    assert check(make_tree({"app": good}), thor, hardening=True) == ()
    assert check(tree, thor) == ()
    finding = only(check(tree, thor, hardening=True))
    assert (finding.rule, finding.severity) == (rule, severity)


# -- cpu ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "severity"),
    [(Instructions(lse=10), "error"), (Instructions(lse=9), "warning"), (Instructions(lse_guarded=99), "")],
)
def test_atomics_on_a_cpu_without_them(counts: Instructions, severity: str) -> None:
    tree = make_tree({"app": replace(PROGRAM, instructions=counts)})
    assert [(x.rule, x.severity) for x in check(tree, NANO)] == ([("JX601", severity)] if severity else [])
    assert check(tree, ORIN) == ()


def test_atomics_of_files_that_choose_or_hold_tables() -> None:
    elf = replace(LIBRARY, instructions=Instructions(lse=50))
    assert only(check(make_tree({"libcrypto.so.3": elf}), NANO)).severity == "warning"
    assert only(check(make_tree({"a.so": replace(elf, has_ifunc=True)}), NANO)).severity == "note"
    asks = replace(elf, needed=("libc.so.6",), imports=(wants("getauxval", "GLIBC_2.17", "libc.so.6"),))
    assert only(check(make_tree({"a.so": asks}), NANO)).severity == "note"


def test_instructions_that_the_cpu_lacks() -> None:
    elf = replace(LIBRARY, instructions=Instructions(sve=200, i8mm=3, dotprod=7))
    finding = only(check(make_tree({"a.so": elf}), ORIN))
    assert (finding.rule, finding.severity) == ("JX602", "warning")
    assert "200 SVE, 3 8-bit matrix" in finding.message
    assert "dot product" not in finding.message
    assert check(make_tree({"a.so": replace(elf, has_ifunc=True)}), ORIN) == ()
    assert only(check(make_tree({"a.so": replace(elf, instructions=Instructions(sve=2))}), ORIN)).severity == "note"
    assert check(make_tree({"a.so": elf}), replace(ORIN, cpu_features=None)) == ()


def test_functions_that_only_sve_code_calls() -> None:
    elf = replace(LIBRARY, instructions=Instructions(sve=5000), exports=frozenset({"_ZGVsMxv_sin", "_ZGVnN2v_sin"}))
    assert check(make_tree({"libmvec.so.1": elf}), ORIN) == ()
    both = replace(elf, instructions=Instructions(sve=5000, i8mm=30))
    assert "lacks: 30 8-bit matrix" in only(check(make_tree({"a.so": both}), ORIN)).message
    plain = replace(elf, exports=frozenset({"_ZGVnN2v_sin"}))
    assert only(check(make_tree({"a.so": plain}), ORIN)).rule == "JX602"


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "severity"), [("usr/bin/su", "note"), ("opt/app/tool", "warning")])
def test_set_user_id_files(path: str, severity: str) -> None:
    node = node_of(path, FileFacts(path=path, kind="other"), 0o4755)
    finding = only(check(make_root({path: node})))
    assert (finding.rule, finding.severity) == ("JX801", severity)
    assert "4755" in finding.message


def test_library_directories_that_all_may_write_to() -> None:
    files = {
        "opt/lib": node_of("opt/lib", None, 0o777),
        "opt/lib/libx.so": LIBRARY,
        "tmp": node_of("tmp", None, 0o1777),
    }
    assert only(check(make_root(files))).path == "opt/lib"


@pytest.mark.parametrize(("target", "is_found"), [("libx.so.9", True), ("libcuda.so.1.1", False), ("libc.so.6", False)])
def test_library_links_that_lead_nowhere(target: str, is_found: bool) -> None:
    found = check(make_root({f"{MULTIARCH}/libx.so": target}))
    assert rules(found) == (["JX801"] if is_found else [])


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", ".."])
def test_links_out_of_a_directory(target: str) -> None:
    assert rules(check(make_tree({"a/link": target}))) == ["JX801"] if target != ".." else True
    assert check(make_root({"a/link": target})) == ()


# -- options -----------------------------------------------------------------------------------------------------------


def test_rules_and_families_can_be_chosen() -> None:
    tree = make_tree({"app": program("libgone.so", rpath="/tmp/b", has_exec_stack=True)})
    assert rules(check(tree)) == ["JX301", "JX401", "JX501"]
    assert rules(check(tree, ignore=frozenset({"libraries", "JX501"}))) == ["JX401"]
    assert rules(check(tree, only=frozenset({"hardening", "JX402"}))) == ["JX501", "JX402"]
    assert check(tree, only=frozenset({"JX501"}), ignore=frozenset({"hardening"})) == ()


def test_worst_comes_first() -> None:
    tree = make_tree({"app": program("libgone.so", has_exec_stack=None), "plugin.so": library(imports=(wants("f"),))})
    assert [each.severity for each in check(tree)] == ["error", "warning", "note"]
