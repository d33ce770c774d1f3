"""Calls to buildx: what stands in them, and how odd paths are spelled."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from jetsonx.engine.buildx import Build, Endpoint, build_command, csv_fields

BUILD = Build(dockerfile=Path("/p/out/docker/Dockerfile"), context=Path("/p"), platform="linux/arm64")


def words(endpoint: Endpoint, build: Build) -> list[str]:
    return list(build_command(endpoint, build).argv)


def test_a_plain_build() -> None:
    assert words(Endpoint(docker="docker"), BUILD) == [
        "docker", "buildx", "build", "--progress", "plain", "--platform", "linux/arm64",
        "--file", "/p/out/docker/Dockerfile", "/p",
    ]  # fmt: skip


def test_everything_at_once() -> None:
    build = Build(
        dockerfile=Path("/D"),
        context=Path("/a b"),
        platform="linux/arm64",
        target="outputs",
        files_to=Path("/out, 'x'"),
        tag="app:1",
        load=True,
        push=True,
        builder="jetson",
        contexts={"sysroot": "oci-layout:///s"},
        cache_from=("type=registry,ref=r/c",),
        cache_to=("type=local,dest=/c",),
    )
    assert words(Endpoint(docker="/usr/bin/docker", context="far"), build) == [
        "/usr/bin/docker", "--context", "far", "buildx", "build", "--progress", "plain", "--platform", "linux/arm64",
        "--file", "/D", "--builder", "jetson", "--target", "outputs", "--build-context", "sysroot=oci-layout:///s",
        "--cache-from", "type=registry,ref=r/c", "--cache-to", "type=local,dest=/c",
        "--output", "type=local,\"dest=/out, 'x'\"", "--tag", "app:1", "--load", "--push", "/a b",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/plain", "/with, comma", '/with "quotes"', "/with\nline", "/ space", "/a=b"])
def test_fields_are_read_back_by_a_csv_reader(path: str) -> None:
    [row] = (
        csv.reader([csv_fields(type="local", dest=path)], strict=True)
        if "\n" not in path
        else [next(csv.reader(csv_fields(type="local", dest=path).splitlines(keepends=True), strict=True))]
    )
    assert row == ["type=local", f"dest={path}"]
