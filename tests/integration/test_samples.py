"""Every sample by all three strategies: the programs ask for and offer the same symbols, and behave the same.

The native node is an engine behind a real sshd. It is this machine, so that its arm64 compilers are emulated as well;
it builds first, with nothing in its caches. The emulated builds of the same engine find its toolchain there and, except
with a Makefile, its compiler cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.elf.load import read_elf
from tests.integration.conftest import Need, Ran, Run
from tests.integration.docker_engine import Engine
from tests.integration.registry import RunningRegistry
from tests.integration.test_builder import NAME, Client, serve_client
from tests.integration.test_dockerfile_build import SELF_TEST, symbols

pytestmark = pytest.mark.usefixtures("arm64")

OUTPUTS = {
    "vector-add": ("vector-add",),
    "saxpy-cmake": ("saxpy", "libsaxpy.so.0.1.0"),
    "opencv-edges": ("opencv-edges",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a strategy made of a sample: how the build went, its output directory, and how its program ends."""

    ran: Ran
    out: Path
    tested: Ran
    refused: Ran


@pytest.fixture(scope="module")
def node(engine_26: Engine, jetsonx: Run, need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A workstation that knows the engine as a builder node, by ssh."""
    need("ssh")
    with serve_client(engine_26, tmp_path_factory.mktemp("node")) as client:
        added = jetsonx("builder", "add", "jetson", "--emulated", env=client.env)
        assert added.status == 0, added.err
        yield client


@pytest.mark.parametrize("name", OUTPUTS)
def test_three_strategies_make_the_same_program(
    name: str,
    node: Client,
    engine_26: Engine,
    devel_registry: RunningRegistry,
    jetsonx: Run,
    sample: Callable[[str], Path],
    need: Need,
) -> None:
    need("readelf")
    project, mirrors = sample(name), {"JETSONX_MIRRORS": f"nvcr.io={devel_registry.url}"}

    def build(strategy: str, env: Mapping[str, str]) -> Built:
        out = project / "out" / strategy
        words = ("--strategy", strategy, "-t", "orin-nano@39.2", "--tag", f"{name}:{strategy}", "-o", out)
        ran = jetsonx("build", project, "--engine", "docker", *words, env={**env, **mirrors}, timeout_s=1800)
        assert ran.status == 0, ran.err
        tested, refused = (
            jetsonx("run", "-C", project, "-o", out, "--", *arguments, env=env)
            for arguments in (("--self-test",), ("--self-test", "--require-gpu"))
        )
        return Built(ran=ran, out=out, tested=tested, refused=refused)

    native = build("native", node.env)
    emulated, cross = build("emulate", engine_26.env), build("cross", engine_26.env)
    assert f"native: as asked, on {NAME} (ssh://jetson): x86_64, {os.cpu_count()} cores, emulated" in native.ran.err
    # what was built natively is in the node's engine, and came here in one stream
    image_id = engine_26.docker("image", "inspect", f"{name}:native", "--format", "{{.Id}}").out.strip()
    [described] = json.loads((native.out / "image/manifest.json").read_bytes())
    assert described["Config"].endswith(image_id.removeprefix("sha256:"))

    assert SELF_TEST.fullmatch(cross.tested.out), cross.tested.err
    assert cross.refused.status != 0
    for other in (native, emulated):
        assert (other.tested, other.refused) == (cross.tested, cross.refused)
        for output in OUTPUTS[name]:
            assert read_elf(other.out / "files" / output).machine == "AArch64"
            assert symbols(other.out / "files" / output) == symbols(cross.out / "files" / output)
