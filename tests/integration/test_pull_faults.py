"""Pulls of an image that are killed, doubled, starved and lied to: the store stays whole, and the next one works.

Every pull is a process of its own, of a small stand-in image in a real registry, behind a proxy that slows it down so
that a kill can hit every phase, downloads too.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.store.store import Store
from tests.integration.conftest import CLI, Need
from tests.integration.l4t import serve_images
from tests.integration.proxy import Fault, FaultProxy, serve_proxy
from tests.integration.small_disk import small_disk

KILLS = 50
SEED = 36
RATE = 40_000_000  # bytes per second and connection: fetching takes about as long as unpacking
PULL = (*CLI, "sysroot", "pull", "orin-nano@36.4.0", "--from", "image", "--no-cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A store of one test and the registry that it pulls from; ``digest`` is what every whole pull must give."""

    proxy: FaultProxy
    store: Store
    digest: str

    @property
    def environ(self) -> dict[str, str]:
        return environment(self.proxy, self.store.root)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            PULL,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def pull(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(PULL, env=self.environ, capture_output=True, text=True, timeout=60, check=False)

    def check_store(self) -> None:
        """Every tree is whole, and nobody is left at work."""
        deadline = time.monotonic() + 5
        while alive := processes_of(self.store.root):
            assert time.monotonic() < deadline, f"still at work: {alive}"
            time.sleep(0.02)
        for tree in self.store.trees():
            assert self.store.verify(tree) == ()

    def check_pull(self) -> None:
        """The next pull works, and gives the tree that an undisturbed one gives."""
        done = self.pull()
        assert done.returncode == 0, done.stderr
        [tree] = self.store.trees()
        assert tree.digest == self.digest
        assert done.stdout == f"{tree.path}\n"
        assert self.store.verify(tree) == ()
        assert list((self.store.root / "tmp").iterdir()) == []


def environment(proxy: FaultProxy, cache: Path) -> dict[str, str]:
    return {**os.environ, "JETSONX_CACHE": str(cache), "JETSONX_MIRRORS": f"nvcr.io={proxy.url}"}


def processes_of(cache: Path) -> list[str]:
    """Command lines of the processes that work for this store, wherever they hang in the process tree."""
    word = f"JETSONX_CACHE={cache}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if word in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # gone meanwhile
                continue
    return [line for line in found if line]  # a zombie has none


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, need: Need) -> Iterator[str]:
    for program in ("docker-registry", "skopeo", "mmdebstrap"):
        need(program)
    with serve_images(tmp_path_factory.mktemp("registry"), {"r36.4.0": "r36.4.0-tiny"}) as running:
        yield running.url


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultProxy]:
    with serve_proxy(registry) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def digest(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    store = Store(tmp_path_factory.mktemp("whole") / "cache", Console(-1))
    with serve_proxy(registry) as proxy:
        subprocess.run(PULL, env=environment(proxy, store.root), check=True, capture_output=True)
    [tree] = store.trees()
    return tree.digest


@pytest.fixture
def bench(proxy: FaultProxy, digest: str, tmp_path: Path) -> Bench:
    return Bench(proxy=proxy, store=Store(tmp_path / "cache", Console(-1)), digest=digest)


def test_killed_at_any_moment(bench: Bench) -> None:
    """Fifty kills, of the whole process group or of the parent alone; whatever they leave, the next pull goes on."""
    bench.proxy.faults.append(Fault(path="/blobs/", rate=RATE))
    started = time.monotonic()
    bench.check_pull()
    whole_s = time.monotonic() - started
    moments = random.Random(SEED)
    finished = 0
    for number in range(KILLS):
        if bench.store.trees():  # the pull before came to its end: start from nothing again
            finished += 1
            bench.check_pull()
            empty(bench.store)
        process = bench.start()
        time.sleep(moments.uniform(0.05, whole_s))
        if number % 2:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        bench.check_store()
    bench.check_pull()
    assert finished < KILLS / 2, "most pulls were over before they were killed"


def empty(store: Store) -> None:
    words = ("sysroot", "prune", "--all")
    subprocess.run(
        [*CLI, *words], env={**os.environ, "JETSONX_CACHE": str(store.root)}, check=True, capture_output=True
    )
    assert store.trees() == ()


def test_a_killed_download_goes_on_where_it_stopped(bench: Bench) -> None:
    bench.proxy.faults.append(Fault(path="/blobs/", rate=8_000_000))
    process = bench.start()
    time.sleep(1.5)
    process.kill()
    process.communicate()
    bench.check_store()
    bench.proxy.faults.clear()
    bench.proxy.requests.clear()
    bench.check_pull()
    ranges = [request.headers.get("Range", "") for request in bench.proxy.requests]
    assert any(value.startswith("bytes=") and value != "bytes=0-" for value in ranges), ranges


def test_two_at_once_give_the_same(bench: Bench) -> None:
    both = [bench.start(), bench.start()]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    asked = [request.path for request in bench.proxy.requests if "/blobs/" in request.path]
    assert len(asked) == len(set(asked)), asked  # each layer was fetched once
    bench.check_pull()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    place = tmp_path / "small"
    place.mkdir()
    with small_disk(place, 8 << 20):
        yield place


@pytest.mark.parametrize("megabytes", [10, 45])  # too small for the layers, for what is in them
def test_disk_full(bench: Bench, disk: Path, megabytes: int) -> None:
    resize(disk, megabytes)
    full = Bench(proxy=bench.proxy, store=Store(disk / "cache", Console(-1)), digest=bench.digest)
    ran = full.pull()
    assert (ran.returncode, ran.stdout) == (3, ""), ran.stderr
    assert "the disk is full" in ran.stderr
    assert str(full.store.root) in ran.stderr
    assert "Traceback" not in ran.stderr
    full.check_store()
    assert full.store.trees() == ()
    resize(disk, 400)
    full.check_pull()


def resize(disk: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(disk)], check=True)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(path="/blobs/", drop_after=1_000_000, times=4)],
        [Fault(path="/blobs/", truncate_to=1_000_000, times=2)],
        [Fault(path="/blobs/", drop_after=1_000_000, times=2), Fault(path="/blobs/", ignore_range=True)],
        [Fault(path="/blobs/", status=503, times=2), Fault(path="/manifests/", status=500, times=1)],
        [Fault(path="/blobs/", status=429, headers={"Retry-After": "1"}, times=2)],
    ],
    ids=["drops", "truncates", "ignores-ranges", "5xx", "429"],
)
def test_a_bad_network_is_got_over(bench: Bench, faults: Sequence[Fault]) -> None:
    bench.proxy.faults.extend(replace(fault) for fault in faults)  # the proxy counts them down
    bench.check_pull()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(corrupt_at=5_000_000), "sha256"),
        (Fault(truncate_to=0), "expected"),
        (Fault(status=404), "404"),
        (Fault(status=500), "500"),
    ],
    ids=["corrupts", "always-short", "gone", "broken"],
)
def test_what_cannot_be_had_is_said_and_leaves_nothing(bench: Bench, fault: Fault, expected: str) -> None:
    bench.proxy.faults.append(replace(fault, path="/blobs/"))
    ran = bench.pull()
    assert (ran.returncode, ran.stdout) == (4, ""), ran.stderr
    assert expected in ran.stderr
    assert "hint: " in ran.stderr
    assert "Traceback" not in ran.stderr
    bench.check_store()
    assert bench.store.trees() == ()
    bench.proxy.faults.clear()
    bench.check_pull()


def test_ctrl_c_ends_at_once_and_leaves_nothing_at_work(bench: Bench) -> None:
    bench.proxy.faults.append(Fault(path="/blobs/", rate=8_000_000))
    process = bench.start()
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=5)
    assert process.returncode in (130, -signal.SIGINT), words
    assert "Traceback" not in words
    bench.check_store()
    bench.proxy.faults.clear()
    bench.check_pull()
