"""Makes of any disk image one that can be mounted as it is: unpacked, and converted by qemu-img where it must be."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from jetsonx.console import Console
from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Command, Runner
from jetsonx.toolchain.search import which_host
from jetsonx.vm.boot import QEMU_NAMES, Content, Format, Packing, read_content

_CHUNK = 4 << 20
_SUFFIX: dict[Format, str] = {"iso": ".iso", "raw": ".img"}
_MEMBER_SUFFIXES = frozenset({".iso", ".img", ".raw", ".qcow2", ".vhd", ".vhdx", ".vdi", ".vmdk"})
_READY: frozenset[Format] = frozenset({"iso", "raw", "qcow2"})


def is_ready(content: Content) -> bool:
    """True for what can be mounted without unpacking or converting."""
    return content.packing is None and content.format in _READY


def convert_image(path: Path, folder: Path, runner: Runner, console: Console) -> tuple[Path, Format]:
    """Make a bootable image of ``path`` in ``folder``: the new file and its format; the source is left alone.

    iso and raw images stay what they are, everything else becomes qcow2. Nothing half-made is left behind. Raises
    ConfigError for a file that is no image, or cut off; HostError without qemu-img or 7z, or without room.
    """
    content = read_content(path)
    with tempfile.TemporaryDirectory(prefix=".jetsonx-", dir=folder) as scratch:
        source = path
        if content.packing is not None:
            source = Path(scratch) / "unpacked"
            console.say(f"unpacking {path.name}")
            _unpack(path, content.packing, source, runner)
            content = read_content(source, shown=f"what is packed in {path}")
            if content.packing is not None:
                raise ConfigError(f"{path} is compressed twice", hint="unpack it by hand and name what comes out")
        assert content.format is not None  # noqa: S101 - only packed content has none; tells mypy
        made = source
        if content.format not in _READY:
            made = Path(scratch) / "converted"
            console.say(f"converting {path.name} from {content.format} to qcow2")
            _convert(source, content.format, made, runner)
        result: Format = content.format if content.format in _READY else "qcow2"
        if made == path:
            return path, result
        target = folder / f"{path.name.partition('.')[0] or 'disk'}.boot{_SUFFIX.get(result, '.qcow2')}"
        made.rename(target)
    return target, result


def _convert(source: Path, found: Format, target: Path, runner: Runner) -> None:
    qemu_img = which_host("qemu-img")
    if qemu_img is None:
        raise HostError(
            f"{source.name} must be converted, and there is no qemu-img here", hint="jetsonx doctor --for vm"
        )
    # The format is named: left to guess, qemu-img would follow a raw disk whose guest wrote another format's header.
    words = (qemu_img, "convert", "-f", QEMU_NAMES.get(found, found), "-O", "qcow2", "--", str(source), str(target))
    done = runner.run(Command(argv=words))
    if not done.ok:
        raise ConfigError(
            f"qemu-img cannot convert {source}", details=done.tail, hint="the image may be cut off: fetch it again"
        )


def _unpack(path: Path, packing: Packing, target: Path, runner: Runner) -> None:
    if packing == "7z":
        _unpack_7z(path, target, runner)
        return
    import lzma
    import zipfile
    import zlib

    import zstandard

    try:
        with target.open("wb") as sink:
            if packing == "zst":
                _unpack_zst(path, sink)
                return
            with _opened(path, packing) as stream:
                shutil.copyfileobj(stream, sink, _CHUNK)
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zstandard.ZstdError, RuntimeError) as error:
        raise _broken(path, str(error)) from None
    except OSError as error:
        if error.errno is not None:  # a full disk, a forbidden file; without a number it is what gzip and bz2 say
            raise
        raise _broken(path, str(error)) from None


def _unpack_zst(path: Path, sink: IO[bytes]) -> None:
    """Frame by frame: the library's own stream reader takes a file that is cut off for one that ends.

    Raises EOFError for that.
    """
    import zstandard

    frame = zstandard.ZstdDecompressor().decompressobj()
    with path.open("rb") as packed:
        while data := packed.read(_CHUNK):
            while data:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                sink.write(frame.decompress(data))
                data = frame.unused_data
    if not frame.eof:
        raise EOFError("its last frame is not whole")


def _broken(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be unpacked: {why}", hint="it may be cut off: fetch it again")


@contextlib.contextmanager
def _opened(path: Path, packing: Packing) -> Iterator[IO[bytes]]:
    """The unpacked bytes of the image in a compressed file."""
    if packing == "zip":
        import zipfile

        with zipfile.ZipFile(path) as archive, archive.open(_choose(path, archive.namelist())) as member:
            yield member
    else:
        import bz2
        import gzip
        import lzma

        opened: dict[str, type[gzip.GzipFile] | type[lzma.LZMAFile] | type[bz2.BZ2File]] = {
            "gz": gzip.GzipFile,
            "xz": lzma.LZMAFile,
            "bz2": bz2.BZ2File,
        }
        with opened[packing](path, "rb") as stream:
            yield cast(IO[bytes], stream)


def _unpack_7z(path: Path, target: Path, runner: Runner) -> None:
    program = next(filter(None, map(which_host, ("7zz", "7z", "7za", "7zr"))), None)
    if program is None:
        raise HostError(f"{path} must be unpacked, and there is no 7z here", hint="install 7zip, or p7zip-full")
    # An empty password, or it asks on the terminal.
    listed = runner.run(Command(argv=(program, "l", "-slt", "-ba", "-p", "--", str(path))))
    names = re.findall(r"^Path = (.+)$", listed.stdout, re.MULTILINE)
    if not listed.ok or not names:
        raise _broken(path, "7z cannot list it")
    with target.open("wb") as sink:
        words = (program, "x", "-so", "-p", "--", str(path), _choose(path, names))
        done = runner.run(Command(argv=words), stdout=lambda stream: shutil.copyfileobj(stream, sink, _CHUNK))
    if not done.ok:
        raise _broken(path, done.tail.strip().splitlines()[-1] if done.tail.strip() else "7z failed")


def _choose(path: Path, names: Sequence[str]) -> str:
    """The member of an archive that is the disk: the one with such a name, or the only one. Raises ConfigError."""
    files = [name for name in names if not name.endswith("/")]
    disks = [name for name in files if Path(name).suffix.lower() in _MEMBER_SUFFIXES]
    found = disks or files
    if len(found) != 1:
        what = f"holds {len(found)} files that may be the disk" if found else "is empty"
        raise ConfigError(f"{path} {what}", hint="unpack it by hand and name the image")
    return found[0]
