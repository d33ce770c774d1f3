"""Fuzzes the way of a layer into a sysroot: decompression, tar, index, overlay, selection.

    pip install atheris
    python -m tests.fuzz.fuzz_layer -max_len=4096 -max_total_time=300 /tmp/corpus tests/fuzz/corpus

``/tmp/corpus`` takes what is found; an input that broke something and is mended belongs into ``tests/fuzz/corpus``,
which the unit tests replay. ``make_corpus.py`` writes what the corpus starts from.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from jetsonx.errors import DownloadError
from jetsonx.rootfs.layer import Bound, parse_index, read_layer, render_item
from jetsonx.rootfs.overlay import FileSystem, merge_folders, select
from jetsonx.store.tree import Entry, Objects, close_entries, parse_manifest, render_manifest

CORPUS = Path(__file__).parent / "corpus"
_UNPACKED_MAX = 1 << 22


def _in_usr(path: str) -> bool:
    return path.startswith("usr/")


class _SmallBound(Bound):
    """A bound that keeps an input of the fuzzer below megabytes of zeros."""

    def __init__(self) -> None:
        super().__init__("layer 1", 0, 1)
        self._left = _UNPACKED_MAX


def check_input(data: bytes, folder: Path) -> None:
    """Put ``data`` twice over itself as a layer: it becomes a tree without surprises, or is refused."""
    (folder / "scratch").mkdir(exist_ok=True)
    objects = Objects(folder / "objects", folder / "scratch")
    try:
        items = list(read_layer(io.BytesIO(data).read, objects, _in_usr, name="layer 1", bound=_SmallBound()))
        text = "".join(map(render_item, items))
        assert list(parse_index(text)) == items
        system = FileSystem()
        system.apply(items, layer=0, name="layer 1")
        system.apply(items, layer=1, name="layer 1")
    except DownloadError as error:
        if "layer 1" not in error.message:
            raise
        return
    merge_folders(system.root)
    for keeps in (_in_usr, None):
        chosen = select(system.root, keeps)
        files = {path: Entry(kind="file", content=leaf.item.content) for path, leaf in chosen.files.items()}
        entries = close_entries({**chosen.entries, **files})
        assert all(".." not in path.split("/") and not path.startswith("/") for path in entries)
        assert not any(entry.kind == "link" and entry.content.startswith("/") for entry in entries.values())
        assert parse_manifest(render_manifest(entries)) == entries


def main() -> None:
    """Run atheris."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    atheris.instrument_all()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        atheris.Setup(sys.argv, lambda data: check_input(data, Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
