"""Every rule finds what it is for in files that real compilers made, and says nothing about clean file systems."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jetsonx.artifact.directory import load_directory
from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.elf.load import Options as Reading
from jetsonx.elf.load import load_file
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.toolchain.tools import Fetcher, zig
from jetsonx.verify.context import Options
from jetsonx.verify.judge import judge
from jetsonx.verify.profile import profile_of
from jetsonx.verify.rulebook import load_rules
from tests.images.suite_root import make_suite_root
from tests.integration.conftest import Need, Run
from tests.integration.rule_cases import CASES, Case, Make

SYSTEM = "usr/lib/aarch64-linux-gnu"


@dataclass(frozen=True)
class Shop:
    """Compilers by the names that cases use, and a root of bullseye to put things into."""

    compilers: dict[str, list[str]]
    root: Path


@pytest.fixture(scope="module")
def effects(store: Store) -> Effects:
    return Effects(store=store, runner=Runner(), console=Console(-1))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, effects: Effects, need: Need, jetsonx: Run) -> Shop:
    root = tmp_path_factory.mktemp("shop") / "bullseye"
    make_suite_root(root, "bullseye", effects)
    script = root.parent / "nvcc"
    script.write_text(f'#!/bin/sh\n{jetsonx("env", "orin-nano@39.2").out}\nexec nvcc "$@"\n')
    script.chmod(0o755)
    [linker] = Fetcher(effects=effects).fetch(zig("0.16.0")).rglob("zig")
    compilers = {"cc": [need("aarch64-linux-gnu-gcc")], "host": [need("gcc")]}
    return Shop(compilers | {"nvcc": [str(script)], "lld": [str(linker), "ld.lld"]}, root)


def make(each: Make, top: Path, aside: Path, shop: Shop) -> None:
    out = aside / each.out.removeprefix("aside/") if each.out.startswith("aside/") else top / each.out
    out.parent.mkdir(parents=True, exist_ok=True)
    places = {"top": top, "aside": aside, "old": shop.root / SYSTEM}
    source = aside / f"{out.name}.{each.suffix}"
    source.write_text(each.code.replace("{aside}", str(aside)))
    if each.by:
        inputs = [] if each.by == "lld" else [str(source)]
        flags = [word.format(**places) for word in shlex.split(each.flags)]
        argv = [*shop.compilers[each.by], *inputs, "-o", str(out), *flags]
        done = subprocess.run(argv, cwd=aside, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv}\n{done.stderr}"
    else:
        shutil.copyfile(source, out)
    if each.change is not None:
        out.write_bytes(each.change(out.read_bytes()))
    if each.mode:
        out.chmod(each.mode)


def names(case: Case) -> str:
    return f"{case.rule}-{case.severity}-{Path(case.path).name}"


@pytest.mark.parametrize("case", CASES, ids=names)
def test_the_rule_finds_what_it_is_for(case: Case, shop: Shop, tmp_path: Path) -> None:
    top, aside = tmp_path / "tree", tmp_path / "aside"
    aside.mkdir()
    if case.in_root:
        shutil.copytree(shop.root, top, symlinks=True)
    else:
        top.mkdir()
    for each in case.makes:
        make(each, top, aside, shop)
    if case.then is not None:
        case.then(top)
    tree = load_directory(top, "made", Reading(**case.reading))
    assert tree.is_root == case.in_root
    profile = replace(profile_of(resolve_target(load_catalog(), case.target)), **case.profile)

    found = judge(tree, [profile], Options(**case.options))

    told = {(each.rule, each.severity, each.path) for each in found}
    assert (case.rule, case.severity, case.path) in told, told


@pytest.mark.parametrize("flags", ["", "-Wl,-z,norelro", "-Wl,-z,lazy", "-no-pie", "-mbranch-protection=standard"])
def test_lief_and_our_own_reader_agree_on_hardening(flags: str, shop: Shop, tmp_path: Path) -> None:
    make(Make(out="app", flags=flags), tmp_path, tmp_path, shop)
    ours, liefs = (load_file(tmp_path / "app", "app", Reading(hardening=x)) for x in (False, True))
    assert ours == liefs


def test_every_rule_has_a_true_positive() -> None:
    judged = {name for name, rule in load_rules().items() if rule.family != "waivers"}
    assert {case.rule for case in CASES} == judged


@pytest.mark.parametrize(
    ("suite", "target"), [("bullseye", "agx-orin@35.4.1"), ("bookworm", "orin-nano@39.2"), ("trixie", "agx-thor@39.2")]
)
def test_a_clean_root_has_no_errors_and_no_warnings(suite: str, target: str, effects: Effects, tmp_path: Path) -> None:
    packages = ("bash", "dash", "coreutils", "util-linux", "python3-minimal", "perl-base", "openssl")
    make_suite_root(tmp_path, suite, effects, packages, with_dependencies=True)
    tree = load_directory(tmp_path, suite, Reading())
    elves = [node for node in tree.iter_files() if node.facts is not None and node.facts.elf is not None]
    assert tree.is_root
    assert len(elves) > 150
    found = judge(tree, [profile_of(resolve_target(load_catalog(), target))], Options())
    assert [each for each in found if each.severity != "note"] == []
