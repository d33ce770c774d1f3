"""What verify says of a program in a root file system, against what the program then does there under QEMU."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jetsonx.artifact.directory import load_directory
from jetsonx.artifact.tree import Config, Tree
from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.elf.load import Options as Reading
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.toolchain.tools import Fetcher, zig
from jetsonx.verify.context import Options
from jetsonx.verify.finding import Finding
from jetsonx.verify.judge import judge
from jetsonx.verify.profile import profile_of
from tests.images.suite_root import make_suite_root
from tests.integration.conftest import Need
from tests.integration.prediction_cases import CASES, MAP_1, MAP_2, SUITES, Case, Step

SYSTEM = "usr/lib/aarch64-linux-gnu"
COMPILERS = {"c": ["aarch64-linux-gnu-gcc"], "c++": ["aarch64-linux-gnu-g++"], "x86": ["gcc"]}
PAIRS = [(case, suite) for case in CASES for suite in case.suites]


@dataclass(frozen=True)
class Roots:
    """One root per suite, with every case in it, and what was read of it."""

    paths: Mapping[str, Path]
    trees: Mapping[str, Tree]
    qemu: str


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, store: Store, need: Need) -> Roots:
    qemu = need("qemu-aarch64-static")
    for [compiler] in COMPILERS.values():
        need(compiler)
    top = tmp_path_factory.mktemp("roots")
    effects = Effects(store=store, runner=Runner(), console=Console(-1))
    [linker] = Fetcher(effects=effects).fetch(zig("0.16.0")).rglob("zig")
    compilers = COMPILERS | {"lld": [str(linker), "ld.lld"]}
    paths = {suite: top / suite for suite in SUITES}
    for suite, path in paths.items():
        make_suite_root(path, suite, effects)
    made = top / "made"
    (made / SYSTEM).mkdir(parents=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(lambda case: build(case, made, top / "build", paths, compilers), CASES))
    for path in paths.values():
        shutil.copytree(made, path, symlinks=True, dirs_exist_ok=True)
    trees = {suite: load_directory(path, suite, Reading()) for suite, path in paths.items()}
    return Roots(paths, trees, qemu)


def build(case: Case, root: Path, aside: Path, suites: Mapping[str, Path], compilers: Mapping[str, list[str]]) -> None:
    home, outside = root / "opt" / case.name, aside / case.name
    for needed in (home / "bin", home / "lib", outside):
        needed.mkdir(parents=True)
    old, new = (suites[name] / SYSTEM for name in ("bullseye", "trixie"))
    places = {"lib": home / "lib", "build": outside, "system": root / SYSTEM, "old": old, "new": new}
    words = {name: str(path) for name, path in places.items()}
    words |= {"MAP_1": f"{outside}/1.map", "MAP_2": f"{outside}/2.map", "RELR": "--pack-dyn-relocs=relr"}
    (outside / "1.map").write_text(MAP_1)
    (outside / "2.map").write_text(MAP_2)
    for step in case.steps:
        folder, _, name = step.out.partition("/")
        out = places.get(folder, home / folder) / name
        flags = [word.format(**words) for word in shlex.split(step.flags)]
        _compile(step, out, [*compilers[step.language], "-o", str(out)], flags, outside)


def _compile(step: Step, out: Path, argv: list[str], flags: list[str], aside: Path) -> None:
    source = aside / f"{out.name}.{'cc' if step.language == 'c++' else 'c'}"
    source.write_text(step.code)
    inputs = [] if step.language == "lld" else [str(source)]
    done = subprocess.run([*argv, *inputs, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if step.patch is not None:
        out.write_bytes(step.patch(out.read_bytes()))


def predict(case: Case, suite: str, roots: Roots) -> list[Finding]:
    """What is said of the case's files, beyond notes."""
    profile = replace(profile_of(resolve_target(load_catalog(), "orin-nano@39.2")), cpu_features=case.features)
    tree = replace(roots.trees[suite], config=Config(env=case.env))
    found = judge(tree, [profile], Options(only=frozenset({"loader", "versions", "libraries", "hardening", "cpu"})))
    own = (f"opt/{case.name}/", f"{SYSTEM}/lib{case.name}")
    return [each for each in found if each.path.startswith(own) and each.severity != "note"]


def run(case: Case, suite: str, roots: Roots) -> subprocess.CompletedProcess[str]:
    root = roots.paths[suite]
    argv = [roots.qemu, "-cpu", case.cpu, "-L", str(root)]
    argv += [word for name, value in case.env.items() for word in ("-E", f"{name}={value}")]
    argv.append(str(root / "opt" / case.name / "bin/app"))
    return subprocess.run(argv, capture_output=True, text=True, check=False, env={}, timeout=60)


@pytest.mark.parametrize(("case", "suite"), PAIRS, ids=[f"{case.name}-{suite}" for case, suite in PAIRS])
def test_what_is_predicted_is_what_happens(case: Case, suite: str, roots: Roots) -> None:
    found = predict(case, suite, roots)
    done = run(case, suite, roots)
    rule = case.fails.get(suite)
    told = "\n".join(f"{each.severity} {each.rule} {each.path}: {each.message}" for each in found)
    if rule is None:
        assert (done.stdout, done.returncode) == ("ran\n", 0), done.stderr
        assert not found, told
    elif case.words == "SIGILL":
        assert done.returncode in (-signal.SIGILL, 128 + signal.SIGILL), done.stderr
        assert rule in {each.rule for each in found}, told
    else:
        assert done.returncode != 0
        assert case.words in done.stderr
        assert rule in {each.rule for each in found}, told


def test_there_are_enough_pairs() -> None:
    assert len(PAIRS) >= 40
