"""The rules, each with what it must catch and what it must let pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from jetsonx.elf.facts import ElfFacts, Entry, Fatbin, FileFacts, VersionNeed
from jetsonx.verify.check import Libraries, judge
from jetsonx.verify.finding import Finding
from jetsonx.verify.report import Report
from tests.elf.synthetic import FakeTarget

ORIN = FakeTarget()
THOR = FakeTarget(name="agx-thor@39.2.0", sm=110)
THOR_CUDA12 = FakeTarget(name="agx-thor@38.0.0", sm=101)
OLD = FakeTarget(name="agx-orin@35.4.1", glibc="2.31", glibcxx="GLIBCXX_3.4.28")
PROGRAM = ElfFacts(
    machine="AArch64", bits=64, endianness="little", type="shared", interpreter=ORIN.interpreter, has_dynamic=True
)
EVERY_LIBRARY = Libraries(found={"libc.so.6": "sysroot", "libstdc++.so.6": "sysroot"})


def elf_file(elf: ElfFacts = PROGRAM, *fatbins: Fatbin) -> FileFacts:
    return FileFacts(path="app", kind="elf", elf=elf, fatbins=fatbins)


def needing(*versions: str, library: str = "libc.so.6", is_weak: bool = False) -> FileFacts:
    needs = tuple(VersionNeed(library=library, version=x, is_weak=is_weak, symbols=("pow", "exp")) for x in versions)
    return elf_file(replace(PROGRAM, version_needs=needs))


def check(
    file: FileFacts,
    *targets: FakeTarget,
    libraries: Libraries = EVERY_LIBRARY,
    jit: bool = False,
    host: Sequence[str] = (),
) -> Report:
    return judge([file], targets or (ORIN,), libraries=libraries, jit=jit, host_dirs=host)


def only(report: Report) -> Finding:
    (finding,) = report.findings
    return finding


def test_a_plain_program_passes() -> None:
    report = check(elf_file(replace(PROGRAM, needed=("libc.so.6",))))
    assert (report.verdict, report.findings) == ("ok", ())


def test_files_that_are_no_elf_pass() -> None:
    assert check(FileFacts(path="run.sh", kind="other")).verdict == "ok"


def test_an_unreadable_file_is_an_error() -> None:
    finding = only(check(FileFacts(path="app", kind="unreadable", reason="the ELF file is cut off")))
    assert (finding.rule, finding.severity) == ("JX100", "error")
    assert "cut off" in finding.message


# -- machine, class, interpreter ---------------------------------------------------------------------------------------


def test_wrong_machine() -> None:
    finding = only(check(elf_file(replace(PROGRAM, machine="x86-64", interpreter="/lib64/ld-linux-x86-64.so.2"))))
    assert (finding.rule, finding.severity) == ("JX101", "error")
    assert "x86-64" in finding.message
    assert "AArch64" in finding.message


def test_wrong_machine_inside_a_static_library_names_the_member() -> None:
    x86 = replace(PROGRAM, machine="x86-64", type="relocatable")
    members = (("good.o", replace(PROGRAM, type="relocatable")), ("bad.o", x86), ("worse.o", x86))
    finding = only(check(FileFacts(path="lib.a", kind="archive", members=members)))
    assert finding.rule == "JX101"
    assert "bad.o" in finding.message
    assert "2 members" in finding.message


def test_a_bare_cubin_is_no_wrong_machine() -> None:
    cubin = replace(PROGRAM, machine="CUDA", interpreter=None, type="executable")
    assert check(elf_file(cubin, fatbin("sm_87"))).verdict == "ok"
    assert only(check(elf_file(cubin, fatbin("sm_75")))).rule == "JX701"


@pytest.mark.parametrize("change", [{"bits": 32}, {"endianness": "big"}])
def test_wrong_class_or_byte_order(change: dict[str, object]) -> None:
    assert only(check(elf_file(replace(PROGRAM, **change)))).rule == "JX102"  # type: ignore[arg-type]


def test_wrong_interpreter_and_musl_by_name() -> None:
    finding = only(check(elf_file(replace(PROGRAM, interpreter="/lib/ld-musl-aarch64.so.1"))))
    assert finding.rule == "JX103"
    assert "musl's" in finding.message
    assert ORIN.interpreter in finding.message
    assert "musl" not in only(check(elf_file(replace(PROGRAM, interpreter="/nix/ld.so")))).message


def test_no_interpreter_is_fine_for_libraries_and_static_programs() -> None:
    assert check(elf_file(replace(PROGRAM, interpreter=None))).verdict == "ok"


# -- symbol versions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["GLIBC_2.4", "GLIBC_2.31", "GLIBC_2.17", "GLIBC_2.2.5"])
def test_versions_that_the_target_has(version: str) -> None:
    assert check(needing(version), OLD).verdict == "ok"


@pytest.mark.parametrize("version", ["GLIBC_2.32", "GLIBC_2.100", "GLIBC_3.0", "GLIBC_2.31.1"])
def test_glibc_too_new(version: str) -> None:
    finding = only(check(needing(version), OLD))
    assert (finding.rule, finding.severity) == ("JX201", "error")
    assert f"{version} of libc.so.6 (pow, exp)" in finding.message
    assert "GLIBC_2.31" in finding.message


def test_glibcxx_is_compared_by_number() -> None:
    library = "libstdc++.so.6"
    assert check(needing("GLIBCXX_3.4", "GLIBCXX_3.4.9", "GLIBCXX_3.4.28", library=library), OLD).verdict == "ok"
    assert only(check(needing("GLIBCXX_3.4.29", library=library), OLD)).rule == "JX201"


def test_a_weak_need_is_a_note() -> None:
    assert only(check(needing("GLIBC_2.38", is_weak=True), OLD)).severity == "note"


def test_cxxabi_and_gcc_are_compared_with_what_the_sysroot_defines() -> None:
    needs = needing("CXXABI_1.3.15", library="libstdc++.so.6")
    assert check(needs).verdict == "ok"  # nothing known, nothing said
    known = Libraries(defined={"libstdc++.so.6": frozenset({"CXXABI_1.3", "CXXABI_1.3.9"})})
    assert "does not define" in only(check(needs, libraries=known)).message
    assert check(needing("CXXABI_1.3.9", library="libstdc++.so.6"), libraries=known).verdict == "ok"


def test_glibc_private_is_a_warning() -> None:
    assert only(check(needing("GLIBC_PRIVATE"))).severity == "warning"


def test_packed_relative_relocations_need_glibc_2_36() -> None:
    assert only(check(needing("GLIBC_ABI_DT_RELR"), OLD)).rule == "JX202"
    assert check(needing("GLIBC_ABI_DT_RELR"), ORIN).verdict == "ok"


@pytest.mark.parametrize("version", ["", "GLIBC_", "GLIBC_2.", "GLIBC_x.y", "GLIBC_99999999999999999999", "NAME_1"])
def test_odd_version_names_do_not_raise(version: str) -> None:
    assert check(needing(version)).verdict == "ok"


# -- libraries ---------------------------------------------------------------------------------------------------------


def test_a_missing_library_is_an_error() -> None:
    finding = only(check(elf_file(replace(PROGRAM, needed=("libc.so.6", "libfoo.so.1")))))
    assert (finding.rule, finding.severity) == ("JX301", "error")
    assert "libfoo.so.1" in finding.message


def test_a_library_missing_further_down_names_who_needs_it() -> None:
    libraries = Libraries(
        found={"libbar.so.2": "sysroot", "libbaz.so": "sysroot"},
        needed={"libbar.so.2": ("libbaz.so", "libqux.so.3"), "libbaz.so": ("libbar.so.2", "libqux.so.3")},
    )
    finding = only(check(elf_file(replace(PROGRAM, needed=("libbar.so.2",))), libraries=libraries))
    assert "libqux.so.3 (for libbar.so.2)" in finding.message


def test_a_path_in_place_of_a_name() -> None:
    finding = only(check(elf_file(replace(PROGRAM, needed=("/build/libfoo.so",)))))
    assert "-soname,libfoo.so" in finding.fix


@pytest.mark.parametrize(
    "run_path",
    ["/home/me/build", "/tmp/x", "/root/p/build", "lib", "", "$ORIGIN:", "/work/out/lib", "/usr/lib/x86_64-linux-gnu"],
)
@pytest.mark.parametrize("kind", ["rpath", "runpath"])
def test_run_paths_of_the_build_machine(run_path: str, kind: str) -> None:
    elf = replace(PROGRAM, rpath=run_path) if kind == "rpath" else replace(PROGRAM, runpath=run_path)
    finding = only(check(elf_file(elf), host=["/work/out"]))
    assert (finding.rule, finding.severity) == ("JX401", "warning")
    assert finding.message.startswith(f"{kind.upper()} ")


@pytest.mark.parametrize(
    "run_path", ["$ORIGIN", "$ORIGIN/../lib:/opt/app/lib", "${ORIGIN}", "/usr/local/cuda-13.2/lib64"]
)
def test_run_paths_that_make_sense_on_the_target(run_path: str) -> None:
    assert check(elf_file(replace(PROGRAM, runpath=run_path)), host=["/work/out", "/"]).verdict == "ok"


# -- device code -------------------------------------------------------------------------------------------------------


def entry(name: str) -> Entry:
    prefix, _, number = name.partition("_")
    variant = number.lstrip("0123456789")
    kind = {"sm": "cubin", "compute": "ptx", "lto": "ltoir"}[prefix]
    return Entry(
        kind=kind, sm=int(number.rstrip("af")), variant=variant, size_bytes=64, isa=(9, 2) if kind == "ptx" else None
    )


def fatbin(*names: str, has_kernels: bool = True, is_relocatable: bool = False) -> Fatbin:
    entries = tuple(entry(name) for name in names)
    return Fatbin(offset=0, entries=entries, has_kernels=has_kernels, is_relocatable=is_relocatable)


@pytest.mark.parametrize(
    ("code", "target"),
    [
        (["sm_87"], ORIN),
        (["sm_75", "sm_87", "compute_87"], ORIN),
        (["sm_110"], THOR),
        (["sm_110a"], THOR),
        (["sm_110f"], THOR),
        (["sm_101"], THOR_CUDA12),
    ],
)
def test_exact_machine_code_passes(code: list[str], target: FakeTarget) -> None:
    assert check(elf_file(PROGRAM, fatbin(*code)), target).verdict == "ok"


@pytest.mark.parametrize(
    ("code", "target", "rule"),
    [
        (["sm_75", "compute_75"], ORIN, "JX703"),
        (["compute_87"], ORIN, "JX703"),
        (["sm_80", "compute_80"], ORIN, "JX703"),
        (["compute_110f"], THOR, "JX703"),
        (["sm_80"], ORIN, "JX702"),
        (["sm_80", "sm_86", "sm_110"], ORIN, "JX702"),
        (["sm_75"], ORIN, "JX701"),
        (["sm_89", "compute_89"], ORIN, "JX701"),
        (["compute_90a"], THOR, "JX705"),
        (["sm_100f"], THOR, "JX701"),
        (["sm_101"], THOR, "JX706"),
        (["sm_101", "compute_101"], THOR, "JX706"),
        (["sm_110"], THOR_CUDA12, "JX706"),
        (["sm_80a"], ORIN, "JX705"),
        (["lto_87"], ORIN, "JX701"),
        ([], ORIN, "JX701"),
    ],
)
def test_device_code_that_does_not_fit(code: list[str], target: FakeTarget, rule: str) -> None:
    finding = only(check(elf_file(PROGRAM, fatbin(*code)), target))
    assert (finding.rule, finding.severity) == (rule, "error")
    assert f"not sm_{target.sm}" in finding.message
    assert all(name in finding.message for name in code)
    assert "override_arch = true" in finding.fix


def test_the_message_says_what_was_found() -> None:
    finding = only(check(elf_file(PROGRAM, fatbin("sm_75", "compute_75"))))
    assert finding.message.startswith("holds sm_75 machine code and compute_75 PTX, not sm_87: ")
    assert "-DCMAKE_CUDA_ARCHITECTURES='87'" in finding.fix
    assert "jit = true" in finding.fix


def test_with_jit_ptx_is_a_note_but_the_rest_stays_an_error() -> None:
    assert only(check(elf_file(PROGRAM, fatbin("compute_75")), jit=True)).severity == "note"
    assert only(check(elf_file(PROGRAM, fatbin("sm_80")), jit=True)).severity == "error"
    assert only(check(elf_file(PROGRAM, fatbin("compute_110")), jit=True)).rule == "JX701"


def test_shells_without_kernels_are_not_judged() -> None:
    assert check(elf_file(PROGRAM, fatbin("sm_75", has_kernels=False), fatbin("sm_87"))).verdict == "ok"


def test_each_fat_binary_is_judged_by_itself() -> None:
    file = elf_file(PROGRAM, fatbin("sm_87"), fatbin("sm_75"), fatbin("sm_75"))
    finding = only(check(file))
    assert "in 2 of its 3 fat binaries" in finding.message


def test_relocatable_code_counts_in_objects_only() -> None:
    code = fatbin("sm_75", is_relocatable=True)
    assert check(elf_file(PROGRAM, code, fatbin("sm_87"))).verdict == "ok"
    assert only(check(elf_file(replace(PROGRAM, type="relocatable", interpreter=None), code))).rule == "JX701"
    assert only(check(FileFacts(path="lib.a", kind="archive", fatbins=(code,)))).rule == "JX701"


@pytest.mark.parametrize("name", ["lto_87", "lto_80"])
def test_lto_code_becomes_machine_code_in_the_device_link(name: str) -> None:
    code = fatbin(name, is_relocatable=True)
    assert check(FileFacts(path="lib.a", kind="archive", fatbins=(code,))).verdict == "ok"


# -- several targets ---------------------------------------------------------------------------------------------------


def test_every_target_has_to_be_satisfied() -> None:
    report = check(elf_file(PROGRAM, fatbin("sm_87", "compute_87")), ORIN, THOR)
    finding = only(report)
    assert finding.targets == ("agx-thor@39.2.0",)
    assert "-DCMAKE_CUDA_ARCHITECTURES='87;110'" in finding.fix
    assert report.verdict == "error"
    assert check(elf_file(PROGRAM, fatbin("sm_87", "sm_110")), ORIN, THOR).verdict == "ok"


def test_the_same_finding_for_two_targets_is_one() -> None:
    assert only(check(needing("GLIBC_2.40"), ORIN, THOR)).targets == ("orin-nano@39.2.0", "agx-thor@39.2.0")


def test_worst_comes_first() -> None:
    weak = (VersionNeed(library="libc.so.6", version="GLIBC_9.9", is_weak=True),)
    elf = replace(PROGRAM, runpath="/tmp/b", needed=("libgone.so",), version_needs=weak)
    assert [finding.severity for finding in check(elf_file(elf)).findings] == ["error", "warning", "note"]
