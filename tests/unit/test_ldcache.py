"""ld.so.cache: the bytes, the order ld.so's binary search needs, and caches that are damaged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.image.ldcache import (
    AARCH64_FLAGS,
    CacheEntry,
    find_in_cache,
    find_libraries,
    parse_cache,
    render_cache,
    sort_key,
)

MAGIC = b"glibc-ld.so.cache1.1"
NAMES = st.text("abl-._019+é", min_size=1, max_size=12)


def entry(name: str) -> CacheEntry:
    return CacheEntry(name=name, path=f"/opt/app/lib/{name}")


def compare(a: bytes, b: bytes) -> int:
    """glibc's rule, character by character, as an oracle for the key."""
    i = j = 0
    while i < len(a):
        x, y = a[i : i + 1], b[j : j + 1]
        if x.isdigit() and y.isdigit():
            m, n = i, j
            while a[i : i + 1].isdigit():
                i += 1
            while b[j : j + 1].isdigit():
                j += 1
            if int(a[m:i]) != int(b[n:j]):
                return int(a[m:i]) - int(b[n:j])
        elif x.isdigit():
            return 1
        elif y.isdigit():
            return -1
        elif x != y:
            return x[0] - (y[0] if y else 0)
        else:
            i, j = i + 1, j + 1
    return -(b[j] if j < len(b) else 0)


def test_the_bytes() -> None:
    data = render_cache([CacheEntry(name="libx.so.1", path="/opt/lib/libx.so.1")])
    header = MAGIC + struct.pack("<II", 1, 29) + b"\2\0\0\0" + bytes(16)
    assert data == header + struct.pack("<iIIIQ", 0x0A03, 72, 82, 0, 0) + b"libx.so.1\0/opt/lib/libx.so.1\0"


@given(st.lists(NAMES, unique=True))
def test_what_is_written_is_found_as_ld_so_searches(names: list[str]) -> None:
    entries = parse_cache(render_cache(map(entry, names)))
    assert sorted(entries, key=lambda each: each.name) == sorted(map(entry, names), key=lambda each: each.name)
    for name in names:
        found = find_in_cache(entries, name)
        assert found is not None
        assert sort_key(found.rpartition("/")[2]) == sort_key(name)  # "lib01" and "lib1" are one name to glibc
    assert find_in_cache(entries, "libabsent.so.7") is None


@given(NAMES, NAMES)
def test_order_is_glibcs(a: str, b: str) -> None:
    order = compare(a.encode(), b.encode())
    assert (sort_key(a) > sort_key(b)) - (sort_key(a) < sort_key(b)) == (order > 0) - (order < 0)


def test_order_by_example() -> None:
    descending = ["libz.so.1", "libb.so.10", "libb.so.9", "libb.so", "liba1.so", "liba-x.so", "ld-linux-aarch64.so.1"]
    shuffled = [entry(name) for name in sorted(descending)]
    assert [each.name for each in parse_cache(render_cache(shuffled))] == descending


def test_long_digits_wrap_as_an_int_does() -> None:
    assert sort_key("lib4294967297.so") == sort_key("lib1.so")


def test_libraries_by_directory_and_name() -> None:
    paths = [
        *("usr/lib/aarch64-linux-gnu/libc.so.6", "opt/app/lib/libc.so.6", "opt/app/lib/libapp.so"),
        *("usr/lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu/blas/libblas.so.3", "opt/app/lib/app.so"),
        *("opt/app/lib/libapp.txt", "opt/app/lib/libx.so.1.2.3", "opt/app/lib/libx.sound"),
    ]
    found = find_libraries(paths, ["opt/app/lib", "usr/lib/aarch64-linux-gnu", "usr/lib"])
    assert {each.name: each.path for each in found} == {
        "libc.so.6": "/opt/app/lib/libc.so.6",  # the first directory wins
        "libapp.so": "/opt/app/lib/libapp.so",
        "libx.so.1.2.3": "/opt/app/lib/libx.so.1.2.3",
        "ld-linux-aarch64.so.1": "/usr/lib/ld-linux-aarch64.so.1",
    }
    assert {each.flags for each in found} == {AARCH64_FLAGS}


def test_reads_behind_the_old_format_too() -> None:
    new = render_cache([entry("libx.so.1")])
    old = b"ld.so-1.7.0\0" + struct.pack("<I", 1) + bytes(12)
    assert parse_cache(old + bytes(-len(old) % 8) + new) == parse_cache(new)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "shorter"),
        (b"ld.so-1.7.0\0\xff\xff\xff\xff" + bytes(99), "shorter"),
        (bytes(100), "not an ld.so.cache"),
        (MAGIC + struct.pack("<II", 0, 0) + b"\3\0\0\0" + bytes(16), "byte order"),
        (MAGIC + struct.pack("<II", 9, 0) + b"\2\0\0\0" + bytes(16), "truncated"),
        (
            MAGIC + struct.pack("<II", 1, 0) + b"\2\0\0\0" + bytes(16) + struct.pack("<iIIIQ", 1, 999, 0, 0, 0),
            "outside",
        ),
    ],
)
def test_damaged(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_cache(data)


def test_cut_anywhere_is_an_error() -> None:
    data = render_cache(map(entry, ("liba.so.1", "libb.so.1")))
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"ld\.so\.cache"):
            parse_cache(data[:length])
