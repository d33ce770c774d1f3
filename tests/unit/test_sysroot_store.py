"""The commands for sysroots that are in the store: what they find, print, check and remove. Nothing is fetched."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.cli import cli
from jetsonx.console import Console
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import TreeWriter
from jetsonx.sysroot.lookup import find_sysroot, sysroots
from jetsonx.sysroot.upkeep import check_downloads, check_objects, check_tree, repair_sysroot

Make = Callable[..., Tree]

RELEASE = "36.4.3"
TARGET = f"orin-nano@{RELEASE}"


@pytest.fixture
def store() -> Store:
    return Store(Path(os.environ["JETSONX_CACHE"]), Console(-1))


@pytest.fixture
def make(store: Store) -> Make:
    def make(key: str, files: dict[str, bytes], kind: str = "sysroot", **info: object) -> Tree:
        def fill(writer: TreeWriter) -> None:
            for path, data in files.items():
                writer.add_file(path, data)

        tree = store.create(kind, key, fill, info=info)
        time.sleep(0.002)  # so that the order of use is known to the file system
        return tree

    return make


def run(*words: str, ok: bool = True) -> Result:
    done = CliRunner().invoke(cli, ["sysroot", *words])
    if ok:
        assert done.exit_code == 0, (done.output, done.exception)
    return done


# ---- finding ---------------------------------------------------------------------------------------------------------


def test_a_target_means_the_sysroot_of_its_release_that_was_used_last(store: Store, make: Make) -> None:
    first = make("1", {"a": b"1"}, release=RELEASE)
    second = make("2", {"a": b"2"}, release=RELEASE)
    make("3", {"a": b"3"}, release="39.2.0")
    make("old", {"a": b"4"}, suite="bookworm")
    assert find_sysroot(store, TARGET) == second
    assert find_sysroot(store, f"agx-orin@r{RELEASE}") == second  # of the release, whatever the module
    store.find("sysroot", "1")
    assert find_sysroot(store, TARGET).name == first.name


def test_one_tree_may_serve_two_releases(store: Store, make: Make) -> None:
    tree = make("1", {"a": b"1"}, release=RELEASE)
    make("2", {"a": b"1"}, release="36.4.4")
    assert {find_sysroot(store, f"orin-nano@{each}").name for each in (RELEASE, "36.4.4")} == {tree.name}
    assert run("list").output.splitlines()[1].split()[1:3] == ["36.4.3,", "36.4.4"]


def test_a_target_without_a_sysroot(store: Store, make: Make) -> None:
    make("3", {"a": b"3"}, release="39.2.0")
    with pytest.raises(DownloadError, match=r"no sysroot for L4T 36\.4\.3") as caught:
        find_sysroot(store, TARGET)
    assert caught.value.hint == f"jetsonx sysroot pull {TARGET}"
    assert "39.2.0" in (caught.value.details or "")


def test_by_digest_and_by_name(store: Store, make: Make) -> None:
    tree = make("1", {"a": b"1"}, source="image", origin="nvcr.io/nvidia/x:1", release=RELEASE)
    tool = make("t", {"a": b"2"}, "tool")
    digits = tree.digest.removeprefix("sha256:")
    for which in (tree.digest, digits, digits[:5], tree.name, f"sha256:{digits[:4]}"):
        assert find_sysroot(store, which).name == tree.name
    for which in ("", "sysroot-", "zzz", "sha256:", "../..", tool.name, digits + "0"):
        with pytest.raises(ConfigError, match="no sysroot") as caught:
            find_sysroot(store, which)
        assert f"{tree.name} (image nvcr.io/nvidia/x:1, L4T 36.4.3)" in (caught.value.hint or "")


def test_a_prefix_of_several_asks_for_more(store: Store, make: Make) -> None:
    for number in range(17):
        make(str(number), {"a": str(number).encode()})
    digits = [tree.digest[7] for tree in sysroots(store)]
    [first, *_] = [each for each in digits if digits.count(each) > 1]
    with pytest.raises(ConfigError, match="more than one") as caught:
        find_sysroot(store, first)
    assert "more digits" in (caught.value.hint or "")


def test_path(store: Store, make: Make) -> None:
    tree = make("1", {"a": b"1"}, release=RELEASE)
    os.utime(tree.path.parent / "info.json", (0, 0))
    assert run("path", TARGET).output == f"{tree.path}\n"
    assert store.last_used(tree) > time.time() - 60  # whoever asks for the path uses it
    (tree.path / "b").write_text("")
    assert run("verify", tree.name, ok=False).exit_code == 1
    failed = run("path", TARGET, ok=False)
    assert isinstance(failed.exception, ConfigError)
    assert "--repair" in (failed.exception.hint or "")


# ---- list and show ---------------------------------------------------------------------------------------------------


def test_list(store: Store, make: Make) -> None:
    make("t", {"a": b"shared"}, "tool", name="zig")
    make("1", {"a": b"shared", "b": b"own"}, source="image", origin="nvcr.io/nvidia/x:1", release=RELEASE,
         cuda_dir="usr/local/cuda-12.6")  # fmt: skip
    old = make("2", {"c": b"1234567"}, suite="bookworm", packages=[], wheels=[], cuda_dir=None)
    head, *lines = run("list").output.splitlines()
    assert head.split() == ["NAME", "L4T", "SOURCE", "CUDA", "SIZE", "OWN", "SHARED", "LAST", "USED"]
    assert [line.split()[1:] for line in lines] == [
        ["-", "apt", "bookworm", "-", "7", "B", "7", "B", "0", "B", *lines[0].split()[-2:]],
        [RELEASE, "image", "nvcr.io/nvidia/x:1", "12.6", "9", "B", "3", "B", "6", "B", *lines[1].split()[-2:]],
    ]
    data = json.loads(run("list", "--json").output)
    assert data["schema"] == 1
    assert [(each["releases"], each["own_bytes"], each["shared_bytes"]) for each in data["sysroots"]] == [
        ([], 7, 0),
        ([RELEASE], 3, 6),
    ]
    assert data["sysroots"][1]["origin"] == "nvcr.io/nvidia/x:1"
    assert data["sysroots"][0] | {"last_used": ""} == {
        "name": old.name,
        "digest": old.digest,
        "path": str(old.path),
        "damaged": False,
        "source": "apt",
        "origin": "bookworm",
        "releases": [],
        "cuda": None,
        "size_bytes": 7,
        "own_bytes": 7,
        "shared_bytes": 0,
        "last_used": "",
    }
    assert time.strptime(data["sysroots"][0]["last_used"], "%Y-%m-%dT%H:%M:%SZ")


def test_list_of_nothing_creates_nothing(store: Store) -> None:
    done = run("list")
    assert done.stdout == ""
    assert "sysroot pull" in done.output
    assert json.loads(run("list", "--json").output) == {"schema": 1, "sysroots": []}
    assert not (store.root / "format").exists()


def test_show(store: Store, make: Make) -> None:
    layers = [{"digest": "sha256:" + "b" * 64, "size_bytes": 12_000_000}, "odd"]
    tree = make(
        "1",
        {"usr/include/features.h": b"#define __GLIBC__ 2\n#define __GLIBC_MINOR__ 35\n"},
        release=RELEASE,
        source="image",
        origin="nvcr.io/nvidia/x:1",
        image={"reference": "nvcr.io/nvidia/x:1", "digest": "sha256:" + "a" * 64, "layers": layers},
        packages=[{"name": "zlib1g-dev", "version": "1:1.2"}],
        wheels=None,
        archives=[{"name": "libcublas", "version": "12.6.1.4"}],
    )
    shown = run("show", TARGET).output
    for line in (
        f"digest       {tree.digest}",
        "pulled for   L4T 36.4.3",
        "  glibc        2.35",
        f"image nvcr.io/nvidia/x:1 (sha256:{'a' * 64})",
        f"  sha256:{'b' * 64}  12.0 MB",
        "1 packages",
        "  zlib1g-dev 1:1.2",
        "  libcublas 12.6.1.4",
    ):
        assert line in shown.splitlines()
    assert "wheels" not in shown
    data = json.loads(run("show", tree.digest, "--json").output)
    assert (data["schema"], data["contents"]["glibc"], data["contents"]["cuda"]) == (1, "2.35", None)
    assert data["packages"] == [{"name": "zlib1g-dev", "version": "1:1.2"}]
    assert data["size_bytes"] == tree.load_manifest()["usr/include/features.h"].size_bytes


# ---- verify ----------------------------------------------------------------------------------------------------------


def damage(tree: Tree, name: str = "a") -> None:
    (tree.path / name).chmod(0o644)
    (tree.path / name).write_bytes(b"damaged")


def test_verify(store: Store, make: Make) -> None:
    tree, tool = make("1", {"a": b"1"}, release=RELEASE), make("t", {"a": b"2"}, "tool")
    sdk = store.folder("sdk/x")
    (sdk / "zig").symlink_to(tool.path)
    assert run("verify", "--all").stdout == ""
    damage(tool)
    assert run("verify").stdout == ""  # sysroots only
    done = run("verify", "--all", ok=False)
    assert (done.exit_code, done.stdout) == (1, f"{tool.name}: a: its content was changed\n")
    assert store.find("tool", "t") is None
    assert not sdk.exists()  # an SDK is taken as it is: it would lead into the damaged tool
    damage(tree)
    assert run("verify", TARGET, ok=False).exit_code == 1


def test_damaged_downloads_and_contents_are_dropped(store: Store, make: Make) -> None:
    tree = make("1", {"a": b"1"})
    digests = {}
    for name, data, good in (("x.deb", b"x", True), ("y.whl", b"y", False)):
        digests[name] = hashlib.sha256(b"x" if good else b"z").hexdigest()
        with store.scratch() as scratch:
            (scratch / name).write_bytes(data)
            store.keep_download(scratch / name, digests[name])
    store.folder("downloads/odd")
    orphan = store.root / "objects" / "aa" / ("b" * 62)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"no")
    done = run("verify", "--all", ok=False)
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "y.whl: its content is not what its sha256 says; removed",
        f"object aa{'b' * 62}: its content was changed; removed",
    ]
    assert store.download(digests["x.deb"])
    assert store.download(digests["y.whl"]) is None
    assert store.verify(tree) == ()
    assert list(check_downloads(store)) == list(check_objects(store)) == []
    assert run("verify", "--all").exit_code == 0


def test_checking_nothing(store: Store) -> None:
    assert list(check_downloads(store)) == list(check_objects(store)) == []


# ---- prune -----------------------------------------------------------------------------------------------------------


def test_prune(store: Store, make: Make, tmp_path: Path) -> None:
    old, locked, new = (make(name, {"a": name.encode() * 1000}) for name in ("old", "locked", "new"))
    lock = tmp_path / "jetsonx.lock"
    lock.write_text("")
    store.protect(lock, [locked.name])
    for tree in (old, locked):
        os.utime(tree.path.parent / "info.json", (0, 0))
    dry = run("prune", "--dry-run")
    assert dry.stdout == f"{old.name}\n"
    assert "1 sysroots and tools, 0 downloads and layers would be removed, 3.0 kB freed" in dry.output
    assert len(store.trees()) == 3
    done = run("prune")
    assert done.stdout == dry.stdout
    assert f"kept {locked.name}: {lock} needs it" in done.output
    assert "removed, 3.0 kB freed" in done.output
    full = run("prune", "--to", "1kB")
    assert full.stdout == f"{new.name}\n"
    assert "6.0 kB are left, more than the 1.0 kB asked for" in full.output
    assert run("prune", "--to", "1kB", "--even-locked").stdout == f"{locked.name}\n"
    assert store.trees() == ()


def test_prune_all(store: Store, make: Make, tmp_path: Path) -> None:
    tree = make("1", {"a": b"1"})
    (tmp_path / "jetsonx.lock").write_text(tree.digest)
    store.protect(tmp_path / "jetsonx.lock")
    assert run("prune", "--days", "0").stdout == ""
    assert run("prune", "--all", "--downloads").stdout == ""
    assert store.find("sysroot", "1") == tree
    assert run("prune", "--all").stdout == f"{tree.name}\n"
    assert store.trees() == ()


@pytest.mark.parametrize("size", ["", "ten", "-1GB", "1XB", "1e9"])
def test_a_size_that_is_none(size: str) -> None:
    done = run("prune", "--to", size, ok=False)
    assert done.exit_code == 2
    assert "10GB" in done.output


# ---- repair ----------------------------------------------------------------------------------------------------------


def test_a_sysroot_that_does_not_say_what_it_is_cannot_be_made_again(store: Store, make: Make) -> None:
    from jetsonx.effects import Effects
    from jetsonx.runner import Runner

    tree = make("1", {"a": b"1"}, suite="bookworm")
    damage(tree)
    assert check_tree(store, tree)
    with pytest.raises(ConfigError, match="which L4T release") as caught:
        repair_sysroot(tree, Effects(store=store, runner=Runner(), console=Console(-1)))
    assert "sysroot pull" in (caught.value.hint or "")


def test_the_target_of_these_tests_exists() -> None:
    assert resolve_target(load_catalog(), TARGET).release.l4t == RELEASE
