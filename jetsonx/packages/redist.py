"""NVIDIA's redistributable archives: each CUDA release as plain archives per platform, with sha256, for anyone.

    <base>/<tree>/redist/redistrib_12.6.3.json            a manifest, named by the toolkit's version
    <base>/<tree>/redist/<component>/<platform>/….tar.xz  the archives it lists

The trees are ``cuda`` and, with version numbers of its own, ``cudnn``. In an archive everything lies in one directory:
``cuda_cudart-linux-aarch64-12.6.77-archive/{include,lib,bin,…}``.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

from jetsonx.console import Bar
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.links import clean_path
from jetsonx.packages.package import Archive
from jetsonx.packages.redist_manifest import (
    Manifest,
    load_redist_names,
    parse_manifest,
    pick_archive,
    pick_base,
    plain_name,
    with_needs,
)
from jetsonx.store.tree import TreeWriter, file_sha256

HOST = "developer.download.nvidia.com"
BASE_URL = f"https://{HOST}/compute"

_PARALLEL = 4
_BUFFER = 1 << 20
_TITLES = {"cuda": "CUDA", "cudnn": "cuDNN"}


# ---- what to take ----------------------------------------------------------------------------------------------------


def resolve_archives(
    asked: Sequence[str],
    *,
    toolkit: str,
    platform: str,
    cudnn: str | None = None,
    base: bool = True,
    effects: Effects,
    refresh: bool = False,
) -> tuple[Archive, ...]:
    """The archives of a sysroot: the base components and the libraries ``asked`` for, with what those need.

    Without ``base`` only the latter, for a sysroot whose source holds CUDA.

    ``toolkit``: full version ("12.6.3"); ``platform``: "linux-aarch64" or "linux-sbsa"; ``cudnn``: its version, when it
    is asked for. Names may leave out ``lib`` and ``cuda_``. Manifests that were read once are found again offline until
    ``refresh``.

    Raises ConfigError for a library that the toolkit does not have for this platform, DownloadError when a manifest
    cannot be had or is not what it should be.
    """
    names = load_redist_names()
    manifest = _load_manifest("cuda", toolkit, effects, refresh=refresh)
    chosen = pick_base(manifest, platform, names, toolkit=toolkit) if base else ()
    wanted = with_needs(
        [name for name in asked if plain_name(name) not in names.cudnn], manifest, platform, toolkit, names
    )
    if any(plain_name(name) in names.cudnn for name in asked):
        if cudnn is None:
            raise ConfigError("cudnn is asked for, but which version this release has is not known")
        version = ".".join(cudnn.split(".")[:3])
        own = _load_manifest("cudnn", version, effects, refresh=refresh)
        chosen += (pick_archive(own, "cudnn", platform, tree="cudnn", cuda_major=toolkit.split(".")[0]),)
        wanted = with_needs([*wanted, *names.needs.get("cudnn", ())], manifest, platform, toolkit, names)
    chosen += tuple(pick_archive(manifest, name, platform) for name in wanted)
    return tuple({archive.name: archive for archive in chosen}.values())


def resolve_compiler(toolkit: str, *, effects: Effects, refresh: bool = False) -> tuple[Archive, ...]:
    """The archives of the x86-64 nvcc of a toolkit. Raises DownloadError as :func:`resolve_archives` does."""
    manifest = _load_manifest("cuda", toolkit, effects, refresh=refresh)
    names = load_redist_names().compiler
    there = [name for name in names if "linux-x86_64" in manifest.get(name, {})]
    if names[0] not in there:
        raise DownloadError(f"CUDA {toolkit} has no {names[0]} for linux-x86_64 among NVIDIA's archives")
    return tuple(pick_archive(manifest, name, "linux-x86_64") for name in there)


def _load_manifest(tree: str, version: str, effects: Effects, *, refresh: bool) -> Manifest:
    key = f"{tree} {version}"
    text = None if refresh else effects.store.recall("redist", key)
    if text is not None:
        with contextlib.suppress(ValueError, TypeError):  # damaged by hand: as good as not there
            return parse_manifest(json.loads(text))
    if effects.offline:
        raise DownloadError(
            f"offline: what {_TITLES[tree]} {version} is made of was never read here",
            hint=f"run it once with a network; the cache is {effects.store.root}",
        )
    from jetsonx.net.faults import NotFoundError

    url = f"{BASE_URL}/{tree}/redist/redistrib_{version}.json"
    effects.console.say(f"reading what {_TITLES[tree]} {version} is made of")
    try:
        manifest = parse_manifest(effects.http.get_json(url))
    except NotFoundError as error:
        raise _unknown_version(tree, version, url) from error
    except TypeError as error:
        raise DownloadError(f"{url}: not one of NVIDIA's manifests") from error
    effects.store.remember("redist", key, json.dumps(manifest))
    return manifest


def _unknown_version(tree: str, version: str, url: str) -> DownloadError:
    message = f"NVIDIA has no archives of {_TITLES[tree]} {version}: {url} is not there"
    if tree == "cudnn":
        return DownloadError(message, hint="take cudnn out of [sysroot] cuda, or take it from an image or a device")
    return DownloadError(
        message,
        hint='name another toolkit by its full version, as NVIDIA lists them: [target] cuda = "12.6.2", for one',
    )


# ---- fetching --------------------------------------------------------------------------------------------------------


def download_archives(archives: Sequence[Archive], *, effects: Effects) -> tuple[tuple[Archive, Path], ...]:
    """Each archive with its file in the store; several are downloaded at a time, and go on where they were cut off.

    Raises DownloadError when one cannot be had (also: offline and not in the store) or is not what its hash says.
    """
    store = effects.store
    lacking = [archive for archive in archives if not _is_whole(archive, effects)]
    if lacking and effects.offline:
        raise DownloadError(
            "offline, and the cache lacks " + ", ".join(f"{archive.name} {archive.version}" for archive in lacking),
            hint=f"run it once with a network; the cache is {store.root}",
        )
    size = sum(archive.size_bytes for archive in lacking)
    if size > store.free_bytes():
        raise store.disk_full(f"downloading {len(lacking)} archives", needed_bytes=size)
    if lacking:
        with (
            store.guard("downloading archives", needed_bytes=size),
            effects.console.bar(f"{len(lacking)} archives of CUDA", size) as bar,
            ThreadPoolExecutor(max_workers=_PARALLEL) as pool,
        ):
            try:
                list(pool.map(lambda archive: _download(archive, effects, bar), lacking))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return tuple((archive, cast(Path, store.download(archive.sha256))) for archive in archives)


def _is_whole(archive: Archive, effects: Effects) -> bool:
    path = effects.store.download(archive.sha256)
    if path is None:
        return False
    if path.stat().st_size == archive.size_bytes and file_sha256(path) == archive.sha256:
        return True
    effects.store.drop_download(archive.sha256)
    return False


def _download(archive: Archive, effects: Effects, bar: Bar) -> None:
    store = effects.store
    with store.lock(f"download {archive.sha256}"):
        if store.download(archive.sha256) is not None:  # another process was faster
            return
        part = store.partial(archive.sha256, posixpath.basename(archive.filename))
        effects.http.download(
            f"{BASE_URL}/{archive.tree}/redist/{archive.filename}",
            part,
            sha256=archive.sha256,
            size_bytes=archive.size_bytes,
            what=part.name,
            advance=bar.advance,
        )
        store.keep_download(part, archive.sha256)


# ---- unpacking -------------------------------------------------------------------------------------------------------


def unpack_archive(path: Path, writer: TreeWriter, place: Callable[[str], str | None], *, owner: str = "") -> None:
    """Add an archive's files to a tree: ``place`` gives the path in the tree for each name below the archive's own
    directory ("lib/libcudart.so.12.6.77"), None leaves it out.

    Links are kept when what they lead to is; devices and set-user-id bits are left out. Raises DownloadError when the
    archive is damaged or holds a name that leads outside.
    """
    import lzma
    import zlib

    try:
        with tarfile.open(path, "r|*", bufsize=_BUFFER) as archive:
            for info in archive:
                name = _inner(info.name, path.name)
                target = place(name) if name else None
                if target is None:
                    continue
                if info.isreg():
                    content = archive.extractfile(info)
                    if content is not None:
                        writer.add_file(target, content, mode=info.mode, owner=owner)
                elif info.issym():
                    _add_link(writer, name, info.linkname, target, place, owner)
                elif info.islnk() and (linked := place(_inner(info.linkname, path.name))) is not None:
                    writer.add_hardlink(target, linked, owner=owner)
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DownloadError(
            f"{path.name}: not a usable archive: {error}",
            hint="the file is damaged: jetsonx sysroot prune --all, then pull again",
        ) from error


def _inner(name: str, source: str) -> str:
    """The path below the one directory that everything in an archive lies in."""
    return clean_path(name, source=source).partition("/")[2]


def _add_link(
    writer: TreeWriter, name: str, link: str, target: str, place: Callable[[str], str | None], owner: str
) -> None:
    leads_to = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    placed = None if link.startswith("/") or leads_to.startswith("..") else place(leads_to)
    if placed is not None:
        writer.add_symlink(target, posixpath.relpath(placed, posixpath.dirname(target)), owner=owner)


def archive_place(cuda_dir: str, cuda_target: str, component: str) -> Callable[[str], str | None]:
    """Where each file of a target's archive belongs in the sysroot: as NVIDIA's own cross packages lay it out.

    >>> place = archive_place("usr/local/cuda-12.6", "aarch64-linux", "libcublas")
    >>> place("lib/stubs/libcublas.so")
    'usr/local/cuda-12.6/targets/aarch64-linux/lib/stubs/libcublas.so'
    """

    def place(name: str) -> str | None:
        first, _, rest = name.partition("/")
        if first in ("include", "lib") and rest:
            return f"{cuda_dir}/targets/{cuda_target}/{name}"
        return f"{cuda_dir}/share/doc/{component}/{name}" if name == "LICENSE" else None

    return place
