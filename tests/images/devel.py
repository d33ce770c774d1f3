"""Stand-ins for NVIDIA's CUDA 13.2 image with compilers, x86-64 and arm64: what Dockerfiles of L4T r39 start from.

Real: Debian 12 with the host's mirror as its package source; nvcc, headers and runtime from NVIDIA's wheels, laid out
as NVIDIA's packages do it. Made up: cuBLAS, half a gigabyte for three functions, is a header and a stub of it.

The light one is for machines that are emulated whole. It holds the packages that a Dockerfile asks apt for, and names
no source of others, so that apt has nothing to do; it lacks CCCL, the C compiler, Perl and what else nvcc does not
start or read. Its layers are not compressed.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock

from jetsonx.sysroot.stub import write_stub
from tests.images.build import default_cache
from tests.images.layer import Layer, copy_changes, write_layer
from tests.images.layout import Blob, pack_layer, write_platforms
from tests.images.rootfs import make_rootfs, source_line
from tests.images.toolkit import add_libraries, fetch_wheels

CODENAME = "bookworm"
CUDA = "13.2"
_TARGETS = {"amd64": ("x86_64", "x86_64-linux"), "arm64": ("aarch64", "sbsa-linux")}
_BASE = ("?essential", "apt", "debian-archive-keyring", "ca-certificates")
_NEVER_IN_ROOT = r"usr/share/(doc|man|locale|info)/|var/(cache|lib)/apt/"
# What building a CUDA program with nvcc and g++ does not read. Each file costs an emulated engine some milliseconds.
_NOT_FOR_NVCC = (
    r"etc/apt/sources",
    r".*/(cc1|lto1|lto-wrapper)$|usr/bin/\S+-(lto-dump-12|ld\.gold|dwp)$|.*/lib\w*san[_.]|.*/(lib)?gprofng",
    r"usr/lib/[^/]+/(perl|perl-base|gconv|ldscripts|libperl\.)|usr/share/(perl|perl5|debconf)/",
    r"usr/include/c\+\+/12/(ext/pb_ds|parallel|experimental|decimal|tr2)/",
    r"usr/include/(sound|rdma|drm|scsi|mtd|xen|video|misc|tirpc|rpcsvc|netipx|netrose|protocols)/",
    r"usr/include/linux/(?!(errno|limits|types|stddef|posix_types|falloc|rseq|stat|sched)\.h$)",
    r"usr/share/(bash-completion|ca-certificates|lintian|gdb|gcc)/|usr/lib/locale/",
)
_WHEELS = tuple(f"nvidia-{name}==13.2.86" for name in ("cuda-nvcc", "nvvm", "cuda-crt", "cuda-runtime", "cuda-cccl"))
_LEAVE_OUT = (
    r"libnvvm\.so|nvcc\.profile|bin2c|__nvcc"  # what nvcc does not start, and the profile of the wheels' layout
)
_PROFILE = """\
TOP              = $(_HERE_)/..
CICC_PATH        = $(TOP)/nvvm/bin
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH            += $(CICC_PATH):$(_HERE_):
INCLUDES        +=  "-I$(TOP)/$(_TARGET_DIR_)/include" $(_SPACE_)
SYSTEM_INCLUDES +=  "-isystem" "$(TOP)/$(_TARGET_DIR_)/include/cccl" $(_SPACE_)
LIBRARIES        =+ $(_SPACE_) "-L$(TOP)/$(_TARGET_DIR_)/lib/stubs" "-L$(TOP)/$(_TARGET_DIR_)/lib"
"""
_CUBLAS_H = """\
#pragma once
#ifdef __cplusplus
extern "C" {
#endif
typedef enum { CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_NOT_INITIALIZED = 1 } cublasStatus_t;
typedef struct cublasContext *cublasHandle_t;
cublasStatus_t cublasCreate_v2(cublasHandle_t *handle);
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle);
cublasStatus_t cublasSaxpy_v2(cublasHandle_t, int n, const float *a, const float *x, int incx, float *y, int incy);
const char *cublasGetStatusName(cublasStatus_t status);
const char *cublasGetStatusString(cublasStatus_t status);
#define cublasCreate cublasCreate_v2
#define cublasDestroy cublasDestroy_v2
#define cublasSaxpy cublasSaxpy_v2
#ifdef __cplusplus
}
#endif
"""
_CUBLAS = {
    "cublasCreate_v2": False,
    "cublasDestroy_v2": False,
    "cublasSaxpy_v2": False,
    "cublasGetStatusName": True,
    "cublasGetStatusString": True,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One of the stand-ins: Debian packages by architecture, NVIDIA's wheels, and how layers are compressed.

    ``not_in_root``: a regular expression for files of the packages that are left out.
    """

    name: str
    packages: Mapping[str, Sequence[str]]
    wheels: Sequence[str]
    not_in_root: str
    compression: str


WHOLE = Kind(
    name="devel",
    packages={"amd64": _BASE, "arm64": (*_BASE, "g++", "make")},
    wheels=_WHEELS,
    not_in_root=_NEVER_IN_ROOT,
    compression="fast",
)
LIGHT = Kind(
    name="light-devel",
    packages={"amd64": (*_BASE, "g++-aarch64-linux-gnu", "ccache"), "arm64": (*_BASE, "g++", "ccache")},
    wheels=tuple(wheel for wheel in _WHEELS if "cccl" not in wheel),
    not_in_root="|".join((_NEVER_IN_ROOT, *_NOT_FOR_NVCC)),
    compression="plain",
)


def fill_cuda(layer: Layer, architecture: str, requirements: Sequence[str], wheels: Path) -> None:
    """The toolkit of one architecture under /usr/local/cuda-13.2. ``wheels``: where those required are kept."""
    machine, target = _TARGETS[architecture]
    root = f"usr/local/cuda-{CUDA}"
    include, lib = f"{root}/targets/{target}/include", f"{root}/targets/{target}/lib"
    for wheel in fetch_wheels(requirements, wheels, machine):
        add_libraries(layer, wheel, include, lib, programs=root, leave_out=_LEAVE_OUT)
    layer.file(f"{root}/bin/nvcc.profile", _PROFILE)
    layer.symlink(f"{root}/include", f"targets/{target}/include")
    layer.symlink(f"{root}/lib64", f"targets/{target}/lib")
    layer.symlink("usr/local/cuda", "/etc/alternatives/cuda")
    layer.symlink("etc/alternatives/cuda", f"/usr/local/cuda-{CUDA}")
    layer.file("etc/ld.so.conf.d/000_cuda.conf", f"/usr/local/cuda/targets/{target}/lib\n")
    if architecture == "arm64":
        layer.file(f"{lib}/stubs/libcuda.so", write_stub("libcuda.so.1", {"cuInit": False}, 100))
        layer.file(f"{include}/cublas_v2.h", _CUBLAS_H)
        for name in ("cublas", "cublasLt"):
            layer.file(f"{lib}/lib{name}.so.13", write_stub(f"lib{name}.so.13", _CUBLAS, 1))
            layer.symlink(f"{lib}/lib{name}.so", f"lib{name}.so.13")


def build_devel_image(kind: Kind = WHOLE, cache: Path | None = None) -> Path:
    """The OCI layout, an index of two images, built when it is not there."""
    cache = cache or default_cache()
    place = cache / "images" / f"{kind.name}-{_key()}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "devel.lock"):
        if not place.is_dir():
            for old in place.parent.glob(f"{kind.name}-*"):
                shutil.rmtree(old)
            made = cache / f"{kind.name}.part"
            shutil.rmtree(made, ignore_errors=True)
            (made / "work").mkdir(parents=True)
            (cache / "wheels").mkdir(exist_ok=True)
            with ThreadPoolExecutor(len(_TARGETS)) as pool:
                make = partial(_make_layers, kind=kind, work=made / "work", wheels=cache / "wheels")
                layers = pool.map(make, _TARGETS)
                images = dict(zip(_TARGETS, layers, strict=True))
            write_platforms(made / "image", CUDA, images)
            (made / "image").rename(place)
            shutil.rmtree(made)
    return place


def _make_layers(architecture: str, kind: Kind, work: Path, wheels: Path) -> Sequence[Blob]:
    tar = work / f"{architecture}.tar"
    make_rootfs(tar, CODENAME, kind.packages[architecture], architecture=architecture, runnable=True)
    with write_layer(work / f"root-{architecture}.tar") as layer:
        copy_changes(layer, before=None, after=tar, leave_out=kind.not_in_root)
    tar.unlink()
    with write_layer(work / f"cuda-{architecture}.tar", tarfile.GNU_FORMAT) as layer:
        fill_cuda(layer, architecture, kind.wheels, wheels)
    return [pack_layer(work / f"{name}-{architecture}.tar", kind.compression) for name in ("root", "cuda")]


def _key() -> str:
    digest = hashlib.sha256(source_line(CODENAME).encode())
    for name in ("devel", "layer", "layout", "rootfs", "toolkit"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]
