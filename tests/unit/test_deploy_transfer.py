"""What has to travel: by chains of layers, by what the engine's store needs, by price."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.deploy.bundle import prepare
from jetsonx.deploy.image import LocalImage
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.roots import find_roots
from jetsonx.deploy.transfer import (
    Descriptor,
    Known,
    Need,
    Receiver,
    chain_ids,
    choose_method,
    find_need,
)
from jetsonx.deploy.values import RemoteImage
from jetsonx.errors import ConfigError
from jetsonx.store.cachedir import CacheDir
from tests.unit.deploy_images import image_in, tar_of

BASE, APP, OTHER = (tar_of({name: name.encode() * 500}) for name in ("base", "app", "other"))


@pytest.fixture
def image(tmp_path: Path) -> LocalImage:
    return image_in(tmp_path / "image", [BASE, APP])


def remote(image_id: str, *diff_ids: str, tag: str = "") -> RemoteImage:
    return RemoteImage(id=image_id, diff_ids=diff_ids, tags=(tag,) if tag else ())


def test_chain_ids_are_those_of_the_specification() -> None:
    first, second = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    chain = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    assert chain_ids((first, second)) == (first, chain)


def test_an_image_that_is_there_needs_nothing(image: LocalImage) -> None:
    need = find_need(image, "jetsonx/app:1", Receiver(images=(remote(image.id, *image.diff_ids),)), {})
    assert need.there == image.id
    assert not need.sent


def test_a_layer_is_skipped_with_all_below_it(image: LocalImage) -> None:
    base, app = image.diff_ids
    assert find_need(image, "jetsonx/app:1", Receiver(images=(remote("sha256:1", base),)), {}).sent == (app,)


def test_a_layer_on_another_base_is_sent(image: LocalImage) -> None:
    base, app = image.diff_ids
    other = Receiver(images=(remote("sha256:1", "sha256:other", app), remote("sha256:2", app)))
    assert find_need(image, "jetsonx/app:1", other, {}).sent == (base, app)


def test_with_containerd_a_layer_of_unknown_name_is_sent_too(image: LocalImage) -> None:
    base, app = image.diff_ids
    device = Receiver(images=(remote("sha256:1", base),), is_containerd=True)
    assert find_need(image, "jetsonx/app:1", device, {}).sent == (base, app)
    held = Descriptor(media_type="m", digest="sha256:gz", size_bytes=7)
    need = find_need(image, "jetsonx/app:1", device, {"sha256:1": Known(image_id="sha256:c", blobs={base: held})})
    assert (need.sent, need.held) == ((app,), {base: held})


def test_the_running_release_is_what_a_recipe_starts_from(image: LocalImage) -> None:
    base, app = image.diff_ids
    images = (
        remote("sha256:1", base, app, tag="else/where:1"),
        remote("sha256:2", base, tag="jetsonx/app:0"),
        remote("sha256:3", tag="jetsonx/app:current"),
        remote("sha256:4", base, app, tag="jetsonx/app:unknown"),
    )
    known = {each.id: Known(image_id=f"{each.id}0") for each in images[:3]}
    assert find_need(image, "jetsonx/app:1", Receiver(images=images), known).old_id == "sha256:30"
    assert find_need(image, "jetsonx/app:1", Receiver(images=images[:2]), known).old == "sha256:2"


@pytest.mark.parametrize(
    ("prices", "has_python", "old", "expected"),
    [
        ({"thin": 1000, "full": 5000, "recipe": 50}, True, "sha256:1", "recipe"),
        ({"thin": 1000, "full": 5000, "recipe": 950}, True, "sha256:1", "thin"),
        ({"thin": 1000, "full": 5000}, True, "sha256:1", "thin"),
        ({"thin": 1000, "full": 5000}, True, "", "thin"),
        ({"thin": 1000, "full": 5000, "recipe": 50}, False, "sha256:1", "thin"),
    ],
)
def test_the_cheapest_way_that_is_possible(prices: dict[str, int], has_python: bool, old: str, expected: str) -> None:
    device = Receiver(has_python=has_python)
    method, why = choose_method(Need(sent=("x",), old=old), prices, device)
    assert method == expected
    assert why
    assert choose_method(Need(sent=("x",), old=old), prices, device, "full")[0] == "full"


def test_a_recipe_that_cannot_be_is_refused(image: LocalImage) -> None:
    with pytest.raises(ConfigError, match="no python3"):
        choose_method(Need(sent=("x",), old="sha256:1"), {"thin": 1}, Receiver(has_python=False), "recipe")
    with pytest.raises(ConfigError, match="no earlier release"):
        choose_method(Need(sent=("x",)), {"thin": 1}, Receiver(), "recipe")


@pytest.mark.parametrize(
    ("path", "root"),
    [
        (b"opt/app/a/b", b"opt/app"),
        (b"usr/lib/aarch64-linux-gnu/libx.so", b"usr/lib/aarch64-linux-gnu/libx.so"),
        (b"usr/lib/aarch64-linux-gnu/x/y/z", b"usr/lib/aarch64-linux-gnu/x"),
        (b"top", b"top"),
    ],
)
def test_roots_leave_the_system_out(path: bytes, root: bytes) -> None:
    assert find_roots([path]) == {path: root}


def test_many_files_of_a_shared_directory_come_at_once() -> None:
    paths = [b"usr/bin/%d" % number for number in range(40)]
    assert set(find_roots([*paths, b"usr/bin/x/y"]).values()) == {b"usr/bin"}


# ---- what is kept ----------------------------------------------------------------------------------------------------


def kept_in(folder: Path, budget_bytes: int = 1 << 30) -> Kept:
    return Kept(CacheDir(folder / "cache", Console(-1)), budget_bytes)


def test_what_is_kept_outlives_the_build(tmp_path: Path, image: LocalImage) -> None:
    kept = kept_in(tmp_path)
    kept.keep(image)
    for layer in image.layers:
        layer.path.unlink()
    found = kept.find(image.id)
    assert found is not None
    assert (found.id, found.config, found.diff_ids) == (image.id, image.config, image.diff_ids)
    assert b"".join(found.layers[1].blocks()) == APP
    assert kept.find("sha256:" + "0" * 64) is None


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    images = [image_in(tmp_path / str(n), [hashlib.shake_256(bytes([n])).digest(1024) * 10]) for n in range(3)]
    kept = kept_in(tmp_path, budget_bytes=2 * images[0].layers[0].size_bytes + 100)
    kept.keep(images[0])
    kept.keep(images[1])
    assert kept.find(images[0].id)  # used again
    kept.keep(images[2])
    assert [kept.find(each.id) is not None for each in images] == [True, False, True]
    assert len(list((tmp_path / "cache/deployed/layers").iterdir())) == 2


def test_a_damaged_layer_that_is_kept_leads_to_whole_layers(tmp_path: Path, image: LocalImage) -> None:
    kept = kept_in(tmp_path)
    kept.keep(image)
    device = Receiver(images=(remote(image.id, *image.diff_ids),))
    new = image_in(tmp_path / "new", [BASE, OTHER])
    place = tmp_path / "cache/deployed/layers" / image.diff_ids[1][7:]
    data = place.read_bytes()
    place.unlink()
    place.write_bytes(data[:20] + bytes(len(data) - 20))
    assert prepare(new, "jetsonx/app:2", device, kept).plan.method == "thin"
    with pytest.raises(ConfigError, match="damaged"):
        prepare(new, "jetsonx/app:2", device, kept, "recipe")


def test_a_fleet_shares_one_bundle(tmp_path: Path, image: LocalImage) -> None:
    kept = kept_in(tmp_path)
    first, second = (prepare(image, "jetsonx/app:1", Receiver(), kept) for _ in range(2))
    assert first.bundle == second.bundle
    assert first.bundle is not None
    assert hashlib.sha256(first.bundle.path.read_bytes()).hexdigest() == first.bundle.sha256
    elsewhere = prepare(image, "jetsonx/app:1", Receiver(), kept_in(tmp_path / "other"))
    assert elsewhere.bundle is not None
    assert elsewhere.bundle.sha256 == first.bundle.sha256


def test_a_damaged_new_layer_is_said(tmp_path: Path, image: LocalImage) -> None:
    kept = kept_in(tmp_path)
    kept.keep(image)
    new = image_in(tmp_path / "new", [BASE, OTHER], compression="none")
    data = bytearray(new.layers[1].path.read_bytes())
    data[700] ^= 1
    new.layers[1].path.write_bytes(data)
    with pytest.raises(ConfigError, match="damaged"):
        prepare(new, "jetsonx/app:2", Receiver(images=(remote(image.id, *image.diff_ids),)), kept, "recipe")
