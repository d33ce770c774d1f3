"""The report as JSON and as text."""

from __future__ import annotations

import json

from jetsonx.elf.facts import ElfFacts, Entry, Fatbin, FileFacts, VersionNeed
from jetsonx.verify.finding import Finding, sort_findings
from jetsonx.verify.report import Report, device_names, newest_version, render_text, version_number

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
    return Report(targets=targets, files=(APP, FileFacts(path="run.sh", kind="other")), findings=findings)


def test_verdict_is_the_worst_finding() -> None:
    assert report().verdict == "ok"
    assert report(*FINDINGS).verdict == "error"
    assert report(FINDINGS[2]).verdict == "warning"


def test_sorting_puts_the_worst_first_then_files() -> None:
    note = Finding(rule="JX001", severity="note", path="a", message="")
    assert sort_findings([note, *reversed(FINDINGS)]) == (*FINDINGS, note)


def test_device_names_leave_out_shells() -> None:
    assert device_names(APP) == ("sm_87", "sm_110", "compute_110")


def test_text() -> None:
    assert render_text(report(*FINDINGS)) == [
        "app: AArch64 program, needs GLIBC_2.17, holds sm_87 sm_110 compute_110",
        "error JX701 app: holds nothing [agx-thor@39.2]",
        "  fix: build it",
        "error JX701 lib: holds nothing",
        "warning JX401 app: odd path",
        "checked 1 file for orin-nano@39.2, agx-thor@39.2: 2 errors, 1 warning",
    ]


def test_text_of_a_clean_report_with_one_target() -> None:
    assert render_text(report(targets=("orin-nano@39.2",)))[-1] == "checked 1 file for orin-nano@39.2: nothing wrong"


def test_every_kind_of_file_has_a_line() -> None:
    files = (
        FileFacts(path="lib.a", kind="archive", members=(("a.o", ELF),), fatbins=(CODE,)),
        FileFacts(path="none.a", kind="archive"),
        FileFacts(path="k.fatbin", kind="fatbin", fatbins=(CODE,)),
        FileFacts(path="gone", kind="unreadable", reason="it is not there"),
    )
    assert render_text(Report(targets=("t",), files=files, findings=()))[:-1] == [
        "lib.a: static library, AArch64, holds sm_87 sm_110 compute_110",
        "none.a: static library, no machine code",
        "k.fatbin: fat binary, holds sm_87 sm_110 compute_110",
    ]


def test_json_is_plain_and_complete() -> None:
    value = json.loads(json.dumps(report(*FINDINGS).to_json()))
    assert (value["schema"], value["verdict"]) == (1, "error")
    assert value["findings"][0] == {
        "rule": "JX701",
        "severity": "error",
        "path": "app",
        "message": "holds nothing",
        "fix": "build it",
        "targets": ["agx-thor@39.2"],
    }
    app, script = value["files"]
    assert app["machine"] == "AArch64"
    assert app["versions"] == {"libc.so.6": ["GLIBC_2.9", "GLIBC_2.17", "GLIBC_PRIVATE"]}
    assert app["device"] == ["sm_87", "sm_110", "compute_110"]
    assert [fatbin["has_kernels"] for fatbin in app["fatbins"]] == [False, True]
    assert app["fatbins"][1]["entries"][0] == {"kind": "ptx", "name": "compute_110", "isa": "9.2", "size_bytes": 10}
    assert script == {"path": "run.sh", "kind": "other"}


def test_version_numbers() -> None:
    assert newest_version(ELF, "GLIBC") == "2.17"
    assert newest_version(ELF, "GLIBCXX") == ""
    assert version_number("GLIBCXX_3.4.33", "GLIBCXX") == (3, 4, 33)
    assert version_number("GLIBC_PRIVATE", "GLIBC") is None
    assert version_number("GLIBC_ABI_DT_RELR", "GLIBC") is None
