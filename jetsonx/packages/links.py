"""Paths inside a sysroot, as pure functions: names made safe, the merged /usr layout, links that stay inside.

A package's tree is written for ``/``. Used under another root, an absolute symbolic link points into the host, so a
linker that follows ``libpthread.so -> /lib/…`` takes the host's library or none. Every link is therefore rewritten
relative to where it lies.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from jetsonx.errors import DownloadError

# Debian's usr-merge (from bookworm on, and wanted for older suites too): these exist as links into /usr, so that
# /lib/ld-linux-aarch64.so.1, which every program names, resolves inside the sysroot.
MERGED: Mapping[str, str] = {"lib": "usr/lib", "bin": "usr/bin", "sbin": "usr/sbin"}

# Directories whose libraries Debian's maintainer scripts link into the library directory (update-alternatives).
_ALTERNATIVE_DIRS = ("blas", "lapack")
_STRANGE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_LINKED = re.compile(r"lib[^/]+\.(a|so|so\.[0-9]+)$")
_SHARED_LIBRARY = re.compile(r"(lib[^/]+\.so)(\.[0-9][^/]*)?$")


def clean_path(name: str, *, source: str) -> str:
    """A member name as a relative path without ``.`` steps: ``"./usr/lib/"`` gives ``"usr/lib"``, the root ``""``.

    ``source`` names the archive in errors. Raises DownloadError for a name that could leave the root or break the
    manifest: absolute, with ``..``, with control characters, not UTF-8.
    """
    steps = [step for step in name.split("/") if step not in ("", ".")]
    if name.startswith("/") or ".." in steps or has_strange(name):
        raise DownloadError(
            f"{source}: refused: it holds a file named {name!r}, which would be written outside its tree"
        )
    return "/".join(steps)


def has_strange(name: str) -> bool:
    """True for a name that a manifest cannot hold: with control characters, or bytes that are no UTF-8."""
    return _STRANGE.search(name) is not None


def merge_usr(path: str) -> str:
    """``path`` in the merged-/usr layout: ``lib/x`` is ``usr/lib/x``; anything else stays."""
    first, slash, rest = path.partition("/")
    merged = MERGED.get(first)
    return path if merged is None else merged + slash + rest


def relative_link(path: str, target: str) -> str:
    """What a symbolic link at ``path`` (as its package names it) must hold in a merged-/usr sysroot.

    ``target`` is what the package's link holds. Absolute targets become relative, ``..`` steps above the root stay at
    the root as they do under ``/``, and a link that does not change its place keeps its own relative spelling:

    >>> relative_link("usr/lib/aarch64-linux-gnu/libm.so", "/lib/aarch64-linux-gnu/libm.so.6")
    'libm.so.6'
    >>> relative_link("lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1")
    'aarch64-linux-gnu/ld-linux-aarch64.so.1'
    """
    here = merge_usr(path)
    absolute = target if target.startswith("/") else posixpath.join("/", posixpath.dirname(path), target)
    wanted = merge_usr(posixpath.normpath(absolute).lstrip("/")) or "."
    if not target.startswith("/") and posixpath.normpath(posixpath.join(posixpath.dirname(here), target)) == wanted:
        return target
    return posixpath.relpath("/" + wanted, "/" + posixpath.dirname(here))


def unversioned_links(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, target) of the ``libX.so`` links that NVIDIA's wheels leave out: ``libcublas.so.13`` gets one.

    With several versions of one library the link goes to the shortest name, which is the soname.
    """
    files = set(files)
    found: dict[str, str] = {}
    for path in sorted(files, key=lambda path: (len(path), path)):
        folder, name = posixpath.split(path)
        match = _SHARED_LIBRARY.match(name)
        if match and match[2]:
            found.setdefault(posixpath.join(folder, match[1]), name)
    yield from ((path, name) for path, name in sorted(found.items()) if path not in files)


def alternative_links(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (path, target) of the links that ``update-alternatives`` would have made for BLAS and LAPACK.

    ``libblas3`` ships ``usr/lib/aarch64-linux-gnu/blas/libblas.so.3`` and its maintainer script links it one level up.
    """
    files = set(files)
    for path in sorted(files):
        folder, name = posixpath.split(path)
        above, last = posixpath.split(folder)
        wanted = posixpath.join(above, name)
        if last in _ALTERNATIVE_DIRS and above.startswith("usr/lib") and _LINKED.match(name) and wanted not in files:
            yield wanted, posixpath.join(last, name)
