"""AArch64 instructions that not every processor has, counted in the code of a file.

Every word of the executable sections is held against the encodings of the extension (Arm Architecture Reference
Manual, "A64 instruction set encoding"); data among the code is counted too when it looks the same. numpy does it at
several hundred megabytes a second, where any way without it that was tried (translate and wide integers, regular
expressions) takes a multiple.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from jetsonx.elf.facts import Instructions
from jetsonx.elf.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK_BYTES = 1 << 20  # stays in the processor's cache
_LARGE_BYTES = 1 << 16
_Encodings = tuple[tuple[int, int], ...]  # (mask, value)

_LSE: _Encodings = (
    (0x3F208C00, 0x38200000),  # LDADD, LDCLR, LDEOR, LDSET, LD[SU]MAX, LD[SU]MIN
    (0x3F20FC00, 0x38208000),  # SWP
    (0x3FA07C00, 0x08A07C00),  # CAS
    (0xBFA07C00, 0x08207C00),  # CASP
)
_SVE: _Encodings = ((0x1E000000, 0x04000000),)  # the whole group
_DOTPROD: _Encodings = ((0x9FE0FC00, 0x0E809400), (0x9FC0F400, 0x0F80E000))  # SDOT, UDOT: vector, by element
_I8MM: _Encodings = (
    (0xDFE0FC00, 0x4E80A400),  # SMMLA, UMMLA
    (0xFFE0FC00, 0x4E80AC00),  # USMMLA
    (0xBFE0FC00, 0x0E809C00),  # USDOT
    (0xBF40F400, 0x0F00F000),  # SUDOT, USDOT by element
)
_FP16: _Encodings = (
    (0x7FE00000, 0x1EE00000),  # scalar, with one or two sources, compared, moved, from and to integers
    (0xFFC00000, 0x1FC00000),  # scalar, with three sources
    (0x9F60C400, 0x0E400400),  # vector, three the same
    (0xDF60C400, 0x5E400400),
    (0x9F7E0C00, 0x0E780800),  # vector, two registers
    (0xDF7E0C00, 0x5E780800),
    (0xBFC0B400, 0x0F001000),  # FMLA, FMLS by element
    (0x9FC0F400, 0x0F009000),  # FMUL, FMULX by element
)
_FP16_CONVERSIONS: _Encodings = ((0xFFFF7C00, 0x1EE24000),)  # FCVT from half precision, which ARMv8.0 has
_LRCPC: _Encodings = ((0x3FFFFC00, 0x38BFC000),)  # LDAPR
_GUARD = (0xFF00001F, 0x34000010)  # CBZ W16: what outline atomics of GCC and LLVM have before the atomic instruction
_NOTHING = bytes(4)
_ALL = (_LSE, _SVE, _DOTPROD, _I8MM, _FP16, _LRCPC)


def count_instructions(source: Source, places: Iterable[tuple[int, int]]) -> Instructions:
    """Count what is between each start and end offset. Raises what reading the source raises."""
    total = [0] * 7
    for code in _batches(source, places):
        total = [x + y for x, y in zip(total, _count(code), strict=True)]
    lse, guarded, sve, dotprod, i8mm, fp16, lrcpc = total
    return Instructions(
        lse=lse - guarded, lse_guarded=guarded, sve=sve, dotprod=dotprod, i8mm=i8mm, fp16=fp16, lrcpc=lrcpc
    )


def _batches(source: Source, places: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """The code of many small sections together, of large ones in pieces; each after the word before it, or zeros."""
    batch = bytearray()
    for start, end in places:
        if end - start >= _LARGE_BYTES and start >= len(_NOTHING):
            for at in range(start, end - 3, _CHUNK_BYTES):
                count = min(_CHUNK_BYTES, end - at) & ~3
                yield source.read(at - len(_NOTHING), count + len(_NOTHING))
            continue
        batch += _NOTHING
        batch += source.read(start, (end - start) & ~3)
        if len(batch) >= _CHUNK_BYTES:
            yield bytes(batch)
            batch.clear()
    if len(batch) > len(_NOTHING):
        yield bytes(batch)


def _count(code: bytes) -> list[int]:
    """The counts in ``code``, whose first word is only there as the one before the second."""
    import numpy as np  # late: it takes longer than looking at a small program

    places = np.flatnonzero(_upper_halves().take(np.frombuffer(code, "<u2")[3::2]))
    if not len(places):
        return [0] * 7
    words = np.frombuffer(code, "<u4")
    found = words[places + 1]
    lse = _matches(found, _LSE)
    guarded = (words[places][lse] & np.uint32(_GUARD[0])) == np.uint32(_GUARD[1])
    fp16 = _matches(found, _FP16) & ~_matches(found, _FP16_CONVERSIONS)
    others = [_matches(found, x) for x in (_SVE, _DOTPROD, _I8MM)]
    flags = [lse, guarded, *others, fp16, _matches(found, _LRCPC)]
    return [int(np.count_nonzero(x)) for x in flags]


def _matches(words: NDArray[np.uint32], encodings: _Encodings) -> NDArray[np.bool_]:
    import numpy as np

    result = np.zeros(len(words), bool)
    for mask, value in encodings:
        result |= (words & np.uint32(mask)) == np.uint32(value)
    return result


@cache
def _upper_halves() -> NDArray[np.bool_]:
    """Which upper halves of a word may begin one of the instructions: few, so that one look passes nearly all words."""
    import numpy as np

    halves = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    table = np.zeros(1 << 16, bool)
    for encodings in _ALL:
        for mask, value in encodings:
            upper = np.uint32(mask & 0xFFFF0000)
            table |= (halves & upper) == np.uint32(value & 0xFFFF0000)
    return table
