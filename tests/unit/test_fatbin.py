"""The fat binary container, and telling code with kernels from empty shells."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from jetsonx.elf.facts import Entry, Fatbin, Section, UnreadableElfError
from jetsonx.elf.fatbin import read_fatbins
from jetsonx.elf.unpack import unpack_lz4
from tests.elf.synthetic import cubin_entry, join_fatbins, make_cubin, make_entry, make_fatbin, ptx_entry


def read(data: bytes, name: str = ".nv_fatbin") -> tuple[Fatbin, ...]:
    return read_fatbins(data, [Section(name=name, offset=0, size_bytes=len(data))])


def names(fatbin: Fatbin) -> list[str]:
    return [entry.name for entry in fatbin.entries]


def test_entries_are_read_in_order() -> None:
    data = make_fatbin(cubin_entry(75), cubin_entry(110, variant="f"), cubin_entry(90, variant="a"), ptx_entry(110))
    (fatbin,) = read(data)
    assert names(fatbin) == ["sm_75", "sm_110f", "sm_90a", "compute_110"]
    assert fatbin.entries[3].isa == (9, 2)
    assert fatbin.entries[0].isa is None
    assert sum(entry.size_bytes for entry in fatbin.entries) == len(data) - 16
    assert fatbin.has_kernels


def test_extension_debug_and_lto() -> None:
    data = make_fatbin(
        make_entry(2, 87, make_cubin(87), flags=0x13, extension=b"\0" * 24),
        make_entry(8, 87, b"scrambled", flags=0x18011, unpacked_bytes=900),
        make_entry(77, 87, b"later"),
    )
    (fatbin,) = read(data)
    assert [(x.kind, x.is_debug) for x in fatbin.entries] == [("cubin", True), ("ltoir", False), ("other", False)]


def test_fatbins_at_aligned_places_with_zeros_between() -> None:
    data = join_fatbins(make_fatbin(cubin_entry(87)), make_fatbin(), make_fatbin(ptx_entry(75))) + bytes(5000)
    found = read(data)
    assert [names(x) for x in found] == [["sm_87"], [], ["compute_75"]]
    assert all(x.offset % 256 == 0 for x in found)
    assert [x.has_kernels for x in found] == [True, False, True]


def test_sections_by_name() -> None:
    data = make_fatbin(cubin_entry(87))
    assert read(data, ".rodata") == ()
    assert not read(data, ".nv_fatbin")[0].is_relocatable
    assert read(data, "__nv_relfatbin")[0].is_relocatable


def test_section_in_the_middle_of_a_file() -> None:
    data = b"x" * 512 + make_fatbin(cubin_entry(87)) + b"x" * 100
    (fatbin,) = read_fatbins(data, [Section(name=".nv_fatbin", offset=512, size_bytes=len(data) - 612)])
    assert fatbin.offset == 512


@pytest.mark.parametrize("section", [b"", bytes(3), bytes(4096)])
def test_empty_sections_hold_nothing(section: bytes) -> None:
    assert read(section) == ()


# -- kernels or not ----------------------------------------------------------------------------------------------------

STUB = make_cubin(75, kernels=())
KERNELS = make_cubin(75, kernels=("add", "mul"))


def lz4(data: bytes) -> bytes:
    """Everything as literals: legal, if not small."""
    rest = len(data) - 15
    return b"\xf0" + b"\xff" * (rest // 255) + bytes([rest % 255]) + data


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(("cubin", "expected"), [(STUB, False), (KERNELS, True)])
@pytest.mark.parametrize(("pack", "flag"), [(None, 0), (lz4, 0x2000), (zstd, 0x8000)])
def test_a_cubin_without_kernels_is_a_stub(cubin: bytes, expected: bool, pack: object, flag: int) -> None:
    packed = pack(cubin) if callable(pack) else cubin
    entry = make_entry(2, 75, packed, flags=0x11 | flag, unpacked_bytes=len(cubin) if pack else 0)
    (fatbin,) = read(make_fatbin(entry))
    assert fatbin.has_kernels is expected
    assert fatbin.entries[0].compression == {0: "", 0x2000: "lz4", 0x8000: "zstd"}[flag]


@pytest.mark.parametrize(("text", "expected"), [(b".visible .entry k() {}", True), (b".func f() {}", False)])
def test_ptx_without_entry_points_is_a_stub(text: bytes, expected: bool) -> None:
    assert read(make_fatbin(ptx_entry(87, text=text)))[0].has_kernels is expected
    packed = make_entry(1, 87, zstd(text), flags=0x8011, unpacked_bytes=len(text))
    assert read(make_fatbin(packed))[0].has_kernels is expected


def test_the_cubin_decides_where_there_is_ptx_too() -> None:
    assert not read(make_fatbin(cubin_entry(87, kernels=()), ptx_entry(87)))[0].has_kernels


@pytest.mark.parametrize(
    "entry",
    [
        make_entry(2, 75, b"not an ELF file "),
        make_entry(2, 75, STUB[:100]),
        make_entry(2, 75, STUB[:0x28] + b"\xff" * 8 + STUB[0x30:]),
        make_entry(2, 75, b"\0" * 64, flags=0x2011, unpacked_bytes=len(STUB)),
        make_entry(2, 75, b"\0" * 64, flags=0x8011, unpacked_bytes=len(STUB)),
        make_entry(2, 75, zstd(STUB), flags=0x8011, unpacked_bytes=len(STUB) - 1),
        make_entry(8, 87, b"scrambled"),
    ],
    ids=["no elf", "cut off", "sections far away", "bad lz4", "bad zstd", "wrong size", "lto"],
)
def test_doubt_means_kernels(entry: bytes) -> None:
    assert read(make_fatbin(entry))[0].has_kernels


def test_lz4_copies_that_overlap_themselves() -> None:
    block = b"\x2aab\x02\x00" + b"\x50after"  # 2 literals "ab", copy 10+4 bytes from 2 back, 5 literals
    assert unpack_lz4(block, 21) == b"ab" * 8 + b"after"


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\xf0",
        b"\x20a",
        b"\x10a\x00\x00\x00",
        b"\x10a\x02\x00\x00",
        b"\x10a\x01",
        b"\x1fa\x01\x00\xff\xff\xff\x00",
    ],
    ids=["empty", "length cut", "literals cut", "distance 0", "before the start", "distance cut", "too long"],
)
def test_damaged_lz4_blocks(block: bytes) -> None:
    assert unpack_lz4(block, 100) is None


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_lz4_never_gives_another_size(block: bytes, size_bytes: int) -> None:
    out = unpack_lz4(block, size_bytes)
    assert out is None or len(out) == size_bytes


# -- damage ------------------------------------------------------------------------------------------------------------


def damaged(offset: int, code: str, value: int) -> bytes:
    data = bytearray(make_fatbin(cubin_entry(87), ptx_entry(87)))
    struct.pack_into(code, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        b"not a fat binary, but long enough",
        damaged(0, "<I", 0x466243B1),
        damaged(4, "<H", 2),
        damaged(8, "<Q", 2**64 - 1),
        damaged(16 + 4, "<I", 0),
        damaged(16 + 4, "<I", 2**32 - 1),
        damaged(16 + 8, "<Q", 2**63),
        damaged(16 + 16, "<I", 2**31),
        make_fatbin(cubin_entry(87))[:-1],
        make_fatbin(cubin_entry(87)) + b"\x50\xed",
        make_fatbin(b"short"),
    ],
)
def test_damage_is_told(data: bytes) -> None:
    with pytest.raises(UnreadableElfError, match="device code"):
        read(data)


def test_sizes_in_the_file_do_not_size_our_memory() -> None:
    huge = 2**40
    bombs = [
        make_entry(2, 75, zstd(bytes(200_000_000)), flags=0x8011, unpacked_bytes=200_000_000),
        make_entry(2, 75, zstd(bytes(50_000_000)), flags=0x8011, unpacked_bytes=1000),
        make_entry(2, 75, b"\x1fa\x01\x00" + b"\xff" * 200_000, flags=0x2011, unpacked_bytes=huge),
        make_entry(2, 75, b"\x1fa\x01\x00" + b"\xff" * 200_000, flags=0x2011, unpacked_bytes=1000),
    ]
    tracemalloc.start()
    try:
        for bomb in bombs:
            assert read(make_fatbin(bomb))[0].has_kernels
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4_000_000


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 255)), min_size=1, max_size=5), st.integers(0, 4000))
@settings(deadline=2000, max_examples=300)
def test_damaged_containers_raise_nothing_else(damage: list[tuple[int, int]], length: int) -> None:
    packed = make_entry(2, 75, zstd(KERNELS), flags=0x8011, unpacked_bytes=len(KERNELS))
    changed = bytearray(join_fatbins(make_fatbin(packed), make_fatbin(cubin_entry(87), ptx_entry(87))))
    for offset, mask in damage:
        changed[offset % len(changed)] ^= mask
    for data in (bytes(changed), bytes(changed[:length])):
        with contextlib.suppress(UnreadableElfError):
            read(data)


@given(st.lists(st.tuples(st.integers(0, 0x7F), st.integers(1, 255)), min_size=1, max_size=5))
@settings(deadline=2000, max_examples=300)
def test_a_damaged_cubin_in_a_whole_container_is_judged(damage: list[tuple[int, int]]) -> None:
    changed = bytearray(STUB)
    for offset, mask in damage:
        changed[offset] ^= mask
    (fatbin,) = read(make_fatbin(make_entry(2, 75, bytes(changed))))
    assert names(fatbin) == ["sm_75"]


def test_names_as_nvcc_spells_them() -> None:
    kinds = [("cubin", ""), ("cubin", "a"), ("ptx", "f"), ("ltoir", "")]
    spelled = [Entry(kind=kind, sm=110, variant=variant, size_bytes=1).name for kind, variant in kinds]
    assert spelled == ["sm_110", "sm_110a", "compute_110f", "lto_110"]
