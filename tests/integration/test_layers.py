"""Layers into a store by real worker processes: growing files, restarts, interruptions, and other tools as oracles."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jetsonx.catalog.filters import Filter
from jetsonx.console import Console
from jetsonx.errors import DownloadError
from jetsonx.rootfs.layers import LayersDone, LayerSource, add_layers
from jetsonx.rootfs.tar import TarReader
from jetsonx.runner import Runner
from jetsonx.store.store import Store, Tree

pytestmark = pytest.mark.integration

Fetch = Callable[[Path, Callable[[int], None], Callable[[], None]], None]
LIBRARIES = Filter(keep=("usr/lib/**", "usr/include/**"))
NOISE = random.Random(7).randbytes(3 << 20)


def tar(*members: tuple[str, bytes | str | None]) -> bytes:
    """A gzip layer: name and content; a text is where a symbolic link leads, None makes a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            elif content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
    return out.getvalue()


def source(data: bytes, fetch: Fetch | None = None, *, name: str = "layer 1 of demo") -> LayerSource:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return LayerSource(name=name, digest=digest, size_bytes=len(data), fetch=fetch or fetched(data))


def fetched(data: bytes, calls: list[int] | None = None, *, pause_s: float = 0.0, step: int = 1 << 16) -> Fetch:
    def fetch(part: Path, advance: Callable[[int], None], restarted: Callable[[], None]) -> None:
        if calls is not None:
            calls.append(1)
        with part.open("ab", buffering=0) as out:
            advance(out.tell())
            for at in range(out.tell(), len(data), step):
                advance(out.write(data[at : at + step]))
                time.sleep(pause_s)

    return fetch


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Console(-1))


def pull(layers: Sequence[LayerSource], store: Store, chosen: Filter | None = LIBRARIES) -> tuple[Tree, LayersDone]:
    done: list[LayersDone] = []

    def fill(writer: object) -> None:
        done.append(
            add_layers(
                layers,
                writer,  # type: ignore[arg-type]
                filter=chosen,
                what="demo",
                store=store,
                runner=Runner(),
                console=Console(-1),
            )
        )

    key = f"{time.monotonic()}"
    return store.create("sysroot", key, fill, info={}), done[0]


def files(tree: Tree) -> dict[str, str]:
    return {
        path.relative_to(tree.path).as_posix(): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes().decode()
        for path in tree.path.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def workers_left() -> list[int]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"jetsonx.rootfs.worker" in words and any(str(os.getpid()).encode() in word for word in words):
            found.append(int(each.parent.name))
    return found


BASE = tar(("usr/lib/a.so", b"a"), ("usr/lib/old.so", b"old"), ("usr/share/doc", b"doc"), ("opt/real.so", b"real"))
TOP = tar(("usr/lib/.wh.old.so", b""), ("usr/lib/b.so", b"b"), ("usr/lib/link.so", "/opt/real.so"))


def test_layers_become_a_tree_and_are_known_next_time(store: Store) -> None:
    calls: list[int] = []
    layers = [source(BASE, fetched(BASE, calls)), source(TOP, fetched(TOP, calls)), source(BASE, fetched(BASE, calls))]
    tree, done = pull(layers[:2], store)
    assert files(tree) == {
        "usr/lib/a.so": "a",
        "usr/lib/b.so": "b",
        "usr/lib/link.so": "../../opt/real.so",
        "opt/real.so": "real",  # the filter drops it, a link needs it: read in a second pass
        "lib": "usr/lib",
    }
    assert (done.layers, done.reused, done.downloaded_bytes) == (2, 0, len(BASE) + len(TOP))
    again, done = pull(layers, store)
    assert (done.layers, done.reused, done.downloaded_bytes, len(calls)) == (3, 3, 0, 2)
    assert "usr/lib/old.so" in files(again)  # the base once more on top
    assert not list((store.root / "partial").iterdir())
    assert not list((store.root / "tmp").iterdir())


def test_contents_that_were_pruned_are_read_again(store: Store) -> None:
    tree, _ = pull([source(BASE)], store)
    shutil.rmtree(store.root / "objects")
    again, done = pull([source(BASE, fetched(b"never asked for"))], store)
    assert (again.digest, done.downloaded_bytes) == (tree.digest, 0)
    shutil.rmtree(store.root / "objects")
    shutil.rmtree(store.root / "downloads")
    calls: list[int] = []
    again, _ = pull([source(BASE, fetched(BASE, calls))], store)
    assert (again.digest, calls) == (tree.digest, [1])


def test_a_layer_is_followed_while_it_comes(store: Store) -> None:
    data = tar(("usr/lib/noise.so", NOISE), ("usr/lib/end.so", b"end"))
    tree, _ = pull([source(data, fetched(data, pause_s=0.005))], store)
    assert (tree.path / "usr/lib/noise.so").read_bytes() == NOISE


def test_a_download_that_begins_anew(store: Store) -> None:
    data = tar(("usr/lib/noise.so", NOISE))

    def fetch(part: Path, advance: Callable[[int], None], restarted: Callable[[], None]) -> None:
        with part.open("ab", buffering=0) as out:
            out.write(b"\x1f\x8b not what it should be" * 50_000)
            time.sleep(0.3)
            out.truncate(0)
            restarted()
            out.write(data)

    tree, _ = pull([source(data, fetch)], store)
    assert (tree.path / "usr/lib/noise.so").read_bytes() == NOISE


def test_on_disk_and_of_unknown_digest(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(BASE)
    local = LayerSource(name="a.tgz", digest="", size_bytes=None, path=tmp_path / "a.tgz")
    stream = LayerSource(name="device", digest="", size_bytes=None, fetch=fetched(TOP))
    tree, done = pull([local, stream], store)
    assert (files(tree)["usr/lib/b.so"], done.reused) == ("b", 0)


@pytest.mark.parametrize("cut", [0, 3, 40, 200])
def test_a_cut_layer_is_named(cut: int, store: Store) -> None:
    data = BASE[:cut] if cut else b"\x1f\x8b"
    with pytest.raises(DownloadError, match="layer 1 of demo is damaged"):
        pull([source(data), source(tar(("usr/lib/noise.so", NOISE)))], store)
    assert workers_left() == []
    assert pull([source(BASE)], store)[1].files == 2


def test_a_blob_that_went_bad_in_the_cache(store: Store) -> None:
    pull([source(BASE)], store)
    blob = store.download(hashlib.sha256(BASE).hexdigest())
    assert blob is not None
    blob.write_bytes(BASE[:-9] + bytes(9))
    with pytest.raises(DownloadError, match="damaged in the cache"):
        pull([source(BASE)], store, None)  # another filter: the blob is read again
    assert pull([source(BASE)], store, None)[1].downloaded_bytes == len(BASE)


def test_an_error_of_the_download_is_what_counts(store: Store) -> None:
    def fetch(part: Path, advance: Callable[[int], None], restarted: Callable[[], None]) -> None:
        part.write_bytes(b"\x1f\x8b nonsense")
        time.sleep(0.3)
        raise DownloadError("the registry sent something else")

    with pytest.raises(DownloadError, match="the registry sent something else"):
        pull([source(BASE, fetch)], store)
    assert workers_left() == []


def test_a_full_disk_is_said_to_be_full(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from jetsonx.errors import HostError

    small = Path(tempfile.mkdtemp(dir="/tmp"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=False).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        with pytest.raises(HostError, match="the disk is full"):
            pull([source(tar(("usr/lib/noise.so", bytes(4 << 20))))], Store(small / "cache", Console(-1)))
    finally:
        time.sleep(0.3)  # until the thread that brought the layer has noticed
        subprocess.run(["umount", small], check=True)
        small.rmdir()


# ---- interruptions ---------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
from tests.integration.test_layers import slow_pull
print("ready", flush=True)
slow_pull(Path(sys.argv[1]))
"""
SLOW = [tar(*((f"usr/lib/{n}-{i}.so", NOISE[i : i + 90_000]) for i in range(30))) for n in range(3)]


def slow_pull(root: Path) -> None:
    """What a child does until it is killed; ends by itself after a second or two."""
    layers = [source(data, fetched(data, pause_s=0.01, step=1 << 15)) for data in SLOW]
    try:
        pull(layers, Store(root, Console(-1)))
    except KeyboardInterrupt:
        sys.exit(130)


def check_store(root: Path) -> None:
    store = Store(root, Console(-1))
    for path in (root / "objects").glob("*/*"):
        name = path.parent.name + path.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name.removesuffix("x"), path
    for folder in (root / "downloads").glob("*"):
        for blob in folder.iterdir():
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == folder.name
    for tree in store.trees():
        assert store.verify(tree) == ()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT], ids=["kill", "Ctrl-C"])
def test_the_store_stays_whole_and_no_worker_stays(signum: signal.Signals, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    rng = random.Random(3)
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0.0, 1.0))
            child.send_signal(signum)
        deadline = time.monotonic() + 3
        while left := [pid for pid in _workers() if str(root) in pid[1]]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
        check_store(root)
    slow_pull(root)
    check_store(root)
    [tree] = Store(root, Console(-1)).trees()
    assert len(list((tree.path / "usr/lib").iterdir())) == 90


def _workers() -> Iterator[tuple[int, str]]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = each.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "jetsonx.rootfs.worker" in text:
            yield int(each.parent.name), text


# ---- other tools as oracles ------------------------------------------------------------------------------------------


def test_sparse_files_as_gnu_tar_writes_them(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        for at in range(12):
            file.seek(at * 1_000_000)
            file.write(b"data %d" % at)
        file.truncate(20_000_000)
    plain = (tmp_path / "sparse").read_bytes()
    for options in (["--format=gnu"], *(["--format=pax", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))):
        out = subprocess.run(
            ["tar", "-cS", *options, "-C", tmp_path, "sparse"], stdout=subprocess.PIPE, check=True
        ).stdout
        assert len(out) < 1_000_000
        reader = TarReader([out], name="sparse.tar")
        found = [(member.name, b"".join(reader.pieces())) for member in reader]
        assert found == [("sparse", plain)], options


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
changes = st.one_of(
    st.tuples(st.just("file"), paths, st.just("")),
    st.tuples(st.just("dir"), paths, st.just("")),
    st.tuples(st.just("link"), paths, st.tuples(st.sampled_from(["", "/", "../"]), paths).map("".join)),
    st.tuples(st.just("hard"), paths, paths),
    st.tuples(st.just("gone"), paths, st.just("")),
    st.tuples(st.just("opaque"), paths, st.just("")),
)


@pytest.mark.skipif(shutil.which("umoci") is None, reason="umoci is not installed")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    image=st.lists(
        st.lists(changes, min_size=1, max_size=6, unique_by=lambda change: change[1]), min_size=1, max_size=3
    )
)
def test_the_same_tree_as_umoci(image: list[list[tuple[str, str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layers = [oci_layer(changes, number) for number, changes in enumerate(image)]
        theirs = umoci(Path(folder), layers)
        store = Store(Path(folder) / "cache", Console(-1))
        try:
            tree, _ = pull([source(data) for data in layers], store, None)
        except DownloadError:
            assert theirs is None
            return
        if theirs is not None:
            assert regular(tree.path) == regular(theirs)


def regular(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def oci_layer(changes: Sequence[tuple[str, str, str]], number: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, path, target in changes:
            content = f"{number} {path}".encode() if kind == "file" else b""
            above, _, name = path.rpartition("/")
            whiteout = {"gone": f"{above}/.wh.{name}", "opaque": f"{path}/.wh..wh..opq"}
            info = tarfile.TarInfo(whiteout.get(kind, path).lstrip("/"))
            info.type = {"dir": b"5", "link": b"2", "hard": b"1"}.get(kind, b"0")
            info.linkname, info.size, info.mode = target, len(content), 0o755
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(out.getvalue(), 1)


def umoci(folder: Path, layers: Sequence[bytes]) -> Path | None:
    """The root file system as umoci makes it, or None when it does not take the layers."""
    blobs = folder / "oci/blobs/sha256"
    blobs.mkdir(parents=True)

    def keep(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    diffs = [f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}" for data in layers]
    config = {"architecture": "arm64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
    manifest = {
        "schemaVersion": 2,
        "config": keep(json.dumps(config).encode(), "config.v1+json"),
        "layers": [keep(data, "layer.v1.tar+gzip") for data in layers],
    }
    entry = keep(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    (folder / "oci/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci/oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    done = subprocess.run(
        ["umoci", "unpack", "--image", folder / "oci:x", folder / "bundle"], capture_output=True, check=False
    )
    return folder / "bundle/rootfs" if done.returncode == 0 else None


def test_two_at_once_share_one_download(store: Store) -> None:
    data = tar(("usr/lib/noise.so", NOISE))
    calls: list[int] = []
    trees: list[str] = []

    def work() -> None:
        own = Store(store.root, Console(-1))
        trees.append(pull([source(data, fetched(data, calls, pause_s=0.005))], own)[0].digest)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(trees)) == 1
    assert len(trees) == 2
    assert calls == [1]
