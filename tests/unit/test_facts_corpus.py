"""The corpus of the fuzzer of facts, as it is and damaged; and files made to take all the time and memory there is."""

from __future__ import annotations

import struct
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetsonx.elf.load import Options, parse_file
from tests.elf.synthetic import ElfSpec, make_elf, make_entry
from tests.fuzz.fuzz_facts import CORPUS, check_input

PATHS = sorted(CORPUS.iterdir())
SMALL = [path.read_bytes() for path in PATHS if path.stat().st_size < 2500]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_the_corpus(path: Path, tmp_path: Path) -> None:
    check_input(path.read_bytes(), tmp_path)


def test_the_corpus_is_there_and_small() -> None:
    sizes = [path.stat().st_size for path in PATHS]
    assert len(sizes) >= 20
    assert max(sizes) < 1 << 14


@given(
    st.sampled_from(SMALL),
    st.lists(st.tuples(st.integers(0, 2500), st.sampled_from((0, 1, 0x7F, 0x80, 0xFF))), max_size=5),
    st.integers(0, 2500),
)
@settings(deadline=5000, max_examples=150)
def test_damaged_and_cut_off(data: bytes, damage: list[tuple[int, int]], cut: int) -> None:
    changed = bytearray(data)
    for at, value in damage:
        changed[at % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        check_input(bytes(changed[: cut or None]), Path(folder))


MEGABYTE = 1 << 20


def many_sections() -> bytes:
    """16,000 sections, each of them the whole file, all of them code and called ``.nv_fatbin``."""
    data = bytearray(make_elf(ElfSpec(sections={".nv_fatbin": b""})).ljust(MEGABYTE, b"\0"))
    at, count = struct.unpack_from("<Q", data, 0x28)[0], (MEGABYTE - 4096) // 64
    table = bytes(64) + struct.pack("<IIQQQQIIQQ", 1, 1, 4, 0, 0, MEGABYTE, 0, 0, 1, 0) * count
    start = MEGABYTE - len(table) & ~7
    names = data[at + 64 * struct.unpack_from("<H", data, 0x3E)[0] :][:64]
    data[start : start + len(table)] = table
    data[start + 64 : start + 128] = names
    struct.pack_into("<Q", data, 0x28, start)
    struct.pack_into("<HH", data, 0x3C, min(len(table) // 64, 0xFEFF), 1)
    return bytes(data)


def many_fatbins() -> bytes:
    """Thousands of device links whose only entry says that it unpacks to a megabyte."""
    import zstandard

    payload = zstandard.compress(bytes(MEGABYTE), 19)
    entry = make_entry(1, 87, payload, flags=0x8011, unpacked_bytes=MEGABYTE)
    one = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entry)) + entry
    return one * (MEGABYTE // len(one))


def long_lz4() -> bytes:
    """LZ4 that copies four bytes from far behind, again and again: a byte of input each."""
    literals = bytes(range(256)) * 255
    packed = b"\xf0" + b"\xff" * ((len(literals) - 15) // 255) + bytes([(len(literals) - 15) % 255]) + literals
    packed += b"\x00\x00\xfe" * 200_000
    entry = make_entry(1, 87, packed, flags=0x2011, unpacked_bytes=MEGABYTE)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entry)) + entry


@pytest.mark.parametrize("make", [many_sections, many_fatbins, long_lz4])
def test_a_hostile_megabyte_takes_no_more_memory_than_it_may(make: object) -> None:
    assert callable(make)
    data = make()
    tracemalloc.start()
    try:
        parse_file(data, "a", Options(deep=True))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20
