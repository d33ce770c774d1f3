"""The tar reader against Python's own, and against archives that lie."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetsonx.errors import DownloadError
from jetsonx.rootfs.tar import TarReader
from tests.unit.hostile import header, sealed

Found = tuple[str, str, int, str, bytes]
KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "dir",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "other",
    tarfile.FIFOTYPE: "other",
}


def read(data: bytes, step: int = 1 << 20, *, whole: bool = True) -> list[Found]:
    reader = TarReader((data[at : at + step] for at in range(0, len(data), step)), name="layer 1")
    found: list[Found] = []
    for member in reader:
        content = b""
        if member.kind == "file" and whole:
            content = reader.read() if member.size_bytes % 2 else b"".join(reader.pieces())
        found.append((member.name, member.kind, member.mode, member.target, content))
    return found


def expected(data: bytes) -> list[Found]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return [
            (
                info.name,
                KINDS[info.type],
                info.mode,
                info.linkname,
                (archive.extractfile(info) or io.BytesIO()).read() if info.isreg() else b"",
            )
            for info in archive
        ]


def tar(members: Iterable[tuple[str, bytes, str, int, bytes]], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, kind, target, mode, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname = kind, mode, target
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


names = st.text(st.characters(min_codepoint=33, max_codepoint=0x24FF, exclude_characters="/"), min_size=1, max_size=12)
paths = st.lists(names, min_size=1, max_size=30).map("/".join)
members = st.lists(
    st.tuples(
        paths,
        st.sampled_from(sorted(KINDS.keys() - {tarfile.AREGTYPE})),
        paths,
        st.integers(0, 0o7777),
        st.one_of(st.binary(max_size=40), st.integers(500, 1600).map(lambda n: bytes(range(256)) * 7 + b"x" * n)),
    ).map(lambda item: item if item[1] in (tarfile.SYMTYPE, tarfile.LNKTYPE) else (*item[:2], "", *item[3:])),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(members=members, form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), step=st.integers(1, 3000))
def test_the_same_as_tarfile(members: list[tuple[str, bytes, str, int, bytes]], form: int, step: int) -> None:
    data = tar(members, form)
    found = read(data, step)
    assert [(name.rstrip("/"), *rest) for name, *rest in found] == expected(data)


@pytest.mark.parametrize("whole", [True, False])
def test_contents_need_not_be_read(whole: bool) -> None:
    members = [(f"f{n}", tarfile.REGTYPE, "", 0o644, b"x" * n) for n in (0, 1, 511, 512, 513, 100_000)]
    found = read(tar(members, tarfile.USTAR_FORMAT), 4096, whole=whole)
    assert [len(content) for *_, content in found] == [len(m[4]) if whole else 0 for m in members]


def test_ustar_prefix_long_names_and_large_numbers() -> None:
    long = "/".join(["directory"] * 15) + "/" + "n" * 60
    [found] = read(tar([(long, tarfile.REGTYPE, "", 0o755, b"1")], tarfile.USTAR_FORMAT))
    assert found == (long, "file", 0o755, "", b"1")
    large = bytearray(header("f", size=0))
    large[124:136] = b"\x80" + (3).to_bytes(11, "big")
    assert read(sealed(bytes(large)) + b"abc" + bytes(509 + 1024)) == [("f", "file", 0o644, "", b"abc")]


def test_global_records_hold_until_the_end_and_own_ones_once() -> None:
    def record(text: str) -> bytes:
        size = next(n for n in range(len(text) + 2, len(text) + 6) if len(f"{n} {text}\n") == n)
        return f"{size} {text}\n".encode().ljust(512, b"\0")

    def extended(kind: str, text: str) -> bytes:
        return header("x", kind=kind, size=len(record(text).rstrip(b"\0"))) + record(text)

    data = extended("g", "linkpath=everywhere") + extended("x", "path=renamed")
    data += header("a", kind="2", target="z") + header("b", kind="2", target="z") + bytes(1024)
    assert [(name, target) for name, _, _, target, _ in read(data)] == [("renamed", "everywhere"), ("b", "everywhere")]


def test_names_that_are_not_utf8_stay_distinct() -> None:
    out = header(b"caf\xe9") + header(b"caf\xe8") + bytes(1024)
    assert [name for name, *_ in read(out)] == ["caf\udce9", "caf\udce8"]


def test_a_regular_file_with_a_slash_behind_is_a_directory() -> None:
    assert [kind for _, kind, *_ in read(header("old/", kind="\0") + bytes(1024))] == ["dir"]


def test_sizes_of_what_has_no_content_are_ignored() -> None:
    data = header("l", kind="2", target="t", size=99) + header("d/", kind="5", size=7) + header("f") + bytes(1024)
    assert [name for name, *_ in read(data)] == ["l", "d/", "f"]


SPARSE_MAP = "GNU.sparse.map=1000,4,5000,3"


def pax(*records: str) -> bytes:
    data = b""
    for text in records:
        size = next(n for n in range(len(text) + 2, len(text) + 6) if len(f"{n} {text}\n") == n)
        data += f"{size} {text}\n".encode()
    return header("x", kind="x", size=len(data)) + data + bytes(-len(data) % 512)


def old_sparse() -> bytes:
    raw = bytearray(header("s", kind="S", size=7))
    fields = (1000, 4, 5000, 3)
    raw[386:434] = b"".join(f"{value:011o}\0".encode() for value in fields)
    raw[483:495] = b"00000013560\0"  # 6000
    return sealed(bytes(raw))


@pytest.mark.parametrize(
    "head",
    [
        old_sparse(),
        pax("GNU.sparse.size=6000", "GNU.sparse.name=s", SPARSE_MAP) + header("s", size=7),
        pax(
            "GNU.sparse.size=6000",
            "GNU.sparse.numblocks=2",
            "GNU.sparse.offset=1000",
            "GNU.sparse.numbytes=4",
            "GNU.sparse.offset=5000",
            "GNU.sparse.numbytes=3",
        )
        + header("s", size=7),
        pax("GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=s", "GNU.sparse.realsize=6000")
        + header("GNUSparseFile.0/s", size=512 + 7)
        + b"2\n1000\n4\n5000\n3\n".ljust(512, b"\0"),
    ],
    ids=["old GNU", "0.1", "0.0", "1.0"],
)
def test_sparse_files(head: bytes) -> None:
    data = head + b"abcdefg".ljust(512, b"\0") + header("next") + bytes(1024)
    plain = bytes(1000) + b"abcd" + bytes(3996) + b"efg" + bytes(997)
    for step in (100, 512, 1 << 20):
        assert read(data, step) == [("s", "file", 0o644, "", plain), ("next", "file", 0o644, "", b"")]
    assert [name for name, *_ in read(data, whole=False)] == ["s", "next"]


def _with_checksum(text: bytes) -> bytes:
    raw = bytearray(header("f"))
    raw[148:156] = text
    return bytes(raw)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"x" * 512, "number should be|checksum"),
        (_with_checksum(b"0000000\0"), "checksum"),
        (header("f")[:300], "cut off"),
        (header("f", size=600) + bytes(512), "cut off within a file"),
        (sealed(header("f")[:124] + b"\xff" * 12 + header("f")[136:]), "negative"),
        (sealed(header("f")[:124] + b"12x456789012" + header("f")[136:]), "number should be"),
        (header("x", kind="x", size=1 << 30), "at most"),
        (header("x", kind="L", size=1 << 30), "at most"),
        (header("x", kind="L", size=2) + b"ab".ljust(512, b"\0"), "should follow"),
        (pax("size=99999999999999999999999") + header("f"), "number should be"),
        (pax("size=-1") + header("f"), "number should be"),
        (header("x", kind="x", size=12) + b"99 path=abc\n".ljust(512, b"\0"), "does not end"),
        (header("x", kind="x", size=12) + b"nonsense, no".ljust(512, b"\0"), "does not end|number"),
        (pax("comment=a", "comment=without-a-space").replace(b"27 comment", b"27comment-") + header("f"), "no length"),
        (pax("GNU.sparse.size=10", "GNU.sparse.map=8,4") + header("s", size=4), "reach beyond"),
        (pax("GNU.sparse.size=90", "GNU.sparse.map=8,4,2,4") + header("s", size=8), "overlap"),
        (pax("GNU.sparse.size=90", "GNU.sparse.map=8,40") + header("s", size=4), "reach beyond"),
        (pax("GNU.sparse.major=1", "GNU.sparse.realsize=9") + header("s", size=512) + b"99999999\n", "too many|cut"),
        (pax("GNU.sparse.major=1", "GNU.sparse.realsize=9") + header("s", size=512) + b"x" * 512, "list of numbers"),
        (pax("GNU.sparse.major=1", "GNU.sparse.realsize=9") + header("s", size=0) + bytes(512), "larger than the file"),
    ],
)
def test_damage(data: bytes, says: str) -> None:
    with pytest.raises(DownloadError, match=f"layer 1 is damaged: .*({says})"):
        read(data)


def test_cut_anywhere_but_between_members() -> None:
    whole = tar([("a", tarfile.REGTYPE, "", 0o644, b"x" * 700), ("b", tarfile.DIRTYPE, "", 0o755, b"")], 1)
    for length in range(1, 4 * 512):
        if length % 512 == 0 and length in (1536, 2048):
            continue
        with pytest.raises(DownloadError):
            read(whole[:length])


def test_a_declared_size_is_not_allocated() -> None:
    head = bytearray(header("f"))
    head[124:136] = b"\x80" + (1 << 62).to_bytes(11, "big")
    reader = TarReader([sealed(bytes(head)), bytes(512)], name="layer 1")
    member = next(iter(reader))
    assert member.size_bytes == 1 << 62
    with pytest.raises(DownloadError, match="cut off within"):
        for _ in reader.pieces():
            pass


@pytest.mark.parametrize("size", [1, 2, 511, 700])
def test_a_content_that_is_cut_off(size: int) -> None:
    reader = TarReader([header("f", size=size), b"x" * (size - 1)], name="layer 1")
    for _ in reader:
        with pytest.raises(DownloadError, match="layer 1 is damaged"):
            reader.read()
        break


SEEDS: list[Callable[[], bytes]] = [
    lambda: tar([("a/b", tarfile.REGTYPE, "", 0o644, b"text"), ("n" * 200, tarfile.SYMTYPE, "t" * 200, 0, b"")], 1),
    lambda: tar([("é" * 90, tarfile.REGTYPE, "", 0o644, b"text"), ("h", tarfile.LNKTYPE, "a", 0, b"")], 2),
    lambda: old_sparse() + bytes(512),
    lambda: pax("GNU.sparse.size=6000", SPARSE_MAP) + header("s", size=7) + bytes(1536),
]


@settings(max_examples=200, deadline=None)
@given(seed=st.sampled_from(range(len(SEEDS))), data=st.data(), is_sealed=st.booleans())
def test_mutations_never_crash(seed: int, data: st.DataObject, is_sealed: bool) -> None:
    raw = bytearray(SEEDS[seed]())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if is_sealed:  # so that the change gets past the checksum
        raw = bytearray(b"".join(sealed(bytes(raw[at : at + 512])) for at in range(0, len(raw), 512)))
    with contextlib.suppress(DownloadError):
        read(bytes(raw), data.draw(st.sampled_from([100, 512, 1 << 20])))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
@example(b"\x80" * 512)
def test_noise_never_crashes(data: bytes) -> None:
    with contextlib.suppress(DownloadError):
        read(data)


# ---- looking ahead, passing over -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 512, 513, 1 << 20])
def test_the_beginning_of_a_file_is_seen_without_taking_it(step: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in (("a", b"hello world"), ("b", b""), ("c", b"xyz")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    data = out.getvalue()
    blocks = [data[at : at + step] for at in range(0, len(data), step)]
    reader = TarReader(blocks, name="x")
    found = [(member.name, reader.head(8), reader.read() if member.name != "c" else b"") for member in reader]
    assert found == [("a", b"hello wo", b"hello world"), ("b", b"", b""), ("c", b"xyz", b"")]


def test_a_file_that_can_be_sought_in_is_passed_over_unread() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, size in (("large", 1 << 20), ("small", 3)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(b"x" * size))
    out.seek(0)
    seen = 0

    def read() -> bytes:
        nonlocal seen
        piece = out.read(4096)
        seen += len(piece)
        return piece

    reader = TarReader(iter(read, b""), name="x", skip=lambda count: out.seek(count, 1))
    assert [(member.name, member.size_bytes) for member in reader] == [("large", 1 << 20), ("small", 3)]
    assert seen < 1 << 16
