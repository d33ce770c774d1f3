"""Finds in a new file what an old one has: by hashes of blocks at every offset, then byte by byte in both directions.

The hash of a window is a polynomial modulo 2**64, of all windows at once from sums of prefixes; whatever it finds is
compared before it counts. Both files are read in pieces, so that memory does not grow with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ReadAt = Callable[[int, int], bytes]
"""(offset, length) -> bytes, fewer at the end."""

_BLOCK_MIN = 32
_BLOCKS_MAX = 1 << 19  # more old blocks than this, and they become larger: 8 MB of hashes
_WINDOW = 1 << 20
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_STEP = 1 << 16


class Match(NamedTuple):
    """``length`` bytes of the new file at ``new`` are those of the old one at ``old``."""

    new: int
    old: int
    length: int


def find_matches(old: ReadAt, old_size: int, new: ReadAt, new_size: int) -> Iterator[Match]:
    """Matches in the order of the new file, without overlaps."""
    block = _BLOCK_MIN
    while old_size // block > _BLOCKS_MAX:
        block *= 2
    start = _common(old, 0, old_size, new, 0, new_size)
    rest = min(old_size, new_size) - start
    end = _common_back(old, old_size, new, new_size, rest)
    if rest - end <= block and end >= block:  # changed in one place, as a compiled module whose source was touched
        if start:
            yield Match(0, 0, start)
        yield Match(new_size - end, old_size - end, end)
        return
    if start >= min(block, new_size):
        yield Match(0, 0, start)
    else:
        start = 0
    if old_size < block or new_size - start < block:
        return
    search = _Search(old, old_size, new, new_size, block)
    yield from search.matches(start)


class _Search:
    def __init__(self, old: ReadAt, old_size: int, new: ReadAt, new_size: int, block: int) -> None:
        import numpy as np

        self._old, self._old_size = old, old_size
        self._new, self._new_size = new, new_size
        self._block = block
        count = max(_WINDOW, block) + block
        with np.errstate(over="ignore"):
            self._powers = _powers(_BASE, count)
            self._inverses = _powers(pow(_BASE, -1, 1 << 64), count)
        self._hashes, self._places = self._index()
        # To look a hash up costs much more than to see that it cannot be there, as nearly all windows' are not.
        self._shift = np.uint64(64 - (8 * len(self._hashes)).bit_length())
        self._some = np.zeros(1 << (64 - int(self._shift)), dtype=np.bool_)
        self._some[self._hashes >> self._shift] = True

    def _index(self) -> tuple[Any, Any]:
        """Hashes of the old file's blocks, sorted, and where they are; of equal ones the first."""
        import numpy as np

        hashes = []
        step = max(_WINDOW // self._block, 1) * self._block
        weights = self._powers[: self._block]
        for at in range(0, self._old_size - self._block + 1, step):
            data = np.frombuffer(self._old(at, step), dtype=np.uint8)
            rows = data[: len(data) // self._block * self._block].reshape(-1, self._block)
            hashes.append((rows.astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64))
        return np.unique(np.concatenate(hashes), return_index=True)

    def matches(self, start: int) -> Iterator[Match]:
        """Those from ``start`` on."""
        import numpy as np

        done = start  # all before is matched, or given up
        at = start
        while at + self._block <= self._new_size:
            data = self._new(at, _WINDOW + self._block)
            hashes = self._rolling(np.frombuffer(data, dtype=np.uint8))
            candidates, blocks = self._look_up(hashes)
            index = 0
            while index < len(candidates):
                here = int(candidates[index])
                match = self._grown(int(self._places[blocks[index]]) * self._block, at + here, done)
                if match is None:
                    index += 1
                    continue
                yield match
                done = match.new + match.length
                index = int(np.searchsorted(candidates, done - at))
            at = max(at + len(hashes), done)

    def _look_up(self, hashes: Any) -> tuple[Any, Any]:
        """Which of ``hashes`` old blocks have, and the numbers of those in the index."""
        import numpy as np

        likely = np.flatnonzero(self._some[hashes >> self._shift])
        found = np.searchsorted(self._hashes, hashes[likely])
        found[found == len(self._hashes)] = 0
        is_there = self._hashes[found] == hashes[likely]
        return likely[is_there], found[is_there]

    def _rolling(self, data: Any) -> Any:
        """The hash of each window of ``data``, those of blocks with the same bytes."""
        import numpy as np

        sums = np.zeros(len(data) + 1, dtype=np.uint64)
        np.cumsum(data.astype(np.uint64) * self._powers[: len(data)], dtype=np.uint64, out=sums[1:])
        windows = sums[self._block :] - sums[: -self._block]
        return windows * self._inverses[: len(windows)]

    def _grown(self, old: int, new: int, done: int) -> Match | None:
        """The match around a pair of places, as long as it gets; None when the hash was wrong."""
        length = _common(self._old, old, self._old_size, self._new, new, self._new_size)
        if length < self._block:
            return None
        back = _common_back(self._old, old, self._new, new, min(old, new - done))
        return Match(new - back, old - back, length + back)


@functools.cache  # a layer has thousands of changed files
def _powers(base: int, count: int) -> Any:
    import numpy as np

    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _common(old: ReadAt, old_at: int, old_size: int, new: ReadAt, new_at: int, new_size: int) -> int:
    """How many bytes from both places on are the same."""
    limit = min(old_size - old_at, new_size - new_at)
    done, step = 0, 256
    while done < limit:
        count = min(step, limit - done)
        left, right = old(old_at + done, count), new(new_at + done, count)
        if left != right or len(left) != count:
            return done + _same(left, right)
        done += count
        step = min(step * 4, _STEP)
    return done


def _same(left: bytes, right: bytes) -> int:
    """The length of the common beginning, by halves."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_back(old: ReadAt, old_at: int, new: ReadAt, new_at: int, limit: int) -> int:
    """How many bytes before both places are the same, at most ``limit``."""
    done, step = 0, 256
    while done < limit:
        count = min(step, limit - done)
        left, right = old(old_at - done - count, count)[::-1], new(new_at - done - count, count)[::-1]
        if left != right:
            return done + _same(left, right)
        done += count
        step = min(step * 4, _STEP)
    return done
