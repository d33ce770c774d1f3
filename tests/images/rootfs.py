"""A Debian root file system as a tar: unpacked, not configured, so that nothing of arm64 has to be emulated.

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
# Of what maintainer scripts do, what is missed when the root is run: users, name service, awk, the certificates in one
# file; and the lists of files that dpkg reads before it installs more.
_RUNNABLE = """
cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
cp "$1/usr/share/libc-bin/nsswitch.conf" "$1/etc/nsswitch.conf"
ln -s mawk "$1/usr/bin/awk"
cat "$1"/usr/share/ca-certificates/mozilla/*.crt > "$1/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$1/var/lib/dpkg/info"
for deb in "$1"/var/cache/apt/archives/*.deb; do
  name=$(dpkg-deb -f "$deb" Package)
  if [ "$(dpkg-deb -f "$deb" Multi-Arch)" = same ]; then name=$name:$(dpkg-deb -f "$deb" Architecture); fi
  dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's,^\\.,,; s,/$,,; s,^$,/.,' > "$1/var/lib/dpkg/info/$name.list"
done
"""
# Ubuntu's images have had one /usr since focal; here too before the first package is unpacked.
_MERGE_USR = 'for name in bin lib sbin; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done'


def source_line(codename: str) -> str:
    """The line of a sources.list that names this host's own archive, with the suite ``codename``."""
    source = resolve_sources(load_host(), codename, os.environ.get("JETSONX_APT_MIRROR", ""))[0]
    return f"deb {source.uris[0]} {codename} main"


def make_rootfs(
    tar: Path, codename: str, packages: Sequence[str], *, architecture: str = "arm64", runnable: bool = False
) -> None:
    """``packages`` (names or apt's patterns) of a suite and what they need, at ``tar``.

    ``runnable``: a shell and apt can be run in it as in an installed one; ca-certificates must be among the packages.
    """
    argv = ["mmdebstrap", "--quiet", "--variant=extract", f"--architectures={architecture}", "--format=tar"]
    argv += [f"--setup-hook={_MERGE_USR}", f"--extract-hook={_RECORD}"]
    argv += [f"--extract-hook={_RUNNABLE}"] if runnable else []
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
