"""Real files in numbers: an arm64 root file system and NVIDIA's libraries, fetched once into the user's cache."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

from filelock import FileLock

from tests.images.rootfs import make_rootfs

CACHE = Path("~/.cache/jetsonx-tests/facts").expanduser()
PACKAGES = ("libc-bin", "coreutils", "util-linux", "perl", "python3", "systemd", "gstreamer1.0-plugins-base")
# Between them: LZ4 and zstd, machine code and PTX, stubs, LTO code, libraries with device code outside the sections.
WHEELS = (
    "nvidia-npp==13.2.0.93",
    "nvidia-cusparse==12.9.4.2",
    "nvidia-curand==10.4.5.25",
    "nvidia-nvjpeg==13.3.2.43",
)
CUOBJDUMP = "nvidia-cuda-cuobjdump==13.5.37"


@cache
def root_tar(name: str = "bookworm", packages: tuple[str, ...] = PACKAGES) -> Path:
    """A Debian root file system for arm64, unpacked and not configured."""
    CACHE.mkdir(parents=True, exist_ok=True)
    path = CACHE / f"{name}.tar"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            part = path.with_suffix(".part.tar")
            make_rootfs(part, "bookworm", packages)
            part.rename(path)
    return path


@cache
def fetched(*requirements: str, platform: str) -> Path:
    """The libraries and programs of some wheels, unpacked."""
    folder = CACHE / "-".join(x.partition("==")[0].removeprefix("nvidia-") + x.partition("==")[2] for x in requirements)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            platforms = [f"--platform={x}_{platform}" for x in ("manylinux2014", "manylinux_2_17", "manylinux_2_27")]
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *platforms]
            subprocess.run([*pip, "-d", part, *requirements], check=True)
            for wheel in part.glob("*.whl"):
                zipfile.ZipFile(wheel).extractall(part)
                wheel.unlink()
            part.rename(folder)
    return folder


def cuda_libraries() -> list[Path]:
    return sorted(fetched(*WHEELS, platform="aarch64").rglob("*.so*"))
