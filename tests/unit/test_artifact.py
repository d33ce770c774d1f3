"""Trees out of everything people ship, and what happens when it is not what it should be."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from jetsonx.artifact import cache
from jetsonx.artifact.layers import LayerReader
from jetsonx.artifact.load import Options, load_artifact
from jetsonx.artifact.members import Change
from jetsonx.artifact.tree import Tree
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.rootfs.codec import Read
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from tests.elf.synthetic import ElfSpec, cubin_entry, cuda_program, make_archive, make_elf, make_fatbin
from tests.images.archive import layout, saved, saved_as_layout, sha256, tar

LIBRARY = make_elf(ElfSpec(soname="libx.so.1", interpreter=None, needed=("libc.so.6",)))
PROGRAM = cuda_program(make_fatbin(cubin_entry(87)))
BASE = tar(
    {
        "usr/": None,
        "usr/lib/libx.so.1": LIBRARY,
        "usr/lib/old.so": LIBRARY,
        "etc/ld.so.conf": b"include /etc/ld.so.conf.d/*.conf\n",
        "etc/motd": b"hello",
        "data/a": LIBRARY,
        "data/b": b"#!/bin/sh\n",
    }
)
TOP = tar(
    {
        "app": PROGRAM,
        "usr/lib/.wh.old.so": b"",
        "data/.wh..wh..opq": b"",
        "data/c": b"#!/usr/bin/env python3\nprint()\n",
        "usr/lib/libx.so": "libx.so.1",
    },
    hard={"usr/lib/again.so": "usr/lib/libx.so.1"},
)
LAYERS = (BASE, TOP)


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    console = Console(-1)
    return Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)


def named(value: object) -> str:
    """The name of a test's parameter: files in it have the time in them."""
    return value if isinstance(value, str) else "file"


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def kinds(tree: Tree) -> dict[str, str]:
    return {node.path: node.facts.kind for node in tree.iter_files() if node.facts}


IMAGE = {
    "app": "elf",
    "data/c": "script",
    "etc/ld.so.conf": "other",
    "usr/lib/again.so": "elf",
    "usr/lib/libx.so.1": "elf",
}


def check_image(tree: Tree) -> None:
    assert kinds(tree) == IMAGE
    assert tree.is_root
    assert tree.config is not None
    assert (tree.config.entrypoint, tree.config.command) == (("/app",), ("--fast",))
    assert (tree.config.env, tree.config.user) == ({"PATH": "/usr/bin", "A": "b=c"}, "1000")
    assert tree.config.labels == {"jetsonx.target": "orin-nano@39.2.0"}
    assert [layer.created_by for layer in tree.layers] == ["step 0", "step 1"]
    assert {node.path: node.layer for node in tree.iter_files()} == {
        "app": 1,
        "data/c": 1,
        "etc/ld.so.conf": 0,
        "usr/lib/again.so": 0,
        "usr/lib/libx.so.1": 0,
    }
    library = tree.resolve("/usr/lib/libx.so")
    assert library is not None
    assert library.facts is not None
    assert library.facts.elf is not None
    assert library.facts.elf.soname == "libx.so.1"
    again = tree.nodes["usr/lib/again.so"].facts
    assert again is not None
    assert again.path == "usr/lib/again.so"
    assert "usr/lib/old.so" not in tree.nodes
    assert tree.nodes["app"].mode == 0o755


PACK: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "plain": (lambda data: data, ""),
    "gzip": (lambda data: gzip.compress(data, mtime=0), "+gzip"),
    "zstd": (zstandard.ZstdCompressor().compress, "+zstd"),
}


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("prefix", ["", "oci:"])
def test_an_oci_layout(tmp_path: Path, effects: Effects, compression: str, prefix: str) -> None:
    pack, suffix = PACK[compression]
    folder = write(tmp_path / "image", layout(LAYERS, [pack(layer) for layer in LAYERS], suffix=suffix))
    tree = load_artifact(f"{prefix}{folder}", Options(), effects)
    assert tree.kind == "oci"
    assert tree.digest.startswith("sha256:")
    check_image(tree)


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("save", [saved, saved_as_layout])
@pytest.mark.parametrize("prefix", ["", "docker-archive:"])
def test_what_docker_saves(
    tmp_path: Path, effects: Effects, compression: str, save: Callable[..., dict[str, bytes | str | None]], prefix: str
) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(PACK[compression][0](tar(save(LAYERS))))
    for _ in range(2):  # the second time from the cache
        tree = load_artifact(f"{prefix}{path}", Options(), effects)
        assert tree.kind == "docker-archive"
        check_image(tree)


def test_layers_of_one_content_are_saved_once(tmp_path: Path, effects: Effects) -> None:
    members = saved((BASE, BASE))
    first, second = (name for name in members if name.endswith("layer.tar"))
    members[second] = f"../{first}"
    path = tmp_path / "image.tar"
    path.write_bytes(tar(members))
    assert "usr/lib/libx.so.1" in load_artifact(str(path), Options(), effects).nodes


def test_only_a_new_layer_is_read(tmp_path: Path, effects: Effects, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    read = LayerReader.read

    def noted(
        self: LayerReader, source: Read, size: int, *, name: str, expected: str | None
    ) -> tuple[tuple[Change, ...], str]:
        seen.append(name)
        return read(self, source, size, name=name, expected=expected)

    monkeypatch.setattr(LayerReader, "read", noted)
    load_artifact(str(write(tmp_path / "one", layout(LAYERS, LAYERS))), Options(), effects)
    assert len(seen) == 2
    newer = (BASE, TOP, tar({"new.so": LIBRARY}))
    tree = load_artifact(str(write(tmp_path / "two", layout(newer, newer))), Options(), effects)
    assert seen[2:] == [f"layer {sha256(newer[2])[:12]}"]
    assert kinds(tree) == IMAGE | {"new.so": "elf"}
    load_artifact(str(tmp_path / "two"), Options(deep=True), effects)
    assert len(seen) == 6, "other facts were asked for"


@pytest.mark.parametrize("damage", [b"", b"\0", b"x\ny", None])
def test_a_damaged_memory_is_read_anew(tmp_path: Path, effects: Effects, damage: bytes | None) -> None:
    folder = write(tmp_path / "image", layout(LAYERS, LAYERS))
    load_artifact(str(folder), Options(), effects)
    for ref in (effects.store.root / "refs" / "layer-facts").iterdir():
        text = ref.read_bytes()
        ref.write_bytes(text[:-8] + b"AAAAAAAA" if damage is None else damage)
    check_image(load_artifact(str(folder), Options(), effects))


def test_remembered_facts_are_the_same_values(tmp_path: Path, effects: Effects) -> None:
    reader = LayerReader(options=Options(), effects=effects, scratch=tmp_path)
    for layer in LAYERS:
        changes, _ = reader.read(io.BytesIO(layer).read, len(layer), name="x", expected=None)
        assert cache.parse(cache.render(changes)) == changes


def test_values_of_the_wrong_kind_are_not_taken() -> None:
    for line in ([], [1, 2, 3], [["file", 0, "0", True, "", "a"], 0, None], [["file", 0, 0, True, "", "a"], 0, 5]):
        packed = zstandard.compress(json.dumps(line).encode() + b"\n")
        import base64

        assert cache.parse(f"{sha256(packed)}\n{base64.b64encode(packed).decode()}") is None


def test_a_directory(tmp_path: Path, effects: Effects) -> None:
    folder = write(
        tmp_path / "out",
        {"bin/app": PROGRAM, "lib/libx.so.1": LIBRARY, "lib/cut.so": LIBRARY[:700], "README": b"x", "empty": b""},
    )
    (folder / "lib/libx.so").symlink_to("libx.so.1")
    (folder / "lib/\x1b[31m").write_bytes(LIBRARY)
    tree = load_artifact(str(folder), Options(), effects)
    assert (tree.kind, tree.is_root) == ("directory", False)
    assert kinds(tree) == {
        "bin/app": "elf",
        "lib/libx.so.1": "elf",
        "lib/cut.so": "unreadable",
        "lib/\\x1b[31m": "elf",
    }
    assert tree.nodes["lib/libx.so"].target == "libx.so.1"
    (folder / "lib/ld-linux-aarch64.so.1").write_bytes(LIBRARY)
    assert load_artifact(str(folder), Options(), effects).is_root


def test_a_file_and_a_static_library(tmp_path: Path, effects: Effects) -> None:
    write(tmp_path, {"app": PROGRAM, "libx.a": make_archive({"a.o": LIBRARY, "b.txt": b"x"}), "note": b"hello"})
    tree = load_artifact(str(tmp_path / "app"), Options(hash=True), effects)
    assert (tree.kind, tree.digest) == ("file", f"sha256:{sha256(PROGRAM)}")
    assert kinds(tree) == {"app": "elf"}
    facts = load_artifact(str(tmp_path / "libx.a"), Options(), effects).nodes["libx.a"].facts
    assert facts is not None
    assert [name for name, _ in facts.members] == ["a.o"]
    assert kinds(load_artifact(str(tmp_path / "note"), Options(), effects)) == {"note": "other"}


def wheel(members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


WHEEL = wheel({"x/_c.so": LIBRARY, "x/__init__.py": b"", "x-1.dist-info/WHEEL": b"Wheel-Version: 1.0"})


def test_a_wheel(tmp_path: Path, effects: Effects) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    path.write_bytes(WHEEL)
    tree = load_artifact(str(path), Options(), effects)
    assert (tree.kind, tree.is_root, kinds(tree)) == ("wheel", False, {"x/_c.so": "elf"})
    assert tree.nodes["x"].kind == "dir"


def test_a_damaged_member_of_a_wheel_is_told(tmp_path: Path, effects: Effects) -> None:
    path = tmp_path / "x.whl"
    damaged = bytearray(WHEEL)
    damaged[45:60] = bytes(15)
    path.write_bytes(damaged)
    assert kinds(load_artifact(str(path), Options(), effects)) == {"x/_c.so": "unreadable"}


def deb(data: bytes, name: str = "data.tar") -> bytes:
    def member(label: str, content: bytes) -> bytes:
        return (
            f"{label:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )

    return b"!<arch>\n" + member("debian-binary", b"2.0\n") + member("control.tar", tar({})) + member(name, data)


@pytest.mark.parametrize(("suffix", "compression"), [("", "plain"), (".gz", "gzip"), (".zst", "zstd")])
def test_a_debian_package(tmp_path: Path, effects: Effects, suffix: str, compression: str) -> None:
    path = tmp_path / "x.deb"
    content = tar({"./usr/lib/x.so": LIBRARY, "./usr/lib/y.so": "x.so"}, hard={"./usr/lib/z.so": "./usr/lib/x.so"})
    path.write_bytes(deb(PACK[compression][0](content), f"data.tar{suffix}"))
    tree = load_artifact(str(path), Options(), effects)
    assert (tree.kind, kinds(tree)) == ("deb", {"usr/lib/x.so": "elf", "usr/lib/z.so": "elf"})
    assert tree.resolve("usr/lib/y.so") == tree.nodes["usr/lib/x.so"]


# ---- what is not what it should be -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothing", "a\0b", "oci:nothing", "docker-archive:nothing", "docker:", "docker:-o"])
def test_what_is_not_there_is_said_so(tmp_path: Path, effects: Effects, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_artifact(name, Options(), effects)
    assert caught.value.hint


def changed(name: str, content: bytes | None) -> dict[str, bytes]:
    files = layout(LAYERS, LAYERS)
    if content is None:
        del files[name]
    else:
        files[name] = content
    return files


TOP_BLOB = f"blobs/sha256/{sha256(TOP)}"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (changed("index.json", b"{"), "no JSON"),
        (changed("index.json", b"[" * 100_000), "no JSON"),
        (changed("index.json", b"{}"), "no image"),
        (changed("index.json", b'{"schemaVersion": 2, "manifests": []}'), "linux/arm64"),
        (changed(TOP_BLOB, None), "No such file"),
        (changed(TOP_BLOB, TOP[:2000]), "cut off"),
        (changed(TOP_BLOB, BASE), "damaged"),
        (layout((BASE,), (tar({"../../etc/x": b""}),)), "outside"),
        (layout((BASE,), (tar({"x": b""}, hard={"y": "gone"}),)), "hard link"),
        (layout(LAYERS, [b"\x1f\x8bx", TOP]), "damaged"),
    ],
    ids=named,
)
def test_a_damaged_layout_is_the_users_to_mend(
    tmp_path: Path, effects: Effects, files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        load_artifact(f"oci:{write(tmp_path / 'image', files)}", Options(), effects)


def archive(**changes: bytes | None) -> bytes:
    members = saved(LAYERS)
    for name, content in changes.items():
        key = next(each for each in members if each.endswith(name.replace("_", ".")))
        if content is None:
            del members[key]
        else:
            members[key] = content
    return tar(members)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (archive(manifest_json=None), "holds no image"),
        (archive(manifest_json=b"[{}]"), "names no image"),
        (archive(manifest_json=b'[{"Config": "x.json"}]'), "not there"),
        (archive(layer_tar=None), "not there"),
        (archive(layer_tar=TOP[:3000]), "cut off"),
        (archive(layer_tar=tar({"other": b""})), "damaged"),
        (archive()[:4000], "cut off"),
        (gzip.compress(archive())[:900], "cut off|damaged"),
        (tar({"file": b"x"}), "holds no image"),
    ],
    ids=named,
)
def test_a_damaged_archive_is_the_users_to_mend(tmp_path: Path, effects: Effects, content: bytes, words: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load_artifact(f"docker-archive:{path}", Options(), effects)


def test_a_layer_that_unpacks_without_end_is_refused(tmp_path: Path, effects: Effects) -> None:
    bomb = gzip.compress(tar({"zeros": b"\x7fELF" + bytes(300 << 20)}))
    folder = write(tmp_path / "image", layout((BASE,), (bomb,), suffix="+gzip"))
    with pytest.raises(ConfigError, match="bomb") as caught:
        load_artifact(str(folder), Options(), effects)
    assert "JETSONX_MAX_UNPACK_RATIO" in str(caught.value.hint)


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04", WHEEL[:-30], WHEEL[:100], WHEEL.replace(b"PK\x05\x06", b"PK\x05\x07")], ids=named
)
def test_a_damaged_wheel_is_refused(tmp_path: Path, effects: Effects, content: bytes) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_artifact(str(path), Options(), effects)


@pytest.mark.parametrize(
    "content", [deb(b"\xfd7zXZ\0", "data.tar.xz"), deb(tar({}))[:150], deb(b"\x1f\x8b", "data.tar.gz")], ids=named
)
def test_a_damaged_package_is_refused(tmp_path: Path, effects: Effects, content: bytes) -> None:
    path = tmp_path / "x.deb"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_artifact(str(path), Options(), effects)
