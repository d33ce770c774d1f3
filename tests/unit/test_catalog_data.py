"""The shipped TOML files, read strictly: every key known, every reference resolved, nothing said twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import jetsonx.catalog
from jetsonx.catalog import BaseImage, CudaFacts, DriverCuda, Filter, Line, Module, Release, Suite, load_catalog
from jetsonx.catalog.load import LINES, _value
from jetsonx.catalog.values import CONFIDENCES
from jetsonx.catalog.versions import parse_version
from jetsonx.toml import load_toml

CATALOG = load_catalog()
DATA = Path(jetsonx.catalog.__file__).parent
SYSROOTS = Path(import_module("jetsonx.sysroots").__path__[0])
SOC_KEYS = {"family", "gpu_arch", "sm", "sm_cuda12", "cpu_rank", "gcc_flags", "clang_flags", "portable_flag", "sources"}


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = load_toml(path.read_text(encoding="utf-8"))
    return data


def rated() -> Iterator[Any]:
    yield from CATALOG.modules.values()
    yield from CATALOG.lines.values()
    yield from CATALOG.cuda.values()
    yield from CATALOG.suites
    yield from CATALOG.interchangeable
    for line in CATALOG.lines.values():
        yield from line.releases
        yield from line.drivers
        yield from {release.image for release in line.releases if release.image is not None}


def fields(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def test_every_key_of_every_file_is_known() -> None:
    modules, cuda, common, suites = (
        read(DATA / "modules.toml"),
        read(DATA / "cuda.toml"),
        read(SYSROOTS / "common.toml"),
        read(SYSROOTS / "suites.toml"),
    )
    assert modules.keys() == {"sources", "soc", "module"}
    assert cuda.keys() == {"zig_clang", "cuda"}
    assert suites.keys() == {"suite"}
    assert common.keys() == {"packages", "driver_libraries", "image_keep", "filter"}
    assert common["filter"].keys() == fields(Filter)
    assert all(soc.keys() <= SOC_KEYS for soc in modules["soc"].values())
    assert all(row.keys() <= fields(Module) - (SOC_KEYS - {"sources"}) for row in modules["module"])
    assert all(row.keys() <= fields(CudaFacts) - {"zig_clang"} for row in cuda["cuda"])
    assert all(row.keys() <= fields(Suite) for row in suites["suite"])
    for name in LINES:
        line = read(SYSROOTS / f"{name}.toml")
        derived = {"suite", "drivers", "releases"}
        assert line.keys() <= (fields(Line) - derived) | {"ubuntu", "driver", "image", "release"}
        assert all(row.keys() <= fields(BaseImage) for row in line.get("image", ()))
        assert all(row.keys() <= fields(DriverCuda) for row in line["driver"])
        assert all(row.keys() <= fields(Release) - {"line", "ubuntu", "image"} for row in line["release"])


def test_an_unknown_key_does_not_load() -> None:
    with pytest.raises(TypeError, match="glibcx"):
        _value(Suite, {**read(SYSROOTS / "suites.toml")["suite"][0], "glibcx": "x"})


def test_every_file_in_sysroots_is_read() -> None:
    names = {path.stem for path in SYSROOTS.glob("*.toml")}
    assert names == {*LINES, "common", "suites"}
    assert list(CATALOG.lines) == list(LINES)
    assert all(line.id == name for name, line in CATALOG.lines.items())


@pytest.mark.parametrize("value", list(rated()), ids=lambda value: type(value).__name__)
def test_confidence_doubts_and_sources_are_known(value: Any) -> None:
    assert value.confidence in CONFIDENCES
    assert value.sources
    assert set(value.sources) <= CATALOG.sources.keys()
    for field, confidence in getattr(value, "doubts", ()):
        assert field in fields(type(value))
        assert CONFIDENCES.index(confidence) > CONFIDENCES.index(value.confidence)


def test_every_source_is_used() -> None:
    assert {source for value in rated() for source in value.sources} == CATALOG.sources.keys()


def test_modules_refer_to_lines_and_releases_that_are_here() -> None:
    majors = {line.major for line in CATALOG.lines.values()}
    l4ts = {release.l4t for release in CATALOG.releases}
    for module in CATALOG.modules.values():
        assert module.l4t_majors
        assert set(module.l4t_majors) <= majors
        assert set(module.not_l4t_majors) <= majors - set(module.l4t_majors)
        assert all(major < min(majors) for major in module.earlier_l4t_majors)
        assert {module.first_l4t, module.last_l4t} - {None} <= l4ts
        assert {CATALOG.lines[release.line].major for release in CATALOG.releases_for(module)} == set(module.l4t_majors)
        assert module.detect_compatible[-1] == f"nvidia,{module.soc}"


def test_no_name_means_two_modules() -> None:
    names = [name for module in CATALOG.modules.values() for name in (module.id, *module.aliases)]
    assert len(names) == len(set(names))
    numbers = [number for module in CATALOG.modules.values() for number, _ in module.part_numbers]
    assert len(numbers) == len(set(numbers))


def test_a_compatible_string_means_one_module_or_its_soc() -> None:
    socs = {f"nvidia,{module.soc}" for module in CATALOG.modules.values()}
    names = [name for it in CATALOG.modules.values() for name in it.detect_compatible if name not in socs]
    assert len(names) == len(set(names))


def test_releases_are_unique_sorted_and_in_their_line() -> None:
    versions = [release.l4t for release in CATALOG.releases]
    assert versions == sorted(versions, key=parse_version)
    every = [l4t for release in CATALOG.releases for l4t in (release.l4t, *release.also)]
    assert len(every) == len(set(every))
    for line in CATALOG.lines.values():
        assert line.releases
        for release in line.releases:
            assert release.line == line.id
            assert all(parse_version(l4t)[0] == line.major for l4t in (release.l4t, *release.also))
            assert all(len(parse_version(l4t)) == 3 for l4t in (release.l4t, *release.also))
            assert release.ubuntu == line.ubuntu
            assert release.modules is None or set(release.modules) <= CATALOG.modules.keys()


def test_every_release_has_a_driver_row_and_cuda_limits() -> None:
    without_limits = set()
    for release in CATALOG.releases:
        line = CATALOG.lines[release.line]
        version = parse_version(release.l4t)
        rows = [row for row in line.drivers if parse_version(row.l4t_min) <= version < parse_version(row.l4t_below)]
        assert len(rows) == 1, release.l4t
        assert rows[0].native_cuda == release.cuda_version
        cuda = CATALOG.cuda.get(release.cuda_version)
        if cuda is None:
            without_limits.add(release.cuda_version)
        else:
            assert cuda.cuda_target == line.cuda_target
    assert without_limits == {"10.0"}, "only CUDA 10.0 is known to lack a row"


def test_every_module_has_machine_code_in_each_of_its_releases() -> None:
    for module in CATALOG.modules.values():
        for release in CATALOG.releases_for(module):
            cuda = CATALOG.cuda.get(release.cuda_version)
            if cuda is not None:
                assert module.sm_for_cuda(cuda.version) in cuda.jetson_sms, (module.id, release.l4t)
                assert not cuda.sms or module.sm_for_cuda(cuda.version) in cuda.sms


def test_the_zig_of_each_cuda_is_a_clang_it_accepts() -> None:
    for cuda in CATALOG.cuda.values():
        if cuda.zig is None:
            assert cuda.version == "10.2"
            continue
        assert cuda.zig_clang is not None
        assert parse_version(cuda.zig_clang)[0] <= cuda.clang_max


def test_cuda_rows_are_unique_and_bounded() -> None:
    rows = read(DATA / "cuda.toml")["cuda"]
    assert len(rows) == len(CATALOG.cuda)
    for cuda in CATALOG.cuda.values():
        assert (cuda.gcc_min or 0) < cuda.gcc_max
        assert cuda.nvcc_on_index == (parse_version(cuda.version) >= (13,))
        assert (cuda.min_cmake is not None) == (cuda.cuda_target == "sbsa-linux")


def test_redistributable_archives_are_of_the_row_and_newest_first() -> None:
    for cuda in CATALOG.cuda.values():
        assert list(cuda.redist) == sorted(cuda.redist, key=parse_version, reverse=True)
        assert all(version.startswith(f"{cuda.version}.") and version.count(".") == 2 for version in cuda.redist)
        assert cuda.redist_platform == ("linux-sbsa" if parse_version(cuda.version) >= (13,) else "linux-aarch64")
    for line in CATALOG.lines.values():
        for driver in line.drivers:
            if driver.redist_cuda is not None:
                assert CATALOG.cuda[driver.redist_cuda].redist
                assert driver.max_cuda_with_compat is not None
                assert parse_version(driver.native_cuda) < parse_version(driver.redist_cuda)
                assert parse_version(driver.redist_cuda) <= parse_version(driver.max_cuda_with_compat)


def test_every_image_serves_releases_that_are_here_and_each_release_has_one_at_most() -> None:
    for name in LINES:
        rows = read(SYSROOTS / f"{name}.toml").get("image", [])
        served = [l4t for row in rows for l4t in row["releases"]]
        assert len(served) == len(set(served))
        assert set(served) <= {release.l4t for release in CATALOG.lines[name].releases}
    assert {release.l4t for release in CATALOG.releases if release.image is None} == {
        "32.1.0", "32.2.0", "32.2.3", "32.5.1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("l4t", "reference"),
    [
        ("32.7.6", "nvcr.io/nvidia/l4t-base:r32.7.1"),
        ("34.1.1", "nvcr.io/nvidia/l4t-base:r34.1"),
        ("35.4.1", "nvcr.io/nvidia/l4t-jetpack:r35.4.1"),
        ("35.6.4", "nvcr.io/nvidia/l4t-jetpack:r35.4.1"),
        ("36.3.0", "nvcr.io/nvidia/l4t-jetpack:r36.3.0"),
        ("36.5.0", "nvcr.io/nvidia/l4t-jetpack:r36.4.0"),
        ("38.4.0", "nvcr.io/nvidia/cuda:13.0.0-devel-ubuntu24.04"),
        ("39.2.0", "nvcr.io/nvidia/cuda:13.2.1-devel-ubuntu24.04"),
    ],
)
def test_the_image_of_a_release(l4t: str, reference: str) -> None:
    [release] = [release for release in CATALOG.releases if release.l4t == l4t]
    assert release.image is not None
    assert release.image.reference == reference
    assert release.image.has_cuda is ("l4t-base" not in reference)
    assert release.image.digest is None or len(release.image.digest) == 71


@pytest.mark.parametrize(
    "path",
    [
        "usr/include/stdio.h",
        "usr/local/cuda",
        "usr/local/cuda-12.6",
        "usr/local/cuda-12.6/targets/aarch64-linux",
        "usr/local/cuda-12.6/targets/aarch64-linux/include/crt/host_config.h",
        "usr/local/cuda-12.6/targets/aarch64-linux/lib/stubs/libcuda.so",
        "usr/local/cuda-12.6/lib64",
        "usr/lib/aarch64-linux-gnu/nvidia/libnvbufsurface.so.1.0.0",
        "usr/lib/aarch64-linux-gnu/tegra/libnvos.so",
        "etc/nv_tegra_release",
        "etc/apt/sources.list.d/nvidia-l4t-apt-source.list",
        "var/lib/dpkg/status",
    ],
)
def test_an_image_keeps_what_compilers_and_apt_need(path: str) -> None:
    assert CATALOG.lines["r36"].image_filter.keeps(path)


@pytest.mark.parametrize(
    "path",
    [
        "usr/local/cuda-12.6/bin/nvcc",
        "usr/local/cuda-12.6/targets/aarch64-linux/bin/x",
        "usr/local/cuda-12.6/nsight-compute/a.so",
        "etc/shadow",
        "var/lib/dpkg/info/libc6.list",
        "usr/bin/python3",
    ],
)
def test_an_image_keeps_no_more(path: str) -> None:
    assert not CATALOG.lines["r36"].image_filter.keeps(path)


def test_suites_are_unique_and_hold_the_lines_ubuntu() -> None:
    names = [(suite.distribution, suite.codename) for suite in CATALOG.suites]
    assert len(names) == len(set(names))
    ceilings = {line.id: (line.ubuntu, line.glibc, line.glibcxx) for line in CATALOG.lines.values()}
    assert ceilings == {
        "r32": ("bionic", "2.27", "GLIBCXX_3.4.25"),
        "r34": ("focal", "2.31", "GLIBCXX_3.4.28"),
        "r35": ("focal", "2.31", "GLIBCXX_3.4.28"),
        "r36": ("jammy", "2.35", "GLIBCXX_3.4.30"),
        "r38": ("noble", "2.39", "GLIBCXX_3.4.33"),
        "r39": ("noble", "2.39", "GLIBCXX_3.4.33"),
    }


def test_driver_libraries_leave_the_toolkits_own_out() -> None:
    for line in CATALOG.lines.values():
        assert len(line.driver_libraries) == len(set(line.driver_libraries))
        for soname in ("libcuda.so.1", "libnvrm_gpu.so", "libnvos.so", "libnvbufsurface.so.1.0.0", "libnvjpeg.so"):
            assert line.is_driver_library(soname), (line.id, soname)
        for soname in (
            "libcudart.so.13", "libnvjpeg.so.13", "libnvrtc.so.13", "libnvJitLink.so.13", "libnvinfer.so.10",
            "libnvparsers.so.8", "libnvvm.so.4", "libcudnn.so.9", "libcudadevrt.so", "libnvonnxparser.so.10",
        ):  # fmt: skip
            assert not line.is_driver_library(soname), (line.id, soname)


@pytest.mark.parametrize(("line", "known"), [("r32", False), ("r35", False), ("r36", True), ("r39", True)])
def test_nvml_comes_with_the_driver_from_r36_on(line: str, known: bool) -> None:
    assert CATALOG.lines[line].is_driver_library("libnvidia-ml.so.1") is known


def test_values_can_be_dictionary_keys() -> None:
    assert len({*CATALOG.modules.values(), *CATALOG.releases, *CATALOG.lines.values(), *CATALOG.cuda.values()}) > 50


def test_the_data_names_no_host() -> None:
    for path in (*DATA.glob("*.toml"), *SYSROOTS.glob("*.toml")):
        assert "://" not in path.read_text(encoding="utf-8"), path.name
