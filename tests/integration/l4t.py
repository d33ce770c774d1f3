"""Stand-in images in a real registry on loopback, under the names of the images they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.images.build import build_images
from tests.images.devel import WHOLE, Kind, build_devel_image
from tests.integration.registry import RunningRegistry, serve_registry

REPOSITORY = "nvidia/l4t-jetpack"
DEVEL = "nvidia/cuda:13.2.1-devel-ubuntu24.04"
"""What L4T r39's catalog entry and the toolchain images of Dockerfiles name, without its host."""


@contextmanager
def serve_images(folder: Path, tags: Mapping[str, str], *, bench: bool = False) -> Iterator[RunningRegistry]:
    """A registry with :data:`REPOSITORY`; ``tags`` says which stand-in is to be found under which tag."""
    layouts = build_images(bench=bench)
    with serve_registry(folder) as registry:
        for tag, name in tags.items():
            registry.push(layouts[name], f"{REPOSITORY}:{tag}", docker=name == "r35.4.1")
        yield registry


@contextmanager
def serve_devel_image(folder: Path, kind: Kind = WHOLE) -> Iterator[RunningRegistry]:
    """A registry with a stand-in for :data:`DEVEL`: an index of an x86-64 and an arm64 image, 340 MB together."""
    layout = build_devel_image(kind)
    with serve_registry(folder) as registry:
        registry.push(layout, DEVEL)
        yield registry
