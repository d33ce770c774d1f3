"""A tree with the shape of NVIDIA's redistributable archives, made of real binaries that Debian carries in non-free.

Debian packages NVIDIA's own files: x86-64 nvcc, and AArch64 headers and libraries, though those are the builds for
servers (SBSA) where NVIDIA's tree has Tegra's. To compile, link and start a program they are the same thing. bookworm
has CUDA 11.8, trixie has 12.4.

The AArch64 headers and the static runtime are in a package of 700 to 900 MB, most of it static cuBLAS. The blocks of
its xz stream can be unpacked one by one, so only those that hold the wanted files are read.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import shutil
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock

from jetsonx.console import Console
from jetsonx.packages.apt import Apt, fetch_lists, parse_uris
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.mirrors import load_host, resolve_sources
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.store.tree import file_sha256

LIBRARIES = "usr/lib/aarch64-linux-gnu/"
COMPILER = "usr/lib/nvidia-cuda-toolkit/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """A CUDA toolkit in a suite. ``packages`` maps a component to the Debian packages of its AArch64 libraries.

    ``also``: other toolkits that the same files stand for.
    """

    toolkit: str
    suite: str
    version: str
    packages: tuple[tuple[str, tuple[str, ...]], ...]
    also: tuple[str, ...] = ()


EDITIONS = (
    Edition(
        toolkit="11.8.0",
        suite="bookworm",
        version="11.8.89",
        packages=(("cuda_cudart", ("libcudart11.0",)), ("libnvjpeg", ("libnvjpeg11",))),
    ),
    Edition(
        toolkit="12.4.1",
        suite="trixie",
        version="12.4.131",
        packages=(("cuda_cudart", ("libcudart12",)), ("libnvjpeg", ("libnvjpeg12",))),
        also=("12.6.3",),
    ),
)
CCCL = ("libthrust-dev", "libcub-dev", "libcu++-dev")
STATIC = ("libcudart_static.a", "libcudadevrt.a", "libculibos.a")


def make_tree(cache: Path) -> Path:
    """The directory with ``cuda/redist`` in it, made below ``cache`` when it is not there yet."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    place = cache / "redist" / key
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "redist.lock"):
        if not place.is_dir():
            shutil.rmtree(place.parent, ignore_errors=True)
            part, lists = place.with_suffix(".part"), place.with_suffix(".apt")
            for edition in EDITIONS:
                _Maker(edition, part / "cuda/redist", Store(lists, Console(-1))).make()
            shutil.rmtree(lists)
            part.rename(place)
    return place


class _Maker:
    def __init__(self, edition: Edition, root: Path, store: Store) -> None:
        self.edition = edition
        self.root = root
        self.store = store
        self.manifest: dict[str, dict[str, object]] = {}

    def make(self) -> None:
        dev = dict(self._read_dev())
        headers = {name: data for name, data in dev.items() if name.startswith("include/")}
        crt = {name: data for name, data in headers.items() if name.startswith(("include/crt/", "include/fatbinary"))}
        jpeg = {name: data for name, data in headers.items() if name == "include/nvjpeg.h"}
        apis = {name: data for name, data in headers.items() if name == "include/cuda_profiler_api.h"}
        own: dict[str, dict[str, bytes]] = {
            "cuda_cudart": {name: data for name, data in dev.items() if name not in {**crt, **jpeg, **apis}},
            "libnvjpeg": jpeg,
            "cuda_nvcc": crt,
            "cuda_profiler_api": apis,
            "cuda_cccl": self._files("amd64", CCCL, _header),
            "cuda_nvml_dev": self._files("arm64", ("libnvidia-ml-dev",), _header),
        }
        for component, packages in self.edition.packages:
            own[component] |= self._files("arm64", packages, _library)
        for component, files in own.items():
            self._pack(component, "linux-aarch64", files)
        self._pack("cuda_nvcc", "linux-x86_64", self._files("amd64", ("nvidia-cuda-toolkit",), _compiler))
        for toolkit in (self.edition.toolkit, *self.edition.also):
            manifest = {"release_date": "2024-01-01", "release_label": toolkit, **self.manifest}
            (self.root / f"redistrib_{toolkit}.json").write_text(json.dumps(manifest, indent=1))

    def _pack(self, component: str, platform: str, files: dict[str, bytes]) -> None:
        assert files, (component, platform)
        stem = f"{component}-{platform}-{self.edition.version}-archive"
        path = self.root / component / platform / f"{stem}.tar.xz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with lzma.open(path, "wb", preset=0) as out, tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in {**files, "LICENSE": b"NVIDIA's licence stands here.\n"}.items():
                info = tarfile.TarInfo(f"{stem}/{name}")
                if data.startswith(b"->"):  # a link
                    info.type, info.linkname = tarfile.SYMTYPE, data[2:].decode()
                    archive.addfile(info)
                    continue
                info.size, info.mode = len(data), 0o755 if data[:4] == b"\x7fELF" or data[:2] == b"#!" else 0o644
                archive.addfile(info, io.BytesIO(data))
        entry = {
            "relative_path": path.relative_to(self.root).as_posix(),
            "sha256": file_sha256(path),
            "md5": hashlib.md5(path.read_bytes()).hexdigest(),
            "size": str(path.stat().st_size),
        }
        own = self.manifest.setdefault(component, {"name": component, "version": self.edition.version})
        own["license"] = "CUDA Toolkit"
        own[platform] = entry

    def _apt(self, debian_arch: str) -> Apt:
        sources = resolve_sources(load_host(), self.edition.suite, "")
        with_non_free = [replace(source, components=("main", "contrib", "non-free")) for source in sources]
        return fetch_lists(
            with_non_free,
            self.edition.suite,
            debian_arch=debian_arch,
            store=self.store,
            runner=Runner(),
            console=Console(-1),
        )

    def _files(self, debian_arch: str, names: tuple[str, ...], place: Callable[[str], str | None]) -> dict[str, bytes]:
        """The packages' files by where ``place`` puts them."""
        apt = self._apt(debian_arch)
        found: dict[str, bytes] = {}
        with self.store.scratch() as scratch:
            done = Runner().run(replace(apt.command("apt-get", "download", *names), cwd=scratch))
            assert done.ok, done.tail
            for deb in sorted(scratch.glob("*.deb")):
                for info, content in iter_deb(deb):
                    target = place(info.name.removeprefix("./"))
                    if target is not None and content is not None:
                        found[target] = content.read()
                    elif target is not None and info.issym() and "/" not in info.linkname:
                        found[target] = b"->" + info.linkname.encode()
        return found

    def _read_dev(self) -> Iterator[tuple[str, bytes]]:
        apt = self._apt("arm64")
        words = ("-o", "Acquire::ForceHash=SHA256", "download", "--print-uris", "nvidia-cuda-dev")
        [package] = parse_uris(Runner().run(apt.command("apt-get", *words)).stdout)
        wanted = {LIBRARIES + name: f"lib/{name}" for name in STATIC}
        with tarfile.open(fileobj=XzBlocks(RemoteDeb(package.url)), mode="r:") as archive:
            for info in archive:
                name = info.name.removeprefix("./")
                target = wanted.pop(name, None) or _header(name)
                content = archive.extractfile(info) if info.isreg() and target is not None else None
                if content is not None and target is not None:
                    yield target, content.read()
                if not wanted and not name.startswith("usr/include"):
                    return


def _header(path: str) -> str | None:
    return path.removeprefix("usr/") if path.startswith("usr/include/") else None


def _library(path: str) -> str | None:
    name = path.removeprefix(LIBRARIES)
    return f"lib/{name}" if path.startswith(LIBRARIES) and "/" not in name and ".so" in name else None


def _compiler(path: str) -> str | None:
    """Where NVIDIA's archive has what Debian spreads over /usr/bin and /usr/lib/nvidia-cuda-toolkit."""
    if path == f"{COMPILER}bin/cicc":
        return "nvvm/bin/cicc"
    if path == f"{COMPILER}bin/nvcc" or path.startswith(f"{COMPILER}bin/crt/"):
        return path.removeprefix(COMPILER)
    if path.startswith(f"{COMPILER}libdevice/"):
        return "nvvm/" + path.removeprefix(COMPILER)
    programs = ("bin2c", "cudafe++", "fatbinary", "nvlink", "ptxas", "cuobjdump")
    return path.removeprefix("usr/") if path in {f"usr/bin/{name}" for name in programs} else None


# ---- reading parts of a package that is elsewhere --------------------------------------------------------------------


class RemoteDeb:
    """``data.tar.xz`` of a .deb at a URL, read by ranges."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._start = 0
        at = 8
        while True:
            header = self.read(at, 60)
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                assert name == "data.tar.xz", name
                self._start, self.size = at + 60, size
                return
            at += 60 + size + size % 2

    def read(self, at: int, size: int) -> bytes:
        first = self._start + at
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={first}-{first + size - 1}"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            data: bytes = answer.read()
        assert len(data) == size, (len(data), size)
        return data


class XzBlocks(io.RawIOBase):
    """An xz file as a seekable stream that reads only the blocks that are asked for (xz-file-format, section 4)."""

    def __init__(self, source: RemoteDeb) -> None:
        self._source = source
        self._position = 0
        self._header = source.read(0, 12)
        footer = source.read(source.size - 12, 12)
        index_size = (int.from_bytes(footer[4:8], "little") + 1) * 4
        index = source.read(source.size - 12 - index_size, index_size)
        count, at = _number(index, 1)
        self._blocks: list[tuple[int, int, int, int]] = []  # where packed, packed size, where plain, plain size
        packed, plain = 12, 0
        for _ in range(count):
            unpadded, at = _number(index, at)
            size, at = _number(index, at)
            padded = -(-unpadded // 4) * 4
            self._blocks.append((packed, padded, plain, size))
            packed, plain = packed + padded, plain + size
        self._size = plain
        self._held: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        for number, (packed, padded, plain, size) in enumerate(self._blocks):
            if plain <= self._position < plain + size:
                if self._held[0] != number:
                    data = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(
                        self._header + self._source.read(packed, padded)
                    )
                    self._held = (number, data)
                piece = self._held[1][self._position - plain :][: len(buffer)]
                buffer[: len(piece)] = piece
                self._position += len(piece)
                return len(piece)
        return 0


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer at ``at``, and where it ends (xz-file-format, section 1.2)."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
