"""What a target has, as far as programs ask for it: libraries with their symbols, the CPU, the GPU and its driver."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from jetsonx.catalog import Target
from jetsonx.toml import load_toml

_DATA = Path(__file__).parent / "profiles"
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A shared library that the target provides.

    ``versions`` are the symbol versions it defines, empty when it defines none or they are not known; ``exports`` are
    as in ``ElfFacts``, None when they are not known. ``source`` says where that was read.
    """

    soname: str
    versions: frozenset[str] = frozenset()
    exports: frozenset[str] | None = None
    needed: tuple[str, ...] = ()
    source: str = ""


class Libraries(Protocol):
    """Libraries by the name in NEEDED; a plain dict is one."""

    def get(self, name: str, /) -> Library | None:
        """The library called ``name``, None when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverNeed:
    """A symbol version that ``asker``, a library mounted from the device, wants of the container's ``library``."""

    library: str
    version: str
    asker: str
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Everything the rules ask of one target, by its ``name`` ("orin-nano@36.4.3").

    ``glibc`` is "2.35" and ``glibcxx`` "GLIBCXX_3.4.30": the newest symbol versions there. ``libraries`` are those a
    bare device or the sysroot has; ``driver_globs`` match the names that the driver brings at run time, which lie in
    ``driver_dirs``. ``cpu_features`` are names of ``profiles/targets.toml``, None when the CPU is not known. ``sm`` is
    87. The CUDA release of the driver, the newest that runs with a compatibility package, and the newest PTX version
    that the driver reads are (major, minor), None when not known. ``cuda_target`` is which build of CUDA's libraries
    the release has ("aarch64-linux" or "sbsa-linux"). ``is_open``: there may be any other
    library too. ``source`` says in words where the libraries were read.
    """

    name: str
    glibc: str
    glibcxx: str
    sm: int
    interpreter: str = "/lib/ld-linux-aarch64.so.1"
    libraries: Libraries = field(default_factory=dict[str, Library])
    driver_globs: tuple[str, ...] = ()
    driver_dirs: tuple[str, ...] = ()
    driver_needs: tuple[DriverNeed, ...] = ()
    cpu: str = ""
    cpu_features: frozenset[str] | None = None
    driver_cuda: Version | None = None
    driver_cuda_with_compat: Version | None = None
    ptx_isa: Version | None = None
    ptx_isa_with_compat: Version | None = None
    cuda_target: str = ""
    page_bytes: int = 4096
    kernel: str = ""
    is_open: bool = False
    source: str = ""

    def is_driver_library(self, name: str) -> bool:
        """True when the driver of the device brings the library of that name."""
        return _pattern(self.driver_globs).fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    """What a device said of itself; None for what it did not say.

    ``cpu_flags`` are the words of "Features" in /proc/cpuinfo, ``sonames`` the libraries its ld.so.cache names.
    """

    glibc: str | None = None
    glibcxx: str | None = None
    kernel: str | None = None
    page_bytes: int | None = None
    cpu_flags: Collection[str] | None = None
    driver_cuda: Version | None = None
    sonames: Collection[str] | None = None


# Words of /proc/cpuinfo (Linux, Documentation/arch/arm64/elf_hwcaps.rst) for the names used here.
_CPU_FLAGS = {"atomics": "lse", "asimdhp": "fp16", "asimddp": "dotprod", "lrcpc": "lrcpc", "i8mm": "i8mm", "sve": "sve"}
_CPU_FLAGS |= {"bti": "bti", "paca": "pac"}


@lru_cache(maxsize=16)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for all: it is asked for every import of every file."""
    return re.compile("|".join(translate(glob.rpartition("/")[2]) for glob in globs) or "(?!)")


def profile_of(target: Target, sysroot: Path | None = None) -> Profile:
    """The profile of ``target``: shipped data, and the libraries of ``sysroot`` when there is one."""
    from jetsonx.verify.libraries import Chain, load_suite, open_sysroot

    data = load_data()
    line = data["line"][target.line.id]
    known = load_suite(line["suite"], glibc=target.glibc, glibcxx=target.glibcxx)
    libraries, source = known, f"the symbol list of Debian {line['suite']}, cut at glibc {target.glibc}"
    if sysroot is not None:
        found = open_sysroot(sysroot, target.cuda_dir)
        libraries = Chain((found, known) if found.is_device else (known, found))
        source = f"the sysroot {sysroot}" + ("" if found.is_device else f", {source}")
    driver = target.driver
    cuda = _version(driver.max_cuda) if driver else None
    with_compat = _version(driver.max_cuda_with_compat) if driver and driver.max_cuda_with_compat else None
    return Profile(
        name=target.name,
        glibc=target.glibc,
        glibcxx=target.glibcxx,
        sm=target.sm,
        interpreter=target.interpreter,
        libraries=libraries,
        driver_globs=(*target.line.driver_libraries, *line.get("mounted", ())),
        driver_dirs=target.line.tegra_library_dirs,
        driver_needs=tuple(_driver_need(row) for row in line.get("driver_needs", ())),
        cpu=target.module.cpu,
        cpu_features=frozenset(data["cpu"][target.module.soc]["features"]),
        driver_cuda=cuda,
        driver_cuda_with_compat=with_compat,
        ptx_isa=ptx_isa_of(cuda),
        ptx_isa_with_compat=ptx_isa_of(with_compat),
        cuda_target=target.cuda_target,
        page_bytes=data["kernel"]["page_bytes"],
        kernel=target.release.kernel,
        source=source,
    )


def profile_of_device(target: Target, facts: DeviceFacts) -> Profile:
    """The profile of a device that runs ``target``'s release, with what it said of itself in place of what is known."""
    from jetsonx.verify.libraries import Chain, load_suite

    profile = profile_of(target)
    suite = load_data()["line"][target.line.id]["suite"]
    glibc, glibcxx = facts.glibc or profile.glibc, facts.glibcxx or profile.glibcxx
    libraries: Libraries = load_suite(suite, glibc=glibc, glibcxx=glibcxx)
    if facts.sonames is not None:
        there = {name: Library(soname=name, source="the device's ld.so.cache") for name in facts.sonames}
        libraries = Chain((libraries, there))
    flags = facts.cpu_flags
    features = profile.cpu_features if flags is None else frozenset(_CPU_FLAGS[x] for x in flags if x in _CPU_FLAGS)
    cuda = facts.driver_cuda or profile.driver_cuda
    return replace(
        profile,
        glibc=glibc,
        glibcxx=glibcxx,
        libraries=libraries,
        cpu_features=features,
        driver_cuda=cuda,
        ptx_isa=ptx_isa_of(cuda),
        page_bytes=facts.page_bytes or profile.page_bytes,
        kernel=facts.kernel or profile.kernel,
        source=f"what the device said; {profile.source}",
    )


@lru_cache(maxsize=1)
def load_data() -> dict[str, Any]:
    """``profiles/targets.toml``."""
    data: dict[str, Any] = load_toml((_DATA / "targets.toml").read_text(encoding="utf-8"))
    return data


def ptx_isa_of(cuda: Version | None) -> Version | None:
    """The newest PTX version that a driver of this CUDA release reads: (8, 5) for (12, 6). None when not known."""
    if cuda is None:
        return None
    known = [(_version(isa), _version(since)) for isa, since in load_data()["ptx"].items()]
    return max((isa for isa, since in known if since <= cuda), default=None)


def cuda_of_ptx(isa: Version) -> str:
    """The CUDA release that brought this PTX version, "12.5" for (8, 5); "" for a version that is not in the table."""
    found: str = load_data()["ptx"].get(".".join(map(str, isa)), "")
    return found


def _driver_need(row: dict[str, Any]) -> DriverNeed:
    return DriverNeed(**{**row, "sources": tuple(row["sources"])})


def _version(text: str) -> Version:
    return tuple(map(int, text.split(".")))
