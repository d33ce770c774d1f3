"""Made-up toolchain values that the tests of the SDK and of build plans share."""

from __future__ import annotations

from pathlib import Path

from jetsonx.toolchain.compiler import HostCompiler
from jetsonx.toolchain.nvcc import Nvcc
from jetsonx.toolchain.sdk import DeviceCode, Sdk, SdkPlan

DEVICE_CODE = DeviceCode(sms=(87, 110))

SDK = Sdk(
    path=Path("/cache/sdk/0123"),
    sysroot_digest="sha256:00",
    cuda_dir="usr/local/cuda-13.2",
    cuda_target="sbsa-linux",
    compiler_kind="gcc",
    device_code=DEVICE_CODE,
    cpu_flags="-mcpu=cortex-a78ae",
    emulator=None,
)

GCC = HostCompiler(
    kind="gcc",
    major=12,
    cc=("/usr/bin/aarch64-linux-gnu-gcc",),
    cxx=("/usr/bin/aarch64-linux-gnu-g++",),
    include="/usr/lib/gcc-cross/aarch64-linux-gnu/12/include",
    linker=None,
    tools=(("ar", ("/usr/bin/aarch64-linux-gnu-ar",)), ("nm", ("/usr/bin/aarch64-linux-gnu-nm",))),
    origin="a GCC",
)


def sdk_plan(compiler: HostCompiler = GCC, root: Path = Path("/")) -> SdkPlan:
    """A plan whose sysroot, nvcc and cache lie under ``root``."""
    return SdkPlan(
        sysroot=root / "trees/sysroot",
        sysroot_digest="sha256:00",
        gcc=12,
        cuda_dir="usr/local/cuda-13.2",
        cuda_target="sbsa-linux",
        cuda_targets=root / "trees/sysroot/usr/local/cuda-13.2/targets/sbsa-linux",
        nvcc=Nvcc(version="13.2", root=root / "trees/nvcc", origin="wheels"),
        compiler=compiler,
        device_code=DEVICE_CODE,
        cpu_flags="-mcpu=cortex-a78ae",
        pkg_config="/usr/bin/pkg-config",
        emulator=None,
        cache=root / "cache dir",
    )
