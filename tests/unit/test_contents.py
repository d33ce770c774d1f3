"""What is found in a sysroot by reading it, and that nothing in one can do harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.sysroot.contents import (
    Contents,
    parse_cuda,
    parse_cuda_json,
    parse_glibc,
    parse_glibcxx,
    parse_macros,
    parse_version,
    read_contents,
)

TRIPLE = "aarch64-linux-gnu"
FEATURES = "/* … */\n#define\t__GNU_LIBRARY__ 6\n#define\t__GLIBC__\t2\n#define\t__GLIBC_MINOR__\t35\n"
CUDNN = "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 3\n#define CUDNN_PATCHLEVEL 0\n#define CUDNN_VERSION (9 * 10000)\n"
TENSORRT_8 = (
    "#define NV_TENSORRT_MAJOR 8 //!< major.\n#define NV_TENSORRT_MINOR 5 //!< …\n#define NV_TENSORRT_PATCH 2 //!< …\n"
)
TENSORRT_10 = (
    "#define TRT_MAJOR_ENTERPRISE 10\n#define TRT_MINOR_ENTERPRISE 3\n#define TRT_PATCH_ENTERPRISE 0\n"
    "#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE //!< …\n#define NV_TENSORRT_MINOR TRT_MINOR_ENTERPRISE\n"
    "#define NV_TENSORRT_PATCH TRT_PATCH_ENTERPRISE\n"
)
OPENCV = "#define CV_VERSION_MAJOR    4\n#define CV_VERSION_MINOR    8\n#define CV_VERSION_REVISION 0\n"
VPI = "#define NV_VPI_VERSION_MAJOR 3\n\n#define NV_VPI_VERSION_MINOR 2\n#define NV_VPI_VERSION_PATCH 4\n"
L4T = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
NAMES = ("NV_TENSORRT_MAJOR", "NV_TENSORRT_MINOR", "NV_TENSORRT_PATCH")


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def test_everything_a_jetpack_image_holds(tmp_path: Path) -> None:
    cuda = "usr/local/cuda-12.6/targets/aarch64-linux/include"
    root = write(
        tmp_path,
        {
            "etc/nv_tegra_release": L4T,
            "usr/include/features.h": FEATURES,
            f"usr/lib/{TRIPLE}/libstdc++.so.6.0.30": b"\0GLIBCXX_3.4.9\0GLIBCXX_3.4.30\0GLIBCXX_X_3.4.9\0",
            "usr/include/c++/11/vector": "",
            "usr/include/c++/9/vector": "",
            "usr/include/c++/v1/vector": "",
            f"{cuda}/cuda_runtime_api.h": "#define CUDART_VERSION  12060\n",
            f"usr/include/{TRIPLE}/cudnn_version_v9.h": CUDNN,
            f"usr/include/{TRIPLE}/NvInferVersion.h": TENSORRT_10,
            "usr/include/opencv4/opencv2/core/version.hpp": OPENCV,
            "opt/nvidia/vpi3/include/vpi/Version.h": VPI,
        },
    )
    (root / f"usr/lib/{TRIPLE}/libstdc++.so.6").symlink_to("libstdc++.so.6.0.30")
    (root / "usr/local/cuda").symlink_to("cuda-12.6")
    assert read_contents(root) == Contents(
        l4t="36.4.3",
        glibc="2.35",
        glibcxx="GLIBCXX_3.4.30",
        gcc="11",
        cuda="12.6",
        cudnn="9.3.0",
        tensorrt="10.3.0",
        opencv="4.8.0",
        vpi="3.2.4",
    )
    write(root, {"usr/local/cuda-12.6/version.json": json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.6.68"}})})
    assert read_contents(root).cuda == "12.6.68"


def test_nothing_is_found_in_nothing(tmp_path: Path) -> None:
    assert read_contents(tmp_path) == Contents()
    assert read_contents(tmp_path / "not there") == Contents()
    (tmp_path / "file").write_text("")
    assert read_contents(tmp_path / "file") == Contents()


def test_a_container_has_the_l4t_release_from_its_packages(tmp_path: Path) -> None:
    status = "Package: nvidia-l4t-core\nStatus: install ok installed\nVersion: 36.4.4-20250616085344\n\n"
    assert read_contents(write(tmp_path, {"var/lib/dpkg/status": status})).l4t == "36.4.4"


def test_glibc_without_headers(tmp_path: Path) -> None:
    text = b"\0GNU C Library (Ubuntu GLIBC 2.31-0ubuntu9.16) stable release version 2.31.\nCopyright"
    root = write(tmp_path, {f"lib/{TRIPLE}/libc-2.31.so": text})
    (root / f"lib/{TRIPLE}/libc.so.6").symlink_to("libc-2.31.so")
    assert read_contents(root).glibc == "2.31"


def test_links_do_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"features.h": FEATURES, "c++/99/vector": ""})
    root = tmp_path / "root"
    (root / "usr/include").mkdir(parents=True)
    (root / "usr/include/features.h").symlink_to(outside / "features.h")
    (root / "usr/include/c++").symlink_to("../../../outside/c++")
    assert read_contents(root) == Contents()


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    root = tmp_path
    (root / "usr/include/features.h").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "etc/nv_tegra_release").symlink_to("nv_tegra_release")
    (root / "usr/local").mkdir()
    (root / "usr/local/cuda").symlink_to(".")
    (root / "var/lib/dpkg").mkdir(parents=True)
    (root / "var/lib/dpkg/status").symlink_to("/dev/zero")
    assert read_contents(root) == Contents()


def test_of_two_cuda_versions_the_one_that_is_chosen_counts(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"usr/local/cuda-{version}/include/cuda.h": f"#define CUDA_VERSION {number}\n"
        for version, number in (("11.8", 11080), ("12.6", 12060))
    }
    write(tmp_path, files)
    assert read_contents(tmp_path).cuda == "12.6"
    (tmp_path / "usr/local/cuda").symlink_to("cuda-11.8")
    assert read_contents(tmp_path).cuda == "11.8"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (TENSORRT_8, "8.5.2"),
        (TENSORRT_10, "10.3.0"),
        ("#define NV_TENSORRT_MAJOR 8\n", None),
        ("#define NV_TENSORRT_MAJOR NV_TENSORRT_MAJOR\n" * 3, None),
        (TENSORRT_8.replace(" 8 ", " (8) "), "8.5.2"),
        (TENSORRT_8.replace(" 8 ", " eight "), None),
        (TENSORRT_8.replace(" 8 ", " " + "8" * 5000 + " "), None),
        ("// #define NV_TENSORRT_MAJOR 8\n", None),
        ("", None),
    ],
)
def test_parse_version(text: str, version: str | None) -> None:
    assert parse_version(text, NAMES) == version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("#define CUDART_VERSION  12060\n", "12.6"),
        ("#define CUDA_VERSION 11040\n", "11.4"),
        ("#define CUDA_VERSION 13020\n", "13.2"),
        ("#define CUDA_VERSION 9\n", None),
        ("#define CUDA_VERSION __CUDA_API_VERSION\n", None),
        ("#define CUDA_VERSION 99999999999999999999\n", None),
        ("", None),
    ],
)
def test_parse_cuda(text: str, version: str | None) -> None:
    assert parse_cuda(text) == version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"cuda": {"version": "11.4.19"}}', "11.4.19"),
        ('{"cuda": {"version": 11}}', None),
        ('{"cuda": {"version": "11.4\\u001b[31m"}}', None),
        ('{"cuda": "11.4"}', None),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_parse_cuda_json(text: str, version: str | None) -> None:
    assert parse_cuda_json(text) == version


def test_a_version_that_lies_across_two_pieces() -> None:
    data = bytes(1000) + b"\0GLIBCXX_3.4.33\0" + bytes(1000)
    for cut in range(995, 1020):
        assert parse_glibcxx([data[:cut], data[cut:]]) == "GLIBCXX_3.4.33"
    assert parse_glibcxx([]) is None
    assert parse_glibc([b"GNU C Library", b" (x) stable release version 2.39.\n"]) == "2.39"
    assert parse_glibc([b"GNU C Library " + b"x" * 10_000 + b" version 2.39"]) is None


@given(st.text(max_size=300))
def test_no_text_is_a_crash(text: str) -> None:
    parse_macros(text)
    parse_version(text, NAMES)
    parse_cuda(text)
    parse_cuda_json(text)
    parse_glibcxx([text.encode(errors="replace")])
