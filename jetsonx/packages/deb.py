"""Debian packages read in pure Python: an ``ar`` archive with a compressed tar file in it (deb(5)).

``dpkg-deb`` is not needed, so the same code works on every host, one read of the file serves hashing and unpacking,
and a hostile or truncated package is an error, not a surprise.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from jetsonx.errors import DownloadError

if TYPE_CHECKING:
    import lzma

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
_BUFFER = 1 << 20
_CONTROL_MAX = 1 << 20
_XZ_STEP = 16 << 20


def iter_deb(source: Path | IO[bytes], *, name: str = "") -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    """Yield each member of a package's file tree with its content (None for anything but a regular file).

    ``source`` is the .deb, by path or as a seekable stream. Content must be read before the next member is asked for.
    Names are as the package has them: nothing is trusted or repaired here.

    Raises DownloadError when the file is not a package, is truncated, or is compressed in an unknown way.
    """
    yield from _iter_member(source, "data.tar", name=name or str(getattr(source, "name", source)))


def read_control(source: Path | IO[bytes]) -> str:
    """The text of a package's control file: name, version, dependencies.

    Raises DownloadError as :func:`iter_deb` does, and when there is no control file.
    """
    label = str(getattr(source, "name", source))
    for info, content in _iter_member(source, "control.tar", name=label):
        if info.name.removeprefix("./") == "control" and content is not None:
            return content.read(_CONTROL_MAX).decode("utf-8", "replace")
    raise DownloadError(f"{label}: not a usable Debian package: no control file in it")


def iter_control(source: Path | IO[bytes], *, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield the files that a package has for dpkg: ``control``, ``conffiles``, ``postinst``… with their content.

    Raises DownloadError as :func:`iter_deb` does.
    """
    for info, content in _iter_member(source, "control.tar", name=name):
        if content is not None:
            yield info.name.removeprefix("./"), content.read(_CONTROL_MAX)


def open_data(stream: IO[bytes], *, name: str) -> IO[bytes]:
    """The compressed tar file with a package's file tree, to be read while ``stream`` stays as it is.

    Raises DownloadError when there is none.
    """
    try:
        return _find_member(stream, "data.tar")[1]
    except _BadDebError as error:
        raise DownloadError(f"{name}: not a usable Debian package: {error}") from error


def _iter_member(
    source: Path | IO[bytes], stem: str, *, name: str
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
    label = name
    with ExitStack() as stack:
        stream = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        try:
            suffix, data = _find_member(stream, stem)
            plain = stack.enter_context(_decompressed(suffix, data))
            archive = stack.enter_context(tarfile.open(fileobj=plain, mode="r|", bufsize=_BUFFER))
            for info in archive:
                yield info, archive.extractfile(info) if info.isreg() else None
        except _damage_errors() as error:
            raise DownloadError(
                f"{label}: not a usable Debian package: {error}",
                hint="the file is damaged: jetsonx sysroot prune --all, then pull again",
            ) from error
        except OSError as error:
            if error.errno is not None:  # a real input/output error, not gzip's "not a gzipped file"
                raise
            raise DownloadError(f"{label}: not a usable Debian package: {error}") from error


class _BadDebError(Exception):
    pass


def _find_member(stream: IO[bytes], stem: str) -> tuple[str, io.BufferedReader]:
    """Find the member ``stem`` with any suffix; return the suffix and a reader that ends where the member ends."""
    stream.seek(0, io.SEEK_END)
    end = stream.tell()
    stream.seek(0)
    if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise _BadDebError("it does not start as an ar archive")
    while True:
        header = stream.read(_AR_HEADER)
        if len(header) < _AR_HEADER or header[58:60] != b"`\n":
            raise _BadDebError(f"no {stem} member: truncated or not a package")
        name = header[:16].decode("ascii", "replace").rstrip(" ").rstrip("/")
        digits = header[48:58].strip()
        size = int(digits) if digits.isdigit() else -1
        start = stream.tell()
        if size < 0 or start + size > end:
            raise _BadDebError(f"member {name!r} reaches beyond the end of the file")
        if name.startswith(stem):
            return name.removeprefix(stem), io.BufferedReader(_Slice(stream, size), _BUFFER)
        stream.seek(start + size + size % 2)


class _Slice(io.RawIOBase):
    """The next ``size`` bytes of a stream."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(min(self._left, len(buffer)))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


class _Xz(io.RawIOBase):
    """What ``lzma.open`` gives, in steps of megabytes instead of kilobytes.

    Each step lets go of the interpreter lock and has to win it back, which with small steps costs more than the work
    when several packages are unpacked at once.
    """

    def __init__(self, data: IO[bytes]) -> None:
        self._data = data
        self._codec = _xz_codec()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            if self._codec.eof:  # the end, or another stream behind this one
                rest = self._codec.unused_data or self._data.read(_BUFFER)
                if not rest.strip(b"\0"):
                    return 0
                self._codec = _xz_codec()
            elif self._codec.needs_input:
                rest = self._data.read(_BUFFER)
                if not rest:
                    raise EOFError("its xz stream is cut off")
            else:
                rest = b""
            piece = self._codec.decompress(rest, len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)


def _xz_codec() -> lzma.LZMADecompressor:
    import lzma

    return lzma.LZMADecompressor()


def _decompressed(suffix: str, data: io.BufferedReader) -> IO[bytes]:
    # Codecs are imported when a package needs them: every command imports this package, few unpack anything.
    match suffix:
        case "":
            return data
        case ".xz" | ".lzma":
            return io.BufferedReader(_Xz(data), _XZ_STEP)
        case ".gz":
            import gzip

            return cast(IO[bytes], gzip.open(data))
        case ".zst":
            import zstandard

            return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        case _:
            raise _BadDebError(f"its member with suffix {suffix!r} is compressed in a way this version does not know")


def _damage_errors() -> tuple[type[Exception], ...]:
    import lzma

    import zstandard

    return (_BadDebError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
