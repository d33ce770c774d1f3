"""image.packages: what a layer of them holds, and which packages a build takes without asking apt."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from jetsonx.build import image_packages
from jetsonx.build.image_packages import ImagePackages
from jetsonx.build.image_runtime import SYSROOTS_OWN
from jetsonx.build.lockfile import find_image_pins, image_key, lock_image
from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import BuildError, ConfigError, DownloadError
from jetsonx.image.closure import Closure
from jetsonx.image.layer import Entry
from jetsonx.image.minimal import Deb
from jetsonx.image.pack import write_image
from jetsonx.image.packages import Packages, is_kept, package_entries
from jetsonx.packages.deb import read_control
from jetsonx.packages.package import Package, to_json
from jetsonx.project import Project, parse_project
from jetsonx.project.lock import EMPTY_LOCK, Lock
from jetsonx.runner import Runner
from jetsonx.store.store import Store, Tree
from jetsonx.sysroot.pull import Sysroot
from tests.unit.test_deb import Member, file, special
from tests.unit.test_minimal import LIB, PACKAGES, content, make_deb, plan

PYTHON = (
    special("./usr/bin", tarfile.DIRTYPE, ""),
    file("./usr/bin/python3.11", b"program", 0o755),
    special("./usr/bin/python3", tarfile.SYMTYPE, "python3.11"),
    file("./usr/bin/su", b"program", 0o4755),
    file("./usr/share/man/man1/python3.1.gz"),
    file("./usr/share/doc/python3/copyright", b"PSF"),
    file("./usr/share/doc/python3/README"),
    special("./var/lib/python3", tarfile.DIRTYPE, ""),
)
BLAS = (file(f"./{LIB}/blas/libblas.so.3", b"blas"),)


@pytest.fixture
def debs(tmp_path: Path) -> dict[str, Deb]:
    return {name: make_deb(tmp_path / "debs", name, members) for name, members in PACKAGES.items()}


def unpack(folder: Path, **packages: tuple[Member, ...]) -> dict[str, Entry]:
    found = tuple(make_deb(folder / "debs", name, members) for name, members in packages.items())
    (folder / "scratch").mkdir()
    made = package_entries(Packages(debs=found), folder / "scratch", read_control=read_control)
    return {entry.path: entry for entry in made}


# ---- the layer -------------------------------------------------------------------------------------------------------


def test_a_package_comes_whole_but_for_its_documentation(tmp_path: Path) -> None:
    entries = unpack(tmp_path, python3=PYTHON)
    assert [path for path, entry in entries.items() if entry.kind != "dir"] == [
        *("usr/bin/python3", "usr/bin/python3.11", "usr/bin/su", "usr/share/doc/python3/copyright"),
        "var/lib/dpkg/status.d/python3",
    ]
    assert entries["var/lib/python3"].kind == "dir"
    assert entries["usr/bin/su"].mode == 0o755  # no set-user-id


def test_what_scripts_would_have_done_is_there(tmp_path: Path) -> None:
    entries = unpack(tmp_path, libblas3=BLAS, certificates=PACKAGES["ca-certificates"])
    assert entries[f"{LIB}/libblas.so.3"].target == "blas/libblas.so.3"
    assert content(entries["etc/ssl/certs/ca-certificates.crt"]) == b"first\nsecond\n"
    assert content(entries["var/lib/dpkg/status.d/libblas3"]).startswith(
        b"Package: libblas3\nStatus: install ok installed\nVersion: 1\n"
    )


def test_packages_that_cannot_lie_over_one_another_are_refused(tmp_path: Path) -> None:
    one = (special("./opt/x", tarfile.SYMTYPE, "y"),)
    with pytest.raises(BuildError, match=r"image\.packages"):
        unpack(tmp_path, one=one, two=(file("./opt/x/inner"),))


def test_a_package_that_leads_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="outside its tree"):
        unpack(tmp_path, bad=(file("../etc/passwd"),))


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("usr/share/doc/x/copyright", True),
        ("usr/share/doc/x", False),  # what lies below brings it
        ("usr/share/doc/x/examples/copyright", False),
        ("usr/share/documents/x", True),
        ("usr/share/man/man1/x.1.gz", False),
        ("lib", False),
    ],
)
def test_which_paths_are_kept(path: str, kept: bool) -> None:
    assert is_kept(path) is kept


def test_packages_lie_below_the_application_and_in_its_cache(tmp_path: Path, debs: dict[str, Deb]) -> None:
    lib = make_deb(tmp_path / "debs", "libfoo1", (file(f"./{LIB}/libfoo.so.1"),))
    with_it = plan(tmp_path, debs, packages=Packages(debs=(lib,)))
    without = plan(tmp_path, debs)
    assert with_it.key != without.key
    image = write_image(with_it, tmp_path / "image", cache_dir=tmp_path / "cache", read_control=read_control)
    assert len(image.layers) == 3
    app = image.path / "blobs/sha256" / image.layers[-1].digest.removeprefix("sha256:")
    with tarfile.open(app) as layer:
        cache = layer.extractfile("etc/ld.so.cache")
        assert cache is not None
        assert f"/{LIB}/libfoo.so.1".encode() in cache.read()


def test_a_package_takes_the_place_of_the_sysroots(tmp_path: Path, debs: dict[str, Deb]) -> None:
    debs["libfoo1"] = make_deb(tmp_path / "debs", "libfoo1", (file(f"./{LIB}/libfoo.so.1", b"old"),))
    newer = make_deb(tmp_path / "newer", "libfoo1", (file(f"./{LIB}/libfoo.so.1", b"new"),))
    closure = Closure(files=(), packages=("libfoo1",), loose=(), driver=(), missing=())
    made = plan(tmp_path, debs, closure=closure, packages=Packages(debs=(newer,)))
    assert "libfoo1" not in {deb.name for deb in made.base.debs}
    assert [deb.sha256 for deb in made.packages.debs] == [newer.sha256]


def test_with_packages_the_entrypoint_may_be_one_of_theirs(tmp_path: Path, debs: dict[str, Deb]) -> None:
    packages = Packages(debs=(make_deb(tmp_path / "debs", "python3", PYTHON),))
    words = ["/usr/bin/python3", "/opt/demo/main.py"]
    made = plan(tmp_path, debs, packages=packages, entrypoint=words, test=words)
    assert made.config.entrypoint == made.test == tuple(words)
    with pytest.raises(ConfigError, match=r"image\.entrypoint: '/usr/bin/python3' is none of the outputs"):
        plan(tmp_path, debs, entrypoint=words)
    with pytest.raises(ConfigError, match=r"image\.test: 'python3' is none of the outputs"):
        plan(tmp_path, debs, packages=packages, test=["python3"])


def test_the_test_is_no_part_of_the_image(tmp_path: Path, debs: dict[str, Deb]) -> None:
    assert plan(tmp_path, debs, test=["demo"]).key == plan(tmp_path, debs).key
    assert plan(tmp_path, debs, test=["demo", "-x"]).test == ("/opt/demo/demo", "-x")


def test_an_image_that_fails_its_check_takes_no_place(tmp_path: Path, debs: dict[str, Deb]) -> None:
    def refuse(_image: object) -> None:
        raise BuildError("no")

    with pytest.raises(BuildError):
        write_image(
            plan(tmp_path, debs),
            tmp_path / "image",
            cache_dir=tmp_path / "cache",
            read_control=read_control,
            check=refuse,
        )
    assert not (tmp_path / "image").exists()


# ---- what they come to -----------------------------------------------------------------------------------------------

FOO = Package(name="libfoo1", version="1.0-1", filename="libfoo1_1.0-1_arm64.deb", sha256="a" * 64, size_bytes=5)


def project(packages: str = '["libfoo1"]') -> Project:
    text = f'[project]\nname = "x"\n[build]\nsystem = "cuda"\n[image]\npackages = {packages}\n'
    return parse_project(text, Path("jetsonx.toml"))


@pytest.fixture
def target() -> Target:
    return resolve_target(load_catalog(), "orin-nano@39.2")


@pytest.fixture
def sysroot() -> Sysroot:
    return Sysroot(
        digest="sha256:0",
        path=Path("/s"),
        packages=(),
        wheels=(),
        suite=next(suite for suite in load_catalog().suites if suite.codename == "bookworm"),
        gcc=12,
        cuda_dir=None,
        cuda_target="sbsa-linux",
        tree=Tree(digest="sha256:0", path=Path("/s"), kind="sysroot", info={}),
        why="",
    )


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    return Effects(store=Store(tmp_path, Console(-1)), runner=Runner(), console=Console(-1), offline=True)


def found(
    of: Project, target: Target, sysroot: Sysroot, effects: Effects, lock: Lock | None = None, *, locked: bool = False
) -> ImagePackages:
    return image_packages.resolve(of, target, sysroot, SYSROOTS_OWN, effects, lock=lock, locked=locked, refresh=False)


def locked_for(of: Project, target: Target, sysroot: Sysroot) -> Lock:
    return lock_image(EMPTY_LOCK, target, image_key(of, target, sysroot.pins), [FOO])


def test_no_packages_ask_nothing(target: Target, sysroot: Sysroot, effects: Effects) -> None:
    assert found(project("[]"), target, sysroot, effects, locked=True) == ImagePackages()


def test_the_lock_says_which(target: Target, sysroot: Sysroot, effects: Effects) -> None:
    made = found(project(), target, sysroot, effects, locked_for(project(), target, sysroot), locked=True)
    assert made.packages == (FOO,)
    assert made.key == image_key(project(), target, sysroot.pins)


def test_a_lock_for_other_packages_does_not_hold(target: Target, sysroot: Sysroot, effects: Effects) -> None:
    lock = locked_for(project(), target, sysroot)
    other = project('["libbar1"]')
    key = image_key(other, target, sysroot.pins)
    assert find_image_pins(lock, other, target, key, locked=False, refresh=False) is None
    with pytest.raises(ConfigError, match="was made for other packages"):
        found(other, target, sysroot, effects, lock, locked=True)
    with pytest.raises(ConfigError, match="has nothing for the image"):
        found(other, target, sysroot, effects, locked=True)


def test_what_was_found_for_the_same_sysroot_is_remembered(target: Target, sysroot: Sysroot, effects: Effects) -> None:
    key = image_key(project(), target, sysroot.pins)
    effects.store.remember("image-packages", json.dumps([key, sysroot.digest]), json.dumps([to_json(FOO)]))
    assert found(project(), target, sysroot, effects).packages == (FOO,)


def test_offline_nothing_can_be_found(target: Target, sysroot: Sysroot, effects: Effects) -> None:
    with pytest.raises(DownloadError, match=r"offline, and what image\.packages come to is not known yet: libfoo1"):
        found(project(), target, sysroot, effects)


def test_a_project_without_packages_leaves_the_lock(target: Target, sysroot: Sysroot) -> None:
    lock = locked_for(project(), target, sysroot)
    assert lock_image(lock, target, "", ()).image == ()


def test_the_order_of_packages_does_not_matter(target: Target, sysroot: Sysroot) -> None:
    keys = {image_key(project(names), target, sysroot.pins) for names in ('["a1", "b1"]', '["b1", "a1"]', '["a1"]')}
    assert len(keys) == 2
