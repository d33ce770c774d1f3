"""The target's headers and libraries, fetched, unpacked and kept by content.

Only the store is named here, so that looking something up in it stays quick: what fetches is imported from its own
module, :mod:`jetsonx.sysroot.pull` first of all.
"""

from __future__ import annotations

from jetsonx.sysroot.store import Store, Tree, default_root
from jetsonx.sysroot.tree import Entry, TreeWriter

__all__ = ["Entry", "Store", "Tree", "TreeWriter", "default_root"]
