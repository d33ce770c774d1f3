"""Fuzzes what reads the files of an artifact: ELF, fat binaries, static libraries, wheels, packages, images.

    pip install atheris
    python -m tests.fuzz.fuzz_facts -max_len=65536 -max_total_time=300 /tmp/corpus tests/fuzz/corpus_facts

``/tmp/corpus`` takes what is found; an input that broke something and is mended belongs into
``tests/fuzz/corpus_facts``, which the unit tests replay. ``make_facts_corpus.py`` writes what the corpus starts from.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import tempfile
from pathlib import Path

from jetsonx.artifact import cache
from jetsonx.artifact.archive import read_archive
from jetsonx.artifact.load import Options, load_artifact
from jetsonx.artifact.members import Change
from jetsonx.artifact.tree import Tree
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.elf.facts import FileFacts
from jetsonx.elf.load import parse_file
from jetsonx.errors import ConfigError
from jetsonx.rootfs.layer import Item
from jetsonx.runner import Runner
from jetsonx.store.store import Store

CORPUS = Path(__file__).parent / "corpus_facts"
_DEEP = Options(deep=True, hash=True, host_prefixes=("/build",))


def check_input(data: bytes, folder: Path) -> None:
    """Read ``data`` as a file, and as every container that it may be: facts come out, or a ConfigError."""
    for options in (Options(), _DEEP):
        facts = parse_file(data, "a", options)
        if facts is not None:
            _check_facts(facts)
    console = Console(-1)
    effects = Effects(store=Store(folder / "cache", console), runner=Runner(), console=console)
    for name in ("a", "a.whl"):
        (folder / name).write_bytes(data)
        with contextlib.suppress(ConfigError):
            _check_tree(load_artifact(str(folder / name), Options(), effects))
    with contextlib.suppress(ConfigError):
        _check_tree(read_archive(io.BytesIO(data).read, "a", "docker-archive", Options(), effects))
    if data[:1] in (b"{", b"["):
        _check_layout(data, folder / "layout", effects)


def _check_layout(data: bytes, folder: Path, effects: Effects) -> None:
    """``data`` as the index, the manifest and the configuration of an image."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    (folder / "oci-layout").write_text("{}")

    def blob(content: bytes, kind: str) -> dict[str, object]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{name}", "size": len(content)}

    config, manifest = blob(data, "config.v1+json"), blob(data, "manifest.v1+json")
    own = blob(json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode(), "manifest.v1+json")
    indexes = [json.dumps({"schemaVersion": 2, "manifests": [each]}).encode() for each in (manifest, own)]
    for index in (data, *indexes):
        (folder / "index.json").write_bytes(index)
        with contextlib.suppress(ConfigError):
            _check_tree(load_artifact(f"oci:{folder}", Options(), effects))
    for path in blobs.iterdir():
        path.unlink()


def _check_tree(tree: Tree) -> None:
    for path, node in tree.nodes.items():
        assert path == node.path
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert path.isprintable()
        if node.facts is not None:
            _check_facts(node.facts)
        if node.kind == "symlink":
            tree.resolve(path)


def _check_facts(facts: FileFacts) -> None:
    change = Change(Item("file", 0, 0, False, "", facts.path), 0, facts)
    assert cache.parse(cache.render([change])) == (change,)
    for elf in (facts.elf, *(elf for _, elf in facts.members)):
        if elf is not None:
            texts = (*elf.needed, elf.soname or "", elf.interpreter or "", *elf.exports, *(x.name for x in elf.imports))
            assert all(text.isprintable() and len(text) < 1 << 16 for text in texts)


def main() -> None:
    """Run atheris."""
    import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

    atheris.instrument_all()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        atheris.Setup(sys.argv, lambda data: check_input(data, Path(folder)))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
