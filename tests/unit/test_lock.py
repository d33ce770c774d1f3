"""jetsonx.lock: the same bytes for the same contents, and a damaged one is never half-used."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.errors import ConfigError, HostError
from jetsonx.project.lock import (
    EMPTY_LOCK,
    Lock,
    LockedImage,
    LockedPackage,
    LockedRuntime,
    LockedSysroot,
    LockedWheel,
    load_lock,
    parse_lock,
    render_lock,
    write_lock,
)

FILE = Path("jetsonx.lock")

LIBC = LockedPackage(
    name="libc6-dev",
    version="2.36-9+deb12u10",
    sha256="a" * 64,
    size_bytes=1_900_000,
    filename="pool/main/g/glibc/libc6-dev_2.36-9+deb12u10_arm64.deb",
)
STDCXX = replace(LIBC, name="libstdc++-12-dev", sha256="b" * 64, filename="pool/main/g/gcc-12/libstdc++.deb")
CUBLAS = LockedWheel(name="nvidia-cublas", version="13.2.1", sha256="c" * 64, filename="nvidia_cublas-13.2.1.whl")
ZIG = LockedWheel(name="ziglang", version="0.16.0", sha256="d" * 64, filename="ziglang-0.16.0-py3-none-any.whl")
NVCC = replace(ZIG, name="nvidia-cuda-nvcc", version="13.2.78")
R39 = LockedSysroot(release="39.2.0", key="sha256:1", suite="bookworm", package=(STDCXX, LIBC), wheel=(CUBLAS,))
R36 = LockedSysroot(release="36.4.3", key="sha256:2", suite="bullseye", package=(LIBC,))
LOCK = Lock(schema=1, sysroot=(R39, R36), tool=(ZIG, NVCC))

TEXT = """\
# Written by jetsonx: what the last build used. Commit it; `jetsonx build --locked` takes exactly this.
schema = 1
tool = [
  { name = "nvidia-cuda-nvcc", version = "13.2.78", sha256 = "DDDD", filename = "ziglang-0.16.0-py3-none-any.whl" },
  { name = "ziglang", version = "0.16.0", sha256 = "DDDD", filename = "ziglang-0.16.0-py3-none-any.whl" },
]

[[sysroot]]
release = "36.4.3"
key = "sha256:2"
source = "apt"
suite = "bullseye"
package = [
  { name = "libc6-dev", version = "2.36-9+deb12u10", sha256 = "AAAA", size_bytes = 1900000, filename = "pool/main/g/glibc/libc6-dev_2.36-9+deb12u10_arm64.deb" },
]

[[sysroot]]
release = "39.2.0"
key = "sha256:1"
source = "apt"
suite = "bookworm"
package = [
  { name = "libc6-dev", version = "2.36-9+deb12u10", sha256 = "AAAA", size_bytes = 1900000, filename = "pool/main/g/glibc/libc6-dev_2.36-9+deb12u10_arm64.deb" },
  { name = "libstdc++-12-dev", version = "2.36-9+deb12u10", sha256 = "BBBB", size_bytes = 1900000, filename = "pool/main/g/gcc-12/libstdc++.deb" },
]
wheel = [
  { name = "nvidia-cublas", version = "13.2.1", sha256 = "CCCC", filename = "nvidia_cublas-13.2.1.whl" },
]
"""  # noqa: E501 - one package on each line is the point


def test_a_lock_is_sorted_with_one_entry_on_each_line() -> None:
    expected = re.sub(r"([A-D])\1{3}", lambda match: match[1].lower() * 64, TEXT)
    assert render_lock(LOCK) == expected
    assert render_lock(parse_lock(expected, FILE)) == expected


def test_the_order_of_the_contents_does_not_matter() -> None:
    other = replace(LOCK, sysroot=(R36, replace(R39, package=(LIBC, STDCXX))), tool=(NVCC, ZIG))
    assert render_lock(other) == render_lock(LOCK)


WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
# A name with ** is a glob that goes into directories, and no path of a file.
NAMES = WORDS.filter(lambda word: word not in (".", "..") and "/" not in word and "**" not in word)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
PACKAGES = st.builds(
    LockedPackage, name=WORDS, version=WORDS, sha256=DIGESTS, size_bytes=st.integers(0, 2**63 - 1), filename=PATHS
)
WHEELS = st.builds(LockedWheel, name=WORDS, version=WORDS, sha256=DIGESTS, filename=PATHS)
SYSROOTS = st.builds(
    LockedSysroot,
    release=WORDS,
    key=WORDS,
    suite=WORDS,
    package=st.lists(PACKAGES, max_size=3).map(tuple),
    wheel=st.lists(WHEELS, max_size=2).map(tuple),
)
IMAGES = st.builds(LockedImage, release=WORDS, key=WORDS, package=st.lists(PACKAGES, max_size=2).map(tuple))
RUNTIMES = st.builds(LockedRuntime, release=WORDS, suite=WORDS, package=st.lists(PACKAGES, max_size=2).map(tuple))
LOCKS = st.builds(
    Lock,
    schema=st.just(1),
    sysroot=st.lists(SYSROOTS, max_size=2, unique_by=lambda sysroot: sysroot.release).map(tuple),
    image=st.lists(IMAGES, max_size=2, unique_by=lambda image: image.release).map(tuple),
    runtime=st.lists(RUNTIMES, max_size=2, unique_by=lambda runtime: runtime.release).map(tuple),
    tool=st.lists(WHEELS, max_size=3).map(tuple),
)


def is_same(one: Lock, other: Lock) -> bool:
    """The same contents in any order."""

    def contents(lock: Lock) -> object:
        roots = {
            root.release: (root.key, root.suite, sorted(map(repr, root.package)), sorted(map(repr, root.wheel)))
            for root in lock.sysroot
        }
        images = {image.release: (image.key, sorted(map(repr, image.package))) for image in lock.image}
        runtimes = {each.release: (each.suite, sorted(map(repr, each.package))) for each in lock.runtime}
        return roots, images, runtimes, sorted(map(repr, lock.tool))

    return contents(one) == contents(other)


@given(LOCKS)
def test_what_is_written_is_read_again(lock: Lock) -> None:
    text = render_lock(lock)
    read = parse_lock(text, FILE)
    assert is_same(read, lock)
    assert render_lock(read) == text


def test_a_sysroot_is_found_and_replaced_by_its_release() -> None:
    assert LOCK.sysroot_of("39.2.0") == R39
    assert LOCK.sysroot_of("32.7.1") is None
    newer = replace(R39, suite="trixie")
    assert LOCK.with_sysroot(newer).sysroot == (R36, newer)
    assert EMPTY_LOCK.with_sysroot(R36).sysroot_of("36.4.3") == R36


def test_a_runtime_is_found_and_replaced_by_its_release() -> None:
    trixie = LockedRuntime(release="39.2.0", suite="trixie", package=(LIBC,))
    lock = LOCK.with_runtime("39.2.0", trixie)
    assert lock.runtime_of("39.2.0") == trixie
    assert lock.runtime_of("36.4.3") is None
    assert lock.with_runtime("39.2.0", None) == LOCK
    assert 'release = "39.2.0"\nsuite = "trixie"\npackage = [' in render_lock(lock)
    twice = render_lock(lock) + '[[runtime]]\nrelease = "39.2.0"\nsuite = "trixie"\n'
    with pytest.raises(ConfigError, match="two runtimes for one L4T release"):
        parse_lock(twice, FILE)


def cut(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut, "jetsonx.lock: not TOML"),
        (lambda text: "", "schema: missing"),
        (lambda text: text.replace("schema = 1\n", ""), "schema: missing"),
        (lambda text: text.replace("schema = 1", "schema = 0"), "schema: expected 1, found the number 0"),
        (lambda text: text.replace("schema = 1", "schema = 2\nnew = 3"), "schema 2: written by a newer jetsonx"),
        (lambda text: text.replace("aaa", "xyz"), "sysroot[0].package[0].sha256: expected 64 hexadecimal digits"),
        (lambda text: text.replace("pool/", "../../"), "sysroot[0].package[0].filename: expected a relative path"),
        (lambda text: text.replace("pool/", "/pool/"), "sysroot[1].package[1].filename: expected a relative path"),
        (lambda text: text.replace("pool/", "http://evil/"), "sysroot[0].package[0].filename"),
        (lambda text: text.replace("1900000", "-1"), "size_bytes: expected a whole number from 0"),
        (lambda text: text.replace("36.4.3", "39.2.0"), "two sysroots for one L4T release"),
        (lambda text: text.replace('name = "ziglang", ', ""), "tool[1].name: missing"),
        (lambda text: text.replace("key =", "kay ="), "sysroot[0].kay: unknown key; did you mean key?"),
        (lambda text: text.replace('"libc6-dev"', '"-o\\nx y"'), "sysroot[0].package[0].name: expected a word"),
        (lambda text: "<<<<<<< ours\n" + text, "line 1"),
    ],
)
def test_a_damaged_lock_is_refused_with_a_way_out(damage: object, expected: str) -> None:
    assert callable(damage)
    with pytest.raises(ConfigError) as caught:
        parse_lock(damage(render_lock(LOCK)), FILE)
    assert expected in caught.value.message
    assert "restore jetsonx.lock from version control, or delete it" in str(caught.value.hint)


def test_no_file_is_no_lock(tmp_path: Path) -> None:
    assert load_lock(tmp_path / "jetsonx.lock") is None


def test_a_lock_goes_to_the_disk_and_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "jetsonx.lock"
    write_lock(file, LOCK)
    read = load_lock(file)
    assert read is not None
    assert is_same(read, LOCK)
    assert list(tmp_path.iterdir()) == [file]


def test_an_unchanged_lock_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "jetsonx.lock"
    write_lock(file, LOCK)
    os.utime(file, ns=(1, 1))
    before = file.stat()
    write_lock(file, replace(LOCK, sysroot=(R36, R39)))
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (1, before.st_ino)
    write_lock(file, EMPTY_LOCK)
    assert load_lock(file) == EMPTY_LOCK


def test_a_failed_write_leaves_the_old_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jetsonx.lock"
    write_lock(file, LOCK)

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HostError, match=r"cannot write .*jetsonx\.lock: No space left on device"):
        write_lock(file, EMPTY_LOCK)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == render_lock(LOCK)


def test_a_directory_in_the_way_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "jetsonx.lock").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_lock(tmp_path / "jetsonx.lock")
    with pytest.raises(HostError, match="cannot write"):
        write_lock(tmp_path / "jetsonx.lock", LOCK)
    (tmp_path / "file").touch()
    for missing in ("no", "file"):
        with pytest.raises(HostError, match="cannot write"):
            write_lock(tmp_path / missing / "jetsonx.lock", LOCK)


def test_packages_of_images_come_last_and_back() -> None:
    images = (LockedImage(release="39.2.0", key="k", package=(STDCXX, LIBC)), LockedImage(release="36.4.3", key="k"))
    text = render_lock(replace(LOCK, image=images))
    assert text.startswith(render_lock(LOCK))
    assert text[len(render_lock(LOCK)) :].startswith('\n[[image]]\nrelease = "36.4.3"\nkey = "k"\n\n[[image]]\n')
    read = parse_lock(text, FILE)
    assert read.image_of("39.2.0") == LockedImage(release="39.2.0", key="k", package=(LIBC, STDCXX))
    assert read.with_image("39.2.0", None).image_of("39.2.0") is None
    assert read.image_of("38.2") is None


def test_two_images_of_one_release_are_damage() -> None:
    text = render_lock(
        replace(LOCK, image=(LockedImage(release="39.2.0", key="k"), LockedImage(release="39.2.0", key="l")))
    )
    with pytest.raises(ConfigError, match="two images for one L4T release"):
        parse_lock(text, FILE)
