"""The two kinds of machine that an image can be for: the Jetson, and the workstation with a GPU beside it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How one architecture is spelled. ``elf``: e_machine as od prints it; ``loader`` lies in ``/usr/LOADER_DIR``."""

    platform: str
    name: str
    triple: str
    debian_arch: str
    elf: str
    loader: str
    loader_dir: str


JETSON = Machine(
    platform="linux/arm64",
    name="AArch64",
    triple="aarch64-linux-gnu",
    debian_arch="arm64",
    elf="b7 00",
    loader="ld-linux-aarch64.so.1",
    loader_dir="lib",
)
WORKSTATION = Machine(
    platform="linux/amd64",
    name="x86-64",
    triple="x86_64-linux-gnu",
    debian_arch="amd64",
    elf="3e 00",
    loader="ld-linux-x86-64.so.2",
    loader_dir="lib64",
)


@dataclass(frozen=True, slots=True)
class AllMajor:
    """Device code for whatever GPU a workstation has, by nvcc's own word for it (from CUDA 11.5, CMake 3.23 on)."""

    @property
    def gencode(self) -> tuple[str, ...]:
        """Arguments for nvcc."""
        return ("-arch=all-major",)

    @property
    def cmake(self) -> str:
        """Value of ``CMAKE_CUDA_ARCHITECTURES``."""
        return "all-major"
