"""Real mirrors, a real apt and pip, real processes that are killed, a real disk that is full."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError, HostError
from jetsonx.packages.apt import fetch_lists
from jetsonx.packages.mirrors import Source as AptSource
from jetsonx.runner import Runner
from jetsonx.store.items import load_items
from jetsonx.store.prune import plan_prune, prune
from jetsonx.store.store import Store
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.request import Request
from jetsonx.sysroot.source import Source
from tests.integration.conftest import Need, Run
from tests.integration.small_disk import small_disk

QUIET = Console(-1)
TARGET = resolve_target(load_catalog(), "orin-nano@36.4")  # no CUDA overlay: packages only, so it is quick


def pull(store: Store, target: Target = TARGET, **words: object) -> Sysroot:
    """By the words of a Request, ``offline``, ``pins`` and ``refresh``; from packages, without CUDA."""
    offline = bool(words.pop("offline", False))
    choice = {name: words.pop(name) for name in ("pins", "refresh") if name in words}
    request = Request(source=Source(kind="apt"), **words)  # type: ignore[arg-type]
    effects = Effects(store=store, runner=Runner(), console=QUIET, offline=offline)
    return pull_sysroot(target, request, effects, **choice)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of these tests, which damage what is in it."""
    return Store(tmp_path_factory.mktemp("sysroot") / "cache", QUIET)


def test_links_lead_somewhere_inside(sysroot: Sysroot) -> None:
    links = [path for path in sysroot.path.rglob("*") if path.is_symlink()]
    assert len(links) > 20
    for link in links:
        assert not link.readlink().is_absolute(), link
        assert link.exists(), f"{link} leads nowhere"
        assert link.resolve().is_relative_to(sysroot.path.resolve()), link


def test_cuda_lies_where_it_is_looked_for(sysroot: Sysroot) -> None:
    cuda = sysroot.path / "usr/local/cuda"
    for name in (
        "targets/aarch64-linux/include/cuda_runtime.h",
        "include/crt/host_config.h",
        "include/fatbinary_section.h",
        "include/nvtx3/nvToolsExt.h",
        "include/nvml.h",
        "include/cccl/thrust/version.h",
        "lib64/libcudart.so",
        "lib64/libcudart_static.a",
        "lib64/stubs/libcuda.so",
        "lib64/stubs/libnvidia-ml.so",
        "lib64/cmake/thrust/thrust-config.cmake",
    ):
        assert (cuda / name).is_file(), name


def test_a_cached_pull_starts_nothing(store: Store, sysroot: Sysroot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **more: pytest.fail("started a process"))
    target = resolve_target(load_catalog(), "agx-orin@39.2")  # another module of the same release
    started = time.perf_counter()
    again = pull(store, target)
    assert time.perf_counter() - started < 0.5
    assert again.digest == sysroot.digest


def test_pins_give_the_same_sysroot_offline(own_store: Store) -> None:
    free = pull(own_store)
    assert pull(own_store, pins=free.pins, offline=True).digest == free.digest
    prune(
        own_store, plan_prune(load_items(own_store), before_s=time.time())
    )  # the tree goes, what was downloaded today stays or goes with it
    assert pull(own_store, pins=free.pins).digest == free.digest


def test_damage_is_found_and_the_next_pull_repairs_it(own_store: Store) -> None:
    whole = pull(own_store)
    path = whole.path / "usr/include/stdio.h"
    path.chmod(0o644)
    path.write_text("#error\n")
    assert own_store.verify(whole.tree) == ("usr/include/stdio.h: its content was changed",)
    repaired = pull(own_store, offline=True)
    assert repaired.digest == whole.digest
    assert own_store.verify(repaired.tree) == ()


def test_a_damaged_package_is_named_and_fetched_anew(own_store: Store) -> None:
    whole = pull(own_store)
    package = next(package for package in whole.packages if package.name == "libc6-dev")
    path = own_store.download(package.sha256)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1000] + bytes(1000))
    with pytest.raises(DownloadError, match=r"libc6-dev_.* was damaged in the cache"):
        pull(own_store, refresh=True)
    assert pull(own_store, refresh=True).digest == whole.digest


def test_unknown_packages_are_named_with_near_ones(own_store: Store) -> None:
    with pytest.raises(ConfigError, match="no package named libeigen3dev") as caught:
        pull(own_store, packages=("zlib1g-dev", "libeigen3dev"))
    assert "libeigen3-dev" in (caught.value.hint or "")


def test_a_version_that_is_gone(own_store: Store) -> None:
    with pytest.raises(DownloadError, match=r"no longer has what jetsonx.lock pins: zlib1g-dev=0.0"):
        pull(own_store, packages=("zlib1g-dev=0.0",))


def test_offline_says_what_is_needed_and_what_is_there(own_store: Store) -> None:
    pull(own_store)
    with pytest.raises(DownloadError, match="offline, and no sysroot") as caught:
        pull(own_store, packages=("zlib1g-dev",), offline=True)
    assert "zlib1g-dev" in caught.value.message
    assert "sysroot-" in (caught.value.details or "")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSONX_APT_MIRROR", "http://127.0.0.1:9/debian")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    store = Store(tmp_path / "cache", QUIET)
    with pytest.raises(DownloadError, match="could not be read") as caught:
        pull(store)
    assert caught.value.details
    assert "--offline" in (caught.value.hint or "")
    assert store.trees() == ()


def local_mirror(root: Path, architectures: str) -> AptSource:
    """A mirror with a suite ``old`` that has packages for ``architectures``."""
    suite = root / "dists" / "old"
    for name in architectures.split():
        (suite / f"main/binary-{name}").mkdir(parents=True)
        (suite / f"main/binary-{name}/Packages").write_text("")
    (suite / "Release").write_text(
        f"Origin: tests\nSuite: old\nCodename: old\nArchitectures: {architectures}\nComponents: main\n"
        "SHA256:\n"
        + "".join(f" {hashlib.sha256().hexdigest()} 0 main/binary-{name}/Packages\n" for name in architectures.split())
    )
    return AptSource(uris=(f"file:{root}",), suites=("old",), components=("main",), trusted=True)


def test_a_mirror_without_arm64_and_one_without_the_suite(tmp_path: Path) -> None:
    source = local_mirror(tmp_path / "mirror", "amd64")
    store = Store(tmp_path / "cache", QUIET)

    def lists(suite: str, *, trusted: bool) -> str:
        sources = [AptSource(uris=source.uris, suites=(suite,), components=("main",), trusted=trusted)]
        apt = fetch_lists(sources, suite, debian_arch="arm64", store=store, runner=Runner(), console=QUIET)
        return apt.missing

    assert lists("old", trusted=True) == "the mirror has old but not for arm64"
    assert lists("older", trusted=False) == "the mirror has no older"


@pytest.fixture
def disk(tmp_path: Path, megabytes: int) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    place = tmp_path / "small"
    place.mkdir()
    with small_disk(place, megabytes << 20):
        yield place


@pytest.mark.parametrize("megabytes", [12, 30, 75])  # too small for the lists, the packages, the tree
def test_disk_full(disk: Path, own_store: Store) -> None:
    store = Store(disk / "cache", QUIET)
    with pytest.raises((HostError, DownloadError)) as caught:
        pull(store)
    assert isinstance(caught.value, HostError), caught.value.message
    assert "the disk is full" in caught.value.message
    assert str(store.root) in caught.value.message
    assert store.trees() == ()
    assert [path for path in (store.root / "tmp").glob("*") if path.is_dir()] == []


def test_a_cache_that_cannot_be_written(tmp_path: Path, jetsonx: Run) -> None:
    (tmp_path / "file").write_text("")
    ran = jetsonx("sysroot", "pull", TARGET.name, env={"JETSONX_CACHE": str(tmp_path / "file" / "cache")})
    assert ran.status == 3
    assert str(tmp_path / "file" / "cache") in ran.err
    assert "JETSONX_CACHE" in ran.err


_PULL = """
import sys
from pathlib import Path
from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.runner import Runner
from jetsonx.effects import Effects
from jetsonx.sysroot.pull import pull_sysroot
from jetsonx.sysroot.request import Request
from jetsonx.sysroot.source import Source
from jetsonx.store.store import Store
console = Console(0)
store = Store(Path(sys.argv[1]), console)
target = resolve_target(load_catalog(), "orin-nano@36.4")
effects = Effects(store=store, runner=Runner(), console=console)
print(pull_sysroot(target, Request(source=Source(kind="apt")), effects, refresh=True).digest)
"""


def start_pull(store: Store) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _PULL, str(store.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_at_any_moment_it_leaves_nothing_or_a_whole_sysroot(tmp_path: Path, own_store: Store) -> None:
    digest = pull(own_store).digest
    store = Store(tmp_path / "cache", QUIET)
    for delay_s in (0.2, 0.6, 1.0, 1.4, 1.8, 2.2, 2.6, 3.0):
        process = start_pull(store)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for tree in store.trees():
            assert store.verify(tree) == ()
    assert pull(store).digest == digest
    assert list((store.root / "tmp").iterdir()) == []


def test_two_at_once_one_works_and_the_other_waits(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", QUIET)
    both = [start_pull(store), start_pull(store)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert sum("waiting for another jetsonx (sysroot for L4T 36.4" in err for _, err in outputs) == 1
    assert len(store.trees()) == 1


def test_equal_files_are_stored_once(own_store: Store) -> None:
    first, second = pull(own_store), pull(own_store, packages=("zlib1g-dev",))
    assert first.digest != second.digest
    assert (first.path / "usr/include/stdio.h").samefile(second.path / "usr/include/stdio.h")
    assert second.owners["usr/include/zlib.h"] == "zlib1g-dev"


def test_the_stubs_link_and_load(sysroot: Sysroot, tmp_path: Path, need: Need) -> None:
    compiler, qemu = need("aarch64-linux-gnu-gcc"), need("qemu-aarch64-static", "qemu-aarch64")
    source = tmp_path / "a.c"
    source.write_text(
        "#include <stdio.h>\n#include <cuda.h>\n#include <nvml.h>\n"
        'int main(void) { printf("%d %d %s\\n", cuInit(0), nvmlInit(), nvmlErrorString(NVML_SUCCESS)); }\n'
    )
    cuda = sysroot.path / "usr/local/cuda"
    stubs = cuda / "lib64/stubs"
    for linker in ("bfd", "gold"):
        words = [f"-fuse-ld={linker}", f"-I{cuda / 'include'}", f"-L{stubs}", "-o", str(tmp_path / linker)]
        subprocess.run([compiler, str(source), *words, "-lcuda", "-lnvidia-ml", "-Wl,--no-undefined"], check=True)
        command = [qemu, "-L", "/usr/aarch64-linux-gnu", "-E", f"LD_LIBRARY_PATH={stubs}", str(tmp_path / linker)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("34 12 stub library")


def test_the_commands(jetsonx: Run, own_store: Store) -> None:
    sysroot = pull(own_store)
    env = {"JETSONX_CACHE": str(own_store.root)}
    words = ("sysroot", "pull", TARGET.name, "--from", "apt", "--no-cuda")
    pulled = jetsonx(*words, env=env)
    assert pulled.out == f"{sysroot.path}\n"
    assert jetsonx("sysroot", "path", TARGET.name, env=env).out == pulled.out
    assert sysroot.tree.name in jetsonx("sysroot", "list", env=env).out
    assert "libc6-dev" in jetsonx("sysroot", "show", sysroot.digest, env=env).out
    assert jetsonx("sysroot", "verify", env=env).status == 0
    (sysroot.path / "usr/include/new.h").write_text("")
    broken = jetsonx("sysroot", "verify", TARGET.name, env=env)
    assert (broken.status, broken.out) == (1, f"{sysroot.tree.name}: usr/include/new.h: does not belong here\n")
    assert jetsonx("sysroot", "show", "nothing", env=env).status == 2
    assert jetsonx(*words, "--offline", env=env).out == pulled.out
    assert jetsonx("sysroot", "prune", "--all", env=env).status == 0
    assert own_store.trees() == ()
