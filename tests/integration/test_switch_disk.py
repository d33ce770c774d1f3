"""The device's disk fills up in the middle of a switch: the home directory's, or Docker's with it."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.deploy.bring import load_bundle
from jetsonx.deploy.bundle import prepare
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.sending import Parcel
from jetsonx.deploy.transfer import Receiver
from jetsonx.deploy.upload import upload
from jetsonx.deploy.values import Health
from jetsonx.errors import DeviceError
from jetsonx.store.cachedir import CacheDir
from tests.integration.conftest import Need
from tests.integration.deploy_site import Site, await_true, serve_deploy_site
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.small_disk import fill_command, leave_room, make_room, small_disk
from tests.integration.sshd import find_sshd
from tests.unit.deploy_images import image_in, tar_of

SIZE_BYTES = 8 << 20
GOOD = Health(kind="command", command=("true",), timeout_s=10)
BAD = Health(kind="command", command=("false",), timeout_s=1)


@pytest.fixture(scope="module")
def device(need: Need, engine_26: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Its home directory is a small disk."""
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    folder = tmp_path_factory.mktemp("device")
    with serve_deploy_site(folder, engine_26, need("busybox")) as site, small_disk(site.home, SIZE_BYTES):
        yield site


@pytest.fixture(scope="module")
def one_disk(need: Need, root_rights: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A device whose Docker has its files on the same disk, as on a Jetson."""
    folder = tmp_path_factory.mktemp("one-disk")
    disk = folder / "home"
    disk.mkdir()
    with (
        small_disk(disk, 4 * SIZE_BYTES),
        serve_engine("26.1", options={"data-root": str(disk / "docker")}) as engine,
        serve_deploy_site(folder, engine, need("busybox")) as site,
    ):
        yield site


@pytest.fixture
def site(device: Site) -> Iterator[Site]:
    device.clear()
    make_room(device.home)
    yield device
    make_room(device.home)
    device.clear()


def await_end(site: Site) -> None:
    """Nobody is at it any more."""
    holder = site.app_dir() / "holder"

    def is_over() -> bool:
        found = [line for line in holder.read_text().splitlines() if line.startswith("pid=")] if holder.exists() else []
        return not found or not Path(f"/proc/{found[0][4:]}").exists()

    await_true(is_over, limit_s=60)


def running(site: Site) -> str:
    """The one release that runs."""
    [release] = [release for release, state in site.containers().values() if state == "running"]
    return release


STEPS = [
    ("create", True, False, GOOD),
    ("create", False, True, GOOD),
    ("rename", False, False, GOOD),
    ("stop", True, True, GOOD),
    ("stop", False, False, GOOD),
    ("start", False, True, GOOD),
    ("tag", True, False, GOOD),
    ("tag", True, True, GOOD),
    ("exec", True, True, BAD),
    ("rm", False, False, BAD),
]


@pytest.mark.parametrize(
    ("words", "first", "is_eaten", "health"),
    STEPS,
    ids=[
        f"{'before' if first else 'after'}-{words}{'-bad' if health is BAD else ''}{'-for-ever' if is_eaten else ''}"
        for words, first, is_eaten, health in STEPS
    ],
)
def test_a_disk_that_fills_up_loses_nothing(
    site: Site, words: str, first: bool, is_eaten: bool, health: Health
) -> None:
    old, new = site.release(), site.release(health=health, secrets={"token": b"x" * 5000})
    assert site.switch(old).ok
    site.trap(words, fill_command(site.home, is_eaten=is_eaten), first=first)
    if is_eaten:  # how it ends cannot even be told
        with contextlib.suppress(DeviceError):
            assert site.switch(new).ending in ("ok", "rolled-back", "unfinished")
    else:
        assert site.switch(new).ending == ("ok" if health is GOOD else "rolled-back")
    assert not (site.wrapper.parent / "trap").exists()
    await_end(site)
    is_kept = running(site)
    make_room(site.home)
    last = site.release()
    assert site.switch(last).ok
    site.check_tidy(running=last.id, previous=is_kept)
    known = [(entry["release"], entry["outcome"]) for entry in site.history()]
    assert known == [(old.id, "ok"), (new.id, "ok" if is_kept == new.id else "rolled-back"), (last.id, "ok")]


def test_on_a_full_disk_nothing_is_begun(site: Site) -> None:
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    leave_room(site.home, 0)
    with pytest.raises(DeviceError, match=r"could not be begun there: .* \(0 kB free\)"):
        site.switch(new)
    leave_room(site.home, 150_000)  # the script gets there, and no further
    outcome = site.switch(new)
    assert (outcome.ending, outcome.step) == ("failed", "begin"), outcome
    assert "nothing can be written in" in outcome.why
    assert site.do("prune").ok
    assert site.do("stop").ok
    assert site.inspect("demo", "{{.State.Status}}") == "exited"
    make_room(site.home)
    assert site.switch(new).ok
    site.check_tidy(running=new.id, previous=old.id)


def test_a_rollback_on_a_disk_that_fills_up(site: Site) -> None:
    first, second = site.release(), site.release()
    assert site.switch(first).ok
    assert site.switch(second).ok
    site.trap("stop", fill_command(site.home, is_eaten=True))
    with contextlib.suppress(DeviceError):
        site.do("rollback", expected=site.inspect("demo.prev", "{{.Id}}"))
    await_end(site)
    assert running(site) in (first.id, second.id)
    make_room(site.home)
    site.do("recover")
    is_back = running(site) == first.id
    running_now, previous = (first, second) if is_back else (second, first)
    site.check_tidy(running=running_now.id, previous=previous.id)
    assert [entry["outcome"] for entry in site.history()] == ["ok", "ok", "ok" if is_back else "rolled-back"]


@pytest.mark.parametrize(
    ("words", "first", "is_eaten"),
    [("create", True, True), ("stop", False, False), ("stop", False, True)],
    ids=["before-create-for-ever", "after-stop", "after-stop-for-ever"],
)
def test_what_docker_has_no_room_for_is_done_when_there_is(
    one_disk: Site, words: str, first: bool, is_eaten: bool
) -> None:
    site = one_disk
    old, new = site.release(), site.release()
    assert site.switch(old).ok
    site.trap(words, fill_command(site.home, is_eaten=is_eaten), first=first)
    with contextlib.suppress(DeviceError):
        outcome = site.switch(new)
        assert is_eaten or outcome.ok, outcome
    await_end(site)
    if words == "create":
        assert running(site) in (old.id, new.id)
    make_room(site.home)
    site.do("recover")
    is_kept = running(site)
    last = site.release()
    assert site.switch(last).ok
    site.check_tidy(running=last.id, previous=is_kept)
    site.clear()


@pytest.mark.parametrize("has_python", [True, False], ids=["python", "sh"])
def test_an_image_that_there_is_no_room_for_is_loaded_when_there_is(
    one_disk: Site, tmp_path: Path, has_python: bool
) -> None:
    site, console = one_disk, Console(err=io.StringIO())
    old = site.release()
    assert site.switch(old).ok
    image = image_in(tmp_path / "image", [tar_of({"model": random.Random(1).randbytes(3_000_000)})])
    receiver = Receiver(images=(), is_containerd=False, has_python=has_python)
    prepared = prepare(image, "jetsonx/demo:loaded", receiver, Kept(CacheDir(tmp_path / "cache", console)), "thin")
    assert prepared.bundle is not None
    parcel = Parcel(path=prepared.bundle.path, sha256=prepared.bundle.sha256, size=prepared.bundle.size_bytes)
    upload(parcel, site.link, console=console, has_python=has_python)
    leave_room(site.home, 1_000_000)
    with pytest.raises(DeviceError, match=r"no space left on device|docker load failed"):
        load_bundle(site.link, prepared, docker=("docker",), has_python=has_python)
    assert running(site) == old.id
    assert "loaded" not in site.engine.docker("image", "ls").out
    make_room(site.home)
    assert load_bundle(site.link, prepared, docker=("docker",), has_python=has_python) == image.id
    assert not list((site.state / "staging").glob("[0-9a-f]*"))
    site.clear()
