"""The target's headers and libraries, fetched, unpacked and kept by content."""

from __future__ import annotations

from jetsonx.sysroot.deb import iter_deb
from jetsonx.sysroot.package import Package, Pins, Wheel
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.store import Pruned, Store, Tree, default_root
from jetsonx.sysroot.tree import Entry, TreeWriter
from jetsonx.sysroot.wheels import download_wheels, fetch_wheels, unpack_wheel

__all__ = [
    "Entry",
    "Package",
    "Pins",
    "Pruned",
    "Store",
    "Sysroot",
    "Tree",
    "TreeWriter",
    "Wheel",
    "default_root",
    "download_wheels",
    "fetch_wheels",
    "iter_deb",
    "pull_sysroot",
    "unpack_wheel",
]
