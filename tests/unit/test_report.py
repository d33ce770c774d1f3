"""The report as a value, and the words for what is in it."""

from __future__ import annotations

from dataclasses import replace

from jetsonx.elf.facts import ElfFacts, Entry, Fatbin, FileFacts, VersionNeed
from jetsonx.verify.finding import Finding, sort_findings
from jetsonx.verify.formats.words import describe_file
from jetsonx.verify.report import Input, Report, device_names, newest_version, version_number

ELF = ElfFacts(
    machine="AArch64",
    bits=64,
    endianness="little",
    type="shared",
    interpreter="/lib/ld-linux-aarch64.so.1",
    needed=("libc.so.6",),
    version_needs=tuple(
        VersionNeed(library="libc.so.6", version=x) for x in ("GLIBC_2.9", "GLIBC_2.17", "GLIBC_PRIVATE")
    ),
)
CODE = Fatbin(
    offset=256,
    has_kernels=True,
    entries=(
        Entry(kind="ptx", sm=110, isa=(9, 2), size_bytes=10),
        Entry(kind="cubin", sm=110, size_bytes=10),
        Entry(kind="cubin", sm=87, size_bytes=10),
    ),
)
STUB = Fatbin(offset=0, has_kernels=False, entries=(Entry(kind="cubin", sm=75, size_bytes=10),))
APP = FileFacts(path="app", kind="elf", elf=ELF, fatbins=(STUB, CODE))
FINDINGS = (
    Finding(
        rule="JX701", severity="error", path="app", message="holds nothing", fix="build it", targets=("agx-thor@39.2",)
    ),
    Finding(rule="JX701", severity="error", path="lib", message="holds nothing", fix="build it"),
    Finding(rule="JX401", severity="warning", path="app", message="odd path"),
)


def report(*findings: Finding, targets: tuple[str, ...] = ("orin-nano@39.2", "agx-thor@39.2")) -> Report:
    files = (APP, FileFacts(path="run.sh", kind="other"))
    return Report(targets=targets, inputs=(Input(files=files),), findings=findings)


def test_verdict_is_the_worst_finding() -> None:
    assert report().verdict == "ok"
    assert report(*FINDINGS).verdict == "error"
    assert report(FINDINGS[2]).verdict == "warning"


def test_sorting_puts_the_worst_first_then_files() -> None:
    note = Finding(rule="JX001", severity="note", path="a", message="")
    assert sort_findings([note, *reversed(FINDINGS)]) == (*FINDINGS, note)


def test_device_names_leave_out_shells() -> None:
    assert device_names(APP) == ("sm_87", "sm_110", "compute_110")


def test_every_kind_of_file_is_described() -> None:
    files = (
        APP,
        FileFacts(path="lib.a", kind="archive", members=(("a.o", ELF),), fatbins=(CODE,)),
        FileFacts(path="none.a", kind="archive"),
        FileFacts(path="k.fatbin", kind="fatbin", fatbins=(CODE,)),
        FileFacts(path="k.cubin", kind="elf", elf=replace(ELF, machine="CUDA", version_needs=())),
        FileFacts(path="a.o", kind="elf", elf=replace(ELF, type="relocatable", interpreter=None)),
    )
    assert [describe_file(file) for file in files] == [
        "AArch64 program, needs GLIBC_2.17, holds sm_87 sm_110 compute_110",
        "static library, AArch64, holds sm_87 sm_110 compute_110",
        "static library, no machine code",
        "fat binary, holds sm_87 sm_110 compute_110",
        "CUDA module",
        "AArch64 object file, needs GLIBC_2.17",
    ]


def test_version_numbers() -> None:
    assert newest_version(ELF, "GLIBC") == "2.17"
    assert newest_version(ELF, "GLIBCXX") == ""
    assert version_number("GLIBCXX_3.4.33", "GLIBCXX") == (3, 4, 33)
    assert version_number("GLIBC_PRIVATE", "GLIBC") is None
    assert version_number("GLIBC_ABI_DT_RELR", "GLIBC") is None
