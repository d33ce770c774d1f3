"""A CUDA project of the size that hurts: nine sources heavy with Thrust, written by this script."""

from __future__ import annotations

from pathlib import Path

FILES = 8
_TOML = """\
[project]
name = "thrusts"

[target]
modules = ["orin-nano"]
l4t = "39.2"

[build]
system = "cmake"
outputs = ["thrusts"]
"""
_CMAKE = """\
cmake_minimum_required(VERSION 3.18)
project(thrusts LANGUAGES CXX CUDA)
file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/*.cu")
add_executable(thrusts ${sources})
set_target_properties(thrusts PROPERTIES CUDA_STANDARD 17 CXX_STANDARD 17)
"""
_UNIT = """\
#include <thrust/device_vector.h>
#include <thrust/reduce.h>
#include <thrust/transform.h>
#include "common.h"

struct scale_@N@ {
  __host__ __device__ float operator()(float x) const { return x * (@N@ + CHANGE); }
};

float work_@N@(const float *first, const float *last) {
  thrust::device_vector<float> values(first, last);
  thrust::transform(values.begin(), values.end(), values.begin(), scale_@N@());
  return thrust::reduce(values.begin(), values.end(), 0.0f, thrust::plus<float>());
}
"""


def write_project(folder: Path) -> Path:
    """Write the project into ``folder``, a new directory, and return it."""
    folder.mkdir()
    (folder / "jetsonx.toml").write_text(_TOML)
    (folder / "CMakeLists.txt").write_text(_CMAKE)
    for number in range(FILES):
        (folder / f"work_{number}.cu").write_text(_UNIT.replace("@N@", str(number)))
    calls = " + ".join(f"work_{number}(values, values + 1000)" for number in range(FILES))
    declared = "".join(f"float work_{number}(const float *, const float *);\n" for number in range(FILES))
    (folder / "main.cu").write_text(f"{declared}int main() {{ float values[1000] = {{}}; return ({calls}) > 1e9f; }}\n")
    change_everything(folder, 0)
    return folder


def change_everything(folder: Path, count: int) -> None:
    """Have every unit compiled anew, by a header that all include: no compiler cache has seen it."""
    (folder / "common.h").write_text(f"#define CHANGE {count}.0f\n")


def change_one(folder: Path, count: int) -> None:
    """Have one unit compiled anew."""
    path = folder / "work_0.cu"
    text = path.read_text().partition("// change")[0]
    path.write_text(f"{text}// change {count}\n__device__ int change_{count};\n")
