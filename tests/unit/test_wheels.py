"""Wheels: what pip reports, where the files go, and how CUDA is held to a release."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.package import Wheel
from jetsonx.packages.wheels import (
    download_wheels,
    fetch_wheels,
    parse_metadata,
    parse_report,
    platform_tags,
    unpack_wheel,
)
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.store.tree import Objects, TreeWriter
from jetsonx.sysroot.cuda import (
    compiler_place,
    finish_overlay,
    load_wheel_names,
    overlay_place,
    overlay_wheels,
    toolkit_constraints,
    toolkit_requirement,
)

BASE = "usr/local/cuda-13.2/targets/sbsa-linux"


@pytest.fixture
def writer(tmp_path: Path) -> TreeWriter:
    (tmp_path / "scratch").mkdir()
    return TreeWriter(Objects(tmp_path / "objects", tmp_path / "scratch"))


def item(name: str, version: str, sha256: str | None, url: str) -> dict[str, object]:
    archive = {"hashes": {"sha256": sha256}} if sha256 else {}
    return {"metadata": {"name": name, "version": version}, "download_info": {"url": url, "archive_info": archive}}


def test_parse_report() -> None:
    items = [
        item("nvidia_CUDA.runtime", "13.2.75", "ab" * 32, "http://i.example/p/nvidia_cuda_runtime-13.2.75%2Bx-any.whl"),
        item("a", "1", "cd" * 32, "http://i.example/a-1-py3-none-any.whl"),
    ]
    first, second = parse_report(json.dumps({"version": "1", "install": items}))
    assert first.name == "a"
    assert (second.name, second.filename) == ("nvidia-cuda-runtime", "nvidia_cuda_runtime-13.2.75+x-any.whl")


def test_a_report_without_hashes_is_refused() -> None:
    with pytest.raises(DownloadError, match="no sha256"):
        parse_report(json.dumps({"install": [item("a", "1", None, "http://i.example/a.whl")]}))


def test_platform_tags_stop_at_the_devices_glibc() -> None:
    tags = platform_tags("aarch64", "2.31")
    assert tags[0] == "manylinux_2_31_aarch64"
    assert "manylinux_2_32_aarch64" not in tags
    assert "manylinux2014_aarch64" in tags
    assert "manylinux2010_x86_64" in platform_tags("x86_64", "2.28")


def wheel_file(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16 or 1  # 0 would be replaced by zipfile
            archive.writestr(info, data)
    return path


def test_unpack_wheel(tmp_path: Path, writer: TreeWriter) -> None:
    path = wheel_file(
        tmp_path / "a.whl",
        ("nvidia/cu13/lib/liba.so.13", b"\x7fELF...", 0),
        ("nvidia/cu13/bin/script", b"#!/bin/sh", 0),
        ("nvidia/cu13/include/a.h", b"text", 0),
        ("nvidia/cu13/bin/tool", b"x", 0o100755),
        ("nvidia/cu13/left/out", b"x", 0),
    )
    unpack_wheel(path, writer, lambda name: None if "left" in name else name.rpartition("/")[2], owner="a")
    modes = {name: entry.mode for name, entry in writer.entries.items()}
    assert modes == {"liba.so.13": 0o555, "script": 0o555, "a.h": 0o444, "tool": 0o555}


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd"])
def test_a_wheel_that_leads_outside(name: str, tmp_path: Path, writer: TreeWriter) -> None:
    with pytest.raises(DownloadError, match="refused"):
        unpack_wheel(wheel_file(tmp_path / "a.whl", (name, b"", 0)), writer, lambda name: name)


def test_a_damaged_wheel(tmp_path: Path, writer: TreeWriter) -> None:
    whole = wheel_file(tmp_path / "a.whl", ("a", bytes(range(256)) * 50, 0)).read_bytes()
    for data in (b"", whole[:-30], whole[:40] + b"\xff" * 8 + whole[48:]):
        (tmp_path / "a.whl").write_bytes(data)
        with pytest.raises(DownloadError, match="not a usable wheel"):
            unpack_wheel(tmp_path / "a.whl", writer, lambda name: name)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("nvidia/cu13/lib/libcublas.so.13", f"{BASE}/lib/libcublas.so.13"),
        ("nvidia/cu13/include/cccl/cub/lib/x.h", f"{BASE}/include/cccl/cub/lib/x.h"),
        ("nvidia/cu13/cuda_cccl/lib/cmake/cub/cub-config.cmake", f"{BASE}/lib/cmake/cub/cub-config.cmake"),
        ("nvidia/cudnn/lib/libcudnn.so.9", f"{BASE}/lib/libcudnn.so.9"),
        ("nvidia_x-1.dist-info/licenses/License.txt", "usr/local/cuda-13.2/share/doc/x/License.txt"),
        ("nvidia/cu13/cuda_cccl/.metadata/lib/x", None),
        ("nvidia/cu13/lib/__init__.py", None),
        ("nvidia/cu13/bin/nvcc", None),
        ("nvidia_x-1.dist-info/RECORD", None),
    ],
)
def test_overlay_place(name: str, place: str | None) -> None:
    assert overlay_place("usr/local/cuda-13.2", "sbsa-linux", "x")(name) == place


def test_of_the_compiler_only_its_header() -> None:
    place = compiler_place("usr/local/cuda-13.2", "sbsa-linux", load_wheel_names())
    assert place("nvidia/cu13/include/fatbinary_section.h") == f"{BASE}/include/fatbinary_section.h"
    assert place("nvidia/cu13/include/crt/host_config.h") is None


def test_finish_overlay(writer: TreeWriter) -> None:
    writer.add_file(f"{BASE}/include/cuda.h", b"CUresult CUDAAPI cuInit(unsigned int Flags);\n")
    writer.add_file(f"{BASE}/lib/libcublas.so.13", b"elf")
    finish_overlay(writer, "usr/local/cuda-13.2", "sbsa-linux")
    links = {path: entry.content for path, entry in writer.entries.items() if entry.kind == "link"}
    assert links == {
        f"{BASE}/lib/libcublas.so": "libcublas.so.13",
        f"{BASE}/lib/stubs/libcuda.so.1": "libcuda.so",
        "usr/local/cuda-13.2/targets/aarch64-linux": "sbsa-linux",
        "usr/local/cuda-13.2/include": "targets/sbsa-linux/include",
        "usr/local/cuda-13.2/lib64": "targets/sbsa-linux/lib",
        "usr/local/cuda": "cuda-13.2",
    }
    assert b"cuInit" in writer.read(f"{BASE}/lib/stubs/libcuda.so")


def test_cuda_is_held_to_the_release() -> None:
    release = resolve_target(load_catalog(), "orin-nano@39.2.0").release
    names = load_wheel_names()
    requires = [
        "nvidia-cublas==13.4.0.1.*; sys_platform == 'linux' and extra == 'all'",
        "nvidia-nvjitlink<14,>=13.2.78; extra == 'all'",
        "nvidia-cublas==13.4.0.1.*; extra == 'cublas'",
    ]
    assert toolkit_requirement(release, names) == "cuda-toolkit==13.2.1"
    assert toolkit_constraints(requires, release, names) == (
        "nvidia-cublas==13.4.0.1.*",
        "nvidia-cudnn-cu13==9.20.0.*",
        "nvidia-nvjitlink==13.2.*",
    )


def test_a_release_of_unknown_toolkit_takes_the_newest_of_its_minor() -> None:
    release = resolve_target(load_catalog(), "orin-nano@39.2.1").release
    assert toolkit_requirement(release, load_wheel_names()) == "cuda-toolkit==13.2.*"


def test_short_names() -> None:
    target = resolve_target(load_catalog(), "orin-nano@39.2")
    names = load_wheel_names()
    wheels = overlay_wheels(target, ["cublas", "cuDNN", "nvidia_cufft==12.*", "nvidia-cublas"], names)
    assert wheels == (*names.base, "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-cufft==12.*")


@pytest.mark.parametrize(
    ("target", "wheel", "says"),
    [
        ("orin-nano@39.2", "tensorrt", "no AArch64 wheel of TensorRT"),
        ("orin-nano@39.2", "--index-url=x", "no wheel name"),
        ("orin-nano@36.4", "cublas", "made for servers"),
    ],
)
def test_wheels_that_cannot_be(target: str, wheel: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        overlay_wheels(resolve_target(load_catalog(), target), [wheel], load_wheel_names())


def test_before_cuda_13_there_is_no_overlay() -> None:
    assert overlay_wheels(resolve_target(load_catalog(), "orin-nano@36.4"), (), load_wheel_names()) == ()


def test_parse_metadata() -> None:
    text = "Name: a\nRequires-Dist: b\nRequires-Dist: c; extra == 'x'\n\nRequires-Dist: not this\n"
    assert parse_metadata(text)["Requires-Dist"] == ["b", "c; extra == 'x'"]


def test_offline_starts_nothing_and_says_what_is_lacking(tmp_path: Path) -> None:
    console = Console(-1, err=io.StringIO())
    store, runner = Store(tmp_path / "cache", console), Runner()
    with pytest.raises(DownloadError, match="never resolved"):
        fetch_wheels(["a"], platform="aarch64", store=store, runner=runner, console=console, offline=True)
    wheel = Wheel(name="a", version="1", filename="a-1-py3-none-any.whl", sha256="ab" * 32)
    with pytest.raises(DownloadError, match="the cache lacks a 1"):
        download_wheels([wheel], store=store, runner=runner, console=console, offline=True)


def test_a_download_whose_content_changed_is_not_used(tmp_path: Path) -> None:
    console = Console(-1, err=io.StringIO())
    store = Store(tmp_path / "cache", console)
    (tmp_path / "a-1-py3-none-any.whl").write_bytes(b"other")
    store.keep_download(tmp_path / "a-1-py3-none-any.whl", "ab" * 32)
    wheel = Wheel(name="a", version="1", filename="a-1-py3-none-any.whl", sha256="ab" * 32)
    with pytest.raises(DownloadError, match="the cache lacks"):
        download_wheels([wheel], store=store, runner=Runner(), console=console, offline=True)
    assert store.download("ab" * 32) is None
