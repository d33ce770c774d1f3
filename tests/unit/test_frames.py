"""Frames of an upload, those that are damaged too."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jetsonx.deploy.helper.frames import HEADER_BYTES, MOST_BYTES, pack_frame, parse_header
from jetsonx.deploy.sending import Parcel


@given(st.integers(0, (1 << 64) - 1), st.binary(min_size=1, max_size=200))
def test_a_frame_says_what_it_holds(offset: int, data: bytes) -> None:
    frame = pack_frame(offset, data)
    header = parse_header(frame[:HEADER_BYTES])
    assert header == (len(data), offset, hashlib.sha256(data).digest())
    assert frame[HEADER_BYTES:] == data


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_what_is_no_header_is_none(data: bytes) -> None:
    header = parse_header(data)
    assert header is None or 0 < header.length <= MOST_BYTES


def test_frames_grow_with_the_file() -> None:
    def frame_bytes(size: int) -> int:
        return Parcel(path=Path("x"), sha256="0" * 64, size=size).frame_bytes

    assert [frame_bytes(size) for size in (0, 85_000, 20_800_000, 1 << 40)] == [65_536, 65_536, 325_000, MOST_BYTES]
