"""A sysroot as a tar file and as an image: the same bytes each time, whole or not at all, over nothing of others."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from jetsonx.cli import cli
from jetsonx.console import Console
from jetsonx.errors import ConfigError, HostError
from jetsonx.image import export, oci
from jetsonx.image.export import export_oci, export_tar, resolve_compression, write_tar
from jetsonx.image.layer import Compression
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import FIXED_TIME_S, TreeWriter

LONG = "usr/share/" + "long" * 60 + "/näme"
COMPRESSIONS: tuple[Compression, ...] = ("gzip", "zstd", "none")


def fill(writer: TreeWriter) -> None:
    writer.add_file("usr/lib/liba.so.1", b"library" * 400_000)
    writer.add_file("usr/bin/tool", b"#!", mode=0o755)
    writer.add_file(LONG, b"")
    writer.add_symlink("usr/lib/liba.so", "liba.so.1")
    writer.add_dir("etc/empty")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Console(-1))


@pytest.fixture
def tree(store: Store) -> Tree:
    return store.create("sysroot", "key", fill, info={"release": "36.4.3"})


def plain(data: bytes, compression: Compression) -> bytes:
    if compression == "gzip":
        return gzip.decompress(data)
    if compression == "zstd":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True) as stream:
            return stream.read()
    return data


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_tar_file_holds_the_tree(tree: Tree, compression: Compression) -> None:
    stream = io.BytesIO()
    blob = write_tar(tree, stream, compression)
    data = plain(stream.getvalue(), compression)
    assert blob.digest == f"sha256:{hashlib.sha256(stream.getvalue()).hexdigest()}"
    assert blob.diff_id == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {info.name: info for info in archive}
        library = archive.extractfile("usr/lib/liba.so.1")
        assert library is not None
        assert library.read() == b"library" * 400_000
    assert list(members) == sorted(tree.load_manifest())
    assert {(info.uid, info.gid, info.mtime) for info in members.values()} == {(0, 0, FIXED_TIME_S)}
    assert (members["usr/bin/tool"].mode, members[LONG].mode, members["etc/empty"].mode) == (0o555, 0o444, 0o755)
    assert members["usr/lib/liba.so"].linkname == "liba.so.1"


def test_the_same_sysroot_gives_the_same_bytes_in_another_store(tree: Tree, tmp_path: Path) -> None:
    other = Store(tmp_path / "other", Console(-1)).create("sysroot", "another key", fill, info={"release": "36.4.3"})
    for compression in COMPRESSIONS:
        first, second = io.BytesIO(), io.BytesIO()
        write_tar(tree, first, compression)
        write_tar(other, second, compression)
        assert first.getvalue() == second.getvalue()
    assert export_oci(tree, tmp_path / "a").digest == export_oci(other, tmp_path / "b").digest


@pytest.mark.parametrize(
    ("name", "asked", "compression"),
    [
        ("x.tar", None, "none"),
        ("x.tar.gz", None, "gzip"),
        ("x.tgz", None, "gzip"),
        ("x.tar.zst", None, "zstd"),
        ("", None, "none"),
        ("x.tar.gz", "none", "none"),
    ],
)
def test_resolve_compression(name: str, asked: Compression | None, compression: Compression) -> None:
    assert resolve_compression(name, asked) == compression


def test_a_tar_file_that_is_there_is_not_replaced(tree: Tree, tmp_path: Path) -> None:
    file = tmp_path / "new" / "x.tar.zst"
    export_tar(tree, file)
    before = file.read_bytes()
    assert before[:4] == b"\x28\xb5\x2f\xfd"
    with pytest.raises(ConfigError, match="not replaced") as caught:
        export_tar(tree, file)
    assert "--force" in (caught.value.hint or "")
    file.write_text("x")
    export_tar(tree, file, force=True)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(ConfigError) as caught:
        export_tar(tree, tmp_path, force=True)
    assert "--force" not in (caught.value.hint or "")


def test_a_tar_file_that_cannot_be_written(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match="cannot write"):
        export_tar(tree, tmp_path / "file" / "x.tar")


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_interrupted_it_leaves_what_was_there(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, directory = tmp_path / "x.tar", tmp_path / "layout"
    file.write_text("before")
    export_oci(tree, directory, compression="none")
    before = (directory / "index.json").read_bytes()
    there = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(export, "write_layer", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_tar(tree, file, force=True)
    monkeypatch.setattr(oci, "write_blobs", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_oci(tree, directory)
    assert file.read_text() == "before"
    assert (directory / "index.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == there


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_an_image_layout(tree: Tree, tmp_path: Path, compression: Compression) -> None:
    image = export_oci(tree, tmp_path / "layout", compression=compression)
    index = json.loads((image.path / "index.json").read_bytes())
    [described] = index["manifests"]
    assert described["digest"] == image.digest
    assert described["platform"]["architecture"] == "arm64"
    assert described["annotations"]["org.opencontainers.image.ref.name"] == "latest"

    def blob(digest: str) -> bytes:
        data = (image.path / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
        return data

    manifest = json.loads(blob(described["digest"]))
    [layer] = manifest["layers"]
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression]
    assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.tar{suffix}"
    config = json.loads(blob(manifest["config"]["digest"]))
    tar = plain(blob(layer["digest"]), compression)
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(tar).hexdigest()}"]
    assert config["config"]["Labels"] == {"dev.jetsonx.sysroot": tree.digest, "dev.jetsonx.l4t": "36.4.3"}
    assert oci.read_image(image.path, f"sysroot {tree.digest} {compression}") is not None


def test_an_export_of_ours_is_replaced_and_found_again(store: Store, tree: Tree, tmp_path: Path) -> None:
    directory = tmp_path / "layout"
    first = export_oci(tree, directory)
    inode = directory.stat().st_ino
    assert export_oci(tree, directory) == first
    assert directory.stat().st_ino == inode  # it was there already
    other = store.create("sysroot", "2", lambda writer: writer.add_file("x", b"x"), info={})
    second = export_oci(other, directory)
    assert second.digest != first.digest
    assert len(list((directory / "blobs/sha256").iterdir())) == 3


def foreign_index(directory: Path) -> None:
    (directory / "oci-layout").write_text("{}")
    (directory / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')


def image_of_a_build(directory: Path) -> None:
    (directory / "oci-layout").write_text("{}")
    (directory / "index.json").write_text('{"annotations": {"dev.jetsonx.plan": "0123"}}')


def files_of_the_user(directory: Path) -> None:
    (directory / "thesis.tex").write_text("x")


@pytest.mark.parametrize(
    "prepare", [foreign_index, image_of_a_build, files_of_the_user], ids=lambda each: each.__name__
)
def test_what_is_not_ours_is_not_replaced(tree: Tree, tmp_path: Path, prepare: object) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    assert callable(prepare)
    prepare(directory)
    before = sorted(directory.iterdir())
    with pytest.raises(ConfigError, match="not replaced") as caught:
        export_oci(tree, directory)
    assert "--oci DIR" in (caught.value.hint or "")
    assert sorted(directory.iterdir()) == before


def test_an_empty_directory_is_taken(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export_oci(tree, tmp_path / "empty")
    assert (tmp_path / "empty" / "oci-layout").is_file()


def test_a_damaged_sysroot_is_refused(store: Store, tree: Tree, tmp_path: Path) -> None:
    (tree.path / "etc/new").write_text("")
    store.verify(tree)
    [damaged] = store.trees()
    for act in (export_tar, export_oci):
        with pytest.raises(ConfigError, match="damaged") as caught:
            act(damaged, tmp_path / "out")
        assert "verify --repair" in (caught.value.hint or "")
    (tree.path.parent / "damaged").unlink()
    (tree.path.parent / "manifest").write_text("?")
    with pytest.raises(ConfigError, match="damaged"):
        export_tar(store.trees()[0], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(tmp_path: Path) -> None:
    store = Store(Path(os.environ["JETSONX_CACHE"]), Console(-1))
    tree = store.create("sysroot", "key", fill, info={"release": "36.4.3"})

    def run(*words: str) -> tuple[int, bytes]:
        done = CliRunner().invoke(cli, ["sysroot", "export", tree.name, *words])
        return done.exit_code, done.stdout_bytes

    assert run("--tar", str(tmp_path / "x.tar")) == (0, f"{tmp_path / 'x.tar'}\n".encode())
    assert run("--tar", "-") == (0, (tmp_path / "x.tar").read_bytes())
    assert run("--tar", "-", "--compress", "gzip")[1][:2] == b"\x1f\x8b"
    assert run("--oci", str(tmp_path / "layout")) == (0, f"{tmp_path / 'layout'}\n".encode())
    assert run()[0] == 2
    assert run("--tar", "x", "--oci", "y")[0] == 2
