"""Which directories of the old image are to be copied out to get at the files that are needed.

One copy costs about 50 ms on a workstation, and everything below a directory passes through it. A directory that every
image shares holds the system's files too: out of those single files are copied, unless there are many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

_SHARED = frozenset(
    b"""bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var usr/bin usr/include
    usr/lib usr/lib/aarch64-linux-gnu usr/lib64 usr/libexec usr/local usr/local/bin usr/local/lib usr/local/share
    usr/sbin usr/share usr/share/doc usr/src var/cache var/lib var/log usr/lib/python3 usr/lib/python3/dist-packages
    usr/local/include usr/local/lib/python3""".split()
) | {b""}
_SINGLES_MAX = 24


def find_roots(paths: Iterable[bytes]) -> dict[bytes, bytes]:
    """The root of each path: a directory above it, or itself when it is to be copied alone."""
    needed = list(paths)
    singles = defaultdict(list)
    roots: dict[bytes, bytes] = {}
    for path in needed:
        root = _topmost(path)
        if root == path:
            singles[path.rpartition(b"/")[0]].append(path)
        roots[path] = root
    for folder, found in singles.items():
        if len(found) > _SINGLES_MAX:
            roots.update(dict.fromkeys(found, folder))
    return _merged(roots)


def _topmost(path: bytes) -> bytes:
    """The highest directory above ``path`` that not every image has; ``path`` when there is none."""
    at = path.find(b"/")
    while at >= 0:
        if path[:at] not in _SHARED:
            return path[:at]
        at = path.find(b"/", at + 1)
    return path


def _merged(roots: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The same with roots below other roots taken into those."""
    folders = {root for path, root in roots.items() if root != path}
    return {path: _above(root, folders) if root else root for path, root in roots.items()}


def _above(root: bytes, folders: set[bytes]) -> bytes:
    if b"" in folders:
        return b""
    at = root.find(b"/")
    while at >= 0:
        if root[:at] in folders:
            return root[:at]
        at = root.find(b"/", at + 1)
    return root
