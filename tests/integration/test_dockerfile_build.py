"""The text of `jetsonx dockerfile` given to plain `docker buildx build`, on real engines of two generations.

The images are stand-ins from a real registry, named by the mirror setting. The smallest sample is built by every way:
what comes out must not depend on it. The others are in test_samples.py.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.elf.load import load_file
from tests.integration.conftest import SAMPLES, Need, Run
from tests.integration.docker_engine import Ended, Engine
from tests.integration.registry import RunningRegistry

CROSS = "cross on engine_26"
OTHER_WAYS = ("cross on engine_20", "directory on engine_26", "layout on engine_26_containerd", "emulate on engine_26")
SELF_TEST = re.compile(r"CPU reference: ok\nno CUDA device: GPU part skipped \(.*\)\n")

pytestmark = pytest.mark.usefixtures("arm64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What came of an image: what ``--self-test`` in it printed, and its program."""

    said: str
    program: Path


Build = Callable[[str], Built]
PROJECT = SAMPLES / "vector-add"


@pytest.fixture(scope="module")
def env(devel_registry: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The registry in NVIDIA's place, and a store of these tests' own: it holds a sysroot of the stand-in."""
    return {
        "JETSONX_MIRRORS": f"nvcr.io={devel_registry.url}",
        "JETSONX_CACHE": str(tmp_path_factory.mktemp("store") / "cache"),
    }


@pytest.fixture(scope="module")
def contexts(jetsonx: Run, env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The stand-in's sysroot as what --build-context takes: its directory, and an OCI layout."""
    layout = tmp_path_factory.mktemp("context") / "sysroot.oci"
    pulled = jetsonx("sysroot", "pull", "orin-nano@39.2", "--from", "image", env=env)
    assert pulled.status == 0, pulled.err
    exported = jetsonx("sysroot", "export", "orin-nano@39.2", "--oci", layout, env=env)
    assert exported.status == 0, exported.err
    return {"directory": pulled.out.strip(), "layout": f"oci-layout://{layout}"}


@pytest.fixture(scope="module")
def built(
    jetsonx: Run, env: Mapping[str, str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """``built(way)``; a way is a strategy, or a kind of named context, on an engine. Images are built once."""
    done: dict[str, Built] = {}

    def get(way: str) -> Built:
        if way not in done:
            how, _, name = way.partition(" on ")
            engine: Engine = request.getfixturevalue(name)
            image = f"vector-add:{how}"
            words, rendering = ["--load", "-t", image], ["--strategy", how]
            if how != "cross":  # half the device code is half the time
                rendering += ["-t", "orin-nano@39.2"]
            if how in ("directory", "layout"):
                words += ["--build-context", f"sysroot={request.getfixturevalue('contexts')[how]}"]
                rendering[:2] = ["--context"]
            ended = docker_build(render(jetsonx, env, PROJECT, *rendering), engine, PROJECT, *words)
            assert ended.status == 0, ended.err
            done[way] = look(engine, image, tmp_path_factory.mktemp(how) / "vector-add")
        return done[way]

    return get


def render(jetsonx: Run, env: Mapping[str, str], project: Path, *words: str) -> str:
    rendered = jetsonx("dockerfile", project, "--mirrored", *words, env=env)
    assert rendered.status == 0, rendered.err
    assert "nvcr.io/" not in rendered.out
    return rendered.out


def docker_build(text: str, engine: Engine, project: Path, *words: object, platform: str = "linux/arm64") -> Ended:
    argv = ("buildx", "build", "--progress=plain", f"--platform={platform}", "-f", "-", *words, project)
    return engine.docker(*argv, stdin=text.encode(), check=False)


def look(engine: Engine, image: str, program: Path) -> Built:
    """Start the image, and take its program out to ``program``."""
    said = engine.docker("run", "--rm", "--platform=linux/arm64", image, "--self-test").out
    entrypoint = engine.docker("image", "inspect", "-f", "{{index .Config.Entrypoint 0}}", image).out.strip()
    container = engine.docker("create", "--platform=linux/arm64", image).out.strip()
    engine.docker("cp", f"{container}:{entrypoint}", program)
    engine.docker("rm", container)
    return Built(said=said, program=program)


def symbols(program: Path) -> list[str]:
    """What the dynamic linker is asked for and offered: binding, visibility and name@version of every symbol."""
    argv = ["readelf", "--dyn-syms", "-W", str(program)]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in told.splitlines()]
    return sorted(" ".join((*row[3:6], *row[7:8])) for row in rows if row and row[0].rstrip(":").isdigit())


def device_code(program: Path) -> list[str]:
    """The architectures of each fat binary in a program that has kernels."""
    facts = load_file(program, program.name)
    return [",".join(sorted(entry.name for entry in fatbin.entries)) for fatbin in facts.device_code]


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_every_way_gives_the_same_program(way: str, built: Build, need: Need) -> None:
    need("readelf")
    image, cross = built(way), built(CROSS)
    assert SELF_TEST.fullmatch(cross.said)
    assert image.said == cross.said
    assert symbols(image.program) == symbols(cross.program)
    assert device_code(cross.program) == ["compute_110,sm_110,sm_87"]
    assert device_code(image.program) == (device_code(cross.program) if "cross" in way else ["compute_87,sm_87"])


@pytest.mark.parametrize("engine_name", ["engine_20", "engine_26"])
def test_a_file_of_the_wrong_architecture_fails_the_build_that_made_it(
    engine_name: str, jetsonx: Run, env: Mapping[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The project's own commands bypass every compiler of the toolchain stage."""
    engine: Engine = request.getfixturevalue(engine_name)
    (tmp_path / "jetsonx.toml").write_text(
        '[project]\nname = "app"\n[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n'
        '[build]\nsystem = "command"\ncommand = ["cp /bin/true app"]\noutputs = ["app"]\n'
    )
    text = render(jetsonx, env, tmp_path).replace("ccache make pkg-config", "ccache")  # as the others: one layer less
    ended = docker_build(text, engine, tmp_path, "-t", "wrong")
    assert ended.status != 0
    assert re.search(r"^#\d+ [\d.]+ /outputs/app is not for AArch64", ended.err, re.MULTILINE)
    assert engine.docker("image", "ls", "-q", "wrong").out == ""


def test_an_image_for_the_workstation_is_refused(
    jetsonx: Run, env: Mapping[str, str], engine_26: Engine, built: Build
) -> None:
    built(CROSS)
    ended = docker_build(render(jetsonx, env, PROJECT), engine_26, PROJECT, platform="linux/amd64")
    assert ended.status != 0
    assert "This builds for a Jetson: docker buildx build --platform linux/arm64" in ended.err
