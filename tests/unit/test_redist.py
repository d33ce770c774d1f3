"""NVIDIA's redistributable archives: which are taken, and what of them lands in a tree."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.net.faults import NotFoundError
from jetsonx.packages.redist import (
    archive_place,
    download_archives,
    resolve_archives,
    resolve_compiler,
    unpack_archive,
)
from jetsonx.packages.redist_manifest import find_component, load_redist_names, parse_manifest, pick_archive, with_needs
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.store.tree import Objects, TreeWriter, file_sha256
from jetsonx.toolchain.tools import Fetcher

TEGRA = "linux-aarch64"
BASE = "https://developer.download.nvidia.com/compute"


def entry(component: str, platform: str = TEGRA) -> dict[str, object]:
    path = f"{component}/{platform}/{component}-{platform}-1.2.3-archive.tar.xz"
    return {"relative_path": path, "sha256": "ab" * 32, "md5": "cd", "size": "1175528"}


def component(name: str, *platforms: str, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "license": "CUDA Toolkit",
        "version": "1.2.3",
        **{it: entry(name, it) for it in platforms},
        **more,
    }


MANIFEST: dict[str, Any] = {
    "release_date": "2024-11-20",
    "release_label": "12.6.3",
    "cuda_cudart": component("cuda_cudart", TEGRA, "linux-sbsa", "linux-x86_64", "windows-x86_64"),
    "cuda_nvcc": component("cuda_nvcc", TEGRA, "linux-x86_64"),
    "cuda_cccl": component("cuda_cccl", TEGRA),
    "cuda_nvrtc": component("cuda_nvrtc", TEGRA),
    "libcublas": component("libcublas", TEGRA),
    "libcusolver": component("libcusolver", TEGRA),
    "libcusparse": component("libcusparse", TEGRA),
    "libnvjitlink": component("libnvjitlink", TEGRA),
    "nsight_systems": component("nsight_systems", "linux-x86_64", "linux-sbsa"),
}
CUDNN: dict[str, Any] = {
    "release_label": "9.3.0",
    "cudnn": {"name": "cuDNN", "version": "9.3.0.75", TEGRA: {"cuda12": entry("cudnn")}, "cuda_variant": ["11", "12"]},
}


class Server:
    """Stands in for Http: documents by URL, and what was asked for."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents
        self.asked: list[str] = []

    def get_json(self, url: str) -> Any:
        self.asked.append(url)
        if url not in self.documents:
            raise NotFoundError(f"{url} is not there (404)")
        return self.documents[url]

    def download(self, url: str, part: Path, *, advance: Any, **_: object) -> None:
        self.asked.append(url)
        part.write_bytes(self.documents[url])
        advance(len(self.documents[url]))


def effects(tmp_path: Path, documents: dict[str, Any], *, offline: bool = False) -> tuple[Effects, Server]:
    console = Console(-1)
    made = Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console, offline=offline)
    server = Server(documents)
    vars(made)["http"] = server
    return made, server


DOCUMENTS = {
    f"{BASE}/cuda/redist/redistrib_12.6.3.json": MANIFEST,
    f"{BASE}/cudnn/redist/redistrib_9.3.0.json": CUDNN,
}


# ---- which archives --------------------------------------------------------------------------------------------------


def test_the_base_and_what_is_asked_for_with_what_that_needs(tmp_path: Path) -> None:
    made, server = effects(tmp_path, DOCUMENTS)
    archives = resolve_archives(["cusolver"], toolkit="12.6.3", platform=TEGRA, effects=made)
    assert [archive.name for archive in archives] == [
        "cuda_cudart", "cuda_cccl", "cuda_nvcc", "libcusolver", "libcublas", "libcusparse", "libnvjitlink",
    ]  # fmt: skip
    assert archives[0].filename == "cuda_cudart/linux-aarch64/cuda_cudart-linux-aarch64-1.2.3-archive.tar.xz"
    assert (archives[0].size_bytes, archives[0].sha256, archives[0].tree) == (1175528, "ab" * 32, "cuda")
    assert server.asked == [f"{BASE}/cuda/redist/redistrib_12.6.3.json"]


def test_cudnn_has_a_tree_of_its_own_and_brings_what_it_needs(tmp_path: Path) -> None:
    made, server = effects(tmp_path, DOCUMENTS)
    for name in ("cudnn", "libcudnn"):
        archives = resolve_archives(
            [name], toolkit="12.6.3", platform=TEGRA, cudnn="9.3.0.75", base=False, effects=made
        )
        assert [(archive.name, archive.tree) for archive in archives] == [("cudnn", "cudnn"), ("libcublas", "cuda")]
        assert archives[0].version == "9.3.0.75"
    assert len(server.asked) == 2, "each manifest is read once"
    with pytest.raises(ConfigError, match="not known"):
        resolve_archives(["cudnn"], toolkit="12.6.3", platform=TEGRA, effects=made)


def test_cudnn_of_another_cuda_is_refused() -> None:
    manifest = parse_manifest(CUDNN)
    assert pick_archive(manifest, "cudnn", TEGRA, tree="cudnn", cuda_major="12").tree == "cudnn"
    with pytest.raises(DownloadError, match="made for cuda12"):
        pick_archive(manifest, "cudnn", TEGRA, tree="cudnn", cuda_major="11")
    flat = parse_manifest({"cudnn": component("cudnn", TEGRA)})
    assert pick_archive(flat, "cudnn", TEGRA, tree="cudnn", cuda_major="11").name == "cudnn"


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("cublas", "libcublas"), ("libcublas", "libcublas"), ("LibCuBLAS", "libcublas"), ("nvrtc", "cuda_nvrtc"),
        ("cuda-nvrtc", "cuda_nvrtc"), ("cuda_nvrtc", "cuda_nvrtc"), ("libnvrtc", "cuda_nvrtc"),
        ("cudart", "cuda_cudart"),
    ],
)  # fmt: skip
def test_names_with_and_without_their_prefix(spelling: str, name: str) -> None:
    assert find_component(spelling, parse_manifest(MANIFEST), TEGRA, toolkit="12.6.3") == name


def test_an_unknown_component_is_named_with_near_ones() -> None:
    with pytest.raises(ConfigError, match="no component 'cubals'") as caught:
        find_component("cubals", parse_manifest(MANIFEST), TEGRA, toolkit="12.6.3")
    assert caught.value.hint == "did you mean libcublas?"
    with pytest.raises(ConfigError, match="for linux-sbsa, linux-x86_64, not for linux-aarch64"):
        find_component("nsight_systems", parse_manifest(MANIFEST), TEGRA, toolkit="12.6.3")


def test_needs_that_a_toolkit_does_not_have_are_left_out() -> None:
    manifest = parse_manifest({name: MANIFEST[name] for name in ("libcusolver", "libcublas")})
    found = with_needs(["libcusolver"], manifest, TEGRA, "11.8.0", load_redist_names())
    assert found == ["libcusolver", "libcublas"]


def test_the_compiler_is_the_x86_64_one(tmp_path: Path) -> None:
    made, _ = effects(tmp_path, DOCUMENTS)
    assert [(it.name, it.platform) for it in resolve_compiler("12.6.3", effects=made)] == [
        ("cuda_nvcc", "linux-x86_64")
    ]


def test_a_toolkit_without_jetsons_platform_is_refused(tmp_path: Path) -> None:
    made, _ = effects(tmp_path, DOCUMENTS)
    with pytest.raises(DownloadError, match=r"12\.6\.3 has no cuda_nvcc for linux-sbsa"):
        resolve_archives([], toolkit="12.6.3", platform="linux-sbsa", effects=made)


def test_an_unknown_version_is_named_with_the_way_to_name_another(tmp_path: Path) -> None:
    made, _ = effects(tmp_path, DOCUMENTS)
    with pytest.raises(DownloadError, match=r"no archives of CUDA 12\.4\.9") as caught:
        resolve_archives([], toolkit="12.4.9", platform=TEGRA, effects=made)
    assert "redistrib_12.4.9.json" in caught.value.message
    assert '[target] cuda = "' in (caught.value.hint or "")


def test_offline_a_manifest_read_before_is_found_again(tmp_path: Path) -> None:
    made, _ = effects(tmp_path, DOCUMENTS)
    first = resolve_archives(["cublas"], toolkit="12.6.3", platform=TEGRA, effects=made)
    later, server = effects(tmp_path, {}, offline=True)
    assert resolve_archives(["cublas"], toolkit="12.6.3", platform=TEGRA, effects=later) == first
    assert server.asked == []
    with pytest.raises(DownloadError, match=r"offline: what CUDA 11\.8\.0 is made of was never read here"):
        resolve_archives([], toolkit="11.8.0", platform=TEGRA, effects=later)
    with pytest.raises(DownloadError, match=r"offline, and the cache lacks cuda_cudart 1\.2\.3"):
        download_archives(first, effects=later)


@pytest.mark.parametrize(
    "changed",
    [
        {"relative_path": "../../etc/passwd"},
        {"relative_path": "/etc/passwd"},
        {"relative_path": None},
        {"sha256": "not a hash"},
        {"sha256": ""},
        {"size": "many"},
        {"size": -1},
        {"size": None},
    ],
)
def test_a_hostile_entry_is_refused(changed: dict[str, object]) -> None:
    manifest = parse_manifest({"x": {"version": "1", TEGRA: {**entry("x"), **changed}}})
    with pytest.raises(DownloadError):
        pick_archive(manifest, "x", TEGRA)


@pytest.mark.parametrize("document", [[], "x", None, 3])
def test_no_manifest_at_all_is_refused(tmp_path: Path, document: object) -> None:
    url = f"{BASE}/cuda/redist/redistrib_12.6.3.json"
    made, _ = effects(tmp_path, {url: document})
    with pytest.raises(DownloadError, match="not one of NVIDIA's manifests"):
        resolve_archives([], toolkit="12.6.3", platform=TEGRA, effects=made)


def test_a_damaged_note_of_a_manifest_is_read_anew(tmp_path: Path) -> None:
    made, server = effects(tmp_path, DOCUMENTS)
    made.store.remember("redist", "cuda 12.6.3", "{")
    resolve_archives([], toolkit="12.6.3", platform=TEGRA, effects=made)
    assert len(server.asked) == 1


# ---- fetching and unpacking ------------------------------------------------------------------------------------------


def pack(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None, **types: bytes) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o4755 if "bin/" in name else 0o644
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = types.get("kind", tarfile.SYMTYPE), target
            archive.addfile(info)
    return path


def unpack(path: Path, tmp_path: Path) -> TreeWriter:
    for name in ("objects", "scratch"):
        (tmp_path / name).mkdir(exist_ok=True)
    writer = TreeWriter(Objects(tmp_path / "objects", tmp_path / "scratch"))
    unpack_archive(path, writer, archive_place("usr/local/cuda-12.6", "aarch64-linux", "libx"), owner="libx")
    return writer


def test_headers_and_libraries_land_where_nvidias_packages_put_them(tmp_path: Path) -> None:
    top = "libx-linux-aarch64-1-archive"
    files = {
        f"{top}/include/x.h": b"h",
        f"{top}/lib/libx.so.1.2": b"so",
        f"{top}/lib/stubs/libx.so": b"stub",
        f"{top}/bin/x": b"an AArch64 program",
        f"{top}/LICENSE": b"terms",
        f"{top}/pkg-config/x.pc": b"pc",
    }
    writer = unpack(pack(tmp_path / "x.tar.xz", files, {f"{top}/lib/libx.so": "libx.so.1.2"}), tmp_path)
    base = "usr/local/cuda-12.6/targets/aarch64-linux"
    assert sorted(writer.entries) == [
        "usr/local/cuda-12.6/share/doc/libx/LICENSE",
        f"{base}/include/x.h",
        f"{base}/lib/libx.so",
        f"{base}/lib/libx.so.1.2",
        f"{base}/lib/stubs/libx.so",
    ]
    assert writer.entries[f"{base}/lib/libx.so"].content == "libx.so.1.2"
    assert writer.entries[f"{base}/include/x.h"].owner == "libx"


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../../etc/passwd", "../bin/x", "../../other/lib/y"])
def test_links_to_what_is_not_kept_are_left_out(tmp_path: Path, link: str) -> None:
    assert unpack(pack(tmp_path / "x.tar.xz", {}, {"top/lib/libx.so": link}), tmp_path).entries == {}


def test_a_link_between_kept_directories_stays_relative(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar.xz", {"top/include/x.h": b""}, {"top/lib/x/x.h": "../../include/x.h"})
    entry = unpack(path, tmp_path).entries["usr/local/cuda-12.6/targets/aarch64-linux/lib/x/x.h"]
    assert entry.content == "../../include/x.h"


@pytest.mark.parametrize("name", ["../x/lib/libx.so", "/top/lib/libx.so", "top/lib/../../../x", "top/lib/a\nb"])
def test_a_name_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DownloadError, match="refused"):
        unpack(pack(tmp_path / "x.tar.xz", {name: b""}), tmp_path)


def test_devices_are_left_out_and_hard_links_are_files(tmp_path: Path) -> None:
    device = pack(tmp_path / "d.tar.xz", {}, {"top/lib/null": ""}, kind=tarfile.CHRTYPE)
    assert unpack(device, tmp_path).entries == {}
    path = pack(tmp_path / "x.tar.xz", {"top/lib/a.so": b"a"}, {"top/lib/b.so": "top/lib/a.so"}, kind=tarfile.LNKTYPE)
    entries = unpack(path, tmp_path).entries
    base = "usr/local/cuda-12.6/targets/aarch64-linux/lib"
    assert entries[f"{base}/a.so"].content == entries[f"{base}/b.so"].content


def test_a_damaged_archive_is_a_clear_error(tmp_path: Path) -> None:
    whole = pack(tmp_path / "x.tar.xz", {"top/lib/libx.so": bytes(range(256)) * 500}).read_bytes()
    for number, data in enumerate((b"", b"no archive", whole[: len(whole) // 2], whole[:40] + b"\0" * 20 + whole[60:])):
        path = tmp_path / f"{number}.tar.xz"
        path.write_bytes(data)
        with pytest.raises(DownloadError, match=r"\d\.tar\.xz: not a usable archive"):
            unpack(path, tmp_path)


def test_archives_are_downloaded_once_and_kept_by_hash(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar.xz", {"top/lib/libx.so": b"x"})
    data, sha256 = path.read_bytes(), file_sha256(path)
    found = {**entry("libx"), "sha256": sha256, "size": str(len(data))}
    manifest = parse_manifest({"libx": {"version": "1", TEGRA: found}})
    archive = pick_archive(manifest, "libx", TEGRA)
    made, server = effects(tmp_path, {f"{BASE}/cuda/redist/{archive.filename}": data})
    [(_, first)] = download_archives([archive], effects=made)
    assert first.name == "libx-linux-aarch64-1.2.3-archive.tar.xz"
    assert first.read_bytes() == data
    assert len(server.asked) == 1
    assert download_archives([archive], effects=made) == ((archive, first),)
    assert len(server.asked) == 1
    first.write_bytes(data[:-1])
    download_archives([archive], effects=made)
    assert len(server.asked) == 2, "a damaged file is fetched anew"
    assert not list((tmp_path / "cache/partial").iterdir())


def test_the_table_and_the_manifests_shape_agree() -> None:
    names = load_redist_names()
    assert set(names.required) <= set(names.base)
    assert names.compiler[0] in names.required
    assert json.dumps(dict(names.needs))


# ---- the compiler ----------------------------------------------------------------------------------------------------


def compiler_documents(tmp_path: Path) -> dict[str, Any]:
    top = "cuda_nvcc-linux-x86_64-1.2.3-archive"
    files = {
        f"{top}/{name}": b"#!/bin/sh\n"
        for name in (
            "bin/nvcc",
            "bin/crt/link.stub",
            "nvvm/bin/cicc",
            "nvvm/libdevice/x.bc",
            "include/crt/a.h",
            "lib/l.a",
        )
    }
    path = pack(tmp_path / "nvcc.tar.xz", files)
    found = {**entry("cuda_nvcc", "linux-x86_64"), "sha256": file_sha256(path), "size": str(path.stat().st_size)}
    manifest = {"cuda_nvcc": {"version": "1.2.3", "linux-x86_64": found}}
    return {
        f"{BASE}/cuda/redist/redistrib_12.6.3.json": manifest,
        f"{BASE}/cuda/redist/{found['relative_path']}": path.read_bytes(),
    }


def test_the_compiler_is_laid_out_as_a_toolkit_and_noted_for_the_lock(tmp_path: Path) -> None:
    made, server = effects(tmp_path, compiler_documents(tmp_path))
    fetcher = Fetcher(effects=made)
    root = fetcher.fetch_compiler("12.6.3")
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "bin/crt/link.stub", "bin/nvcc", "nvvm/bin/cicc", "nvvm/libdevice/x.bc",
    ]  # fmt: skip
    assert (root / "bin/nvcc").stat().st_mode & 0o777 == 0o555, "no set-user-id bit"
    [archive] = fetcher.used_archives
    assert (archive.name, archive.platform) == ("cuda_nvcc", "linux-x86_64")
    assert fetcher.fetch_compiler("12.6.3") == root
    assert len(server.asked) == 2, "manifest and archive, once each"
    assert fetcher.used_archives == [archive, archive]


def test_a_compiler_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    made, _ = effects(tmp_path, compiler_documents(tmp_path))
    [archive] = resolve_compiler("12.6.3", effects=made)
    changed = replace(archive, sha256="00" * 32)
    with pytest.raises(DownloadError, match=r"jetsonx\.lock pins 0000"):
        Fetcher(effects=made, archive_pins=(changed,)).fetch_compiler("12.6.3")
    of_another_toolkit = replace(changed, version="1.2.2")
    of_the_target = replace(changed, platform=TEGRA)
    Fetcher(effects=made, archive_pins=(archive, of_another_toolkit, of_the_target)).fetch_compiler("12.6.3")
