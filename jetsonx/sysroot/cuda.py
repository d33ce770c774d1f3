"""CUDA for the target as an overlay: NVIDIA's wheels or archives laid out as NVIDIA's own cross packages are.

    usr/local/cuda-13.2/targets/sbsa-linux/{include,lib,lib/stubs,lib/cmake}
    usr/local/cuda-13.2/targets/aarch64-linux -> sbsa-linux     what older CMake modules look for
    usr/local/cuda-13.2/{include,lib64} -> targets/sbsa-linux/…
    usr/local/cuda -> cuda-13.2

nvcc finds this layout by itself from an AArch64 host compiler, and so does CMake's FindCUDAToolkit.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from jetsonx.catalog import Release, Target
from jetsonx.errors import ConfigError
from jetsonx.packages.links import unversioned_links
from jetsonx.store.tree import TreeWriter
from jetsonx.sysroot.stub import declared_functions, write_stub
from jetsonx.toml import load_toml

# What the stubs answer: cuda.h's CUDA_ERROR_STUB_LIBRARY, nvml.h's NVML_ERROR_LIBRARY_NOT_FOUND.
_STUBS = (
    ("libcuda.so.1", ("cuda.h", "cudaEGL.h", "cudaGL.h", "cudaProfiler.h", "cudaVDPAU.h"), "cu", 34),
    ("libnvidia-ml.so.1", ("nvml.h",), "nvml", 12),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """Where the CUDA of a sysroot comes from when its source does not hold it.

    ``wheels`` and ``redist`` (NVIDIA's archives of the toolkit version ``redist``) are laid out in the sysroot;
    ``host`` is a toolkit of this workstation that has the target's libraries too; ``none`` leaves CUDA out. ``why``
    says, in a line, how it was chosen.
    """

    source: Literal["wheels", "redist", "host", "none"]
    version: str
    redist: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelNames:
    """``wheels.toml``: which wheels make the overlay, and the short names people may use for the rest."""

    base: tuple[str, ...]
    compiler: str
    compiler_files: tuple[str, ...]
    toolkit: str
    minor_only: tuple[str, ...]
    short: dict[str, str]
    none: dict[str, str]


@lru_cache(maxsize=1)
def load_wheel_names() -> WheelNames:
    """Read the table shipped beside this module."""
    data = load_toml((Path(__file__).parent / "wheels.toml").read_text(encoding="utf-8"))
    return WheelNames(
        base=tuple(data["base"]),
        compiler=data["compiler"],
        compiler_files=tuple(data["compiler_files"]),
        toolkit=data["toolkit"],
        minor_only=tuple(data["minor_only"]),
        short=data["short"],
        none=data["none"],
    )


def overlay_wheels(target: Target, asked: Sequence[str], names: WheelNames, *, base: bool = True) -> tuple[str, ...]:
    """The requirement lines of a sysroot's CUDA wheels: the base and what ``[sysroot] wheels`` asks for.

    Without ``base`` only the latter, for a sysroot whose source holds CUDA.

    Empty for a CUDA that has no such wheels (before 13). Raises ConfigError when wheels are asked for and there are
    none for this release.
    """
    if not has_overlay(target):
        if asked:
            raise ConfigError(
                f"{target.name}: [sysroot] wheels = {list(asked)}: NVIDIA's AArch64 wheels for CUDA "
                f"{target.cuda_version} are made for servers, not for Jetson; they fit from CUDA 13 on",
                hint="write [sysroot] cuda instead: it takes NVIDIA's archives before CUDA 13, and the wheels after",
            )
        return ()
    return tuple(dict.fromkeys((*(names.base if base else ()), *(_full_name(word, target, names) for word in asked))))


def wheels_of(libraries: Iterable[str], target: Target, names: WheelNames) -> tuple[str, ...]:
    """The wheels that hold these CUDA libraries, named as in NVIDIA's archives (``libcublas``, ``cuda_nvrtc``).

    Raises ConfigError for a library without a wheel of that name.
    """
    found = []
    for library in libraries:
        name = library.removeprefix("lib").removeprefix("cuda_").replace("_", "")
        if name not in names.short:
            near = difflib.get_close_matches(name, names.short, n=1)
            raise ConfigError(
                f"[sysroot] cuda: NVIDIA's wheels for CUDA {target.cuda_version} have no library {library!r}",
                hint=f"did you mean {near[0]}?" if near else f"known: {', '.join(names.short)}",
            )
        found.append(name)
    return tuple(found)


def has_overlay(target: Target) -> bool:
    """True when NVIDIA's wheels hold this release's CUDA for Jetson."""
    return target.cuda is not None and target.cuda.nvcc_on_index


def _full_name(word: str, target: Target, names: WheelNames) -> str:
    match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(.*)$", word)
    if match is None:
        raise ConfigError(f"[sysroot] wheels: {word!r} is no wheel name", hint="for example: cublas, or nvidia-cublas")
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    if name in names.none:
        raise ConfigError(f"[sysroot] wheels: {word}: {names.none[name]}", hint=f"known: {', '.join(names.short)}")
    return names.short.get(name, name).format(major=target.cuda_version.split(".")[0]) + match[2].strip()


def toolkit_requirement(release: Release, names: WheelNames) -> str:
    """The metapackage of exactly this release's toolkit, or of the newest of its minor version when that is unknown."""
    return f"{names.toolkit}=={release.cuda_toolkit or release.cuda_version + '.*'}"


def toolkit_constraints(requires: Iterable[str], release: Release, names: WheelNames) -> tuple[str, ...]:
    """Constraint lines that hold every CUDA wheel to this release: ``requires`` are the metapackage's Requires-Dist.

    Markers and extras are left out: a constraint says nothing about whether a wheel is taken. cuDNN is held to the
    release's own version, by its first three numbers, as Debian and wheel builds differ in the fourth.
    """
    from packaging.requirements import Requirement

    lines = {}
    for text in requires:
        requirement = Requirement(text)
        lines[requirement.name] = f"{requirement.name}{requirement.specifier}"
    for name in names.minor_only:
        lines[name] = f"{name}=={release.cuda_version}.*"
    if release.cudnn:
        name = names.short["cudnn"].format(major=release.cuda_version.split(".")[0])
        lines[name] = f"{name}=={'.'.join(release.cudnn.split('.')[:3])}.*"
    return tuple(lines[name] for name in sorted(lines))


def overlay_place(cuda_dir: str, cuda_target: str, wheel: str) -> Callable[[str], str | None]:
    """Where each file of an NVIDIA wheel belongs in the sysroot (see :func:`jetsonx.packages.wheels.unpack_wheel`).

    >>> place = overlay_place("usr/local/cuda-13.2", "sbsa-linux", "nvidia-cublas")
    >>> place("nvidia/cu13/lib/libcublas.so.13")
    'usr/local/cuda-13.2/targets/sbsa-linux/lib/libcublas.so.13'
    """
    base = f"{cuda_dir}/targets/{cuda_target}"

    def place(name: str) -> str | None:
        if match := re.match(r"nvidia/(?:[^/]+/)+?(include|lib)/(.+)$", name):
            return f"{base}/{match[1]}/{match[2]}"
        if match := re.match(r"[^/]+\.dist-info/(?:licenses/)?([^/]*(?:LICENSE|License|NOTICE|EULA)[^/]*)$", name):
            return f"{cuda_dir}/share/doc/{wheel}/{match[1]}"
        return None

    return lambda name: None if "/.metadata/" in name or name.endswith((".py", ".pyc")) else place(name)


def compiler_place(cuda_dir: str, cuda_target: str, names: WheelNames) -> Callable[[str], str | None]:
    """The same for the x86-64 compiler's wheel, of which only the headers named in the table belong here."""
    place = overlay_place(cuda_dir, cuda_target, names.compiler)
    return lambda name: place(name) if posixpath.basename(name) in names.compiler_files else None


def finish_overlay(writer: TreeWriter, cuda_dir: str, cuda_target: str) -> None:
    """Add what the wheels leave out: ``.so`` links, the driver's stubs, and the names CUDA is looked for under."""
    base = f"{cuda_dir}/targets/{cuda_target}"
    for path, target in unversioned_links(path for path in writer.entries if path.startswith(f"{base}/lib/")):
        writer.add_symlink(path, target)
    for soname, headers, prefix, answer in _STUBS:
        functions: dict[str, bool] = {}
        for path in (f"{base}/include/{header}" for header in headers):
            if path in writer.entries:
                functions |= declared_functions(writer.read(path).decode("utf-8", "replace"), prefix)
        if functions:
            stub = write_stub(soname, functions, answer)
            writer.add_file(f"{base}/lib/stubs/{soname.removesuffix('.1')}", stub, mode=0o755, owner="jetsonx")
            writer.add_symlink(f"{base}/lib/stubs/{soname}", soname.removesuffix(".1"), owner="jetsonx")
    alias = {"sbsa-linux": "aarch64-linux", "aarch64-linux": "sbsa-linux"}[cuda_target]
    writer.add_symlink(f"{cuda_dir}/targets/{alias}", cuda_target)
    writer.add_symlink(f"{cuda_dir}/include", f"targets/{cuda_target}/include")
    writer.add_symlink(f"{cuda_dir}/lib64", f"targets/{cuda_target}/lib")
    writer.add_symlink(f"{posixpath.dirname(cuda_dir)}/cuda", posixpath.basename(cuda_dir))
