"""Make ``jetsonx/verify/profiles/*.json.xz``: what the run-time libraries of a Debian suite define, from its packages.

    python -m tools.make_profiles

NVIDIA's devices run Ubuntu, whose packages cannot be read from everywhere; glibc and libstdc++ only ever add symbols,
each under the version that brought it, so the list of a Debian suite that is not older, cut at the device's own glibc
and GLIBCXX, is the device's list (``tests/unit/test_profile.py`` checks that on the suites against each other). The
packages come through the host's own apt, as those of sysroots do.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.packages.apt import fetch_lists, fetch_packages, resolve_packages
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.mirrors import load_host, resolve_sources
from jetsonx.runner import Runner
from jetsonx.store.store import Store, default_root

SUITES = ("bullseye", "bookworm", "trixie")
PACKAGES = ("libc6", "libstdc++6", "libgcc-s1", "libatomic1", "libgomp1", "zlib1g", "libcrypt1")
PLACE = Path(__file__).parents[1] / "jetsonx" / "verify" / "profiles"

# glibc's own plug-ins, which nobody links against.
_NOT_LINKED = ("libnss_", "libmemusage", "libpcprofile", "libthread_db", "libc_malloc_debug", "libBrokenLocale")


def make_suite(codename: str, names: Sequence[str], effects: Effects) -> dict[str, Any]:
    """The libraries of ``names`` in the suite ``codename``, by soname."""
    sources = resolve_sources(load_host(), codename, os.environ.get("JETSONX_APT_MIRROR", ""))
    store, runner, console = effects.store, effects.runner, effects.console
    apt = fetch_lists(sources, codename, debian_arch="arm64", store=store, runner=runner, console=console)
    packages = [it for it in resolve_packages(apt, names, store=store, runner=runner) if it.name in names]
    paths = fetch_packages(apt, packages, store=store, runner=runner, console=console)
    libraries: dict[str, Any] = {}
    for package in packages:
        for library in _libraries(paths[package.sha256]):
            libraries[library.pop("soname")] = {"package": package.name, **library}
    return {
        "suite": codename,
        "packages": {package.name: package.version for package in packages},
        "libraries": dict(sorted(libraries.items())),
    }


def _libraries(deb: Path) -> Iterator[dict[str, Any]]:
    seen = set()
    for info, content in iter_deb(deb):
        if content is None or not info.isfile() or not _is_library(info):
            continue
        try:
            library = _read(ELFFile(io.BytesIO(content.read())))
        except ELFError:
            continue
        if library["soname"] and library["soname"] not in seen:
            seen.add(library["soname"])
            yield library


def _is_library(info: tarfile.TarInfo) -> bool:
    name = info.name.rpartition("/")[2]
    return ".so" in name and "/gconv/" not in info.name and not name.startswith(_NOT_LINKED)


def _read(elf: Any) -> dict[str, Any]:
    dynamic = elf.get_section_by_name(".dynamic")
    tags = list(dynamic.iter_tags()) if dynamic else []
    verdef = elf.get_section_by_name(".gnu.version_d")
    versions = [next(aux).name for _, aux in verdef.iter_versions()] if verdef else []
    return {
        "soname": next((tag.soname for tag in tags if tag.entry.d_tag == "DT_SONAME"), ""),
        "needed": [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"],
        "versions": versions,
        "exports": sorted(_exports(elf, versions)),
    }


def _exports(elf: Any, versions: Sequence[str]) -> Iterator[str]:
    """``name`` without a version, ``name@@VERSION`` for the default one, ``name@VERSION`` for the others."""
    symbols, versym = (elf.get_section_by_name(name) for name in (".dynsym", ".gnu.version"))
    verdef = elf.get_section_by_name(".gnu.version_d")
    names = {entry.entry.vd_ndx: next(aux).name for entry, aux in verdef.iter_versions()} if verdef else {}
    for index, symbol in enumerate(symbols.iter_symbols()):
        if symbol.entry.st_shndx == "SHN_UNDEF" or not symbol.name or symbol.name in versions:
            continue
        number = versym.get_symbol(index).entry.ndx if versym else 1
        if isinstance(number, str):  # VER_NDX_LOCAL, VER_NDX_GLOBAL
            if number == "VER_NDX_GLOBAL":
                yield symbol.name
        else:
            mark = "@" if number & 0x8000 else "@@"
            yield f"{symbol.name}{mark}{names[number & 0x7FFF]}"


def main() -> None:
    """Write one file per suite."""
    console = Console()
    effects = Effects(store=Store(default_root(os.environ), console), runner=Runner(), console=console)
    for codename in SUITES:
        text = json.dumps(make_suite(codename, PACKAGES, effects), separators=(",", ":"), sort_keys=True)
        path = PLACE / f"{codename}.json.xz"
        path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
        console.out(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
