"""Receives a file in frames on standard input, after whatever of it came before: ``receive SHA256 SIZE TOKEN``.

It says, a line each: ``busy`` while another upload of the file is running, ``have N`` once, then ``ack N`` for what is
on the disk, ``bad N`` when a frame came damaged and the next must begin at N, and at the end ``done``, ``wrong`` (the
whole is not what its name says), ``full FREE NEEDED`` (bytes) or ``failed WHY``.

What is there of a file lies in SHA256.part, and what its frames were in SHA256.part.frames: after a power cut the data
may be gone where the length is not, so what a frame's digest does not confirm is cut off and sent again.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import select
import signal
import struct
import sys
import time
from typing import Iterator, List

from jetsonx.deploy.helper.frames import HEADER_BYTES, parse_header

IDLE_S = 30.0
"""So long may the other end be silent; a link that broke is not always noticed here."""
KEPT_PARTS = 3
_BUSY_S = 5.0
_RECORD = struct.Struct(">QI32s")


class GoneError(Exception):
    """The other end is gone."""


def staging_folder() -> str:
    """Where uploads lie, made if need be."""
    folder = os.path.join(os.path.expanduser("~"), ".local/state/jetsonx/staging")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def main(words: List[str]) -> int:
    """Receive one file; 0 when it is there, 1 when not: the lines say why."""
    sha256, size, token = words[0], int(words[1]), words[2]
    os.umask(0o077)
    needed = size
    path = ""
    try:
        path = os.path.join(staging_folder(), sha256)
        with _Part(path, token) as part:
            if part.is_done:
                return _end("done", 0)
            part.check_frames(size)
            needed = size - part.size
            prune_parts(os.path.dirname(path), sha256 + ".part")
            if _free_bytes(path) < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            _say("have {}".format(part.size))
            while part.size < size:
                _take_frame(part, size)
                needed = size - part.size
            return _end("done", 0) if part.finish(sha256) else _end("wrong", 1)
    except GoneError:
        return 1
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _end("full {} {}".format(_free_bytes(path), needed), 1)
        return _end("failed {}".format(error), 1)


class _Part:
    """The part file, locked. ``is_done``: the whole file is there instead, since somebody else finished it."""

    def __init__(self, path: str, token: str) -> None:
        self.path = path
        self.size = 0
        self.is_done = False
        self._token = token
        self._sha256 = hashlib.sha256()
        self._fd = -1
        self._frames = -1

    def __enter__(self) -> "_Part":
        part = self.path + ".part"
        while not os.path.exists(self.path):
            self._fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock()
            with contextlib.suppress(FileNotFoundError):
                if os.stat(part).st_ino == os.fstat(self._fd).st_ino:  # else it was renamed while we waited
                    with open(part + ".by", "w") as by:
                        by.write("{} {}\n".format(os.getpid(), self._token))
                    self._frames = os.open(part + ".frames", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                    return self
            os.close(self._fd)
            self._fd = -1
        self.is_done = True
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._frames, self._fd):
            if fd >= 0:
                os.close(fd)

    def _lock(self) -> None:
        """Wait for the lock; a receiver of the same upload, whose link broke, makes way at once."""
        said = 0.0
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                self._end_predecessor()
            if time.monotonic() - said > _BUSY_S:
                said = time.monotonic()
                _say("busy")
            if select.select([0], [], [], 0.1)[0]:  # nothing is sent before it is asked for, so this is the end
                raise GoneError

    def _end_predecessor(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            with open(self.path + ".part.by") as by:
                pid, token = by.read().split()
            with open("/proc/{}/cmdline".format(int(pid)), "rb") as cmdline:
                is_receiver = os.path.basename(self.path).encode() in cmdline.read()
            if token == self._token and is_receiver:
                os.kill(int(pid), signal.SIGKILL)

    def check_frames(self, most: int) -> None:
        """Cut off what no frame's digest confirms."""
        records = os.fdopen(os.dup(self._frames), "rb")
        count = 0
        with records:
            while True:
                record = records.read(_RECORD.size)
                if len(record) < _RECORD.size:
                    break
                offset, length, digest = _RECORD.unpack(record)
                data = os.pread(self._fd, length, offset) if offset == self.size and offset + length <= most else b""
                if len(data) != length or hashlib.sha256(data).digest() != digest:
                    break
                self._sha256.update(data)
                self.size += length
                count += 1
        os.ftruncate(self._fd, self.size)
        os.ftruncate(self._frames, count * _RECORD.size)
        os.lseek(self._frames, 0, os.SEEK_END)

    def append(self, data: bytes, digest: bytes) -> None:
        """Put a frame's data on the disk, then what it was into the list."""
        view, offset = memoryview(data), self.size
        while view:
            count = os.pwrite(self._fd, view, offset)
            view, offset = view[count:], offset + count
        os.fsync(self._fd)
        os.write(self._frames, _RECORD.pack(self.size, len(data), digest))
        self._sha256.update(data)
        self.size += len(data)

    def finish(self, sha256: str) -> bool:
        """Give the file its name when it is the one; else forget it."""
        is_right = self._sha256.hexdigest() == sha256
        if is_right:
            os.fsync(self._fd)
            os.rename(self.path + ".part", self.path)
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        _remove_part(self.path + ".part")
        return is_right


def _take_frame(part: _Part, size: int) -> None:
    """Read one frame; one that is damaged, and those that were on their way behind it, count for nothing."""
    header = parse_header(_read(HEADER_BYTES))
    if header is None:
        raise OSError(errno.EPROTO, "what came is no frame")
    data = _read(header.length)
    if header.offset != part.size or header.offset + header.length > size:
        return
    if hashlib.sha256(data).digest() != header.sha256:
        _say("bad {}".format(part.size))
        return
    part.append(data, header.sha256)
    _say("ack {}".format(part.size))


def _read(count: int) -> bytes:
    pieces = []  # type: List[bytes]
    while count:
        if not select.select([0], [], [], IDLE_S)[0]:
            raise GoneError
        piece = os.read(0, min(count, 1 << 16))
        if not piece:
            raise GoneError
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def prune_parts(folder: str, own: str) -> None:
    """Remove what is left of old uploads but for the last few, and never one that is running."""
    parts = [entry for entry in os.scandir(folder) if entry.name.endswith(".part") and entry.name != own]
    parts.sort(key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in parts[KEPT_PARTS:]:
        with contextlib.suppress(OSError), _locked(entry.path):
            _remove_part(entry.path)


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """The lock of a part file. Raises OSError when somebody else has it."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


def _remove_part(part: str) -> None:
    for end in ("", ".frames", ".by"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part + end)


def _free_bytes(path: str) -> int:
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "/"
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _say(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise GoneError from None


def _end(line: str, status: int) -> int:
    with contextlib.suppress(GoneError):
        _say(line)
    return status
