"""What a sysroot holds, found by reading it: whatever it was made of, this is what a program will be compiled against.

Headers are believed before libraries, and what cannot be read gives nothing: a sysroot may come from anywhere.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.packages import dpkg
from jetsonx.rootfs.identity import RELEASE_FILE, parse_l4t

_HEADER_BYTES = 1 << 20
_LIBRARY_BYTES = 64 << 20
_STATUS_BYTES = 32 << 20
_OVERLAP = 256  # longer than any text looked for in a library

_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)[ \t]+\(?([A-Za-z_]\w*|\d+)", re.MULTILINE)
_NUMBER = re.compile(r"[0-9]{1,6}")
_GLIBC_TEXT = re.compile(rb"GNU C Library [^\n]{0,100}? version (\d+\.\d+)")
_GLIBCXX = re.compile(rb"GLIBCXX_(\d+(?:\.\d+)+)\0")

_MULTIARCH = "aarch64-linux-gnu"
_LIBRARIES = (f"usr/lib/{_MULTIARCH}", f"lib/{_MULTIARCH}", "usr/lib64", "lib64")
_INCLUDES = ("usr/include", f"usr/include/{_MULTIARCH}")
_CUDA = ("usr/local/cuda", "usr/local/cuda-*")
_CUDA_INCLUDES = tuple(f"{cuda}/{place}" for cuda in _CUDA for place in ("include", "targets/*/include"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Versions as their makers write them ("2.35", "GLIBCXX_3.4.30", "12.6.68", "36.4.3"); None for what is not there.

    ``gcc`` is the major version of the newest libstdc++ headers; CUDA's third number is known only where the
    toolkit's own list of versions is there.
    """

    l4t: str | None = None
    glibc: str | None = None
    glibcxx: str | None = None
    gcc: str | None = None
    cuda: str | None = None
    cudnn: str | None = None
    tensorrt: str | None = None
    opencv: str | None = None
    vpi: str | None = None


def read_contents(root: Path) -> Contents:
    """Read the tree at ``root``; never raises, whatever lies there, and never follows a link out of it."""
    tree = _Tree(root)
    return Contents(
        l4t=_first(map(parse_l4t, tree.texts([RELEASE_FILE]))) or _l4t_of_packages(tree),
        glibc=_glibc(tree),
        glibcxx=_glibcxx(tree),
        gcc=_gcc(tree),
        cuda=_cuda(tree),
        cudnn=tree.version(
            [f"{place}/cudnn_version*.h" for place in (*_INCLUDES, *_CUDA_INCLUDES)],
            ("CUDNN_MAJOR", "CUDNN_MINOR", "CUDNN_PATCHLEVEL"),
        ),
        tensorrt=tree.version(
            [f"{place}/NvInferVersion.h" for place in (*_INCLUDES, *_CUDA_INCLUDES)],
            ("NV_TENSORRT_MAJOR", "NV_TENSORRT_MINOR", "NV_TENSORRT_PATCH"),
        ),
        opencv=tree.version(
            [
                f"{place}/{name}opencv2/core/version.hpp"
                for place in (*_INCLUDES, "usr/local/include")
                for name in ("opencv4/", "")
            ],
            ("CV_VERSION_MAJOR", "CV_VERSION_MINOR", "CV_VERSION_REVISION"),
        ),
        vpi=tree.version(
            ["opt/nvidia/vpi*/include/vpi/Version.h", "usr/include/vpi/Version.h"],
            ("NV_VPI_VERSION_MAJOR", "NV_VPI_VERSION_MINOR", "NV_VPI_VERSION_PATCH"),
        ),
    )


# ---- parsing ---------------------------------------------------------------------------------------------------------


def parse_macros(text: str) -> Mapping[str, str]:
    """The macros of a header that stand for one number or one name; the last definition of each counts."""
    return dict(_DEFINE.findall(text))


def parse_version(text: str, names: Sequence[str]) -> str | None:
    """A version from the macros that hold its parts: ``"10.3.0"``. One macro may name another, as TensorRT's do."""
    macros = parse_macros(text)
    parts = []
    for name in names:
        value = macros.get(name, "")
        for _ in range(4):
            value = macros.get(value, value)
        if not _NUMBER.fullmatch(value):
            return None
        parts.append(str(int(value)))
    return ".".join(parts)


def parse_cuda(text: str) -> str | None:
    """CUDA's version from cuda_runtime_api.h or cuda.h, which hold it as 1000 times major plus 10 times minor."""
    macros = parse_macros(text)
    value = macros.get("CUDART_VERSION") or macros.get("CUDA_VERSION") or ""
    if not _NUMBER.fullmatch(value) or int(value) < 1000:
        return None
    return f"{int(value) // 1000}.{int(value) % 1000 // 10}"


def parse_cuda_json(text: str) -> str | None:
    """The toolkit's version from its version.json."""
    try:
        version = json.loads(text)["cuda"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return version if isinstance(version, str) and re.fullmatch(r"\d+(\.\d+){1,3}", version) else None


def parse_glibc(chunks: Iterable[bytes]) -> str | None:
    """glibc's version from the line that libc.so.6 prints when it is started."""
    return _first(found[1].decode() for found in _scan(_GLIBC_TEXT, chunks))


def parse_glibcxx(chunks: Iterable[bytes]) -> str | None:
    """The newest symbol version that a libstdc++ defines: ``"GLIBCXX_3.4.30"``."""
    versions = {found[1].decode() for found in _scan(_GLIBCXX, chunks)}
    newest = max(versions, key=lambda version: tuple(map(int, version.split("."))), default=None)
    return f"GLIBCXX_{newest}" if newest else None


def _scan(pattern: re.Pattern[bytes], chunks: Iterable[bytes]) -> Iterator[re.Match[bytes]]:
    before = b""
    for chunk in chunks:
        yield from pattern.finditer(before + chunk)
        before = chunk[-_OVERLAP:]


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


# ---- reading ---------------------------------------------------------------------------------------------------------


class _Tree:
    """Reads below a root, by globs in the order given."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def files(self, globs: Iterable[str]) -> Iterator[Path]:
        for glob in globs:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # a loop of links, a name that is too long
                for path in sorted(self._root.glob(glob), reverse=True):  # of several releases the newest
                    if (file := self._inside(path)) is not None:
                        yield file

    def _inside(self, path: Path) -> Path | None:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            file = path.resolve(strict=True)
            if file.is_relative_to(self._root) and stat.S_ISREG(file.stat().st_mode):
                return file
        return None

    def texts(self, globs: Iterable[str], limit_bytes: int = _HEADER_BYTES) -> Iterator[str]:
        for path in self.files(globs):
            with contextlib.suppress(OSError), path.open("rb") as stream:
                yield stream.read(limit_bytes).decode(errors="replace")

    def chunks(self, globs: Iterable[str]) -> Iterator[bytes]:
        """A library, in pieces."""
        for path in self.files(globs):
            with contextlib.suppress(OSError), path.open("rb") as stream:
                while stream.tell() < _LIBRARY_BYTES and (chunk := stream.read(_HEADER_BYTES)):
                    yield chunk

    def version(self, globs: Iterable[str], names: Sequence[str]) -> str | None:
        return _first(parse_version(text, names) for text in self.texts(globs))

    def names(self, glob: str) -> list[str]:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            return [path.name for path in self._root.glob(glob) if path.resolve().is_relative_to(self._root)]
        return []


def _glibc(tree: _Tree) -> str | None:
    header = tree.version(["usr/include/features.h"], ("__GLIBC__", "__GLIBC_MINOR__"))
    return header or parse_glibc(tree.chunks(f"{place}/libc.so.6" for place in _LIBRARIES))


def _glibcxx(tree: _Tree) -> str | None:
    places = [f"{place}/libstdc++.so.6" for place in _LIBRARIES]
    compilers = f"usr/lib/gcc/{_MULTIARCH}/*/libstdc++.so"  # a link to the same in a sysroot without the package itself
    return parse_glibcxx(tree.chunks([*places, compilers]))


def _gcc(tree: _Tree) -> str | None:
    majors = [int(name) for name in tree.names("usr/include/c++/*") if name.isascii() and name.isdecimal()]
    return str(max(majors)) if majors else None


def _cuda(tree: _Tree) -> str | None:
    listed = _first(map(parse_cuda_json, tree.texts(f"{cuda}/version.json" for cuda in _CUDA)))
    names = ("cuda_runtime_api.h", "cuda.h")
    places = (*_CUDA_INCLUDES, "usr/include")
    return listed or _first(map(parse_cuda, tree.texts(f"{place}/{name}" for place in places for name in names)))


def _l4t_of_packages(tree: _Tree) -> str | None:
    """A container has no nv_tegra_release; the package that brings it on a device has L4T's version before its date."""
    for text in tree.texts([dpkg.PATH], _STATUS_BYTES):
        version = dpkg.parse_status(text).get("nvidia-l4t-core", "")
        if found := re.match(r"\d+(\.\d+)+(?=-|$)", version):
            return found[0]
    return None
