"""A report with something of everything in it, and names that try to be markup."""

from __future__ import annotations

from jetsonx.elf.facts import ElfFacts, Entry, Fatbin, FileFacts, VersionNeed
from jetsonx.verify.finding import Finding, Rule
from jetsonx.verify.report import Gone, Input, InputLayer, Report, Waived

HOSTILE = "opt/<b>a&b\"`|\x1b[31m\u202e'x"
ORIN, THOR = "orin-nano@36.4.3", "agx-thor@39.2"
RULES = (
    Rule(
        id="JX201",
        title="symbol version that the target lacks",
        severity="error",
        family="versions",
        why="The loader refuses to start the program.",
        mend="link against the sysroot",
        sources=("pypa/auditwheel#36",),
    ),
    Rule(id="JX304", title="two of one CUDA library", severity="warning", family="libraries"),
    Rule(
        id="JX703",
        title="only PTX",
        severity="note",
        family="device",
        sources=("CUDA C++ Programming Guide, https://docs.nvidia.com/cuda/cuda-c-programming-guide/ (JIT)",),
    ),
    Rule(id="JX801", title="permissions", severity="warning", family="files"),
    Rule(id="JX901", title="waiver without use", severity="note", family="waivers"),
    Rule(id="JX902", title="waiver that expired", severity="warning", family="waivers"),
)
ELF = ElfFacts(
    machine="AArch64",
    bits=64,
    endianness="little",
    type="shared",
    interpreter="/lib/ld-linux-aarch64.so.1",
    needed=("libc.so.6",),
    version_needs=(VersionNeed(library="libc.so.6", version="GLIBC_2.38", symbols=("strlcpy",)),),
)
CODE = Fatbin(
    offset=256,
    has_kernels=True,
    entries=(
        Entry(kind="ptx", sm=110, isa=(9, 0), size_bytes=40_000),
        Entry(kind="cubin", sm=110, size_bytes=90_000, toolkit=(13, 0)),
        Entry(kind="cubin", sm=87, size_bytes=120_000),
    ),
)
FILES = (
    FileFacts(path="usr/bin/app", kind="elf", elf=ELF, fatbins=(CODE,)),
    FileFacts(path="usr/lib/libx.so", kind="elf", elf=ELF),
    FileFacts(path="usr/bin/run", kind="script", interpreter_line="#!/bin/sh"),
    FileFacts(path=HOSTILE, kind="unreadable", reason="it is cut off"),
)
NEWER = Finding(
    rule="JX201",
    severity="error",
    path="usr/bin/app",
    message="needs GLIBC_2.38 of libc.so.6 (strlcpy); the target has 2.35",
    fix="link against the sysroot only",
    targets=(ORIN,),
    symbols=("strlcpy",),
    library="libc.so.6",
    layer="sha256:" + "b" * 64,
    detail="libc.so.6 GLIBC_2.38",
)
FINDINGS = (
    NEWER,
    Finding(
        rule="JX201",
        severity="error",
        path=HOSTILE,
        message=f"needs {HOSTILE}",
        fix="link against the sysroot only",
        detail="libc.so.6 GLIBC_2.38",
    ),
    Finding(rule="JX304", severity="warning", path="usr/bin/app", message="libcudart.so.12 and libcudart.so.13"),
    Finding(rule="JX703", severity="note", path="", message="no machine code at all", targets=(THOR,), detail="all"),
)
WAIVED = Waived(
    finding=Finding(rule="JX801", severity="warning", path="usr/bin/su", message="setuid"),
    reason="it is <su>",
    expiry="2027-01-31",
)
REPORT = Report(
    targets=(ORIN, THOR),
    profiles=((ORIN, "as shipped for L4T 36"), (THOR, "sysroot-0123 (image)")),
    rules=RULES,
    inputs=(
        Input(
            name="app:1.0",
            kind="docker",
            digest="sha256:" + "a" * 64,
            file_count=7012,
            size_bytes=1_234_000_000,
            layers=(
                InputLayer(
                    digest="sha256:" + "c" * 64, size_bytes=30_000_000, files_bytes=80_000_000, created_by="/bin/sh"
                ),
                InputLayer(digest="sha256:" + "b" * 64, size_bytes=90_000_000, files_bytes=200_000_000),
            ),
            files=FILES,
        ),
    ),
    findings=FINDINGS,
    waived=(WAIVED,),
    known=(Finding(rule="JX304", severity="warning", path="usr/lib/liby.so", message="odd", detail="y"),),
    gone=(Gone(rule="JX301", path="usr/bin/old", detail="libold.so.1"),),
    unchecked=("libraries that programs open by names they compute",),
)
CLEAN = Report(targets=(ORIN,), rules=RULES, inputs=(Input(name="app", kind="file", files=FILES[:1]),), findings=())
