"""What a root file system tells of itself, by the files gathered for a tree, and what is added to make it whole."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence

from jetsonx.catalog import Suite, Target
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.additions import add_packages
from jetsonx.packages.debs import find_suite
from jetsonx.packages.mirrors import parse_os_release
from jetsonx.packages.package import Package
from jetsonx.store.tree import TreeWriter

_FEATURES = "usr/include/features.h"
_TRIPLE = "aarch64-linux-gnu"


def complete(
    writer: TreeWriter,
    packages: Sequence[str],
    target: Target,
    *,
    what: str,
    keeps: Callable[[str], bool],
    pinned: Sequence[Package] | None,
    effects: Effects,
) -> tuple[Package, ...]:
    """Add ``packages`` and, where it has none, the C and C++ headers; what was added.

    A run-time image has no headers; its own apt sources know which belong to it. Raises as
    :func:`jetsonx.packages.additions.add_packages` does.
    """
    wanted = list(packages)
    if _FEATURES not in writer.entries:
        wanted.append("libc6-dev")
    if _gcc_majors(writer) == []:
        suite = read_suite(writer) or target.line.suite
        wanted.append(f"libstdc++-{suite.gcc}-dev")
    return add_packages(
        writer,
        list(dict.fromkeys(wanted)),
        what=what,
        debian_arch=target.debian_arch,
        keeps=keeps,
        pinned=pinned,
        effects=effects,
    )


def check_root(writer: TreeWriter, target: Target, *, what: str, effects: Effects) -> int:
    """The major of the GCC whose C++ headers it holds.

    Warns when it is newer than the target's system. Raises DownloadError when it cannot be compiled against.
    """
    minor = _glibc_minor(writer)
    majors = _gcc_majors(writer)
    if minor is None or not majors:
        raise DownloadError(
            f"{what} holds no {'C headers' if minor is None else 'C++ headers'} for {_TRIPLE}, so nothing can be "
            "compiled against it",
            hint="take a development image (l4t-jetpack, or a -devel tag), or add them: "
            'packages = ["libc6-dev", "libstdc++-12-dev"]',
        )
    if minor > int(target.glibc.split(".")[1]):
        # Not refused: what a program really asks for may be older, and the check of its build reads that.
        effects.console.warn(
            f"{what} has glibc 2.{minor}, {target.name} has {target.glibc}: what is built on it may not start there"
        )
    return majors[-1]


def _glibc_minor(writer: TreeWriter) -> int | None:
    if _FEATURES not in writer.entries:
        return None
    match = re.search(rb"#\s*define\s+__GLIBC_MINOR__\s+(\d+)", writer.read(_FEATURES))
    return int(match[1]) if match else None


def _gcc_majors(writer: TreeWriter) -> list[int]:
    """The GCC majors that have both their C++ headers and their start-up files here, in order."""
    headers, objects = set(), set()
    for path in writer.entries:
        if match := re.match(r"usr/include/c\+\+/(\d+)(?:\.[\d.]+)?/", path):
            headers.add(int(match[1]))
        elif match := re.match(rf"usr/lib/gcc/{_TRIPLE}/(\d+)(?:\.[\d.]+)?/", path):
            objects.add(int(match[1]))
    return sorted(headers & objects)


def read_suite(writer: TreeWriter) -> Suite | None:
    """The distribution release it says to be, None for one that the catalog does not know."""
    for path in ("usr/lib/os-release", "etc/os-release"):
        if path in writer.entries and writer.entries[path].kind == "file":
            return find_suite(parse_os_release(writer.read(path).decode("utf-8", "replace"))[1])
    return None


def holds_cuda(writer: TreeWriter, target: Target) -> bool:
    """True when the target's CUDA version is in it, headers and all."""
    return f"{target.cuda_dir}/targets/{target.cuda_target}/include/cuda_runtime.h" in writer.entries


def holds_library(writer: TreeWriter, name: str) -> bool:
    """True when the CUDA library ``name`` (``"libcublas"`` or ``"cublas"``) is in it, to link with."""
    wanted = f"lib{name.removeprefix('lib').removeprefix('cuda_')}.so"
    return any(posixpath.basename(path) == wanted for path in writer.entries)
