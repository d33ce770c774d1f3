"""The store: what was fetched and unpacked, kept by content in the user's cache directory."""

from __future__ import annotations

from jetsonx.store.store import Store, Tree, default_root
from jetsonx.store.tree import Entry, TreeWriter

__all__ = ["Entry", "Store", "Tree", "TreeWriter", "default_root"]
