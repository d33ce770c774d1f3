"""Damage in a store of real packages is found, made good from the same parts, and only what is old goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.sysroot.contents import read_contents
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.request import Request
from jetsonx.sysroot.source import Source
from tests.integration.conftest import Ran, Run

TARGET = resolve_target(load_catalog(), "orin-nano@36.4.3")
Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("upkeep") / "cache", Console(-1))


@pytest.fixture
def pulled(store: Store) -> Sysroot:
    effects = Effects(store=store, runner=Runner(), console=Console(-1))
    return pull_sysroot(TARGET, Request(source=Source(kind="apt")), effects)


@pytest.fixture
def command(jetsonx: Run, store: Store) -> Command:
    def run(*words: object) -> Ran:
        return jetsonx("sysroot", *words, env={"JETSONX_CACHE": str(store.root)})

    return run


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"damaged")


def test_repair_from_the_same_packages(store: Store, pulled: Sysroot, command: Command) -> None:
    damage(pulled.path / "usr/include/stdio.h")
    (pulled.path / "usr/include/stdlib.h").unlink()
    assert command("verify", TARGET.name).status == 1
    assert command("path", TARGET.name).status == 2
    ran = command("verify", "--repair", "--offline")
    assert (ran.status, len(ran.out.splitlines())) == (0, 2), ran.err
    assert command("path", TARGET.name).out == f"{pulled.path}\n"
    assert command("verify", "--all").status == 0


def test_repair_fetches_a_package_that_is_damaged_too(store: Store, pulled: Sysroot, command: Command) -> None:
    package = next(package for package in pulled.packages if package.name == "libc6-dev")
    deb = store.download(package.sha256)
    assert deb is not None
    damage(deb)
    damage(pulled.path / "usr/include/stdio.h")
    assert command("verify", "--repair", "--offline").status == 4  # dropped, and not to be had without a network
    assert store.download(package.sha256) is None
    ran = command("verify", "--repair")
    assert ran.status == 0, ran.err
    assert store.verify(pulled.tree) == ()


def test_show_finds_what_the_packages_hold(pulled: Sysroot) -> None:
    contents = read_contents(pulled.path)
    assert pulled.suite is not None
    assert (contents.glibc, contents.glibcxx) == (pulled.suite.glibc, pulled.suite.glibcxx)
    assert contents.gcc == str(pulled.gcc)


def test_prune_keeps_a_locked_sysroot_and_a_pull_of_it_needs_no_network(
    store: Store, pulled: Sysroot, command: Command, tmp_path: Path
) -> None:
    lock = tmp_path / "jetsonx.lock"
    lock.write_text("\n".join(package.sha256 for package in pulled.packages))
    store.protect(lock)
    old = time.time() - 90 * 86_400
    for path in (*store.root.glob("downloads/*"), *store.root.glob("trees/*/info.json"), *store.root.glob("refs/*/*")):
        os.utime(path, (old, old))
    ran = command("prune")
    assert (ran.status, ran.out) == (0, "")
    assert f"kept {pulled.tree.name}: {lock} needs it" in ran.err
    effects = Effects(store=store, runner=Runner(), console=Console(-1), offline=True)
    again = pull_sysroot(TARGET, Request(source=Source(kind="apt")), effects, pins=pulled.pins)
    assert again.digest == pulled.digest
    lock.unlink()
    os.utime(pulled.tree.path.parent / "info.json", (old, old))
    assert command("prune").out == f"{pulled.tree.name}\n"
