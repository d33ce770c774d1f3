"""Stand-ins with the shape of NVIDIA's L4T images, built once per machine: ``python -m tests.images.build [--bench]``.

Real: Debian's arm64 packages with dpkg's status, NVIDIA's aarch64 wheels, layers compressed as registries hold them.
bullseye stands for r35 (the same glibc), bookworm for r36. Made up, because no public package has it: the driver's
files, the board support packages in dpkg's status, cuDNN's version in the small images.

The small images (some 75 MB each) are for the tests; ``--bench`` makes two of 3 GB, in gzip alone as NVIDIA's are.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from jetsonx.store.store import default_root
from jetsonx.sysroot.stub import write_stub
from tests.images.layer import Layer, copy_changes, write_layer
from tests.images.layout import Blob, pack_layer, write_layout
from tests.images.rootfs import make_rootfs, source_line
from tests.images.toolkit import (
    Toolkit,
    add_alternatives,
    add_cudnn,
    add_cudnn_shape,
    add_libraries,
    add_toolkit,
    fetch_wheels,
)

LIBRARIES = "usr/lib/aarch64-linux-gnu"
LONG_NAME = "usr/include/l4t/" + "/".join(["a-directory-with-a-rather-long-name"] * 7) + "/größe.h"
PRESENT = (
    "usr/include/stdio.h",
    "usr/include/zlib.h",
    "usr/include/l4t/version.h",
    "usr/include/l4t/linked.h",  # a hard link within its layer
    "usr/include/l4t/from-opt.h",  # a hard link to a file that the filter leaves out
    "usr/include/l4t/was-file/inner.h",  # a directory where an earlier layer has a file
    "usr/include/l4t-old/new.h",  # in an opaque directory
    LONG_NAME,
    f"{LIBRARIES}/libthrough.so",  # came as lib/…, through the link of a merged /usr
    f"{LIBRARIES}/libsetuid.so",
)
ABSENT = (
    "usr/include/l4t-old.h",  # removed by a whiteout
    "usr/include/l4t-old/inner.h",  # hidden by an opaque directory
    "usr/include/l4t/pipe",  # a fifo
    f"{LIBRARIES}/nvmap",  # a device
)
VERSION_H = "#define L4T_LAYER 2\n"

_CUDA = {
    "11.4": Toolkit(
        directory="cuda-11.4",
        version="11.4.19",
        wheels=(
            "nvidia-cuda-runtime-cu11==11.8.89",
            "nvidia-cuda-nvcc-cu11==11.8.89",
            "nvidia-cuda-cccl-cu11==11.8.89.post1",
        ),
    ),
    "12.2": Toolkit(
        directory="cuda-12.2",
        version="12.2.12",
        wheels=(
            "nvidia-cuda-runtime-cu12==12.3.101",
            "nvidia-cuda-nvcc-cu12==12.3.107",
            "nvidia-cuda-cccl-cu12==12.6.77",
        ),
    ),
    "12.6": Toolkit(
        directory="cuda-12.6",
        version="12.6.11",
        wheels=(
            "nvidia-cuda-runtime-cu12==12.6.77",
            "nvidia-cuda-nvcc-cu12==12.6.77",
            "nvidia-cuda-cccl-cu12==12.6.77",
            "nvidia-nvjpeg-cu12==12.3.3.54",
        ),
    ),
}
_CUBLAS = ("nvidia-cublas-cu12==12.6.4.1",)
_CUDNN = ("nvidia-cudnn-cu12==9.3.0.75",)
_MATH = (
    "nvidia-cusparse-cu12==12.5.4.2",
    "nvidia-cusolver-cu12==11.7.1.2",
    "nvidia-cufft-cu12==11.3.0.4",
    "nvidia-npp-cu12==12.3.1.54",
    "nvidia-curand-cu12==10.3.7.77",
    "nvidia-cuda-nvrtc-cu12==12.6.77",
)
_ESSENTIAL = ("?essential", "apt", "debian-archive-keyring")
_DEV = ("libc6-dev", "libstdc++-{gcc}-dev", "zlib1g-dev")
_TINY = ("base-files", "libc6-dev", "libstdc++-12-dev")
_LEAVE_OUT = r"usr/share/(doc|man|locale)/|.*/lib(asan|hwasan|lsan|tsan|ubsan|crypto|ssl|krb5)\b"
_BENCH_DEV = ("g++", "cmake", "libopencv-dev", "libeigen3-dev", "python3-dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one layer is made. Images that name the same ``key`` share the layer."""

    key: str
    fill: Callable[[Layer], None]
    compression: str = "gzip"
    layout: int = tarfile.PAX_FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What stands for an L4T line: a Debian suite, the GCC it has, and where the driver's libraries lie."""

    codename: str
    gcc: int
    driver: str
    board: str


R35 = Line(codename="bullseye", gcc=10, driver=f"{LIBRARIES}/tegra", board="t186ref")
R36 = Line(codename="bookworm", gcc=12, driver=f"{LIBRARIES}/nvidia", board="generic")


def fill_board(layer: Layer, line: Line, release: str, status: str) -> None:
    """What the board support package adds, with every kind of entry that an unpacker has to get right."""
    major, _, revision = release.partition(".")
    layer.file(
        "etc/nv_tegra_release",
        f"# R{major} (release), REVISION: {revision}, GCID: 0, BOARD: {line.board}, EABI: aarch64, "
        "DATE: Sun Jun 15 15:06:40 UTC 2025\n",
    )
    record = f"Package: nvidia-l4t-core\nStatus: install ok installed\nArchitecture: arm64\nVersion: {release}-0\n"
    layer.file("var/lib/dpkg/status", f"{status}{record}Maintainer: stand-in\nDescription: stand-in\n\n")
    layer.file("etc/ld.so.conf.d/nvidia-tegra.conf", f"/{line.driver}\n")
    layer.file(f"{line.driver}/libcuda.so.1.1", write_stub("libcuda.so.1", {"cuInit": False}, 100))
    layer.symlink(f"{line.driver}/libcuda.so.1", "libcuda.so.1.1")
    layer.file(f"{line.driver}/libnvrm_gpu.so", write_stub("libnvrm_gpu.so", {"NvRmGpuLibOpen": False}, 1))
    layer.symlink(f"{LIBRARIES}/libcuda.so", f"/{line.driver}/libcuda.so.1.1")
    layer.file("usr/include/l4t/version.h", "#define L4T_LAYER 1\n")
    layer.hard_link("usr/include/l4t/linked.h", "usr/include/l4t/version.h")
    layer.file("opt/nvidia/l4t/origin.h", "#define L4T_ORIGIN 1\n")
    layer.hard_link("usr/include/l4t/from-opt.h", "opt/nvidia/l4t/origin.h")
    layer.file("usr/include/l4t/was-file", "a file now, a directory in the next layer\n")
    layer.file(LONG_NAME, "#define L4T_LONG 1\n")
    layer.file("usr/include/l4t-old.h", "#error removed\n")
    layer.file("usr/include/l4t-old/inner.h", "#error hidden\n")
    layer.file(f"{LIBRARIES}/libsetuid.so", write_stub("libsetuid.so", {"set_uid": False}, 1), mode=0o4755)
    layer.fifo("usr/include/l4t/pipe")
    layer.device(f"{LIBRARIES}/nvmap", 10, 51)
    layer.device("dev/nvmap", 10, 51)
    layer.empty("usr/share/doc")
    layer.reach("lib/aarch64-linux-gnu")
    layer.file("lib/aarch64-linux-gnu/libthrough.so", write_stub("libthrough.so", {"through": False}, 1))


def fill_cuda(layer: Layer, cuda: str, wheels: Path) -> None:
    toolkit = _CUDA[cuda]
    add_toolkit(layer, toolkit, wheels)
    add_alternatives(
        layer,
        {
            "usr/local/cuda": ("cuda", f"/usr/local/{toolkit.directory}"),
            f"usr/local/cuda-{cuda.partition('.')[0]}": ("cuda-major", f"/usr/local/{toolkit.directory}"),
        },
    )


def fill_last(layer: Layer, cudnn: tuple[int, int, int] | None) -> None:
    """What the last layer takes away and replaces."""
    if cudnn:
        add_cudnn_shape(layer, cudnn)
    layer.remove("usr/include/l4t-old.h")
    layer.empty("usr/include/l4t-old")
    layer.file("usr/include/l4t-old/new.h", "#define L4T_NEW 1\n")
    layer.file("usr/include/l4t/version.h", VERSION_H)
    layer.directory("usr/include/l4t/was-file")
    layer.file("usr/include/l4t/was-file/inner.h", "#define L4T_INNER 1\n")
    layer.remove("usr/share/man")


def fill_wheels(layer: Layer, requirements: Sequence[str], cuda: str, wheels: Path) -> None:
    target = f"usr/local/cuda-{cuda}/targets/aarch64-linux"
    for wheel in fetch_wheels(requirements, wheels):
        add_libraries(layer, wheel, f"{target}/include", f"{target}/lib")


def fill_cudnn(layer: Layer, wheels: Path) -> None:
    for wheel in fetch_wheels(_CUDNN, wheels):
        add_cudnn(layer, wheel)


def root_layers(line: Line, packages: Sequence[str], work: Path) -> tuple[list[Recipe], str]:
    """The two layers of the distribution (the second is what ``packages`` add), and dpkg's status after them."""
    key = f"{line.codename}-{len(packages)}"
    base, full = work / f"{line.codename}-base.tar", work / f"{key}.tar"
    if not base.exists():
        make_rootfs(base, line.codename, _ESSENTIAL)
    make_rootfs(full, line.codename, [*_ESSENTIAL, *(name.format(gcc=line.gcc) for name in packages)])
    return [
        Recipe(key=f"{line.codename}-base", fill=partial(copy_changes, before=None, after=base)),
        Recipe(key=key, fill=partial(copy_changes, before=base, after=full)),
    ], load_status(full)


def load_status(rootfs: Path) -> str:
    with tarfile.open(rootfs) as tar:
        file = tar.extractfile("./var/lib/dpkg/status")
        return file.read().decode() if file else ""


def small_images(work: Path, wheels: Path) -> dict[str, list[Recipe]]:
    """r35 in gzip alone, for Docker's own manifests know nothing else; r36 in all that OCI's allow."""
    images = {}
    for line, releases, others in (
        (R35, {"35.4.1": "11.4"}, ("gzip", "gzip")),
        (R36, {"36.3.0": "12.2", "36.4.0": "12.6"}, ("zstd", "plain")),
    ):
        root, status = root_layers(line, _DEV, work)
        for release, cuda in releases.items():
            cudnn = (9, 3, 0) if cuda == "12.6" else (8, 9, 4)
            board = partial(fill_board, line=line, release=release, status=status)
            toolkit = partial(fill_cuda, cuda=cuda, wheels=wheels)
            images[f"r{release}"] = [
                *root,
                Recipe(key=f"board-{release}", fill=board),
                Recipe(key=f"cuda-{cuda}", fill=toolkit, compression=others[0], layout=tarfile.GNU_FORMAT),
                Recipe(key=f"last-{release}", fill=partial(fill_last, cudnn=cudnn), compression=others[1]),
            ]
    return images | {"r36.4.0-tiny": tiny_image(work)}


def tiny_image(work: Path) -> list[Recipe]:
    """The least that a compiler needs, without CUDA: for tests that pull many times."""
    tar = work / "tiny.tar"
    make_rootfs(tar, R36.codename, _TINY)
    board = partial(fill_board, line=R36, release="36.4.0", status=load_status(tar))
    return [
        Recipe(key="tiny", fill=partial(copy_changes, before=None, after=tar, leave_out=_LEAVE_OUT)),
        Recipe(key="board-tiny", fill=board),
        Recipe(key="last-tiny", fill=partial(fill_last, cudnn=None)),
    ]


def bench_images(work: Path, wheels: Path) -> dict[str, list[Recipe]]:
    """Two releases of one line that differ in the board's layer, the CUDA runtime's and the last one."""
    root, status = root_layers(R36, (*_DEV, *_BENCH_DEV), work)
    shared = [
        *root,
        Recipe(key="cublas", fill=partial(fill_wheels, requirements=_CUBLAS, cuda="12.6", wheels=wheels)),
        Recipe(key="cudnn", fill=partial(fill_cudnn, wheels=wheels)),
        Recipe(key="math", fill=partial(fill_wheels, requirements=_MATH, cuda="12.6", wheels=wheels)),
    ]
    return {
        f"r{release}-bench": [
            *shared,
            Recipe(key=f"board-{release}", fill=partial(fill_board, line=R36, release=release, status=status)),
            Recipe(key=f"cuda-{release}", fill=partial(fill_cuda, cuda=cuda, wheels=wheels)),
            Recipe(key=f"last-{release}", fill=partial(fill_last, cudnn=None)),
        ]
        for release, cuda in (("36.3.0", "12.2"), ("36.4.0", "12.6"))
    }


def default_cache() -> Path:
    """Beside jetsonx's own cache directory: ``jetsonx-tests``."""
    return default_root(os.environ).with_name("jetsonx-tests")


def build_images(*, bench: bool = False, cache: Path | None = None) -> dict[str, Path]:
    """OCI layouts by tag, built when they are not there.

    ``r35.4.1``, ``r36.3.0``, ``r36.4.0`` and ``r36.4.0-tiny``; of the benchmark ``r36.3.0-bench``, ``r36.4.0-bench``.
    """
    cache = cache or default_cache()
    kind = "bench" if bench else "small"
    place = cache / "images" / f"{kind}-{_key()}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{kind}.lock"):
        if not place.is_dir():
            for old in place.parent.glob(f"{kind}-*"):
                shutil.rmtree(old)
            made = cache / f"{kind}.part"
            shutil.rmtree(made, ignore_errors=True)
            (made / "work").mkdir(parents=True)
            (cache / "wheels").mkdir(exist_ok=True)
            recipes = bench_images if bench else small_images
            _build(recipes(made / "work", cache / "wheels"), made)
            shutil.rmtree(made / "work")
            made.rename(place)
    return {path.name: path for path in sorted(place.iterdir())}


def _key() -> str:
    """Of what decides the images' content: these scripts and where the packages come from."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(b"" if path.name == "devel.py" else path.read_bytes())
    for line in (R35, R36):
        digest.update(source_line(line.codename).encode())
    return digest.hexdigest()[:12]


def _build(images: Mapping[str, Sequence[Recipe]], place: Path) -> None:
    recipes = {recipe.key: recipe for layers in images.values() for recipe in layers}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        blobs = dict(zip(recipes, pool.map(partial(_pack, place / "work"), recipes.values()), strict=True))
    for tag, layers in images.items():
        write_layout(place / tag, tag, [blobs[recipe.key] for recipe in layers])


def _pack(work: Path, recipe: Recipe) -> Blob:
    tar = work / f"layer-{recipe.key}.tar"
    with write_layer(tar, recipe.layout) as layer:
        recipe.fill(layer)
    return pack_layer(tar, recipe.compression)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", action="store_true", help="the two large images of the benchmark")
    for tag, path in build_images(bench=parser.parse_args().bench).items():
        size = sum(blob.stat().st_size for blob in (path / "blobs/sha256").iterdir())
        print(f"{tag}  {size / 1e6:.0f} MB  {path}")  # noqa: T201 - what the caller asked for


if __name__ == "__main__":
    main()
