"""One true positive for every rule, as what has to be compiled and how it is then looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HELLO = '#include <stdio.h>\nint main(void) { puts("ran"); return 0; }\n'
F = "int f(void) { return 7; }\n"
CALL = "int f(void);\nint main(void) { return f(); }\n"
SHARED = "-shared -fPIC -nostdlib"
ORIN = "orin-nano@39.2"


@dataclass(frozen=True, kw_only=True)
class Make:
    """One file: ``code`` through a compiler ("cc", "host", "nvcc", "lld"), or as it is ("").

    In ``flags`` ``{top}`` is the tree, ``{aside}`` a directory outside of it, ``{old}`` the libraries of bullseye.
    ``out`` begins with "aside/" for what is not part of the tree. ``change`` is done to the bytes.
    """

    out: str
    code: str = HELLO
    flags: str = ""
    by: str = "cc"
    suffix: str = "c"
    mode: int = 0
    change: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What ``makes`` make is judged for ``target``: ``rule`` with ``severity`` has to be found at ``path``.

    ``in_root``: beside a root file system of bullseye's packages. ``options`` and ``reading`` are those of the judge
    and of the reader, ``profile`` what is different about the profile. ``then`` does what no compiler does.
    """

    rule: str
    makes: tuple[Make, ...]
    severity: str = "error"
    path: str = "app"
    target: str = ORIN
    in_root: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    reading: dict[str, Any] = field(default_factory=dict)
    profile: dict[str, Any] = field(default_factory=dict)
    then: Callable[[Path], None] | None = None


# -- code --------------------------------------------------------------------------------------------------------------

ATOMICS = "long a[16];\nlong f(void) { long s = 0;\n" + "".join(
    f"s += __atomic_fetch_add(&a[{n}], s, 5);\n" for n in range(16)
)
ATOMICS += "return s; }\n"

SVE = "void f(float *x, float *y, int n, float z) {\n" + "".join(
    f"for (int i = 0; i < n; i++) x[i] = x[i] * y[i] + z * {n}.5f;\n" for n in range(6)
)
SVE += "}\n"

TLS = '__thread char big[4096] __attribute__((tls_model("initial-exec")));\nchar *f(void) { return big; }\n'

NOTE = r"""
.section .note.dlopen, "a", %note
.balign 4
.long 4, 2f - 1f, 0x407c0c0a
.asciz "FDO"
1: .asciz "[{\"soname\":[\"libgone.so.3\"],\"feature\":\"x\",\"priority\":\"required\",\"description\":\"more\"}]"
2: .balign 4
"""

POINTERS = "static int f(void) { return 7; }\nint (*const table[4])(void) = {f, f, f, f};\n"

TEXT = ".globl f\nf: ret\n.quad table\n.data\n.globl table\ntable: .quad 0\n.section .note.GNU-stack\n"

KERNEL = """
#include <cstdio>
__global__ void count(int *x) { atomicAdd(x, 1); }
int main() { count<<<1, 1>>>(nullptr); std::printf("%d", int(cudaDeviceSynchronize())); }
"""

BIG_KERNEL = """
__device__ int table[30000] = {1};
__global__ void work(int *x) { *x = table[*x]; }
int main() { work<<<1, 1>>>(nullptr); return int(cudaDeviceSynchronize()); }
"""


def gencode(*codes: str) -> str:
    """nvcc's options for "sm_87", "compute_75" and the like."""
    numbers = (code.partition("_")[2] for code in codes)
    return " ".join(f"-gencode arch=compute_{n},code={code}" for n, code in zip(numbers, codes, strict=True))


def cuda(*codes: str, code: str = KERNEL, more: str = "") -> Make:
    return Make(out="app", code=code, by="nvcc", suffix="cu", flags=f"{gencode(*codes)} {more}")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def realign(data: bytes) -> bytes:
    """The alignment of every load segment made larger than what its place allows, as an old patchelf did."""
    out = bytearray(data)
    start, step, count = int.from_bytes(out[32:40], "little"), 56, int.from_bytes(out[56:58], "little")
    for at in range(start, start + step * count, step):
        if out[at : at + 4] == b"\1\0\0\0":
            out[at + 48 : at + 56] = (1 << 21).to_bytes(8, "little")
    return bytes(out)


def without_stack_header(data: bytes) -> bytes:
    """PT_GNU_STACK made PT_NULL."""
    out = bytearray(data)
    start, step, count = int.from_bytes(out[32:40], "little"), 56, int.from_bytes(out[56:58], "little")
    for at in range(start, start + step * count, step):
        if int.from_bytes(out[at : at + 4], "little") == 0x6474E551:
            out[at : at + 4] = bytes(4)
    return bytes(out)


def _dangle(top: Path) -> None:
    (top / "libgone.so").symlink_to("libgone.so.1")


HARD: dict[str, Any] = {"options": {"hardening": True}, "reading": {"hardening": True}}

# -- one for every rule ------------------------------------------------------------------------------------------------

CASES = (
    Case(rule="JX100", makes=(Make(out="app", change=cut),)),
    Case(rule="JX101", makes=(Make(out="app", by="host"),)),
    Case(rule="JX102", makes=(Make(out="f.o", code=F, flags="-c -mabi=ilp32"),), path="f.o"),
    Case(rule="JX102", makes=(Make(out="f.o", code=F, flags="-c -mbig-endian"),), path="f.o"),
    Case(rule="JX103", makes=(Make(out="app", flags="-Wl,-dynamic-linker,/lib/ld-musl-aarch64.so.1"),)),
    Case(
        rule="JX103",
        makes=(Make(out="app", flags="-Wl,-dynamic-linker,/lib/ld-2.28.so {old}/libc.so.6"),),
        in_root=True,
    ),
    Case(
        rule="JX104",
        makes=(
            Make(out="opt/run", code="#!/usr/bin/perl\n", by="", mode=0o755),
            Make(out="bin/sh", flags="{old}/libc.so.6"),
        ),
        severity="warning",
        path="opt/run",
        in_root=True,
    ),
    Case(rule="JX201", makes=(Make(out="app"),), target="agx-orin@35.4.1"),
    Case(rule="JX201", makes=(Make(out="app"),), in_root=True),
    Case(
        rule="JX202",
        makes=(
            Make(out="aside/f.o", code=POINTERS, flags="-c -fPIC"),
            Make(out="libf.so", by="lld", flags="-shared --pack-dyn-relocs=relr {aside}/f.o"),
        ),
        path="libf.so",
        target="agx-orin@36.4.3",
    ),
    Case(
        rule="JX203",
        makes=(
            Make(out="aside/libcuda.so.1", code=F, flags=f"{SHARED} -Wl,-soname,libcuda.so.1"),
            Make(out="app", code=CALL, flags="{aside}/libcuda.so.1 {old}/libc.so.6"),
        ),
        path="usr/lib/aarch64-linux-gnu/libstdc++.so.6.0.28",
        target="agx-orin@36.4.3",
        in_root=True,
    ),
    Case(
        rule="JX301",
        makes=(
            Make(out="aside/libgone.so.1", code=F, flags=f"{SHARED} -Wl,-soname,libgone.so.1"),
            Make(out="app", code=CALL, flags="{aside}/libgone.so.1"),
        ),
    ),
    Case(
        rule="JX302",
        makes=(
            Make(out="aside/libf.so.1", code=F, flags=f"{SHARED} -Wl,-soname,libf.so.1"),
            Make(out="libf.so.1", code="int g(void) { return 7; }\n", flags=f"{SHARED} -Wl,-soname,libf.so.1"),
            Make(out="app", code=CALL, flags="{aside}/libf.so.1"),
        ),
    ),
    Case(
        rule="JX303",
        makes=(
            Make(out="aside/note.o", code=NOTE, flags="-c", suffix="s"),
            Make(out="app", flags="{aside}/note.o"),
        ),
        severity="warning",
    ),
    Case(
        rule="JX304",
        makes=(
            Make(out="libcudart.so.12", code=F, flags=f"{SHARED} -Wl,-soname,libcudart.so.12"),
            Make(out="libcudart.so.13", code=F.replace("f(", "g("), flags=f"{SHARED} -Wl,-soname,libcudart.so.13"),
            Make(
                out="app",
                code="int f(void); int g(void);\nint main(void) { return f() + g(); }\n",
                flags="{top}/libcudart.so.12 {top}/libcudart.so.13",
            ),
        ),
        severity="warning",
    ),
    Case(rule="JX401", makes=(Make(out="app", flags="-Wl,-rpath,/home/me/build"),)),
    Case(
        rule="JX401",
        makes=(Make(out="app", flags="-Wl,-rpath,{top}/lib"),),
        options={"host_prefixes": ("/",)},
        severity="error",
    ),
    Case(
        rule="JX402",
        makes=(Make(out="app", flags="-Wl,-rpath,$ORIGIN -Wl,--disable-new-dtags"),),
        severity="note",
        options={"only": frozenset({"JX402"})},
    ),
    Case(
        rule="JX403",
        makes=(Make(out="app", code='#include <stdio.h>\nint main(void) { puts("/work/src/secret.c"); }\n'),),
        severity="warning",
        options={"host_prefixes": ("/work/src",)},
        reading={"host_prefixes": ("/work/src",)},
    ),
    Case(rule="JX501", makes=(Make(out="app", flags="-Wl,-z,execstack"),)),
    Case(rule="JX501", makes=(Make(out="app", change=without_stack_header),), severity="warning"),
    Case(rule="JX502", makes=(Make(out="app", flags="-Wl,-z,norelro"),), severity="warning", **HARD),
    Case(rule="JX502", makes=(Make(out="app", flags="-Wl,-z,lazy"),), severity="note", **HARD),
    Case(rule="JX503", makes=(Make(out="app", flags="-no-pie"),), severity="warning", **HARD),
    Case(
        rule="JX504",
        makes=(Make(out="libf.so", code=TEXT, suffix="s", flags=f"{SHARED} -Wl,-z,notext"),),
        severity="warning",
        path="libf.so",
        **HARD,
    ),
    Case(rule="JX505", makes=(Make(out="app"),), severity="note", target="agx-thor@39.2", **HARD),
    Case(
        rule="JX506",
        makes=(Make(out="libf.so", code=F, flags=SHARED, change=realign),),
        path="libf.so",
        target="agx-orin@35.4.1",
    ),
    Case(
        rule="JX507",
        makes=(Make(out="libf.so", code=F, flags=f"{SHARED} -Wl,-z,max-page-size=4096"),),
        severity="warning",
        path="libf.so",
        profile={"page_bytes": 65536},
    ),
    Case(
        rule="JX508",
        makes=(
            Make(out="aside/f.o", code=TLS, flags="-c -fPIC"),
            Make(out="libf.so", by="lld", flags="-shared {aside}/f.o"),  # GNU ld does not write the flag
        ),
        severity="warning",
        path="libf.so",
    ),
    Case(
        rule="JX601",
        makes=(Make(out="libf.so", code=ATOMICS, flags=f"{SHARED} -O2 -march=armv8.2-a"),),
        path="libf.so",
        target="nano@32.7.6",
    ),
    Case(
        rule="JX602",
        makes=(Make(out="libf.so", code=SVE, flags=f"{SHARED} -O3 -ffast-math -march=armv8.2-a+sve"),),
        severity="warning",
        path="libf.so",
    ),
    Case(rule="JX701", makes=(cuda("sm_75"),)),
    Case(rule="JX702", makes=(cuda("sm_80", "sm_86"),)),
    Case(rule="JX702", makes=(cuda("sm_80", "sm_86"),), severity="warning", options={"allow_minor": True}),
    Case(rule="JX703", makes=(cuda("compute_75"),), severity="note"),
    Case(rule="JX704", makes=(cuda("compute_87"),), target="agx-orin@36.4.3"),
    Case(rule="JX705", makes=(cuda("compute_90a"),), target="agx-thor@39.2"),
    Case(rule="JX706", makes=(cuda("sm_110"),), target="agx-thor@39.2", profile={"sm": 101}),
    Case(rule="JX707", makes=(cuda("sm_87"),), target="agx-orin@36.4.3"),
    Case(
        rule="JX708",
        makes=(
            Make(out="aside/k.fatbin", code=KERNEL, by="nvcc", suffix="cu", flags=f"{gencode('sm_75')} -fatbin"),
            Make(
                out="libf.so",
                code='.section .rodata\n.balign 8\n.incbin "{aside}/k.fatbin"\n.section .note.GNU-stack\n',
                suffix="s",
                flags=SHARED,
            ),
        ),
        severity="note",
        path="libf.so",
        reading={"deep": True},
    ),
    Case(rule="JX709", makes=(cuda("sm_87", more="-rdc=true"),), severity="note"),
    Case(rule="JX710", makes=(cuda("sm_75", "sm_87", code=BIG_KERNEL),), severity="note"),
    Case(
        rule="JX711",
        makes=(Make(out="usr/local/cuda-12.6/targets/sbsa-linux/lib/libf.so.12", code=F, flags=SHARED),),
        severity="warning",
        path="usr/local/cuda-12.6/targets/sbsa-linux/lib/libf.so.12",
        target="agx-orin@36.4.3",
    ),
    Case(rule="JX801", makes=(Make(out="app", mode=0o4755),), severity="warning"),
    Case(rule="JX801", makes=(Make(out="app"),), severity="warning", path="libgone.so", then=_dangle),
)
