"""Debian packages into a tree, without running their maintainer scripts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from jetsonx.packages.deb import iter_deb
from jetsonx.packages.links import MERGED, alternative_links, clean_path, merge_usr, relative_link
from jetsonx.store.tree import TreeWriter

Job = Callable[[TreeWriter], None]


def unpack_all(jobs: Sequence[tuple[int, Job]], writer: TreeWriter) -> None:
    """Run ``jobs``, each adding files to a writer of its own, and merge these in the order given: later ones win.

    Each comes with the size of its archive in bytes: the largest are started first, so that none is left for the end.
    """

    def work(job: Job) -> TreeWriter:
        part = writer.part()
        job(part)
        return part

    # Decompression, hashing and file calls all let go of the interpreter lock.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            order = sorted(range(len(jobs)), key=lambda index: jobs[index][0], reverse=True)
            parts = {index: pool.submit(work, jobs[index][1]) for index in order}
            for index in range(len(jobs)):
                writer.merge(parts[index].result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def unpack_deb(data: bytes, writer: TreeWriter, keeps: Callable[[str], bool], *, name: str, owner: str) -> None:
    """Add the package in ``data``, a file called ``name``.

    Paths take the merged-/usr layout, links become relative, devices and set-user-id bits are left out.

    Raises DownloadError when the file is damaged or wants to write outside the tree.
    """
    for info, content in iter_deb(io.BytesIO(data), name=name):
        raw = clean_path(info.name, source=name)
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
            writer.add_hardlink(place, merge_usr(clean_path(info.linkname, source=name)), owner=owner)


def link_like_scripts(writer: TreeWriter) -> None:
    """Add the links that maintainer scripts and the distribution's installer would have made."""
    for path, target in alternative_links(writer.entries):
        writer.add_symlink(path, target)
    for path, target in MERGED.items():
        if any(entry.startswith(f"{target}/") for entry in writer.entries):
            writer.add_symlink(path, target)
