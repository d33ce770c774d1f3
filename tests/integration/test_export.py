"""Exported sysroots as other programs read them: tar, skopeo, and BuildKit where Docker's buildx is there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import TreeWriter
from tests.integration.conftest import CLI, Need, Run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("export") / "cache", Console(-1))


@pytest.fixture(scope="module")
def tree(store: Store) -> Tree:
    """A tree with what trees have: long names, links, an empty directory, and some megabytes that do not compress."""

    def fill(writer: TreeWriter) -> None:
        writer.add_file("usr/lib/aarch64-linux-gnu/libbig.so.1", os.urandom(30_000_000))
        writer.add_file("usr/bin/tool", b"#!/bin/sh\n", mode=0o755)
        writer.add_file("usr/include/" + "long" * 60 + "/näme.h", b"#pragma once\n")
        writer.add_symlink("usr/lib/aarch64-linux-gnu/libbig.so", "libbig.so.1")
        writer.add_symlink("lib", "usr/lib")
        writer.add_dir("etc/empty")

    return store.create("sysroot", "key", fill, info={"release": "36.4.3"})


@pytest.fixture
def export(jetsonx: Run, store: Store, tree: Tree) -> Run:
    def run(*words: object) -> object:
        done = jetsonx("sysroot", "export", tree.name, *words, env={"JETSONX_CACHE": str(store.root)})
        assert done.status == 0, done.err
        return done

    return run  # type: ignore[return-value]


def look(root: Path) -> dict[str, str]:
    """Everything below a directory: kind, mode and content by path."""
    found = {}
    for path in root.rglob("*"):
        name, mode = str(path.relative_to(root)), f"{path.lstat().st_mode & 0o777:o}"
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_dir():
            found[name] = f"dir {mode}"
        else:
            found[name] = f"file {mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.zst"])
def test_tar_unpacks_the_very_tree(export: Run, tree: Tree, tmp_path: Path, need: Need, suffix: str) -> None:
    need("zstd")
    file, out = tmp_path / f"x.{suffix}", tmp_path / "out"
    export("--tar", file)
    out.mkdir()
    subprocess.run([need("tar"), "-xpf", str(file), "-C", str(out)], check=True)
    assert look(out) == look(tree.path)


def test_standard_output_into_tar(store: Store, tree: Tree, tmp_path: Path, need: Need) -> None:
    words = [*CLI, "-q", "sysroot", "export", tree.name, "--tar", "-"]
    source = subprocess.Popen(words, stdout=subprocess.PIPE, env={**os.environ, "JETSONX_CACHE": str(store.root)})
    subprocess.run([need("tar"), "-xpf", "-", "-C", str(tmp_path)], stdin=source.stdout, check=True)
    assert source.stdout is not None
    source.stdout.close()
    assert source.wait() == 0
    assert look(tmp_path) == look(tree.path)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_skopeo_reads_and_copies_the_layout(
    export: Run, tree: Tree, tmp_path: Path, need: Need, compression: str
) -> None:
    skopeo, layout, copy = need("skopeo"), tmp_path / "layout", tmp_path / "copy"
    export("--oci", layout, "--compress", compression)
    shown = subprocess.run(
        [skopeo, "inspect", f"oci:{layout}:latest"], check=True, capture_output=True, text=True
    ).stdout
    facts = json.loads(shown)
    assert (facts["Architecture"], facts["Os"], len(facts["Layers"])) == ("arm64", "linux", 1)
    assert facts["Labels"]["dev.jetsonx.sysroot"] == tree.digest
    # Copying, skopeo checks every digest; to a plain directory it also leaves the layer as a file of its own.
    subprocess.run([skopeo, "copy", "-q", f"oci:{layout}:latest", f"dir:{copy}"], check=True)
    [layer] = [path for path in copy.iterdir() if path.name == facts["Layers"][0].removeprefix("sha256:")]
    out = tmp_path / "out"
    out.mkdir()
    unpack = {"gzip": ["-z"], "zstd": ["--zstd"], "none": []}[compression]
    subprocess.run([need("tar"), *unpack, "-xpf", str(layer), "-C", str(out)], check=True)
    assert look(out) == look(tree.path)


@pytest.mark.parametrize("delay_s", [0.15, 0.25, 0.35, 0.5])
def test_killed_it_leaves_nothing_under_the_name(store: Store, tree: Tree, tmp_path: Path, delay_s: float) -> None:
    environ = {**os.environ, "JETSONX_CACHE": str(store.root)}
    tar, layout = tmp_path / "x.tar.gz", tmp_path / "layout"
    for words in (("--tar", str(tar)), ("--oci", str(layout), "--compress", "gzip")):
        command = [sys.executable, "-m", "jetsonx", "sysroot", "export", tree.name, *words]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    if tar.exists():
        subprocess.run(["gzip", "-t", str(tar)], check=True)
    if layout.exists():
        [described] = json.loads((layout / "index.json").read_bytes())["manifests"]
        assert (layout / "blobs/sha256" / described["digest"].removeprefix("sha256:")).is_file()
    done = subprocess.run([*CLI, "sysroot", "export", tree.name, "--oci", str(layout)], env=environ, check=False)
    assert done.returncode == 0
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".layout")] == []
