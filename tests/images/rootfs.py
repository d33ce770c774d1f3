"""An arm64 Debian root file system as a tar: unpacked, not configured, so that nothing has to be emulated.

dpkg's status says that every package is installed, as in an image whose packages were installed on the device.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jetsonx.packages.mirrors import load_host, resolve_sources
from tests.images.layer import MTIME_S

# mmdebstrap leaves dpkg's status empty when it only unpacks; the packages' own control files are what dpkg would write.
_RECORD = """
for deb in "$1"/var/cache/apt/archives/*.deb; do
  dpkg-deb -f "$deb" | sed '/^Package:/a Status: install ok installed'
  echo
done > "$1/var/lib/dpkg/status"
"""
# Ubuntu's images have had one /usr since focal; here too before the first package is unpacked.
_MERGE_USR = 'for name in bin lib sbin; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done'


def source_line(codename: str) -> str:
    """The line of a sources.list that names this host's own archive, with the suite ``codename``."""
    source = resolve_sources(load_host(), codename, os.environ.get("JETSONX_APT_MIRROR", ""))[0]
    return f"deb {source.uris[0]} {codename} main"


def make_rootfs(tar: Path, codename: str, packages: Sequence[str]) -> None:
    """``packages`` (names or apt's patterns) of a suite and what they need, at ``tar``."""
    argv = ["mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", "--format=tar"]
    argv += [f"--setup-hook={_MERGE_USR}", f"--extract-hook={_RECORD}"]
    argv += [f"--include={name}" for name in packages]
    done = subprocess.run(
        [*argv, codename, str(tar), source_line(codename)],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(MTIME_S)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"mmdebstrap of {codename} failed:\n{done.stderr}")
