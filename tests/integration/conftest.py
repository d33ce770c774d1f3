"""Real tools, real packages, real wheels. Big downloads live in the user's own cache directory and are reused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.runner import Runner
from jetsonx.store.store import Store, default_root
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.request import Request
from jetsonx.sysroot.source import Source
from tests.images.devel import LIGHT, WHOLE, Kind
from tests.integration.arm64 import serve_arm64
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.l4t import serve_devel_image
from tests.integration.registry import RunningRegistry
from tests.integration.vm import Booted, boot

SAMPLES = Path(__file__).parents[2] / "samples"
CLI = (sys.executable, "-m", "jetsonx")


BUILDS = "builds in engines"
"""The group of modules that build in Docker engines: they share toolchains there, and the machine's one binfmt_misc."""
_SHARED = {"arm64", "devel_registry"}
_LONGEST = (BUILDS, "test_vm")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this directory, and say which of them stay together when several workers share them out.

    A module is a group, so that what it builds is built once; those that build in engines are one. A module may say
    another by ``xdist_group``. The groups that take longest come first, so that none is left for one worker at the end.
    """
    here = Path(__file__).parent
    ours = [item for item in items if item.path.is_relative_to(here)]
    builds = {item.path for item in ours if _SHARED & {*getattr(item, "fixturenames", ())}}
    for item in ours:
        item.add_marker(pytest.mark.integration)
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(BUILDS if item.path in builds else item.path.stem))
    items.sort(key=lambda item: [_group(item) != each for each in _LONGEST])  # stable: the rest stays as it is


def pytest_collection_finish(session: pytest.Session) -> None:
    """A pytest-xdist that cannot read the groups off names them nowhere, and would run what belongs together apart."""
    if getattr(session.config.option, "loadgroup", False):
        apart = [item.nodeid for item in session.items if _group(item) and "@" not in item.nodeid]
        if apart:
            raise pytest.UsageError(f"pytest-xdist sees no groups with this pytest {pytest.__version__}: {apart[0]}")


def _group(item: pytest.Item) -> str | None:
    marker = item.get_closest_marker("xdist_group")
    return marker.args[0] if marker else None


@pytest.fixture(scope="session", autouse=True)
def own_ccache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A compiler cache of the tests' own: with the user's, a second run would test ccache instead of the compilers.

    All workers of a run share it, as the projects on a workstation do.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["CCACHE_DIR"] = str(shared / "ccache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a program ended."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]
Need = Callable[..., str]


@pytest.fixture(scope="session")
def need() -> Need:
    """Path of a program the test cannot do without; missing, it is a failure in CI and a skip elsewhere."""

    def find(*names: str) -> str:
        for name in names:
            if path := shutil.which(name):
                return path
        message = f"{' or '.join(names)} is not on this host; `make test` as root installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    return find


@pytest.fixture(scope="session")
def jetsonx() -> Run:
    """Run the command line: ``jetsonx("build", "-o", out, cwd=…, env={…})``."""

    def run(
        *words: object, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout_s: float = 600
    ) -> Ran:
        done = subprocess.run(
            [*CLI, *map(str, words)],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(status=done.returncode, out=done.stdout, err=done.stderr)

    return run


@pytest.fixture
def sample(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a sample to build in."""

    def copy(name: str, place: str = "") -> Path:
        directory = tmp_path / (place or name)
        shutil.copytree(SAMPLES / name, directory)
        return directory

    return copy


@pytest.fixture(scope="session")
def store() -> Store:
    return Store(default_root(os.environ), Console(-1))


@pytest.fixture(scope="session")
def sysroot(store: Store) -> Sysroot:
    """The sysroot that every sample shares."""
    target = resolve_target(load_catalog(), "orin-nano@39.2")
    effects = Effects(store=store, runner=Runner(), console=Console(-1))
    return pull_sysroot(target, Request(source=Source(kind="apt")), effects)


@pytest.fixture(scope="session")
def root_rights(need: Need) -> None:
    """For what no other user may do: engines, mounts, bridges."""
    for program in ("setpriv", "ip", "iptables", "mount", "dpkg-deb"):
        need(program)
    if os.geteuid() != 0:
        message = "a Docker engine of the tests' own takes root's rights"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def engine_20(root_rights: None) -> Iterator[Engine]:
    """Docker 20.10: its BuildKit knows no named contexts."""
    with serve_engine("20.10") as engine:
        yield engine


@pytest.fixture(scope="session")
def engine_26(root_rights: None) -> Iterator[Engine]:
    """Docker 26.1 with Docker's own image store."""
    with serve_engine("26.1") as engine:
        yield engine


@pytest.fixture(scope="session")
def engine_26_containerd(root_rights: None) -> Iterator[Engine]:
    """Docker 26.1 with containerd's image store, which keeps images of several platforms."""
    with serve_engine("26.1-containerd") as engine:
        yield engine


@pytest.fixture(scope="module")
def arm64(root_rights: None, need: Need) -> Iterator[None]:
    """AArch64 programs start here, in containers too; not for the whole session, for others' tests look at binfmt."""
    with serve_arm64(need("qemu-aarch64-static")):
        yield


@pytest.fixture(scope="session")
def devel_registry(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A registry in nvcr.io's place (``JETSONX_MIRRORS=nvcr.io=URL``) with what Dockerfiles of L4T r39 start from."""
    yield from _serve_devel(WHOLE, need, tmp_path_factory)


@pytest.fixture(scope="session")
def light_registry(need: Need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """The same with an image that a machine which is emulated whole fetches and unpacks in a minute or two."""
    yield from _serve_devel(LIGHT, need, tmp_path_factory)


def _serve_devel(kind: Kind, need: Need, temporary: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    for program in ("docker-registry", "skopeo", "mmdebstrap"):
        need(program)
    with serve_devel_image(temporary.mktemp(kind.name), kind) as registry:
        yield registry


@pytest.fixture(scope="session")
def virtual_jetson(need: Need) -> Iterator[Booted]:
    """A virtual Jetson that runs. Its image is in the user's cache; where it is not, making it takes minutes."""
    for program in ("qemu-system-aarch64", "qemu-img", "ssh", "ssh-keygen"):
        need(program)
    with boot() as booted:
        yield booted


@pytest.fixture(scope="session")
def docker_client(need: Need) -> str:
    """The docker command; no engine of this host's is needed."""
    return need("docker")
