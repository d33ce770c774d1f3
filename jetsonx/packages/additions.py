"""Packages on top of a root file system that has a dpkg of its own: an image's, a device's, a tarball's.

apt resolves against that system's own status file, with its own sources and keys, so that only what is missing comes,
in the versions that belong to it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages import dpkg
from jetsonx.packages.apt import Apt, fetch_lists, fetch_packages, resolve_packages
from jetsonx.packages.deb import read_control
from jetsonx.packages.debs import deb_jobs, fetch_exactly, read_deb
from jetsonx.packages.mirrors import Source, load_host
from jetsonx.packages.package import Package
from jetsonx.packages.unpack import unpack_all
from jetsonx.store.tree import Entry, TreeWriter

_APT_FILES = ("etc/apt/", "usr/share/keyrings/", "etc/os-release", "usr/lib/os-release")
_KEYS = "etc/apt"


def add_packages(
    writer: TreeWriter,
    names: Sequence[str],
    *,
    what: str,
    debian_arch: str,
    keeps: Callable[[str], bool],
    pinned: Sequence[Package] | None,
    effects: Effects,
) -> tuple[Package, ...]:
    """Add the packages ``names`` (``name`` or ``name=version``) that ``writer``'s files lack; what was added.

    ``what`` names the system in messages. ``pinned``: exactly these, as a lock file says.

    Raises ConfigError for names its sources do not have, DownloadError when the system has no dpkg or no sources.
    """
    status = writer.read(dpkg.PATH).decode("utf-8", "replace") if dpkg.PATH in writer.entries else ""
    installed = dpkg.parse_status(status)
    lacking = [name for name in names if not dpkg.is_installed(name, installed)]
    if not (lacking if pinned is None else pinned):
        return ()
    if not status:
        raise DownloadError(
            f"{what} has no dpkg status, so apt cannot tell what is missing for {', '.join(lacking)}",
            hint='leave [sysroot] packages empty, or take the packages of a suite: source = "apt"',
        )

    def lists() -> Apt:
        files = {path: writer.read(path) for path, entry in writer.entries.items() if is_apts(path, entry)}
        return system_lists(files, status, what=what, debian_arch=debian_arch, effects=effects)

    if pinned is None:
        if effects.offline:
            raise DownloadError(
                f"offline, and {what} lacks {', '.join(lacking)}", hint="run it once with a network, without --offline"
            )
        apt = lists()
        debs = resolve_packages(apt, lacking, store=effects.store, runner=effects.runner)
        effects.console.say(f"{what}: adding {len(debs)} packages: {_some(debs)}")
        paths = fetch_packages(apt, debs, store=effects.store, runner=effects.runner, console=effects.console)
    else:
        debs = tuple(pinned)
        paths = fetch_exactly(debs, lists, effects)
    unpack_all(deb_jobs(debs, paths, keeps, effects), writer)
    controls = (read_control(io.BytesIO(read_deb(deb, paths, effects))) for deb in debs)
    writer.add_file(dpkg.PATH, dpkg.with_installed(status, controls).encode())
    return debs


def _some(debs: Sequence[Package], named: int = 8) -> str:
    return ", ".join(f"{deb.name} {deb.version}" for deb in debs[:named]) + (" …" if len(debs) > named else "")


def system_lists(files: Mapping[str, bytes], status: str, *, what: str, debian_arch: str, effects: Effects) -> Apt:
    """apt with the sources and keys of a system, its ``files`` that :func:`is_apts`, and a dpkg status.

    Raises ConfigError when the system has no sources, DownloadError when none of them answers.
    """
    root = effects.store.folder("apt") / f"root-{_fingerprint(files)}"
    for path, data in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    (root / _KEYS / "trusted.gpg.d").mkdir(parents=True, exist_ok=True)
    host = load_host(root)
    sources = tuple(_moved(source, root, effects) for source in host.sources if _is_usable(source, debian_arch))
    if not sources:
        raise ConfigError(
            f"{what} names no apt source that holds packages for {debian_arch}",
            hint='ask for no packages, or take those of a suite: [sysroot] source = "apt"',
        )
    apt = fetch_lists(
        sources,
        host.codename or "base",
        debian_arch=debian_arch,
        store=effects.store,
        runner=effects.runner,
        console=effects.console,
        status=status.encode(),
        keys=root / _KEYS,
    )
    if apt.missing:
        raise DownloadError(f"the apt sources of {what}: {apt.missing}", details=apt.details)
    return apt


def is_apts(path: str, entry: Entry) -> bool:
    """True for a file that says where a system's packages come from: sources, keys, the release's name."""
    return path.startswith(_APT_FILES) and entry.kind == "file"


def _fingerprint(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path, data in sorted(files.items()):
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:12]


def _is_usable(source: Source, debian_arch: str) -> bool:
    # A device's sources may still hold the placeholder <SOC>, which its first boot fills in.
    wanted = not source.architectures or debian_arch in source.architectures
    return wanted and not any("<" in uri for uri in source.uris)


def _moved(source: Source, root: Path, effects: Effects) -> Source:
    """The source behind the user's mirrors, its key read from where it lies now."""
    keys = [f"{root}{word}" if word.startswith("/") else word for word in source.signed_by.split(",")]
    uris = tuple(effects.http.mirrors.url(uri) if uri.startswith("http") else uri for uri in source.uris)
    return replace(source, uris=uris, signed_by=",".join(keys) if "\n" not in source.signed_by else source.signed_by)
