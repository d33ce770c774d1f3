"""Debian packages into a tree, without running their maintainer scripts."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jetsonx.errors import DownloadError
from jetsonx.sysroot.deb import iter_deb
from jetsonx.sysroot.links import MERGED, alternative_links, clean_path, merge_usr, relative_link
from jetsonx.sysroot.package import Package
from jetsonx.sysroot.tree import TreeWriter


def unpack_packages(
    packages: Sequence[Package], paths: Mapping[str, Path], writer: TreeWriter, keeps: Callable[[str], bool]
) -> None:
    """Add the files of ``packages`` that ``keeps`` wants; later packages win, whatever order the threads end in.

    ``paths`` gives each package's file by its sha256. Raises DownloadError when a file is not what its hash says, is
    damaged, or wants to write outside the tree.
    """

    def work(package: Package) -> TreeWriter:
        part = writer.part()
        unpack_deb(paths[package.sha256], part, keeps, owner=package.name, sha256=package.sha256)
        return part

    # Decompression, hashing and file calls all let go of the interpreter lock.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for part in pool.map(work, packages):
                writer.merge(part)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    link_like_scripts(writer)


def unpack_deb(
    path: Path, writer: TreeWriter, keeps: Callable[[str], bool], *, owner: str, sha256: str | None = None
) -> None:
    """Add one package: paths in the merged-/usr layout, links relative, devices and set-user-id bits left out."""
    data = path.read_bytes()  # read once: hashed, then unpacked from memory
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise DownloadError(f"{path}: its content is not what its name says", hint="delete this file, then pull again")
    for info, content in iter_deb(io.BytesIO(data), name=path.name):
        raw = clean_path(info.name, source=path.name)
        place = merge_usr(raw)
        if info.isdir():
            if place not in MERGED.values() and keeps(f"{place}/"):
                writer.add_dir(place)
        elif not raw or raw in MERGED or not keeps(place):
            continue
        elif content is not None:
            writer.add_file(place, content, mode=info.mode, owner=owner)
        elif info.issym():
            writer.add_symlink(place, relative_link(raw, info.linkname), owner=owner)
        elif info.islnk():
            writer.add_hardlink(place, merge_usr(clean_path(info.linkname, source=path.name)), owner=owner)


def link_like_scripts(writer: TreeWriter) -> None:
    """Add the links that maintainer scripts and the distribution's installer would have made."""
    for path, target in alternative_links(writer.entries):
        writer.add_symlink(path, target)
    for path, target in MERGED.items():
        if any(entry.startswith(f"{target}/") for entry in writer.entries):
            writer.add_symlink(path, target)


def dangling_links(writer: TreeWriter) -> list[str]:
    """Paths of symbolic links that lead to nothing in the tree, sorted."""
    known = set(writer.entries)
    for path in writer.entries:
        while path := posixpath.dirname(path):
            known.add(path)
    return sorted(
        path
        for path, entry in writer.entries.items()
        if entry.kind == "link" and _resolved(path, writer) not in known | {""}
    )


def _resolved(path: str, writer: TreeWriter) -> str:
    for _ in range(40):
        entry = writer.entries.get(path)
        if entry is None or entry.kind != "link":
            return path
        path = merge_usr(posixpath.normpath(posixpath.join("/", posixpath.dirname(path), entry.content)).lstrip("/"))
    return "?"
