"""The same SDK said in CMake's and in Meson's words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

TOOLCHAIN = """\
# Written by jetsonx. Use: cmake -DCMAKE_TOOLCHAIN_FILE=<this file> …
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_SYSROOT "$sysroot")

set(CMAKE_C_COMPILER "$cc")
set(CMAKE_CXX_COMPILER "$cxx")
set(CMAKE_AR "$bin/ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "$bin/ranlib" CACHE FILEPATH "")
set(CMAKE_STRIP "$bin/strip" CACHE FILEPATH "")
set(PKG_CONFIG_EXECUTABLE "$bin/pkg-config" CACHE FILEPATH "")

set(CMAKE_CUDA_COMPILER "$cuda/bin/nvcc")
set(CMAKE_CUDA_HOST_COMPILER "$cxx")
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "$architectures" CACHE STRING "")
endif()
set(CUDAToolkit_ROOT "$cuda" CACHE PATH "")
set(CUDA_TOOLKIT_ROOT_DIR "$cuda" CACHE PATH "")

# Packages of the target come from the sysroot, programs from this workstation, and what the project itself
# brings (FetchContent, exported packages in its build tree) from where it is.
list(APPEND CMAKE_FIND_ROOT_PATH "$sysroot" "$cuda" "$${CMAKE_SOURCE_DIR}" "$${CMAKE_BINARY_DIR}")
list(APPEND CMAKE_PREFIX_PATH "/usr/local/cuda")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

# Programs find the project's own libraries beside themselves, not in a directory of this workstation.
set(CMAKE_BUILD_RPATH_USE_ORIGIN ON)
"""
_EMULATOR = 'set(CMAKE_CROSSCOMPILING_EMULATOR "$emulator;-L;$sysroot;-E;LD_LIBRARY_PATH=$cuda/lib:$stubs")\n'

MESON = """\
[binaries]
c = '$cc'
cpp = '$cxx'
cuda = ['$cuda/bin/nvcc']
ar = '$bin/ar'
strip = '$bin/strip'
pkg-config = '$bin/pkg-config'
$emulator
[properties]
needs_exe_wrapper = true
sys_root = '$sysroot'

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""


def render_toolchain(paths: Mapping[str, Path], *, architectures: str, emulator: str | None) -> str:
    """A CMake toolchain file. ``paths``: sysroot, cuda, cc, cxx, bin and stubs (driver libraries)."""
    text = TOOLCHAIN + (_EMULATOR if emulator else "")
    return Template(text).substitute(paths, architectures=architectures, emulator=emulator)


def render_meson(paths: Mapping[str, Path], *, emulator: str | None) -> str:
    """A Meson cross file. ``paths`` as for :func:`render_toolchain`."""
    search = f"LD_LIBRARY_PATH={paths['cuda']}/lib:{paths['stubs']}"
    wrapper = f"exe_wrapper = ['{emulator}', '-L', '{paths['sysroot']}', '-E', '{search}']\n" if emulator else ""
    return Template(MESON).substitute(paths, emulator=wrapper)
