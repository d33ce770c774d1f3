"""The reader against real files: what the host's own tools make, and CUDA binaries when there are some.

``JETSONX_TEST_BINARIES`` may name a directory of CUDA programs, objects and archives; with cuobjdump on PATH each is
listed by both, and the lists have to agree.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.verify.elf import read_elf
from jetsonx.verify.facts import load_file
from jetsonx.verify.outputs import check_outputs

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class FakeTarget:
    name: str = "orin-nano@39.2.0"
    glibc: str = "2.39"
    glibcxx: str = "GLIBCXX_3.4.33"
    sm: int = 87
    interpreter: str = "/lib/ld-linux-aarch64.so.1"


def run(*argv: str, cwd: Path) -> str:
    return subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def host_build(tmp_path: Path) -> Path:
    """A program, a library, an archive and a thin archive, all made for the host."""
    if shutil.which("gcc") is None or shutil.which("ar") is None or shutil.which("readelf") is None:
        pytest.skip("needs gcc, ar and readelf")
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
        [host_build],
        root=host_build,
        targets=[FakeTarget()],
        sysroot_path=host_build / "none",
        cuda_dir="usr/local/cuda-13.2",
        driver_globs=[],
    )
    found = {(finding.rule, finding.path) for finding in report.findings}
    wrong = {("JX101", name) for name in ("app", "libtwice.a", "libtwice.so.1")}
    assert found == wrong | {("JX100", "libthin.a")}


def test_facts_are_those_of_readelf(host_build: Path) -> None:
    facts = read_elf(host_build / "app", explain=lambda need: need.library == "libc.so.6")
    text = run("readelf", "-dVW", str(host_build / "app"), cwd=host_build)
    assert list(facts.needed) == re.findall(r"\(NEEDED\).*\[(.*)\]", text)
    assert [facts.runpath or facts.rpath] == re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", text)
    assert sorted(need.version for need in facts.version_needs) == sorted(re.findall(r"Name: (\S+)  Flags", text))
    assert "printf" in {symbol for need in facts.version_needs for symbol in need.symbols}


def test_archive_members_are_those_of_ar(host_build: Path) -> None:
    facts = load_file(host_build / "libtwice.a", "libtwice.a", lambda need: False)
    assert [name for name, _ in facts.members] == run("ar", "t", "libtwice.a", cwd=host_build).split()


def _cuda_binaries() -> list[Path]:
    directory = os.environ.get("JETSONX_TEST_BINARIES")
    return sorted(x for x in Path(directory).iterdir() if x.is_file()) if directory else []


@pytest.mark.skipif(not _cuda_binaries(), reason="JETSONX_TEST_BINARIES names no directory of CUDA binaries")
@pytest.mark.skipif(shutil.which("cuobjdump") is None, reason="needs cuobjdump")
@pytest.mark.parametrize("path", _cuda_binaries(), ids=lambda path: str(path.name))
def test_device_code_is_what_cuobjdump_lists(path: Path) -> None:
    """cuobjdump shows no LTO code, and the cubins of a family without their letter."""
    facts = load_file(path, path.name, lambda need: False)
    if facts.kind in {"other", "unreadable"}:
        pytest.skip(f"{facts.kind}: {facts.reason}")
    listed = subprocess.run(["cuobjdump", "-lelf", "-lptx", "-all", str(path)], capture_output=True, text=True).stdout
    theirs = Counter(re.findall(r"^(ELF|PTX) file .*\.(sm_\d+[af]?)\.", listed, re.MULTILINE))
    ours: Counter[tuple[str, str]] = Counter()
    for entry in (entry for fatbin in facts.fatbins for entry in fatbin.entries):
        if entry.kind == "cubin":
            ours["ELF", entry.name.removesuffix("f")] += 1
        elif entry.kind == "ptx":
            ours["PTX", entry.name.replace("compute", "sm")] += 1
    assert ours == theirs
