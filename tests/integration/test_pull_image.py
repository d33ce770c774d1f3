"""A sysroot from an image: stand-ins with the shape of NVIDIA's, in a real registry, by the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.images.build import ABSENT, LIBRARIES, LONG_NAME, PRESENT, VERSION_H
from tests.integration.conftest import Need, Ran, Run
from tests.integration.l4t import REPOSITORY, serve_images
from tests.integration.proxy import FaultProxy, serve_proxy

CUDA = "usr/local/cuda/targets/aarch64-linux"
Pull = Callable[..., Ran]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, need: Need) -> Iterator[FaultProxy]:
    """The three images behind a proxy that does nothing to them but keep a list of what was asked for."""
    for program in ("docker-registry", "skopeo", "mmdebstrap", "zstd"):
        need(program)
    tags = {name: name for name in ("r35.4.1", "r36.3.0", "r36.4.0")}
    with (
        serve_images(tmp_path_factory.mktemp("registry"), tags) as running,
        serve_proxy(running.url) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module")
def env(registry: FaultProxy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of these tests: a store of their own, the registry in NVIDIA's place, no other network."""
    return environment(registry, tmp_path_factory.mktemp("store") / "cache")


def environment(registry: FaultProxy, cache: Path) -> dict[str, str]:
    return {"JETSONX_CACHE": str(cache), "JETSONX_MIRRORS": f"nvcr.io={registry.url}"}


@pytest.fixture(scope="module")
def root(jetsonx: Run, env: Mapping[str, str]) -> Path:
    """The sysroot of r36.4.0."""
    return path_of(jetsonx("sysroot", "pull", "orin-nano@36.4.0", "--from", "image", env=env))


def path_of(ran: Ran) -> Path:
    assert ran.status == 0, ran.err
    return Path(ran.out.strip())


def fetched_layers(registry: FaultProxy) -> list[str]:
    """The digests asked for, but those of manifests' configs, which are small."""
    return [request.path.rpartition("/")[2] for request in registry.requests if "/blobs/" in request.path]


def test_whiteouts_links_and_names(root: Path) -> None:
    for name in PRESENT:
        assert (root / name).is_file(), name
        assert not (root / name).is_symlink() or (root / name).resolve().is_relative_to(root.resolve()), name
    for name in ABSENT:
        assert not os.path.lexists(root / name), name
    assert list(root.rglob(".wh.*")) == []
    # The header was replaced by a later layer; what was linked to it before still has the content of then.
    assert (root / "usr/include/l4t/version.h").read_text() == VERSION_H
    assert (root / "usr/include/l4t/linked.h").read_text() == "#define L4T_LAYER 1\n"
    assert (root / "usr/include/l4t/from-opt.h").read_text() == "#define L4T_ORIGIN 1\n"
    assert (root / LONG_NAME).read_text() == "#define L4T_LONG 1\n"


def test_it_is_safe_to_use_in_place(root: Path) -> None:
    inside = root.resolve()
    for path in root.rglob("*"):
        if path.is_symlink():
            assert not path.readlink().is_absolute(), path
            assert path.exists(), f"{path} leads nowhere"
            assert path.resolve().is_relative_to(inside), path
        else:
            assert path.is_dir() or path.is_file(), path
            assert path.stat().st_mode & 0o7000 == 0, path


def test_what_lies_behind_alternatives(root: Path) -> None:
    assert "CUDNN_MAJOR 9" in (root / "usr/include/cudnn_version.h").read_text()
    assert (root / LIBRARIES / "libcudnn.so").resolve().name == "libcudnn.so.9.3.0"
    assert (root / "usr/local/cuda").resolve().name == "cuda-12.6"
    for name in ("include/cuda_runtime.h", "include/crt/host_config.h", "lib/libcudart.so", "lib/stubs/libcuda.so"):
        assert (root / CUDA / name).is_file(), name
    assert (root / LIBRARIES / "libcuda.so").resolve().name == "libcuda.so.1.1"
    assert not (root / "usr/local/cuda-12.6/bin").exists()  # the device's own compiler is of no use here


def test_a_program_is_built_against_it_and_starts(root: Path, tmp_path: Path, need: Need) -> None:
    compiler, qemu = need("aarch64-linux-gnu-gcc"), need("qemu-aarch64-static", "qemu-aarch64")
    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text(
        "#include <stdio.h>\n#include <cudnn.h>\n#include <cuda.h>\n#include <l4t/version.h>\n"
        'int main(void) { printf("%d %d\\n", L4T_LAYER, cuInit(0)); }\n'
    )
    words = [f"--sysroot={root}", f"-I{root / CUDA}/include", f"-L{root / CUDA}/lib/stubs", "-lcuda", "-lcudnn"]
    subprocess.run([compiler, "-o", str(program), str(source), *words], check=True)
    libraries = f"{root / CUDA}/lib:{root / LIBRARIES}/nvidia"
    done = subprocess.run(
        [qemu, "-L", str(root), "-E", f"LD_LIBRARY_PATH={libraries}", str(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2 100\n"


def test_the_second_release_fetches_only_what_differs(
    jetsonx: Run, env: Mapping[str, str], root: Path, registry: FaultProxy
) -> None:
    registry.requests.clear()
    ran = jetsonx("sysroot", "pull", "orin-nano@36.3.0", "--from", "image", env=env)
    second = path_of(ran)
    assert len(set(fetched_layers(registry))) <= 4  # board, CUDA, last; the image's config
    assert (second / "usr/include/stdio.h").samefile(root / "usr/include/stdio.h")
    assert (second / "usr/local/cuda").resolve().name == "cuda-12.2"
    assert "REVISION: 3.0" in (second / "etc/nv_tegra_release").read_text()
    assert re.search(r"\d+(\.\d+)? (kB|MB|GB)", ran.err), ran.err  # what was saved


def test_the_same_again_asks_for_nothing(
    jetsonx: Run, env: Mapping[str, str], root: Path, registry: FaultProxy
) -> None:
    registry.requests.clear()
    for words in (("pull", "orin-nano@36.4.0"), ("pull", "agx-orin@36.4.0", "--from", "image", "--offline")):
        assert path_of(jetsonx("sysroot", *words, env=env)) == root
    assert registry.requests == []
    jetsonx("sysroot", "pull", "orin-nano@36.4.0", "--from", "image", env=env)
    assert path_of(jetsonx("sysroot", "path", "orin-nano@36.4.0", env=env)) == root


def test_an_image_of_docker_s_own_format(jetsonx: Run, env: Mapping[str, str]) -> None:
    path = path_of(jetsonx("sysroot", "pull", "agx-orin@35.4.1", "--from", "image", env=env))
    assert (path / f"{LIBRARIES}/tegra/libcuda.so.1.1").is_file()
    assert (path / "usr/local/cuda").resolve().name == "cuda-11.4"
    assert "bullseye" in (path / "usr/lib/os-release").read_text()


def test_two_stores_give_the_same_digest(
    jetsonx: Run, env: Mapping[str, str], root: Path, registry: FaultProxy, tmp_path: Path
) -> None:
    other = environment(registry, tmp_path / "cache")
    again = path_of(jetsonx("sysroot", "pull", "orin-nano@36.4.0", "--from", "image", env=other))
    assert again.parent.name == root.parent.name
    assert digest_of(jetsonx, other) == digest_of(jetsonx, env)


def digest_of(jetsonx: Run, env: Mapping[str, str]) -> str:
    shown = json.loads(jetsonx("sysroot", "show", "orin-nano@36.4.0", "--json", env=env).out)
    return str(shown["digest"])


def test_full_keeps_every_file(jetsonx: Run, env: Mapping[str, str]) -> None:
    path = path_of(jetsonx("sysroot", "pull", "orin-nano@36.4.0", "--from", "image", "--full", env=env))
    assert (path / "usr/local/cuda-12.6/bin/ptxas").is_file()
    assert (path / "usr/bin/su").stat().st_mode & 0o7111 == 0o111  # setuid in the image
    assert not (path / "usr/share/man").exists()
    assert os.listdir(path / "usr/share/doc") == []  # noqa: PTH208 - names are enough


def test_packages_on_top_come_in_the_image_s_own_versions(jetsonx: Run, env: Mapping[str, str], root: Path) -> None:
    ran = jetsonx("sysroot", "pull", "orin-nano@36.4.0", "--from", "image", "-p", "libpng-dev,zlib1g-dev", env=env)
    path = path_of(ran)
    assert (path / "usr/include/libpng16/png.h").is_file()
    assert (path / "usr/include/zlib.h").samefile(root / "usr/include/zlib.h")
    shown = json.loads(jetsonx("sysroot", "show", path.parent.name, "--json", env=env).out)
    names = {package["name"] for package in shown["packages"]}
    assert "libpng-dev" in names
    assert not names & {"zlib1g-dev", "libc6", "libc6-dev"}  # the image has them


def test_damage_is_found_and_repaired(jetsonx: Run, env: Mapping[str, str], root: Path) -> None:
    path = root / "usr/include/stdio.h"
    path.chmod(0o644)
    path.write_text("#error\n")
    found = jetsonx("sysroot", "verify", "orin-nano@36.4.0", env=env)
    assert found.status == 1
    assert "usr/include/stdio.h: its content was changed" in found.out
    assert jetsonx("sysroot", "path", "orin-nano@36.4.0", env=env).status == 2
    assert path_of(jetsonx("sysroot", "pull", "orin-nano@36.4.0", "--from", "image", env=env)) == root
    assert jetsonx("sysroot", "verify", "orin-nano@36.4.0", env=env).status == 0
    assert jetsonx("sysroot", "verify", "--repair", env=env).status == 0  # the others have the same file
    assert jetsonx("sysroot", "verify", env=env).status == 0


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["orin-nano@36.4.0", "--from", f"image:nvcr.io/{REPOSITORY}:r36.4"], 2, "r36.4.0"),
        (["orin-nano@36.4.0", "--from", "image:nvcr.io/nvidia/l4t-jetpak:r36.4.0"], 2, "nvidia/l4t-jetpak"),
        (["orin-nano@36.4.0", "--from", "image", "--offline"], 4, "offline"),
    ],
)
def test_bad_input(
    jetsonx: Run, registry: FaultProxy, tmp_path: Path, words: list[str], status: int, expected: str
) -> None:
    ran = jetsonx("sysroot", "pull", *words, env=environment(registry, tmp_path / "cache"))
    assert (ran.status, ran.out) == (status, ""), ran.err
    assert expected in ran.err
