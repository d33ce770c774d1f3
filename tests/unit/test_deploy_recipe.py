"""A recipe gives the new layer's tar again, byte for byte, or says that it cannot before the archive's end."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jetsonx.console import Console
from jetsonx.deploy.bundle import prepare, write_recipe
from jetsonx.deploy.helper.rebuild import rebuild
from jetsonx.deploy.helper.recipe import MAGIC, RecipeError, Source
from jetsonx.deploy.image import LocalImage, LocalLayer
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.layermap import LayerMap
from jetsonx.deploy.matching import find_matches
from jetsonx.deploy.oldtree import OldTree
from jetsonx.deploy.recipe import RecipeWriter
from jetsonx.deploy.transfer import Receiver
from jetsonx.deploy.values import RemoteImage
from jetsonx.store.cachedir import CacheDir
from tests.unit.deploy_images import image_in, merged, tar_of


class OldImage:
    """The files of the old image, as a container of it would show them."""

    def __init__(self, files: dict[bytes, bytes]) -> None:
        self._files = files
        self.sources: list[Source] = []

    def expect(self, roots: list[bytes], sources: list[Source]) -> None:
        self.sources = sources
        for source in sources:
            root = roots[source.root]
            assert root in (b"", source.path) or source.path.startswith(root + b"/")

    def whole(self, index: int) -> Iterator[bytes]:
        return self.part(index, 0, self.sources[index].size)

    def part(self, index: int, offset: int, length: int) -> Iterator[bytes]:
        content = self._files[self.sources[index].path]
        assert len(content) == self.sources[index].size
        yield content[offset : offset + length]


def recipe_of(folder: Path, old_tar: bytes, new_tar: bytes) -> tuple[bytes, LocalImage]:
    kept = Kept(CacheDir(folder / "cache", Console(-1)))
    old = image_in(folder / "old", [old_tar])
    new = image_in(folder / "new", [new_tar], labels={"release": "new"})
    kept.keep(old)
    device = Receiver(images=(RemoteImage(id=old.id, diff_ids=()),))  # so that no layer is skipped
    prepared = prepare(new, "jetsonx/app:1", device, kept, "recipe")
    assert prepared.bundle is not None
    return prepared.bundle.path.read_bytes(), new


def archive_of(bundle: bytes, files: dict[bytes, bytes]) -> bytes:
    stream = io.BytesIO(bundle)
    assert stream.read(len(MAGIC)) == MAGIC
    return b"".join(rebuild(stream.read, OldImage(files)))


def layer_in(archive: bytes, diff_id: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        file = tar.extractfile(f"blobs/sha256/{diff_id[7:]}")
        assert file is not None
        return file.read()


def directly(folder: Path, old_tar: bytes, new_tar: bytes) -> None:
    """The same without documents, caches and files that are sent."""
    layers = []
    for name, tar in (("old", old_tar), ("new", new_tar)):
        path = folder / name
        path.write_bytes(tar)
        digest = f"sha256:{hashlib.sha256(tar).hexdigest()}"
        layer = LocalLayer(diff_id=digest, digest=digest, size_bytes=len(tar), compression="none", path=path)
        layers.append(LayerMap(layer, folder))
    body = io.BytesIO()
    with contextlib.closing(layers[0]), contextlib.closing(layers[1]):
        writer = RecipeWriter(OldTree(layers[:1]), body)
        writer.layer(layers[1])
    name = f"blobs/sha256/{layers[1].diff_id[7:]}"
    members = [(name, len(new_tar), layers[1].diff_id[7:])]
    for compression in ("xz", "zlib"):
        out = io.BytesIO()
        header = {"format": 1, "compression": compression, "members": members}
        write_recipe(out, header, writer.sources(), body)
        assert layer_in(archive_of(out.getvalue(), merged([old_tar])), layers[1].diff_id) == new_tar


def check(folder: Path, old_tar: bytes, new_tar: bytes) -> int:
    """Rebuild and compare; returns the bundle's size."""
    bundle, new = recipe_of(folder, old_tar, new_tar)
    archive = archive_of(bundle, merged([old_tar]))
    assert layer_in(archive, new.diff_ids[0]) == new_tar
    return len(bundle)


NAMES = st.sampled_from(
    ["a", "b", "opt/app/x", "opt/app/y", "./opt/app/z", "opt/ü", "opt/\udcff\udcfe", "n" * 120, "d/" * 60 + "f", "/abs"]
)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda seed, size, cut: (hashlib.sha256(bytes([seed])).digest() * 300)[cut : cut + size],
        st.integers(0, 3),
        st.integers(0, 3000),
        st.integers(0, 50),
    ),
)
KINDS = st.sampled_from(["file", "file", "file", "dir", "symlink", "hardlink", "char", "fifo", "whiteout", "opaque"])
MEMBERS = st.lists(
    st.tuples(NAMES, KINDS, CONTENTS, st.integers(0, 0o7777), st.integers(-1, 1 << 40), st.booleans()), max_size=12
)
FORMATS = st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])


def random_tar(members: list[tuple[str, str, bytes, int, int, bool]], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, errors="surrogateescape") as tar:
        for name, kind, content, mode, mtime, is_marked in members:
            folder, _, last = name.rpartition("/")
            name = {"whiteout": f"{folder}/.wh.{last}", "opaque": f"{folder}/.wh..wh..opq"}.get(kind, name)
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, mtime
            if is_marked and form == tarfile.PAX_FORMAT:
                info.pax_headers = {"SCHILY.xattr.user.x": "value"}
            types = {
                "dir": tarfile.DIRTYPE,
                "symlink": tarfile.SYMTYPE,
                "hardlink": tarfile.LNKTYPE,
                "char": tarfile.CHRTYPE,
                "fifo": tarfile.FIFOTYPE,
            }
            info.type = types.get(kind, tarfile.REGTYPE)
            info.linkname = "opt/app/x" if kind in ("symlink", "hardlink") else ""
            info.size = len(content) if kind == "file" else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(MEMBERS, MEMBERS, FORMATS, FORMATS)
@example([], [], tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)
def test_any_layer_comes_out_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    old: list[tuple[str, str, bytes, int, int, bool]],
    new: list[tuple[str, str, bytes, int, int, bool]],
    old_form: int,
    new_form: int,
) -> None:
    shared = old[: len(new) // 2] + new
    directly(tmp_path_factory.mktemp("r"), random_tar(old, old_form), random_tar(shared, new_form))


def test_a_hard_link_has_what_its_target_held_then_and_one_that_was_replaced_has_no_part_in_it(tmp_path: Path) -> None:
    first, second = b"first" * 20, b"second" * 20
    target, link = ("opt/app/x", "file"), ("a", "hardlink")
    for number, old in enumerate(
        (
            [(*target, first, 0, 0, False), (*link, b"", 0, 0, False), (*target, second, 0, 0, False)],
            [(*target, first, 0, 0, False), (*link, b"", 0, 0, False), ("a", "file", second, 0, 0, False)],
        )
    ):
        new = [("new", "file", first, 0, 0, False), ("newer", "file", second, 0, 0, False)]
        (tmp_path / str(number)).mkdir()
        directly(tmp_path / str(number), *(random_tar(each, tarfile.PAX_FORMAT) for each in (old, new)))


@settings(max_examples=50, deadline=None)
@given(
    st.binary(min_size=100, max_size=4000), st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=9)), max_size=9)
)
def test_matches_are_right_and_do_not_overlap(old: bytes, edits: list[tuple[int, bytes]]) -> None:
    new = bytearray(old)
    for at, data in edits:
        new[at : at + (len(data) // 2)] = data
    done = 0
    for match in find_matches(
        lambda at, count: old[at : at + count], len(old), lambda at, count: bytes(new[at : at + count]), len(new)
    ):
        assert match.new >= done
        assert old[match.old : match.old + match.length] == new[match.new : match.new + match.length]
        done = match.new + match.length


def noise(seed: int, size: int) -> bytes:
    return hashlib.shake_256(bytes([seed])).digest(size)


def test_an_edited_file_costs_its_edits(tmp_path: Path) -> None:
    old = noise(1, 1_000_000)
    new = bytearray(old)
    for at in range(0, 1_000_000, 50_000):
        new[at : at + 4] = b"edit"
        new[at + 999 : at + 999] = b"inserted"
    tars = tar_of({"opt/app/lib.so": old}), tar_of({"opt/app/lib.so": bytes(new)})
    assert check(tmp_path, *tars) < 3_000


def test_a_file_that_moved_costs_its_name(tmp_path: Path) -> None:
    content = noise(2, 500_000)
    assert check(tmp_path, tar_of({"opt/a": content}), tar_of({"usr/lib/b": content})) < 2_000


def test_unchanged_files_cost_a_few_bytes_each(tmp_path: Path) -> None:
    files = {f"opt/app/lib/module_{number:04}.py": noise(number % 250, 700 + number) for number in range(1000)}
    new = {**files, "opt/app/lib/module_0500.py": b"print()\n"}
    assert check(tmp_path, tar_of(files), tar_of(new)) < 9_000


def test_a_new_file_costs_no_more_than_it_compresses_to(tmp_path: Path) -> None:
    content = noise(3, 3_000_000)
    assert (
        check(tmp_path, tar_of({"opt/a": noise(4, 3_000_000)}), tar_of({"opt/a": content})) < 1.05 * 3_000_000 + 100_000
    )


@pytest.mark.parametrize("size", [9 << 30, 5 << 30])
def test_the_header_of_a_huge_file_is_kept_as_it_is(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("opt/huge")
    info.size, info.type = size, tarfile.CHRTYPE  # a type whose content is not there, whatever its size says
    tar = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    check(tmp_path, tar_of({"a": b"1"}), tar)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """A bundle, the old files it needs, and the archive it makes."""
    files = {f"opt/app/{number}": noise(number, 5000) for number in range(20)}
    old = tar_of(files)
    new = tar_of({**files, "opt/app/3": noise(3, 4000) + b"more", "opt/app/new": noise(99, 3000)})
    bundle, _ = recipe_of(tmp_path_factory.mktemp("hostile"), old, new)
    return bundle, merged([old]), archive_of(bundle, merged([old]))


def produced(bundle: bytes, files: dict[bytes, bytes]) -> tuple[bytes, RecipeError | None]:
    stream = io.BytesIO(bundle)
    stream.read(len(MAGIC))
    made: list[bytes] = []
    try:
        made.extend(rebuild(stream.read, OldImage(files)))
    except RecipeError as error:
        return b"".join(made), error
    return b"".join(made), None


def test_a_truncated_bundle_ends_before_the_archive_does(whole: tuple[bytes, dict[bytes, bytes], bytes]) -> None:
    bundle, files, archive = whole
    for cut in range(len(MAGIC), len(bundle) - 20, 97):
        made, error = produced(bundle[:cut], files)
        if error is None:  # cut within the footer: every member's digest was right
            assert made == archive
        else:
            assert error.reason == "damaged"
            assert len(made) <= len(archive) - 1024


def test_a_flipped_byte_ends_it_too_or_changes_nothing(whole: tuple[bytes, dict[bytes, bytes], bytes]) -> None:
    bundle, files, archive = whole
    for at in range(len(MAGIC), len(bundle), 31):
        damaged = bytearray(bundle)
        damaged[at] ^= 0x10
        made, error = produced(bytes(damaged), files)
        assert made == archive if error is None else len(made) <= len(archive) - 1024


def test_an_old_file_that_is_another_one_is_seen(whole: tuple[bytes, dict[bytes, bytes], bytes]) -> None:
    bundle, files, _ = whole
    made, error = produced(bundle, {**files, b"opt/app/7": noise(1, 5000)})
    assert error is not None
    assert error.reason == "mismatch"
    assert b"index.json" not in made


def test_gzip_and_plain_layers_give_the_same(tmp_path: Path) -> None:
    tar = tar_of({"opt/a": noise(5, 9000)})
    plain, packed = image_in(tmp_path / "p", [tar], compression="none"), image_in(tmp_path / "g", [tar])
    assert plain.id == packed.id
    assert b"".join(plain.layers[0].blocks()) == b"".join(packed.layers[0].blocks()) == tar
    assert gzip.decompress(packed.layers[0].path.read_bytes()) == tar
