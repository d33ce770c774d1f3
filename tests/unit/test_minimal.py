"""The base image from packages made in memory, and whole images on it."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jetsonx.errors import BuildError, ConfigError, DownloadError, HostError
from jetsonx.image import layer
from jetsonx.image.app import AppFile, read_app_file
from jetsonx.image.blobs import find_or_store
from jetsonx.image.closure import Closure
from jetsonx.image.layer import Entry
from jetsonx.image.ldcache import parse_cache
from jetsonx.image.minimal import (
    Base,
    Deb,
    Libraries,
    base_entries,
    is_wanted,
    library_entries,
    over_runtime,
    plan_base,
)
from jetsonx.image.pack import ImagePlan, plan_image, write_image
from jetsonx.packages.deb import read_control
from tests.elf.synthetic import make_elf
from tests.unit.test_deb import Member, ar, file, special, tar

LIB = "usr/lib/aarch64-linux-gnu"
DRIVER_DIRS = (f"{LIB}/nvidia", f"{LIB}/tegra")


@dataclass(frozen=True)
class Suite:
    distribution: str = "debian"
    codename: str = "bookworm"
    version: str = "12"


PACKAGES: Mapping[str, tuple[Member, ...]] = {
    "libc6": (
        file("./lib/aarch64-linux-gnu/libc.so.6", b"libc", 0o4755),
        file("./lib/aarch64-linux-gnu/ld-linux-aarch64.so.1", b"ld", 0o755),
        special("./lib/ld-linux-aarch64.so.1", tarfile.SYMTYPE, "aarch64-linux-gnu/ld-linux-aarch64.so.1"),
        file("./usr/lib/aarch64-linux-gnu/gconv/UTF-16.so"),
        file("./usr/share/doc/libc6/copyright", b"LGPL"),
        file("./usr/share/doc/libc6/changelog.gz"),
        file("./etc/ld.so.conf.d/aarch64-linux-gnu.conf", b"/usr/lib/aarch64-linux-gnu\n"),
        file("./etc/nsswitch.conf", b"the package's own"),
        special("./dev/null", tarfile.CHRTYPE),
    ),
    "libgcc-s1": (
        file("./lib/aarch64-linux-gnu/libgcc_s.so.1"),
        special("./usr/share/doc/libgcc-s1", tarfile.SYMTYPE, "gcc-12-base"),
    ),
    "gcc-12-base": (file("./usr/share/doc/gcc-12-base/copyright", b"GPL with exception"),),
    "libstdc++6": (
        file("./usr/lib/aarch64-linux-gnu/libstdc++.so.6.0.30", b"c++"),
        special("./usr/lib/aarch64-linux-gnu/libstdc++.so.6", tarfile.SYMTYPE, "libstdc++.so.6.0.30"),
        special("./usr/lib/aarch64-linux-gnu/libagain.so.6", tarfile.LNKTYPE, "./lib/aarch64-linux-gnu/absent.so"),
        special("./usr/lib/aarch64-linux-gnu/libtwin.so", tarfile.LNKTYPE, f"./{LIB}/libstdc++.so.6.0.30"),
    ),
    "ca-certificates": (
        file("./usr/share/ca-certificates/mozilla/B.crt", b"second"),
        file("./usr/share/ca-certificates/mozilla/A.crt", b"first\n"),
        file("./usr/sbin/update-ca-certificates", b"#!/bin/sh\n", 0o755),
    ),
    "libc6-dev": (file("./usr/include/stdio.h"), file("./usr/lib/aarch64-linux-gnu/libc.a")),
}


def make_deb(folder: Path, name: str, members: tuple[Member, ...], *, depends: str = "") -> Deb:
    needs = f"Depends: {depends}\n" if depends else ""
    control = tar(file("./control", f"Package: {name}\nVersion: 1\nSource: src-{name}\n{needs}".encode()))
    data = ar(("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar.xz", lzma.compress(tar(*members))))
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}_1_arm64.deb"
    path.write_bytes(data)
    return Deb(name=name, version="1", sha256=hashlib.sha256(data).hexdigest(), path=path)


@pytest.fixture
def debs(tmp_path: Path) -> dict[str, Deb]:
    return {name: make_deb(tmp_path / "debs", name, members) for name, members in PACKAGES.items()}


@pytest.fixture
def base(debs: dict[str, Deb]) -> Base:
    return plan_base((), debs, origin=Suite(), driver_dirs=DRIVER_DIRS)


def unpack(base: Base, tmp_path: Path) -> dict[str, Entry]:
    scratch = tmp_path / "unpacked"
    scratch.mkdir()
    return {entry.path: entry for entry in base_entries(base, scratch, read_control=read_control)}


def content(entry: Entry) -> bytes:
    return entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()


def test_only_what_a_program_needs_at_run_time(base: Base, tmp_path: Path) -> None:
    entries = unpack(base, tmp_path)
    assert sorted(path for path, entry in entries.items() if entry.kind != "dir") == sorted(
        [
            *("bin", "lib", "sbin"),
            *("etc/debian_version", "etc/group", "etc/ld.so.cache", "etc/ld.so.conf", "etc/nsswitch.conf"),
            *("etc/ld.so.conf.d/aarch64-linux-gnu.conf", "etc/ld.so.conf.d/nvidia-tegra.conf"),
            *("etc/os-release", "etc/passwd", "etc/ssl/certs/ca-certificates.crt"),
            *(f"{LIB}/ld-linux-aarch64.so.1", f"{LIB}/libc.so.6", f"{LIB}/libgcc_s.so.1"),
            *(f"{LIB}/libstdc++.so.6", f"{LIB}/libstdc++.so.6.0.30", f"{LIB}/libtwin.so"),
            *("usr/lib/ld-linux-aarch64.so.1", "usr/lib/os-release"),
            *("usr/share/ca-certificates/mozilla/A.crt", "usr/share/ca-certificates/mozilla/B.crt"),
            *("usr/share/doc/gcc-12-base/copyright", "usr/share/doc/libc6/copyright", "usr/share/doc/libgcc-s1"),
            *(f"var/lib/dpkg/status.d/{name}" for name in PACKAGES if name != "libc6-dev"),
        ]
    )


def test_contents_that_the_runtime_looks_for(base: Base, tmp_path: Path) -> None:
    entries = unpack(base, tmp_path)
    assert content(entries["etc/ssl/certs/ca-certificates.crt"]) == b"first\nsecond\n"
    assert content(entries["etc/ld.so.conf.d/nvidia-tegra.conf"]).decode() == f"/{LIB}/nvidia\n/{LIB}/tegra\n"
    assert content(entries["etc/ld.so.conf"]) == b"include /etc/ld.so.conf.d/*.conf\n"
    assert b"the package's own" not in content(entries["etc/nsswitch.conf"])
    assert b"\nvideo:x:44:\n" in content(entries["etc/group"])
    assert [oct(entries[path].mode) for path in ("tmp", "root", f"{LIB}/nvidia")] == ["0o1777", "0o700", "0o755"]
    assert oct(entries[f"{LIB}/libc.so.6"].mode) == "0o755"  # a set-uid bit has no place here
    assert entries["lib"].target == "usr/lib"
    names = {each.name: each.path for each in parse_cache(content(entries["etc/ld.so.cache"]))}
    assert names["libstdc++.so.6"] == f"/{LIB}/libstdc++.so.6"
    assert f"/{names['ld-linux-aarch64.so.1']}".endswith(f"/{LIB}/ld-linux-aarch64.so.1")


def test_scanners_see_the_packages(base: Base, tmp_path: Path) -> None:
    entries = unpack(base, tmp_path)
    status = content(entries["var/lib/dpkg/status.d/libc6"]).decode()
    assert status == "Package: libc6\nStatus: install ok installed\nVersion: 1\nSource: src-libc6\n"
    release = content(entries["usr/lib/os-release"]).decode().splitlines()
    assert {'NAME="Debian GNU/Linux"', "ID=debian", 'VERSION_ID="12"', "VERSION_CODENAME=bookworm"} <= set(release)
    assert entries["etc/os-release"].target == "../usr/lib/os-release"


def test_another_suites_c_library_takes_the_place_of_the_sysroots(debs: dict[str, Deb], tmp_path: Path) -> None:
    newer = {
        name: make_deb(tmp_path / "newer", name, (file(f"./{LIB}/{name}.so.9"),))
        for name in ("libc6", "libgcc-s1", "libstdc++6", "gcc-14-base")
    }
    debs["libgomp1"] = make_deb(tmp_path / "debs", "libgomp1", (), depends="gcc-12-base (= 12.2.0-14), libc6 (>= 2.34)")
    debs["libfoo1"] = make_deb(tmp_path / "debs", "libfoo1", (), depends="libc6 (>= 2.34)")

    def base_of(*wanted: str) -> dict[str, Deb]:
        found = over_runtime(debs, newer, wanted, read_control=read_control)
        return {deb.name: deb for deb in plan_base(wanted, found, origin=Suite(), driver_dirs=()).debs}

    assert base_of("libfoo1", "libc6") == {**newer, **{name: debs[name] for name in ("libfoo1", "ca-certificates")}}
    assert base_of("libgomp1").keys() == {*newer, "libgomp1", "gcc-12-base", "ca-certificates"}
    assert over_runtime(debs, {}, ["libfoo1"], read_control=read_control) == debs


def test_ubuntu_has_no_debian_version(base: Base, tmp_path: Path) -> None:
    ubuntu = replace(base, origin=Suite(distribution="ubuntu", codename="noble", version="24.04"))
    entries = unpack(ubuntu, tmp_path)
    assert "etc/debian_version" not in entries
    assert b'ID=ubuntu\nVERSION_ID="24.04"\n' in content(entries["usr/lib/os-release"])


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"{LIB}/libx.so.1", True),
        (f"{LIB}/plugins/codec.so", True),
        ("etc/x/y.conf", True),
        (f"{LIB}/libx.a", False),
        (f"{LIB}/pkgconfig/x.pc", False),
        ("usr/bin/openssl", False),
        ("usr/include/x.so", False),
        ("usr/share/locale/de/LC_MESSAGES/x.mo", False),
        ("usr/share/doc/x/changelog.gz", False),
    ],
)
def test_is_wanted(path: str, wanted: bool) -> None:
    assert is_wanted(path) is wanted


def test_a_package_that_is_not_there(debs: dict[str, Deb]) -> None:
    del debs["ca-certificates"]
    with pytest.raises(ConfigError, match="the sysroot has no ca-certificates, libblas3"):
        plan_base(["libblas3"], debs, origin=Suite(), driver_dirs=())


@pytest.mark.parametrize("name", ["../evil.so", "/usr/lib/evil.so"])
def test_a_hostile_package(base: Base, tmp_path: Path, name: str) -> None:
    hostile = make_deb(tmp_path, "hostile", (file(name),))
    with pytest.raises(DownloadError, match="outside its tree"):
        unpack(replace(base, debs=(hostile,)), tmp_path)


def test_libraries_of_no_package(tmp_path: Path) -> None:
    cuda = "usr/local/cuda-13.2/targets/sbsa-linux/lib"
    (tmp_path / cuda).mkdir(parents=True)
    (tmp_path / LIB).mkdir(parents=True)
    (tmp_path / cuda / "libcublas.so.13").write_bytes(b"cublas")
    (tmp_path / LIB / "libblas.so.3").symlink_to("blas/libblas.so.3")
    libraries = Libraries(sysroot=tmp_path, digest="sha256:1", paths=(f"{cuda}/libcublas.so.13", f"{LIB}/libblas.so.3"))
    entries = {entry.path: entry for entry in library_entries(libraries)}
    assert content(entries[f"{cuda}/libcublas.so.13"]) == b"cublas"
    assert entries[f"{LIB}/libblas.so.3"].target == "blas/libblas.so.3"
    assert content(entries["etc/ld.so.conf.d/10-cuda.conf"]).decode() == f"/{cuda}\n"
    assert libraries.key != replace(libraries, digest="sha256:2").key


# ---- layers kept in the cache ----------------------------------------------------------------------------------------


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "cache"
    first = find_or_store(cache, "k", lambda scratch: [layer.file("a", b"1")])
    again = find_or_store(cache, "k", lambda scratch: pytest.fail("made twice"))
    assert first == again
    assert again.paths == ("a",)
    assert sorted(path.name for path in cache.iterdir()) == ["k.json", "k.tar.gz"]


@pytest.mark.parametrize("damage", ["blob", "same size", "record", "gone"])
def test_a_damaged_layer_is_made_again(tmp_path: Path, damage: str) -> None:
    def make(scratch: Path) -> list[Entry]:
        return [layer.file("a", b"1")]

    first = find_or_store(tmp_path, "k", make)
    good = first.path.read_bytes()
    first.path.chmod(0o644)
    match damage:
        case "blob":
            first.path.write_bytes(good[:-1])
        case "same size":
            first.path.write_bytes(good[:-1] + b"?")
            os.utime(first.path, ns=(1, 1))
        case "record":
            (tmp_path / "k.json").write_text('{"blob": []}')
        case _:
            first.path.unlink()
    assert find_or_store(tmp_path, "k", make) == first
    assert first.path.read_bytes() == good


def test_a_touched_layer_is_still_good(tmp_path: Path) -> None:
    first = find_or_store(tmp_path, "k", lambda scratch: [layer.file("a", b"1")])
    os.utime(first.path, ns=(1, 1))
    assert find_or_store(tmp_path, "k", lambda scratch: pytest.fail("made twice")) == first


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    def fail(scratch: Path) -> list[Entry]:
        (scratch / "half").write_text("")
        raise OSError(28, "No space left on device")

    with pytest.raises(HostError, match="cannot store an image layer"):
        find_or_store(tmp_path, "k", fail)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_swept_in_time(tmp_path: Path) -> None:
    for name, mtime in ((".part-old", 1.0), (".part-at-work", None)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
        if mtime:
            os.utime(tmp_path / name, (mtime, mtime))
    find_or_store(tmp_path, "k", lambda scratch: [layer.file("a", b"1")])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part-at-work", "k.json", "k.tar.gz"]


# ---- whole images ----------------------------------------------------------------------------------------------------


def app_file(folder: Path) -> AppFile:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "demo").write_bytes(make_elf())
    (folder / "demo").chmod(0o755)
    return read_app_file(folder / "demo", "demo")


def plan(tmp_path: Path, debs: Mapping[str, Deb], place: str = "out", **changes: object) -> ImagePlan:
    closure = Closure(files=(), packages=("libc6",), loose=(), driver=(), missing=())
    whole: dict[str, object] = {
        "name": "demo",
        "reference": "demo:0.1.0",
        "files": [app_file(tmp_path / place)],
        "closure": closure,
        "sysroot": tmp_path,
        "sysroot_digest": "sha256:1",
        "debs": debs,
        "origin": Suite(),
        "driver_dirs": DRIVER_DIRS,
        "labels": {"jetsonx.l4t": "39.2.0"},
        **changes,
    }
    return plan_image(**whole)  # type: ignore[arg-type]


def test_two_directories_one_digest(tmp_path: Path, debs: dict[str, Deb]) -> None:
    one = write_image(
        plan(tmp_path, debs, "one"), tmp_path / "a/image", cache_dir=tmp_path / "c1", read_control=read_control
    )
    two = write_image(
        plan(tmp_path, debs, "deep/er/two"), tmp_path / "b/image", cache_dir=tmp_path / "c2", read_control=read_control
    )
    assert (one.digest, one.id, one.layers) == (two.digest, two.id, two.layers)
    assert one.path == tmp_path / "a/image"
    assert all((one.path / path).read_bytes() == (two.path / path).read_bytes() for path in files(one.path))
    assert files(one.path) == files(two.path)


def files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


def test_an_unchanged_image_is_not_written_again(tmp_path: Path, debs: dict[str, Deb]) -> None:
    def write(**changes: object) -> tuple[str, int]:
        made = plan(tmp_path, debs, **changes)  # type: ignore[arg-type]
        image = write_image(made, tmp_path / "image", cache_dir=tmp_path / "cache", read_control=read_control)
        return image.digest, (tmp_path / "image/index.json").stat().st_ino

    first = write()
    assert write() == first
    for path in (tmp_path / "debs").iterdir():  # the base comes from the cache, whatever changes above it
        path.unlink()
    changed = write(labels={})
    assert changed[0] != first[0]
    assert changed[1] != first[1]
    assert write(created_s=5)[0] not in (first[0], changed[0])


def test_the_environment_and_what_the_project_adds(tmp_path: Path, debs: dict[str, Deb]) -> None:
    config = plan(tmp_path, debs, env={"PATH": "/mine", "A": "1"}, user="nobody", ports=["80/tcp"]).config
    assert config.entrypoint == ("/opt/demo/demo",)
    assert config.working_dir == "/opt/demo"
    assert config.env == {
        "PATH": "/mine",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "all",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        "A": "1",
    }
    assert (config.user, config.ports) == ("nobody", ("80/tcp",))


def test_an_output_that_vanishes_leaves_the_old_image(tmp_path: Path, debs: dict[str, Deb]) -> None:
    out, cache = tmp_path / "image", tmp_path / "cache"
    old = write_image(plan(tmp_path, debs), out, cache_dir=cache, read_control=read_control)
    changed = plan(tmp_path, debs, labels={})
    (tmp_path / "out/demo").unlink()
    with pytest.raises(BuildError, match="cannot pack"):
        write_image(changed, out, cache_dir=cache, read_control=read_control)
    [described] = json.loads((out / "index.json").read_bytes())["manifests"]
    assert described["digest"] == old.digest
    assert not (tmp_path / ".image.part").exists()
