"""CUDA from NVIDIA's redistributable archives: programs for r35 and r36 built from a loopback copy of such a tree."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.mirrors import load_host
from jetsonx.packages.redist import download_archives, resolve_archives
from jetsonx.runner import Runner
from jetsonx.store.store import Store, default_root
from tests.integration.conftest import Need, Run
from tests.integration.redist_server import RedistServer, serve_redist
from tests.integration.redist_tree import make_tree
from tests.integration.test_image_runtime import check_image, version

CACHE = default_root(os.environ).with_name("jetsonx-tests")
GROUP = pytest.mark.xdist_group("redist")  # of all tests that use the cache directory in it
PROGRAM = """\
#include <cstdio>
#include <thrust/device_vector.h>
#include <thrust/reduce.h>
#include <nvjpeg.h>

__global__ void scale(float *x, int n, float a) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= a;
}

int main() {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  nvjpegHandle_t handle;
  std::printf("cudart %d, %d devices, %s, nvjpeg %d\\n", CUDART_VERSION, devices, cudaGetErrorString(error),
              nvjpegCreateSimple(&handle));
  if (error != cudaSuccess) return 0;
  thrust::device_vector<float> x(100, 1.0f);
  scale<<<1, 128>>>(thrust::raw_pointer_cast(x.data()), 100, 2.0f);
  return thrust::reduce(x.begin(), x.end()) == 200.0f ? 0 : 1;
}
"""
CMAKE = """\
cmake_minimum_required(VERSION 3.20)
project(scale LANGUAGES CXX CUDA)
find_package(CUDAToolkit REQUIRED)
message(STATUS "CUDAToolkit ${CUDAToolkit_VERSION}")
add_executable(scale scale.cu)
target_link_libraries(scale PRIVATE CUDA::nvjpeg)
"""

pytestmark = GROUP


@pytest.fixture(scope="session")
def tree() -> Path:
    """The tree that the server serves, made once per machine."""
    if load_host().distribution != "debian":
        message = "the tree is made of Debian's non-free packages: this host's apt has none"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return make_tree(CACHE)


@pytest.fixture
def server(tree: Path) -> Iterator[RedistServer]:
    with serve_redist(tree) as server:
        yield server


@pytest.fixture(scope="module")
def cache() -> Path:
    """A cache of its own, as what comes from here must not be taken for NVIDIA's; packages in it are kept."""
    place = CACHE / "redist-cache"
    for name in ("refs", "trees", "objects", "sdk", "partial"):
        shutil.rmtree(place / name, ignore_errors=True)
    for path in place.glob("downloads/*/*-archive.tar.xz"):
        shutil.rmtree(path.parent)
    return place


@pytest.fixture
def env(server: RedistServer, cache: Path) -> dict[str, str]:
    return {"JETSONX_MIRRORS": server.mirrors, "JETSONX_CACHE": str(cache)}


def project(place: Path, target: str, build: str, *, cuda: str = "", compiler: str = "zig") -> Path:
    place.mkdir()
    (place / "scale.cu").write_text(PROGRAM)
    (place / "CMakeLists.txt").write_text(CMAKE)
    (place / "jetsonx.toml").write_text(
        f'[project]\nname = "scale"\n[target]\n{target}\n{cuda}\n[build]\n{build}\ncompiler = "{compiler}"\n'
        'outputs = ["scale"]\n[sysroot]\ncuda = ["libnvjpeg"]\n'
    )
    return place


def test_a_program_for_xavier_and_orin_on_r35(
    tmp_path: Path, jetsonx: Run, env: dict[str, str], server: RedistServer, need: Need
) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    place = project(
        tmp_path / "r35",
        'modules = ["xavier-nx", "orin-nano"]\nl4t = "35.4"',
        'system = "cuda"\nflags = ["-std=c++17"]\nlink = ["-lnvjpeg"]',
    )
    built = jetsonx("build", cwd=place, env=env)
    assert built.status == 0, built.err
    summary = json.loads((place / "out/done.json").read_text())
    assert summary["verdict"] != "error"
    assert {"sm_72", "sm_87"} <= set(summary["device_code"]["scale"])
    assert "/compute/cuda/redist/redistrib_11.8.0.json" in server.asked
    assert all("linux-aarch64" in path or "linux-x86_64" in path for path in server.asked[1:])
    ran = jetsonx("run", cwd=place, env=env)
    assert ran.out.startswith("cudart 11080, 0 devices"), ran.err

    server.asked.clear()
    again = jetsonx("build", "--offline", "-o", "again", cwd=place, env=env)
    assert again.status == 0, again.err
    assert server.asked == []
    assert (place / "again/files/scale").read_bytes() == (place / "out/files/scale").read_bytes()


def test_the_releases_own_cuda_on_r36(
    tmp_path: Path, jetsonx: Run, env: dict[str, str], server: RedistServer, need: Need
) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    place = project(
        tmp_path / "own",
        'modules = ["orin-nano"]\nl4t = "36.4.3"',
        'system = "cuda"\nflags = ["-std=c++17"]\nlink = ["-lnvjpeg"]',
    )
    built = jetsonx("build", cwd=place, env=env)
    assert built.status == 0, built.err
    assert "/compute/cuda/redist/redistrib_12.6.3.json" in server.asked
    ran = jetsonx("run", cwd=place, env=env)
    assert ran.out.startswith("cudart 12040, 0 devices"), "12.4 stands for 12.6.3 in this tree"


@pytest.mark.parametrize(("target", "glibc"), [("agx-orin@35.4.1", "2.31-"), ("orin-nano@36.4.3", "2.36-")])
def test_an_image_is_not_older_than_the_device(
    target: str,
    glibc: str,
    sample: Callable[[str], Path],
    tmp_path: Path,
    jetsonx: Run,
    env: dict[str, str],
    need: Need,
) -> None:
    place = sample("vector-add")
    built = jetsonx("build", "-t", target, cwd=place, env=env)
    assert built.status == 0, built.err
    root = check_image(place, target, jetsonx, need, tmp_path, but=["JX707"])  # JetPack 5 needs cuda-compat
    assert version(root, "libc6").startswith(glibc)


@pytest.mark.parametrize("compiler", ["zig", "gcc"])
def test_cmake_finds_the_toolkit_asked_for_on_r36(
    tmp_path: Path, jetsonx: Run, env: dict[str, str], server: RedistServer, need: Need, compiler: str
) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    if compiler == "gcc":
        need("aarch64-linux-gnu-g++")
    place = project(
        tmp_path / "r36",
        'modules = ["orin-nano"]\nl4t = "36.4.3"',
        'system = "cmake"',
        cuda='cuda = "12.4.1"',
        compiler=compiler,
    )
    built = jetsonx("-v", "build", cwd=place, env=env)
    assert built.status == 0, built.err
    assert "CUDAToolkit 12.4" in built.err
    ran = jetsonx("run", cwd=place, env=env)
    assert ran.out.startswith("cudart 12040, 0 devices"), ran.err


def test_a_toolkit_that_nvidia_does_not_have(tmp_path: Path, jetsonx: Run, env: dict[str, str]) -> None:
    place = project(
        tmp_path / "no", 'modules = ["orin-nano"]\nl4t = "36.4.3"', 'system = "cuda"', cuda='cuda = "12.8.9"'
    )
    built = jetsonx("build", cwd=place, env=env)
    assert built.status == 4
    assert "no archives of CUDA 12.8.9" in built.err
    assert '[target] cuda = "' in built.err


def test_a_library_that_the_toolkit_does_not_have(tmp_path: Path, jetsonx: Run, env: dict[str, str]) -> None:
    place = project(tmp_path / "no", 'modules = ["orin-nano"]\nl4t = "35.4"', 'system = "cuda"')
    text = (place / "jetsonx.toml").read_text()
    (place / "jetsonx.toml").write_text(text.replace('"libnvjpeg"', '"libnvjpg"'))
    built = jetsonx("build", cwd=place, env=env)
    assert built.status == 2
    assert "did you mean libnvjpeg?" in built.err


def test_a_download_goes_on_where_it_was_cut_off(
    tmp_path: Path, server: RedistServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETSONX_MIRRORS", server.mirrors)
    console = Console(-1)
    effects = Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)
    server.cut_after = 1_000_000
    archives = resolve_archives([], toolkit="11.8.0", platform="linux-aarch64", effects=effects)
    files = download_archives(archives, effects=effects)
    assert all(path.stat().st_size == archive.size_bytes for archive, path in files)
    assert server.ranges
    assert not list((tmp_path / "cache/partial").iterdir())


def test_an_archive_that_is_not_what_the_manifest_says(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "tree"
    shutil.copytree(tree, wrong)
    [path] = wrong.glob("cuda/redist/cuda_cudart/linux-aarch64/*11.8*")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with serve_redist(wrong) as server:
        monkeypatch.setenv("JETSONX_MIRRORS", server.mirrors)
        console = Console(-1)
        effects = Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)
        archives = resolve_archives([], toolkit="11.8.0", platform="linux-aarch64", effects=effects)
        with pytest.raises(DownloadError, match="sha256"):
            download_archives(archives, effects=effects)
    assert effects.store.download(archives[0].sha256) is None
