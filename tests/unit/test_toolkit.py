"""Which CUDA a target gets, and from where: decided before anything is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.errors import ConfigError
from jetsonx.runner import Runner
from jetsonx.sysroot.cuda import Toolkit
from jetsonx.toolchain import toolkit as module
from jetsonx.toolchain.nvcc import Nvcc
from jetsonx.toolchain.resolve import Host
from jetsonx.toolchain.toolkit import choose_toolkit, compat_note


def target(name: str) -> Target:
    return resolve_target(load_catalog(), name)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host without CUDA."""
    monkeypatch.setattr(module, "find_nvcc", lambda *_: None)
    return Host(environ={}, which=lambda _: None)


def choose(name: str, host: Host, asked: str | None = None) -> tuple[Target, Toolkit]:
    return choose_toolkit(target(name), host, runner=Runner(), asked=asked)


@pytest.mark.parametrize(
    ("name", "source", "version", "redist"),
    [
        ("orin-nano@39.2", "wheels", "13.2", None),
        ("agx-thor@38.4", "wheels", "13.0", None),
        ("orin-nano@36.4.3", "redist", "12.6", "12.6.3"),
        ("orin-nano@36.3", "redist", "12.2", "12.2.2"),
        ("orin-nano@35.4.1", "redist", "11.8", "11.8.0"),
        ("xavier-nx@35.6.4", "redist", "11.8", "11.8.0"),
        ("agx-xavier@34.1.1", "redist", "11.8", "11.8.0"),
        ("jetson-nano@32.7.6", "none", "10.2", None),
        ("jetson-nano@32.3.1", "none", "10.0", None),
    ],
)
def test_the_toolkit_of_each_line(name: str, source: str, version: str, redist: str | None, host: Host) -> None:
    with_cuda, found = choose(name, host)
    assert (found.source, found.version, found.redist) == (source, version, redist)
    assert with_cuda.name == target(name).name
    assert with_cuda.cuda_version == version
    assert with_cuda.cuda_dir == f"usr/local/cuda-{version}"
    assert found.why


def test_what_the_device_needs_is_said_where_it_needs_something(host: Host) -> None:
    with_cuda, found = choose("orin-nano@35.4.1", host)
    assert "cuda-compat-11-8" in found.why
    assert compat_note(with_cuda) == "the device needs NVIDIA's package cuda-compat-11-8"
    for name in ("orin-nano@36.4.3", "orin-nano@39.2"):
        with_cuda, found = choose(name, host)
        assert "compat" not in found.why
        assert not compat_note(with_cuda)


def test_a_host_toolkit_with_the_targets_libraries_comes_before_the_archives(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = Nvcc(version="12.6", root=tmp_path, origin="here")
    monkeypatch.setattr(module, "find_nvcc", lambda _runner, version, _roots: nvcc if version == "12.6" else None)
    assert choose("orin-nano@36.4.3", host)[1].source == "redist"
    header = tmp_path / "targets/aarch64-linux/include/cuda_runtime.h"
    header.parent.mkdir(parents=True)
    header.touch()
    assert choose("orin-nano@36.4.3", host)[1].source == "host"
    assert choose("orin-nano@36.4.3", host, "12.6")[1].source == "host"
    assert choose("orin-nano@36.4.3", host, "12.6.2")[1].redist == "12.6.2", "exactly what was asked for"
    assert choose("orin-nano@39.2", host)[1].source == "wheels"


def test_another_cuda_than_the_releases(host: Host) -> None:
    with_cuda, found = choose("orin-nano@36.4.3", host, "12.8.1")
    assert (found.source, found.redist) == ("redist", "12.8.1")
    assert (with_cuda.cuda_dir, with_cuda.release.cuda_toolkit) == ("usr/local/cuda-12.8", "12.8.1")
    assert with_cuda.cuda is load_catalog().cuda["12.8"]
    assert with_cuda.name == "orin-nano@36.4.3"
    assert "cuda-compat-12-8" in found.why
    assert choose("orin-nano@36.4.3", host, "12.2")[1].redist == "12.2.2"
    assert choose("xavier-nx@35.4.1", host, "12.2")[1].redist == "12.2.2"
    with_cuda, found = choose("orin-nano@39.2", host, "13.0.1")
    assert (found.source, with_cuda.release.cuda_toolkit) == ("wheels", "13.0.1")


@pytest.mark.parametrize(
    ("name", "asked", "words"),
    [
        ("orin-nano@36.4.3", "12.4", "which full version NVIDIA's archives have is not known"),
        ("orin-nano@36.4.3", "12.5", "not one that jetsonx knows"),
        ("orin-nano@36.4.3", "13.0", "runs CUDA up to 12.9"),
        ("xavier-nx@35.4.1", "12.6", "runs CUDA up to 12.2"),
        ("orin-nano@39.2", "12.6", "built for sbsa-linux"),
        ("jetson-nano@32.7.6", "11.8", "runs CUDA up to 10.2"),
        ("orin-nano@36.4.3", "10.2", "no code for Jetson Orin Nano"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(name: str, asked: str, words: str, host: Host) -> None:
    with pytest.raises(ConfigError, match=words.replace(".", r"\.")) as caught:
        choose(name, host, asked)
    assert caught.value.hint
