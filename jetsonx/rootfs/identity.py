"""What a root file system says it is: which L4T release, and which processor its C library is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.catalog.versions import parse_version
from jetsonx.errors import ConfigError

# "# R36 (release), REVISION: 4.3, GCID: …": written by L4T's packages, so a bare sample root file system has none.
RELEASE_FILE = "etc/nv_tegra_release"
_RELEASE = re.compile(r"^#\s*R(?P<major>\d+)\s*\(release\),\s*REVISION:\s*(?P<revision>[0-9.]+)", re.MULTILINE)
_LIBC = re.compile(r"(?:usr/)?lib(?:64)?/(?:[^/]+-linux-gnu[^/]*/)?libc(?:\.so\.6|-[0-9.]+\.so)")
_ELF_HEAD = 20
_AARCH64 = 183  # e_machine of the ELF header, elf(5)
_MACHINES = {3: "32-bit x86", 8: "MIPS", 21: "PowerPC", 40: "32-bit ARM", 62: "x86-64", 243: "RISC-V"}


def identity_paths(paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` (relative to a root) that :func:`check_identity` reads: a few megabytes of a whole system.

    Before glibc 2.34 ``libc.so.6`` was a link to ``libc-2.31.so``: either is a C library here.
    """
    return sorted(path for path in paths if path == RELEASE_FILE or _LIBC.fullmatch(path))


def check_identity(paths: Iterable[str], read: Callable[[str], bytes], target: Target, *, what: str) -> None:
    """Judge a root file system by its files at ``paths``; ``read`` gives the content of one.

    Raises ConfigError when it is none, or another release's or processor's than the target's.
    """
    found = identity_paths(paths)
    check_machine({path: read(path)[:_ELF_HEAD] for path in found if path != RELEASE_FILE}, what=what)
    if RELEASE_FILE in found:
        check_l4t(read(RELEASE_FILE).decode("utf-8", "replace"), target, what=what)


def parse_l4t(text: str) -> str | None:
    """The release that ``/etc/nv_tegra_release`` names: ``"36.4.3"``; None when it names none."""
    found = _RELEASE.search(text)
    return f"{found['major']}.{found['revision'].strip('.')}" if found else None


def check_l4t(text: str, target: Target, *, what: str) -> None:
    """Raise ConfigError when ``text`` (of ``/etc/nv_tegra_release``) names another release than the target's.

    The catalog knows revisions that hold the same as the release (``also``); these fit, and so does a file that names
    no release.
    """
    found = parse_l4t(text)
    known = (target.release.l4t, *target.release.also)
    if found is None or _padded(found) in map(_padded, known):
        return
    try:
        hint = f"take it for what it is: {resolve_target(load_catalog(), f'{target.module.id}@{found}').name}"
    except ConfigError:
        hint = f"`jetsonx targets` lists the releases that jetsonx knows for {target.module.id}"
    raise ConfigError(f"{what} runs L4T {found}, but {target.name} was asked for", hint=hint)


def _padded(version: str) -> tuple[int, ...]:
    """NVIDIA writes both 32.5 and 32.5.0."""
    numbers = parse_version(version)
    return numbers + (0,) * (3 - len(numbers))


def check_machine(libraries: Mapping[str, bytes], *, what: str) -> None:
    """Raise ConfigError unless one of ``libraries`` (path to the first bytes of it) is for AArch64."""
    machines = {path: _machine(head) for path, head in libraries.items()}
    if _AARCH64 in machines.values():
        return
    expected = "expected the root file system of a Jetson, with usr/lib/aarch64-linux-gnu/libc.so.6 in it"
    for path, machine in machines.items():
        if machine is not None:
            name = _MACHINES.get(machine, f"ELF machine {machine}")
            raise ConfigError(f"{what} is for another processor: its {path} is {name}, not AArch64", hint=expected)
    raise ConfigError(f"{what} holds no root file system: there is no C library in it", hint=expected)


def _machine(head: bytes) -> int | None:
    return int.from_bytes(head[18:20], "little") if head[:4] == b"\x7fELF" and len(head) >= _ELF_HEAD else None
