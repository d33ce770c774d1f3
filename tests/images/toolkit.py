"""A CUDA toolkit laid out as NVIDIA's packages for Jetson do it, from the real aarch64 wheels.

The wheels are for SBSA servers and the minor version is the nearest one that was published: what the compiler and the
linker read of them has the same shape.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from jetsonx.sysroot.stub import declared_functions, write_stub
from tests.images.layer import Layer

_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27")
_LIBRARIES = "usr/lib/aarch64-linux-gnu"
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE, what a stub of the driver answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """``directory`` is the name under /usr/local; ``wheels`` are pip requirements."""

    directory: str
    version: str
    wheels: tuple[str, ...]


def fetch_wheels(requirements: Sequence[str], cache: Path, machine: str = "aarch64") -> list[Path]:
    """The wheels of ``name==version`` requirements, from the cache or from the index that pip is set up for."""
    found = []
    for requirement in requirements:
        name, _, version = requirement.partition("==")
        pattern = f"{name.replace('-', '_')}-{version}-*_{machine}.whl"
        if not any(cache.glob(pattern)):
            argv = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            argv += ["--only-binary=:all:", *(f"--platform={name}_{machine}" for name in _PLATFORMS), requirement]
            subprocess.run([*argv, "--dest", str(cache)], check=True, capture_output=True)
        found.append(next(cache.glob(pattern)))
    return found


def add_toolkit(layer: Layer, toolkit: Toolkit, cache: Path) -> None:
    """The toolkit's own directory: headers, libraries with their links, the driver's stub, the version file."""
    root = f"usr/local/{toolkit.directory}"
    target = f"{root}/targets/aarch64-linux"
    driver_header = ""
    for wheel in fetch_wheels(toolkit.wheels, cache):
        add_libraries(layer, wheel, f"{target}/include", f"{target}/lib", programs=root)
        with ZipFile(wheel) as archive:
            if "nvidia/cuda_runtime/include/cuda.h" in archive.namelist():
                driver_header = archive.read("nvidia/cuda_runtime/include/cuda.h").decode()
    stub = write_stub("libcuda.so.1", declared_functions(driver_header, "cu"), _NO_DEVICE)
    layer.file(f"{target}/lib/stubs/libcuda.so", stub)
    layer.symlink(f"{root}/include", "targets/aarch64-linux/include")
    layer.symlink(f"{root}/lib64", "targets/aarch64-linux/lib")
    layer.file(f"{root}/version.json", f'{{"cuda": {{"name": "CUDA SDK", "version": "{toolkit.version}"}}}}\n')
    layer.file("etc/ld.so.conf.d/000_cuda.conf", "/usr/local/cuda/targets/aarch64-linux/lib\n")


def add_alternatives(layer: Layer, links: Mapping[str, tuple[str, str]]) -> None:
    """Links as update-alternatives makes them: name -> /etc/alternatives/<word> -> target."""
    for name, (word, target) in links.items():
        layer.symlink(name, f"/etc/alternatives/{word}")
        layer.symlink(f"etc/alternatives/{word}", target)


def add_libraries(
    layer: Layer, wheel: Path, include: str, lib: str, *, programs: str = "", leave_out: str = "(?!)"
) -> None:
    """A wheel's headers and libraries; with ``programs`` its other directories (bin, nvvm) below that one too.

    ``leave_out``: a regular expression for file names in it that are passed over.

    A wheel has ``libx.so.12`` alone; packages have ``libx.so -> libx.so.12 -> libx.so.12.6.77``.
    """
    version = wheel.name.split("-")[1]
    with ZipFile(wheel) as archive:
        for item in archive.infolist():
            match = re.fullmatch(r"nvidia/\w+/(include|lib|bin|nvvm)/(.+[^/])", item.filename)
            if match is None or match[2].endswith((".py", ".pyc")) or re.match(leave_out, match[2]):
                continue
            if match[1] == "include":
                _add_member(layer, archive, item, f"{include}/{match[2]}")
            elif match[1] == "lib":
                _add_library(layer, archive, item, f"{lib}/{match[2]}", version)
            elif programs:
                _add_member(layer, archive, item, f"{programs}/{match[1]}/{match[2]}", mode=0o755)


def _add_library(layer: Layer, archive: ZipFile, item: ZipInfo, name: str, version: str) -> None:
    soname = re.fullmatch(r"((.*/)?[^/]+\.so)\.(\d+(?:\.\d+)*)", name)
    if soname is None:
        _add_member(layer, archive, item, name)
        return
    full = f"{soname[1]}.{version if version.startswith(soname[3] + '.') else f'{soname[3]}.{version}'}"
    _add_member(layer, archive, item, full)
    layer.symlink(name, full.rpartition("/")[2])
    layer.symlink(soname[1], name.rpartition("/")[2])


def _add_member(layer: Layer, archive: ZipFile, item: ZipInfo, name: str, mode: int = 0o644) -> None:
    with archive.open(item) as content:
        layer.stream(name, content, item.file_size, mode)


def add_cudnn(layer: Layer, wheel: Path) -> None:
    """The whole cuDNN beside the distribution's own libraries, where NVIDIA's Debian packages put it."""
    add_libraries(layer, wheel, "usr/include/aarch64-linux-gnu", _LIBRARIES)


def add_cudnn_shape(layer: Layer, version: tuple[int, int, int]) -> None:
    """What tells a cuDNN apart, without its gigabyte: header, version, a library to link, alternatives."""
    major, minor, patch = version
    headers = "usr/include/aarch64-linux-gnu"
    lines = (f"#define CUDNN_MAJOR {major}", f"#define CUDNN_MINOR {minor}", f"#define CUDNN_PATCHLEVEL {patch}")
    layer.file(f"{headers}/cudnn_version_v{major}.h", "\n".join(lines) + "\n")
    declared = "size_t cudnnGetVersion(void);"
    layer.file(
        f"{headers}/cudnn_v{major}.h",
        f'#include <stddef.h>\n#include "cudnn_version.h"\n#ifdef __cplusplus\nextern "C"\n#endif\n{declared}\n',
    )
    file = f"libcudnn.so.{major}.{minor}.{patch}"
    layer.file(f"{_LIBRARIES}/{file}", write_stub(f"libcudnn.so.{major}", {"cudnnGetVersion": False}, 1))
    layer.symlink(f"{_LIBRARIES}/libcudnn.so.{major}", file)
    add_alternatives(
        layer,
        {
            "usr/include/cudnn.h": ("libcudnn", f"/{headers}/cudnn_v{major}.h"),
            "usr/include/cudnn_version.h": ("cudnn_version_h", f"/{headers}/cudnn_version_v{major}.h"),
            f"{_LIBRARIES}/libcudnn.so": ("libcudnn_so", f"/{_LIBRARIES}/libcudnn.so.{major}"),
        },
    )
