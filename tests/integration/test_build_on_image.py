"""A project built on a sysroot from an image: packages on top of it, CUDA from archives, lock, image, start."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.toml import load_toml
from tests.integration.conftest import Need, Run
from tests.integration.l4t import serve_images
from tests.integration.redist_server import serve_redist
from tests.integration.redist_tree import make_tree
from tests.integration.test_redist import CACHE, GROUP

PROGRAM = """\
#include <cstdio>
#include <cuda_runtime.h>
#include <l4t/version.h>
#include <lz4.h>

__global__ void nothing() {}

int main() {
  int devices = 0;
  cudaGetDeviceCount(&devices);
  nothing<<<1, 1>>>();
  std::printf("layer %d, lz4 %d, cudart %d, %d devices\\n", L4T_LAYER, LZ4_versionNumber(), CUDART_VERSION, devices);
}
"""
CONFIG = """\
# written by hand
[project]
name = "app"

[target]
modules = ["orin-nano"]
l4t = "36.4.3"
cuda = "12.4.1"   # the archives of this test

[build]
system = "cuda"
compiler = "zig"
link = ["-llz4"]

[sysroot]
source = "image"
"""

pytestmark = GROUP


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory, need: Need) -> Iterator[dict[str, str]]:
    """NVIDIA's registry and archives on loopback, and a store in which only downloads are from before."""
    for program in ("docker-registry", "skopeo", "mmdebstrap", "zstd"):
        need(program)
    cache = CACHE / "redist-cache"
    for name in ("refs", "trees", "objects", "sdk"):
        shutil.rmtree(cache / name, ignore_errors=True)
    with (
        serve_images(tmp_path_factory.mktemp("registry"), {"r36.4.0": "r36.4.0"}) as registry,
        serve_redist(make_tree(CACHE)) as archives,
    ):
        yield {"JETSONX_CACHE": str(cache), "JETSONX_MIRRORS": f"nvcr.io={registry.url},{archives.mirrors}"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str], jetsonx: Run) -> Path:
    place = tmp_path_factory.mktemp("app")
    (place / "app.cu").write_text(PROGRAM)
    (place / "jetsonx.toml").write_text(CONFIG)
    added = jetsonx("sysroot", "add", "liblz4-dev", cwd=place, env=env)
    assert added.status == 0, added.err
    built = jetsonx("build", cwd=place, env=env)
    assert built.status == 0, built.err
    return place


def test_add_writes_the_package_into_the_project_and_keeps_its_comments(project: Path) -> None:
    text = (project / "jetsonx.toml").read_text()
    assert text.startswith("# written by hand\n")
    assert 'cuda = "12.4.1"   # the archives of this test' in text
    assert load_toml(text)["sysroot"]["packages"] == ["liblz4-dev"]


def test_it_starts(project: Path, jetsonx: Run, env: dict[str, str], need: Need) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    ran = jetsonx("run", cwd=project, env=env)
    assert ran.out.startswith("layer 2, lz4 109"), ran.err
    assert "cudart 12040, 0 devices" in ran.out


def test_the_lock_names_layers_packages_and_archives(project: Path) -> None:
    [entry] = load_toml((project / "jetsonx.lock").read_text())["sysroot"]
    assert entry["source"] == "image"
    assert entry["origin"] == "nvcr.io/nvidia/l4t-jetpack:r36.4.0"
    assert entry["manifest"].startswith("sha256:")
    assert len(entry["layer"]) == 5
    assert {package["name"] for package in entry["package"]} == {"liblz4-dev"}  # the image has liblz4-1
    assert "cuda_cudart" in {archive["name"] for archive in entry["archive"]}


def test_locked_offline_gives_the_same_bytes(project: Path, jetsonx: Run, env: dict[str, str]) -> None:
    again = jetsonx("build", "--locked", "--offline", "-o", "again", cwd=project, env=env)
    assert again.status == 0, again.err
    assert (project / "again/files/app").read_bytes() == (project / "out/files/app").read_bytes()


def test_the_same_lock_in_another_store_gives_the_same_sysroot(
    project: Path, jetsonx: Run, env: dict[str, str], tmp_path: Path
) -> None:
    other = {**env, "JETSONX_CACHE": str(tmp_path / "cache")}
    (tmp_path / "cache").mkdir()
    # Downloads alone: everything else is made anew.
    shutil.copytree(Path(env["JETSONX_CACHE"]) / "downloads", tmp_path / "cache/downloads", copy_function=_link)
    built = jetsonx("build", "--locked", "-o", tmp_path / "out", cwd=project, env=other)
    assert built.status == 0, built.err
    digests = [_digest(jetsonx, each) for each in (env, other)]
    assert digests[0] == digests[1]


def _link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def _digest(jetsonx: Run, env: dict[str, str]) -> str:
    return str(json.loads(jetsonx("sysroot", "show", "orin-nano@36.4.3", "--json", env=env).out)["digest"])


def test_the_minimal_image_holds_the_image_s_own_libraries(project: Path, tmp_path: Path, need: Need) -> None:
    """Its root file system alone, under QEMU: loader, libc and liblz4 are found through its own ld.so.cache."""
    qemu, skopeo = need("qemu-aarch64-static", "qemu-aarch64"), need("skopeo")
    umoci = need("umoci")
    subprocess.run(
        [skopeo, "copy", "-q", f"oci:{project}/out/image", f"oci:{tmp_path}/layout:app"], check=True, timeout=60
    )
    subprocess.run(
        [umoci, "unpack", "--rootless", "--image", f"{tmp_path}/layout:app", f"{tmp_path}/bundle"],
        check=True,
        timeout=60,
        capture_output=True,
    )
    root = tmp_path / "bundle/rootfs"
    done = subprocess.run(
        [qemu, "-L", str(root), str(root / "opt/app/app")], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("layer 2, lz4 109"), done.stderr


def test_packages_in_the_image_come_from_the_image_s_sources(project: Path, jetsonx: Run, env: dict[str, str]) -> None:
    """With all they depend on: what else lies in this root file system is no package of the minimal image."""
    config = project / "jetsonx.toml"
    before = config.read_text()
    try:
        config.write_text(f'{before}\n[image]\npackages = ["lz4"]\ntest = ["/usr/bin/lz4", "--version"]\n')
        built = jetsonx("build", "-o", "packages", cwd=project, env=env)
    finally:
        config.write_text(before)
    assert built.status == 0, built.err
    [entry] = load_toml((project / "jetsonx.lock").read_text())["image"]
    assert {"lz4", "liblz4-1", "libc6", "libgcc-s1"} <= {package["name"] for package in entry["package"]}
