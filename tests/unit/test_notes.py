"""Notes: properties of the code, and libraries that are opened by name."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.elf.facts import DlopenNote
from jetsonx.elf.notes import Notes, parse_notes


def note(owner: bytes, kind: int, content: bytes, align: int = 4) -> bytes:
    data = struct.pack("<III", len(owner) + 1, len(content), kind) + owner + b"\0"
    data += bytes(-len(data) % align) + content
    return data + bytes(-len(data) % align)


def features(bits: int) -> bytes:
    return note(b"GNU", 5, struct.pack("<IIII", 0xC0000000, 4, bits, 0), align=8)


def dlopen(*items: object) -> bytes:
    return note(b"FDO", 0x407C0C0A, json.dumps(list(items)).encode() + b"\0")


@pytest.mark.parametrize("bits", range(4))
def test_properties_of_the_code(bits: int) -> None:
    data = note(b"GNU", 3, bytes(20), align=4)
    data += bytes(-len(data) % 8) + features(bits)
    found = parse_notes(features(bits), 8, Notes())
    assert (found.has_bti, found.has_pac) == (bool(bits & 1), bool(bits & 2))


def test_libraries_opened_by_name() -> None:
    item = {"soname": ["libbpf.so.1", "libbpf.so.0"], "priority": "suggested", "description": "BPF", "feature": "bpf"}
    (found,) = parse_notes(note(b"GNU", 3, b"build id") + dlopen(item), 4, Notes()).dlopen_notes
    assert found == DlopenNote(sonames=("libbpf.so.1", "libbpf.so.0"), priority="suggested", description="BPF")


@pytest.mark.parametrize(
    "item", [7, {"soname": "libx.so"}, {"soname": [1, {}]}, {"priority": ["x"]}, {"priority": "must", "soname": []}]
)
def test_what_a_note_should_not_say_does_no_harm(item: object) -> None:
    for found in parse_notes(dlopen(item), 4, Notes()).dlopen_notes:
        assert found.priority == "recommended"
        assert not any(found.sonames)


def test_nested_json_does_not_end_the_stack() -> None:
    assert parse_notes(note(b"FDO", 0x407C0C0A, b"[" * 100_000), 4, Notes()) == Notes()


@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    parse_notes(data, 4, Notes())
    parse_notes(features(3)[:12] + data, 8, Notes())
