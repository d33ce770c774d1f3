"""Whatever a tree holds, judging it gives findings and no traceback: facts come from files that nobody vouches for."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from jetsonx.elf.facts import (
    DlopenNote,
    ElfFacts,
    Entry,
    Fatbin,
    FileFacts,
    Import,
    Instructions,
    Load,
    VersionNeed,
)
from jetsonx.verify.context import Options
from jetsonx.verify.finding import SEVERITIES
from jetsonx.verify.judge import judge
from tests.unit.verify_values import LIBRARY, NANO, ORIN, THOR_CUDA12, make_tree

TREES = 30
WORDS = (
    "", "/", "..", "libc.so.6", "liba.so", "libb.so", "a\0b", "$ORIGIN", "${ORIGIN}/../lib", "x:/y:", "*", "include *",
    "GLIBC_2.99", "GLIBC_", "²", "/lib/ld-linux-aarch64.so.1", "libcudart.so.12", "libcudart.so.13", "#!/bin/sh", "#!",
    "#! /usr/bin/env", "lib/" * 50,
)  # fmt: skip
PATHS = (
    "lib/liba.so", "lib/libb.so", "usr/lib/aarch64-linux-gnu/libc.so.6", "app", "etc/ld.so.conf", "bin/sh",
    "etc/ld.so.conf.d/x.conf", "usr/bin/env", "opt/libcublas.so.1",
)  # fmt: skip


class Odd:
    """Facts made of odd parts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def word(self) -> str:
        return self.random.choice(WORDS)

    def words(self, most: int) -> tuple[str, ...]:
        return tuple(self.word() for _ in range(self.random.randrange(most)))

    def maybe(self) -> str | None:
        return self.word() if self.random.random() < 0.5 else None

    def chance(self) -> bool:
        return self.random.random() < 0.5

    def elf(self) -> ElfFacts:
        pick, number = self.random.choice, self.random.randrange
        return replace(
            LIBRARY,
            machine=pick(["AArch64", "AArch64", "x86-64", "BPF", "CUDA"]),
            bits=pick([64, 64, 32]),
            type=pick(["shared", "executable", "relocatable", "core", "9"]),
            interpreter=self.maybe(),
            soname=self.maybe(),
            needed=self.words(4),
            rpath=self.maybe(),
            runpath=self.maybe(),
            version_needs=tuple(VersionNeed(library=self.word(), version=x) for x in self.words(3)),
            version_definitions=self.words(3),
            imports=tuple(Import(x, self.word(), self.word(), self.chance()) for x in self.words(3)),
            exports=frozenset(self.words(3)),
            dlopen_notes=(DlopenNote(sonames=self.words(2)),),
            has_exec_stack=pick([None, True, False]),
            loads=tuple(
                Load(number(1 << 40), number(1 << 40), pick([0, 1, 3, 4096, 1 << 63]), number(8))
                for _ in range(number(3))
            ),
            tls_bytes=number(9999),
            has_static_tls=self.chance(),
            instructions=pick([None, Instructions(lse=number(30), sve=number(30))]),
            has_dynamic=self.chance(),
        )

    def fatbin(self) -> Fatbin:
        pick = self.random.choice
        entries = tuple(
            Entry(
                kind=pick(["cubin", "ptx", "ltoir", "other"]),
                sm=pick([0, 53, 75, 80, 87, 101, 110, 999]),
                variant=pick(["", "a", "f"]),
                isa=pick([None, (9, 9), (7, 0)]),
                size_bytes=self.random.randrange(1 << 20),
                toolkit=pick([None, (13, 2), (99, 0)]),
            )
            for _ in range(self.random.randrange(3))
        )
        flags = {name: self.chance() for name in ("is_relocatable", "is_outside", "has_kernels")}
        return Fatbin(offset=0, entries=entries, **flags)

    def file(self, path: str) -> FileFacts:
        kind = self.random.choice(["elf", "elf", "elf", "archive", "fatbin", "script", "other", "unreadable"])
        return FileFacts(
            path=path,
            kind=kind,
            elf=self.elf() if kind == "elf" else None,
            members=tuple((x, self.elf()) for x in self.words(3)) if kind == "archive" else (),
            interpreter_line=self.word(),
            text=self.word(),
            fatbins=tuple(self.fatbin() for _ in range(self.random.randrange(3))),
            host_strings=("/x",),
        )


@pytest.mark.parametrize("seed", range(8))
def test_odd_trees_are_judged(seed: int) -> None:
    odd = Odd(seed)
    for _ in range(TREES):
        paths = odd.random.sample(PATHS, odd.random.randrange(1, len(PATHS)))
        files = {path: odd.random.choice([odd.word(), None, *[odd.file(path)] * 3]) for path in paths}
        env = {"LD_LIBRARY_PATH": odd.word(), "PATH": odd.word()}
        tree = make_tree(files, is_root=odd.chance(), env=env, kind=odd.random.choice(["oci", "deb", "wheel", "file"]))
        options = Options(jit=odd.chance(), hardening=True, host_prefixes=(odd.word(),), allow_minor=odd.chance())
        for finding in judge(tree, [ORIN, NANO, THOR_CUDA12], options):
            assert finding.severity in SEVERITIES
            assert finding.path in tree.nodes
            assert finding.message
