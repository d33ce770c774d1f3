"""The reader against real files: what the host's own tools make, and CUDA binaries of many kinds that nvcc makes.

The oracles are readelf, ar and NVIDIA's cuobjdump: what they list, the reader must list too.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.elf.load import PLAIN, load_file, read_elf
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.toolchain.tools import Fetcher, Tool
from jetsonx.verify.outputs import check_outputs
from tests.integration.conftest import Need, Run


def run(*argv: str, cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def host_build(tmp_path: Path, need: Need) -> Path:
    """A program, a library, an archive and a thin archive, all made for the host."""
    for tool in ("gcc", "ar", "readelf"):
        need(tool)
    (tmp_path / "lib.c").write_text("int twice(int x) { return 2 * x; }\n")
    (tmp_path / "app.c").write_text('#include <stdio.h>\nint twice(int); int main(void) { printf("%d", twice(2)); }\n')
    out = tmp_path / "out"
    out.mkdir()
    run("gcc", "-shared", "-fPIC", "lib.c", "-o", "out/libtwice.so.1", "-Wl,-soname,libtwice.so.1", cwd=tmp_path)
    run("gcc", "app.c", "out/libtwice.so.1", "-o", "out/app", f"-Wl,-rpath,{out}", cwd=tmp_path)
    run("gcc", "-c", "lib.c", "-o", "a_rather_long_member_name.o", cwd=tmp_path)
    run("ar", "rc", "out/libtwice.a", "a_rather_long_member_name.o", cwd=tmp_path)
    run("ar", "rcT", "out/libthin.a", "a_rather_long_member_name.o", cwd=tmp_path)
    return out


def test_host_programs_are_refused(host_build: Path) -> None:
    report = check_outputs(
        host_build,
        targets=[resolve_target(load_catalog(), "orin-nano@39.2")],
        sysroot=None,
    )
    found = {(finding.rule, finding.path) for finding in report.findings}
    wrong = {("JX101", name) for name in ("app", "libtwice.a", "libtwice.so.1")}
    assert found == wrong | {("JX100", "libthin.a")}


def test_facts_are_those_of_readelf(host_build: Path) -> None:
    facts = read_elf(host_build / "app", options=PLAIN)
    text = run("readelf", "-dVW", str(host_build / "app"), cwd=host_build)
    assert list(facts.needed) == re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    assert [facts.runpath or facts.rpath] == re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", text)
    assert sorted(need.version for need in facts.version_needs) == sorted(re.findall(r"Name: (\S+)  Flags", text))
    assert "printf" in {symbol for need in facts.version_needs for symbol in need.symbols}


def test_archive_members_are_those_of_ar(host_build: Path) -> None:
    facts = load_file(host_build / "libtwice.a", "libtwice.a")
    assert [name for name, _ in facts.members] == run("ar", "t", "libtwice.a", cwd=host_build).split()


SOURCE = """
#include <cstdio>
static __device__ int state;
__global__ void count(int *x) { atomicAdd(x, state); }
int main() { count<<<1, 1>>>(nullptr); std::printf("%d", int(cudaDeviceSynchronize())); }
"""
ORIN = "-gencode=arch=compute_87,code=sm_87"
VARIANTS: dict[str, list[str]] = {
    "orin": [ORIN],
    "orin-and-ptx": ["-gencode=arch=compute_87,code=[sm_87,compute_87]"],
    "orin-and-thor": [ORIN, "-gencode=arch=compute_110,code=[sm_110,compute_110]"],
    "others": ["-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_75,code=compute_75"],
    "specific": ["-gencode=arch=compute_110a,code=sm_110a"],
    "family": ["-gencode=arch=compute_110f,code=sm_110f"],
    "ptx-only": ["-gencode=arch=compute_87,code=compute_87"],
    "relocatable": [ORIN, "-rdc=true"],
    "object": [ORIN, "-rdc=true", "-c"],
    "archive": [ORIN, "-lib"],
    "debug": [ORIN, "-G", "-lineinfo"],
    "plain": [ORIN, "--no-compress"],
    "small": [ORIN, "-compress-mode=size"],
    "lz4": [ORIN, "-compress-mode=speed"],
}


@pytest.fixture(scope="module")
def cuobjdump(store: Store) -> str:
    """NVIDIA's own lister, from its wheel."""
    fetcher = Fetcher(effects=Effects(store=store, runner=Runner(), console=Console(-1)))
    tool = Tool(name="cuobjdump", requirements=("nvidia-cuda-cuobjdump==13.2.*",), keep=("nvidia/*/bin/*",))
    [program] = fetcher.fetch(tool).rglob("cuobjdump")
    return str(program)


@pytest.mark.parametrize("variant", VARIANTS)
def test_device_code_is_what_cuobjdump_lists(variant: str, cuobjdump: str, jetsonx: Run, tmp_path: Path) -> None:
    """cuobjdump shows no LTO code, and the cubins of a family without their letter."""
    (tmp_path / "a.cu").write_text(SOURCE)
    exports = jetsonx("env", "orin-nano@39.2").out
    flags = " ".join(f"'{flag}'" for flag in VARIANTS[variant])
    run("sh", "-ec", f"{exports}\nnvcc {flags} a.cu -o built", cwd=tmp_path)
    path = tmp_path / ("built" if (tmp_path / "built").exists() else "built.a")

    facts = load_file(path, path.name)

    listed = run(cuobjdump, "-lelf", "-lptx", "-all", str(path), cwd=tmp_path)
    theirs = Counter(re.findall(r"^(ELF|PTX) file .*\.(sm_\d+[af]?)\.", listed, re.MULTILINE))
    ours: Counter[tuple[str, str]] = Counter()
    for entry in (entry for fatbin in facts.fatbins for entry in fatbin.entries):
        if entry.kind == "cubin":
            ours["ELF", entry.name.removesuffix("f")] += 1
        elif entry.kind == "ptx":
            ours["PTX", entry.name.replace("compute", "sm")] += 1
    assert ours == theirs
    assert theirs, "the variant holds device code"
