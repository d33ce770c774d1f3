"""One layer read into an index and the store; bounds, names that no layer may have, and the corpus of the fuzzer."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.rootfs import layer as layer_module
from jetsonx.rootfs.layer import Bound, Item, load_ratio, parse_index, read_layer, render_item
from jetsonx.store.tree import Objects
from tests.fuzz.fuzz_layer import CORPUS, check_input
from tests.unit.hostile import header, sealed

Keeps = Callable[[str], bool]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    (tmp_path / "scratch").mkdir()
    return Objects(tmp_path / "objects", tmp_path / "scratch")


def index(
    data: bytes, objects: Objects, keeps: Keeps | None = None, *, only: set[int] | None = None, ratio: int = 100
) -> list[Item]:
    bound = Bound("layer 1", len(data), ratio)
    return list(read_layer(io.BytesIO(data).read, objects, keeps, name="layer 1", bound=bound, only=only))


def in_usr(path: str) -> bool:
    return path.startswith("usr/")


def file(name: str | bytes, content: bytes, *, mode: int = 0o644) -> bytes:
    return header(name, size=len(content), mode=mode) + content + bytes(-len(content) % 512)


def test_everything_is_named_and_what_is_wanted_is_stored(objects: Objects) -> None:
    data = (
        header("./", kind="5")
        + header("./usr/", kind="5")
        + file("./usr/a", b"one", mode=0o4755)
        + file("./lib/b", b"two")
        + file("./opt/c", b"three")
        + header("./usr/l", kind="2", target="/opt/c")
        + header("./usr/h", kind="1", target="./opt/c")
        + header("./dev/null", kind="3")
        + file("./usr/.wh.gone", b"")
        + bytes(1024)
    )
    found = index(gzip.compress(data), objects, in_usr)
    assert [(item.kind, item.number, item.path) for item in found] == [
        ("dir", 1, "usr"),
        ("file", 2, "usr/a"),
        ("file", 3, "lib/b"),
        ("file", 4, "opt/c"),
        ("symlink", 5, "usr/l"),
        ("hardlink", 6, "usr/h"),
        ("other", 7, "dev/null"),
        ("file", 8, "usr/.wh.gone"),
    ]
    by_path = {item.path: item for item in found}
    assert by_path["usr/h"].content == "opt/c"
    assert by_path["opt/c"].content == by_path["usr/.wh.gone"].content == ""
    stored = objects.path(by_path["usr/a"].content, executable=True)
    assert (stored.read_bytes(), stored.stat().st_mode & 0o7777) == (b"one", 0o555)
    assert objects.has(by_path["lib/b"].content, 3, executable=False)  # judged as usr/lib/b
    [later] = index(gzip.compress(data), objects, in_usr, only={4})
    assert (later.number, objects.path(later.content, executable=False).read_bytes()) == (4, b"three")


def test_large_files_are_stored_in_pieces(objects: Objects) -> None:
    content = bytes(range(256)) * 12_000
    [item] = index(file("usr/a", content) + bytes(1024), objects)
    assert objects.path(item.content, executable=False).read_bytes() == content


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "usr/../../evil", "usr/a\nb", b"usr/caf\xe9", "usr/" + "d/" * 40 + "\x01"]
)
def test_names_that_are_refused(name: str | bytes, objects: Objects) -> None:
    with pytest.raises(DownloadError, match="layer 1: refused"):
        index(file(name, b"x") + bytes(1024), objects, in_usr)


@pytest.mark.parametrize("name", ["opt/a\nb", b"opt/caf\xe9"])
def test_odd_names_that_nobody_wants_are_passed_over(name: str | bytes, objects: Objects) -> None:
    assert index(file(name, b"x") + header("usr/a") + bytes(1024), objects, in_usr)[0].path == "usr/a"


def test_a_name_longer_than_any_system_takes(objects: Objects) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("usr/" + "x/" * 4000))
    with pytest.raises(DownloadError, match="a path of 80"):
        index(out.getvalue(), objects, in_usr)


def test_a_link_to_an_odd_name(objects: Objects) -> None:
    with pytest.raises(DownloadError, match="no usable name"):
        index(header("usr/a", kind="2", target="x\ny") + bytes(1024), objects, in_usr)
    [item] = index(header("opt/a", kind="2", target="x\ny") + bytes(1024), objects, in_usr)
    assert item.kind == "other"


def test_a_hard_link_to_the_outside(objects: Objects) -> None:
    with pytest.raises(DownloadError, match="refused"):
        index(header("usr/a", kind="1", target="../../etc/shadow") + bytes(1024), objects, in_usr)


# ---- bounds ----------------------------------------------------------------------------------------------------------


def test_a_declared_size_beyond_the_bound_is_refused_before_it_is_read(objects: Objects) -> None:
    head = bytearray(header("usr/a"))
    head[124:136] = b"\x80" + (1 << 50).to_bytes(11, "big")
    with pytest.raises(DownloadError, match="layer 1 unpacks to more than 1073741824 bytes") as caught:
        index(sealed(bytes(head)), objects)
    assert caught.value.hint is not None
    assert "JETSONX_MAX_UNPACK_RATIO=1000" in caught.value.hint


def test_a_bomb_is_refused_and_can_be_allowed(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "_ROOM_BYTES", 1 << 20)
    bomb = gzip.compress(header("opt/a", size=4 << 20) + bytes(4 << 20) + bytes(1024))
    with pytest.raises(DownloadError, match="decompression bomb"):
        index(bomb, objects, in_usr)
    assert index(bomb, objects, in_usr, ratio=10_000)[0].size_bytes == 4 << 20


def test_zeros_behind_the_end_count_too(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "_ROOM_BYTES", 1 << 20)
    with pytest.raises(DownloadError, match="decompression bomb"):
        index(gzip.compress(bytes(4 << 20)), objects, in_usr, ratio=1)


def test_too_many_names(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "_NAMES_MAX", 3)
    with pytest.raises(DownloadError, match="more than 3 names"):
        index(b"".join(header(f"a{n}") for n in range(4)), objects)


def test_the_setting_of_the_bound() -> None:
    assert load_ratio({}) == 100
    assert load_ratio({"JETSONX_MAX_UNPACK_RATIO": "2000"}) == 2000
    for text in ("", "0", "-1", "1e9", "many", "²"):
        with pytest.raises(ConfigError, match="whole number"):
            load_ratio({"JETSONX_MAX_UNPACK_RATIO": text})


# ---- the index as text -----------------------------------------------------------------------------------------------


@given(
    st.builds(
        Item,
        st.sampled_from(["file", "dir", "symlink", "hardlink", "other"]),
        st.integers(0, 9**9),
        st.integers(0, 2**60),
        st.booleans(),
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])),
        st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1),
    )
)
def test_an_index_is_read_as_it_was_written(item: Item) -> None:
    assert list(parse_index(render_item(item) * 2)) == [item, item]


@pytest.mark.parametrize("text", ["x\n", "f\t1\t2\t\t\n", "q\t1\t2\t\t\ta\n", "f\tone\t2\t\t\ta\n"])
def test_no_index(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        list(parse_index(text))


# ---- the corpus ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_the_corpus(path: Path, tmp_path: Path) -> None:
    check_input(path.read_bytes(), tmp_path)


def test_the_corpus_is_there_and_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.iterdir()]
    assert len(sizes) > 20
    assert max(sizes) < 4096
