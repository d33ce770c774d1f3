"""Images brought to real engines by the device's helper: whole, without what is there, and as recipes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.deploy.bundle import Prepared, prepare
from jetsonx.deploy.helper_file import helper
from jetsonx.deploy.image import LocalImage
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.transfer import Method, Receiver
from jetsonx.deploy.values import RemoteImage
from jetsonx.store.cachedir import CacheDir
from tests.integration.conftest import Need
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.registry import serve_registry
from tests.integration.small_disk import small_disk
from tests.unit.deploy_images import image_in, tar_of


def noise(seed: int, size: int) -> bytes:
    return hashlib.shake_256(bytes([seed])).digest(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """An engine as a device: its helper, its home directory, and the host's cache."""

    engine: Engine
    home: Path
    kept: Kept

    def receiver(self) -> Receiver:
        ids = self.engine.docker("image", "ls", "--quiet", "--no-trunc").out.split()
        found = json.loads(self.engine.docker("image", "inspect", *set(ids)).out) if ids else []
        images = tuple(
            RemoteImage(id=each["Id"], diff_ids=tuple(each["RootFS"]["Layers"]), tags=tuple(each["RepoTags"] or ()))
            for each in found
        )
        return Receiver(images=images, is_containerd=self.engine.generation == "26.1-containerd")

    def prepare(self, image: LocalImage, name: str, method: Method = "auto") -> Prepared:
        return prepare(image, name, self.receiver(), self.kept, method)

    def stage(self, prepared: Prepared, damage: int | None = None, cut: int | None = None) -> Path:
        assert prepared.bundle is not None
        data = bytearray(prepared.bundle.path.read_bytes())[:cut]
        if damage is not None:
            data[damage] ^= 1
        staging = self.home / ".local/state/jetsonx/staging"
        staging.mkdir(parents=True, exist_ok=True)
        (staging / prepared.bundle.sha256).write_bytes(data)
        return staging

    def start(self, prepared: Prepared) -> subprocess.Popen[bytes]:
        program = self.home / "helper.pyz"
        program.write_bytes(helper().data)
        process = subprocess.Popen(
            [sys.executable, "-I", program, "load"],
            env={**os.environ, **self.engine.env, "HOME": str(self.home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(prepared.request(["docker"]))
        process.stdin.close()
        return process

    def load(self, prepared: Prepared, damage: int | None = None, cut: int | None = None) -> dict[str, str]:
        """The helper's last word. What was staged is gone when it is loaded; nothing else is left in any case."""
        staging = self.stage(prepared, damage, cut)
        with self.start(prepared) as process:
            assert process.stdout is not None
            said: list[dict[str, str]] = [json.loads(line) for line in process.stdout]
        assert said
        assert (process.returncode == 0) == (said[-1]["event"] == "loaded")
        left = {path.name for path in staging.iterdir()} - {"load.lock"}
        assert prepared.bundle is not None
        assert left == (set() if said[-1]["event"] == "loaded" else {prepared.bundle.sha256})
        assert not self.engine.docker("ps", "--all", "--quiet").out
        (staging / prepared.bundle.sha256).unlink(missing_ok=True)
        return said[-1]

    def bring(self, image: LocalImage, name: str, method: Method = "auto") -> Prepared:
        prepared = self.prepare(image, name, method)
        said = self.load(prepared)
        assert said["event"] == "loaded", said
        prepared.arrived(self.kept)
        return prepared

    def content(self, name: str, path: str) -> bytes:
        container = self.engine.docker("create", name).out.strip()
        try:
            self.engine.docker("cp", f"{container}:{path}", str(self.home / "out"))
            return (self.home / "out").read_bytes()
        finally:
            self.engine.docker("rm", container)


@pytest.fixture(params=["20.10", "26.1", "26.1-containerd"])
def board(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Board]:
    fixtures = {"20.10": "engine_20", "26.1": "engine_26", "26.1-containerd": "engine_26_containerd"}
    engine: Engine = request.getfixturevalue(fixtures[request.param])
    yield board_of(engine, tmp_path)
    remove_images(engine)


def board_of(engine: Engine, tmp_path: Path) -> Board:
    (tmp_path / "home").mkdir()
    return Board(engine=engine, home=tmp_path / "home", kept=Kept(CacheDir(tmp_path / "cache", Console(-1))))


def remove_images(engine: Engine) -> None:
    names = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "jetsonx/app").out.split()
    if names:
        engine.docker("rmi", "--force", *names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Releases:
    """A base, and two releases on it that differ in one file of many."""

    old: LocalImage
    new: LocalImage
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    folder = tmp_path_factory.mktemp("releases")
    base = tar_of({"etc/base": noise(1, 400_000), "usr/lib/libc.so": noise(2, 300_000)})
    old = {f"opt/app/{number}": noise(number % 200, 3000 + number) for number in range(300)}
    old["opt/app/big.so"] = noise(7, 2_000_000)
    old["usr/lib/libown.so"] = noise(8, 90_000)
    new = dict(reversed(old.items()))  # so that nearly everything comes out of order
    new["opt/app/big.so"] = old["opt/app/big.so"][:700_000] + b"changed" + old["opt/app/big.so"][700_000:]
    return Releases(
        old=image_in(folder / "old", [base, tar_of(old)]),
        new=image_in(folder / "new", [base, tar_of(new)], labels={"release": "2"}),
        files=new,
    )


def test_full_thin_and_recipe_give_the_same_image(board: Board, releases: Releases) -> None:
    first = board.bring(releases.old, "jetsonx/app:1")
    assert first.plan.method == "thin"
    assert first.plan.sent == releases.old.diff_ids
    sizes: dict[str, int] = {}
    identities = set()
    methods: tuple[Method, ...] = ("full", "thin", "recipe")
    for method in methods:
        prepared = board.bring(releases.new, "jetsonx/app:2", method)
        assert prepared.plan.method == method
        assert prepared.bundle is not None
        sizes[method] = prepared.bundle.size_bytes
        found = json.loads(board.engine.docker("image", "inspect", "jetsonx/app:2").out)[0]
        assert found["RootFS"]["Layers"] == list(releases.new.diff_ids)
        if board.engine.generation != "26.1-containerd":
            identities.add(found["Id"])
        assert board.content("jetsonx/app:2", "/opt/app/big.so") == releases.files["opt/app/big.so"]
        assert board.prepare(releases.new, "jetsonx/app:2").plan.method == "none"
        board.engine.docker("rmi", "--force", "jetsonx/app:2")
    assert identities <= {releases.new.id}
    assert sizes["recipe"] < 15_000 < sizes["thin"] < sizes["full"]
    assert board.prepare(releases.new, "jetsonx/app:2").plan.method == "recipe"


def test_damage_registers_nothing(board: Board, releases: Releases) -> None:
    board.bring(releases.old, "jetsonx/app:1")
    for method in ("recipe", "thin"):
        prepared = board.prepare(releases.new, "jetsonx/app:2", method)
        assert prepared.bundle is not None
        middle = prepared.bundle.size_bytes // 2
        for said in (board.load(prepared, damage=middle), board.load(prepared, cut=middle)):
            assert said["event"] == "failed"
            assert said["reason"] in (("damaged", "mismatch") if method == "recipe" else ("load", "verify"))
        assert "jetsonx/app:2" not in " ".join(board.engine.traces()["tags"])
    assert board.bring(releases.new, "jetsonx/app:2", "thin").plan.method == "thin"


def test_the_old_image_went_meanwhile(board: Board, releases: Releases) -> None:
    board.bring(releases.old, "jetsonx/app:1")
    prepared = board.prepare(releases.new, "jetsonx/app:2", "recipe")
    board.engine.docker("rmi", "--force", "jetsonx/app:1")
    assert board.load(prepared)["reason"] == "missing-file"
    assert board.bring(releases.new, "jetsonx/app:2").plan.sent == releases.new.diff_ids


def test_a_killed_helper_leaves_nothing_after_the_next_run(
    engine_20: Engine, tmp_path: Path, releases: Releases
) -> None:
    board = board_of(engine_20, tmp_path)
    board.bring(releases.old, "jetsonx/app:1")
    prepared = board.prepare(releases.new, "jetsonx/app:2", "recipe")
    board.stage(prepared)
    process = board.start(prepared)
    until = time.monotonic() + 30
    while process.poll() is None and not engine_20.docker("ps", "--all", "--quiet").out:
        assert time.monotonic() < until
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert board.load(prepared)["event"] == "loaded"
    remove_images(engine_20)


def test_with_containerd_a_pulled_base_has_another_name(
    engine_26_containerd: Engine, tmp_path: Path, releases: Releases, need: Need
) -> None:
    """Its blob is the gzip'ed one, which no recipe of plain layers may name: it is sent, and the image is whole."""
    board = board_of(engine_26_containerd, tmp_path)
    base = image_in(tmp_path / "base", [tar_of({"etc/base": noise(1, 400_000), "usr/lib/libc.so": noise(2, 300_000)})])
    need("docker-registry")
    need("skopeo")
    with serve_registry(tmp_path / "registry") as registry:
        registry.push(tmp_path / "base", "base:1")
        engine_26_containerd.docker("pull", "--platform", "linux/arm64", f"{registry.host}/base:1")
        assert base.diff_ids[0] == releases.new.diff_ids[0]
        prepared = board.bring(releases.new, "jetsonx/app:2")
        assert prepared.plan.sent == releases.new.diff_ids
        saved = subprocess.run(
            ["docker", "save", "jetsonx/app:2"],
            env={**os.environ, **engine_26_containerd.env},
            capture_output=True,
            check=True,
        )
        assert len(saved.stdout) > releases.new.size_bytes
        engine_26_containerd.docker("rmi", "--force", f"{registry.host}/base:1")
    remove_images(engine_26_containerd)


def test_a_full_disk_of_the_device_is_said(root_rights: None, tmp_path: Path, releases: Releases) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = {"data-root": str(disk), "storage-driver": "overlay2"}
    with small_disk(disk, 9 << 20), serve_engine("20.10", options=options) as engine:
        board = board_of(engine, tmp_path)
        said = [board.load(board.prepare(image, "jetsonx/app:1")) for image in (releases.old, releases.new)]
        assert {"disk"} == {each["reason"] for each in said if each["event"] == "failed"}
        loaded = sum(each["event"] == "loaded" for each in said)
        assert len(engine.traces()["tags"]) == min(loaded, 1)
