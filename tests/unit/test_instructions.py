"""Instructions that not every processor has. GNU objdump says what the words are."""

from __future__ import annotations

import struct

import pytest

from jetsonx.elf.facts import Instructions
from jetsonx.elf.instructions import count_instructions
from jetsonx.elf.source import BufferSource

NOP, RET, CBZ_W16, CBZ_W3 = 0xD503201F, 0xD65F03C0, 0x34000050, 0x34000043
LDADD = 0xB8E10002  # ldaddal w1, w2, [x0]

WORDS = {
    "lse": [
        LDADD,
        0xF8208041,  # swp x0, x1, [x2]
        0x88A07C41,  # cas w0, w1, [x2]
        0x48207C82,  # casp x0, x1, x2, x3, [x4]
        0x38A21001,  # ldclrab w2, w1, [x0]
        0x7865707F,  # lduminlh w5, wzr, [x3]
    ],
    "sve": [0x04E0E3E0, 0xA5E05400, 0x25B8C000],  # cntd; ld1d; dup
    "dotprod": [0x4E829420, 0x6E829420, 0x4F82E020],  # sdot, udot; sdot by element
    "i8mm": [0x4E82A420, 0x6E82A420, 0x4E82AC20, 0x4E829C20, 0x4F82F020, 0x4F02F020],
    "fp16": [
        0x1EE22820,  # fadd h0, h1, h2
        0x4E421420,  # fadd v0.8h, v1.8h, v2.8h
        0x1FC20C20,  # fmadd h0, h1, h2, h3
        0x0F021020,  # fmla v0.4h, v1.4h, v2.h[0]
        0x4EF8F820,  # fabs v0.8h, v1.8h
        0x1EE60000,  # fmov w0, h0
    ],
    "lrcpc": [0xB8BFC020, 0x38BFC020],  # ldapr w0, [x1]; ldaprb
}
HARMLESS = [
    NOP,
    RET,
    0xF8626820,  # ldr x0, [x1, x2]
    0xB8408420,  # ldr w0, [x1], #8
    0x885FFC20,  # ldaxr w0, [x1]
    0xC8DFFC20,  # ldar x0, [x1]
    0x1EE24020,  # fcvt s0, h1
    0x1E23C020,  # fcvt h0, s1
    0x0E217820,  # fcvtl v0.4s, v1.4h
    0x1E222820,  # fadd s0, s1, s2
    0x4E22D420,  # fadd v0.4s, v1.4s, v2.4s
    0x4E229C20,  # mul v0.16b, v1.16b, v2.16b
]


def code(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def count(data: bytes, *places: tuple[int, int]) -> Instructions:
    return count_instructions(BufferSource(data), places or [(0, len(data))])


@pytest.mark.parametrize("extension", WORDS)
def test_each_is_counted_as_what_it_is_and_nothing_else(extension: str) -> None:
    for word in WORDS[extension]:
        assert count(code(NOP, word, RET)) == Instructions(**{extension: 1}), hex(word)


def test_what_every_processor_has_is_not_counted() -> None:
    assert count(code(*HARMLESS)) == Instructions()


def test_an_atomic_behind_a_test_is_guarded() -> None:
    assert count(code(CBZ_W16, LDADD)) == Instructions(lse_guarded=1)
    assert count(code(CBZ_W3, LDADD)) == Instructions(lse=1)
    assert count(code(CBZ_W16, NOP, LDADD)) == Instructions(lse=1)


def test_a_guard_ends_with_its_section() -> None:
    data = code(NOP, CBZ_W16, LDADD, NOP)
    assert count(data, (0, 8), (8, 16)) == Instructions(lse=1)


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 4, 3 << 20])
def test_guards_are_seen_across_the_pieces_that_a_large_section_is_read_in(size: int) -> None:
    data = code(CBZ_W16, LDADD) * (size // 8)
    assert count(b"\0" * 4 + data, (4, 4 + len(data))) == Instructions(lse_guarded=size // 8)


def test_a_tail_that_is_no_whole_word_is_left_out() -> None:
    assert count(code(LDADD) + b"\x02\0") == Instructions(lse=1)
    assert count(b"\1\2\3") == Instructions()
