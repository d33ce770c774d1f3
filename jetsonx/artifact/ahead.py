"""Blocks made ahead of their use, by a thread: decompression and hashing let go of the interpreter lock."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

_BLOCKS = 8  # of about a megabyte
_END = b""
# How long the interpreter lock is kept from a thread that waits for it: of the usual 5 ms, a block that takes 2 ms to
# make would wait several times over, and the thread would hardly get ahead.
_SWITCH_S = 0.0001


@contextmanager
def ahead(blocks: Iterable[bytes]) -> Iterator[Iterator[bytes]]:
    """Give ``blocks``, none of which is empty, made up to eight at a time before they are asked for.

    What making them raises is raised where the next one is taken. At the end of the context the thread is gone, also
    when not all were taken.
    """
    made: queue.Queue[bytes | BaseException] = queue.Queue(_BLOCKS)
    is_over = threading.Event()

    def make() -> None:
        try:
            for block in blocks:
                made.put(block)
                if is_over.is_set():
                    return
            made.put(_END)
        except BaseException as error:
            made.put(error)

    def take() -> Iterator[bytes]:
        while True:
            block = made.get()
            if isinstance(block, BaseException):
                raise block
            if not block:
                return
            yield block

    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        yield take()
    finally:
        is_over.set()
        while maker.is_alive():  # it may wait for room
            with suppress(queue.Empty):
                made.get(timeout=0.01)
        maker.join()
        sys.setswitchinterval(usual)
