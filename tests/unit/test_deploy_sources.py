"""Which image goes to which device, and secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog
from jetsonx.console import Console
from jetsonx.deploy.built import Built
from jetsonx.deploy.image import LocalImage
from jetsonx.deploy.order import Order
from jetsonx.deploy.sources import choose_image, load_sources
from jetsonx.device.identify import identify
from jetsonx.errors import ConfigError
from jetsonx.store.cachedir import CacheDir
from tests.unit.deploy_values import LABELS, config_of, image
from tests.unit.device_answers import answer
from tests.unit.device_answers import device as read

CATALOG = load_catalog()
PROJECT = '[project]\nname = "demo"\n[build]\nsystem = "cuda"\n[deploy]\nsecrets = {{ token = "{path}" }}\n'


def cache_in(folder: Path) -> CacheDir:
    return CacheDir(folder / "cache", Console(-1))


def built(targets: str, sms: str = "87") -> Built:
    labels = {**LABELS, "jetsonx.target": targets, "jetsonx.sms": sms}
    facts = image(labels)
    local = LocalImage(id=facts.id, config=config_of(labels), layers=(), labels=labels)
    return Built(path=Path(targets), image=local, facts=facts)


@pytest.mark.parametrize(
    ("images", "chosen"),
    [
        ((built("orin-nano@35.6.1"), built("orin-nano@36.4.3"), built("orin-nano@39.2.0")), 1),
        ((built("agx-orin@35.4.1"), built("agx-orin@36.4.4"), built("agx-orin@39.2.0")), 1),
        ((built("agx-thor@36.4.3", "110"), built("agx-orin@36.4.0,agx-thor@36.4.3", "87,110")), 1),
        ((built("agx-orin@35.4.1"), built("agx-thor@39.2.0", "110")), 0),
    ],
)
def test_the_image_that_fits_is_taken(images: tuple[Built, ...], chosen: int) -> None:
    device = read(answer())
    assert choose_image(images, identify(device, CATALOG), device.l4t, CATALOG) is images[chosen]


def test_an_image_is_needed(tmp_path: Path) -> None:
    (tmp_path / "jetsonx.toml").write_text(PROJECT.format(path="x"))
    with pytest.raises(ConfigError, match="holds no image"):
        load_sources(Order(directory=tmp_path), cache_in(tmp_path))


def with_layout(tmp_path: Path, secret: str) -> Order:
    """A project with an image of no layers."""
    from jetsonx.image.oci import write_documents

    (tmp_path / "jetsonx.toml").write_text(PROJECT.format(path=secret))
    layout = tmp_path / "out/image"
    (layout / "blobs/sha256").mkdir(parents=True)
    config = config_of()[:-1] + b', "rootfs": {"type": "layers", "diff_ids": []}}'
    write_documents(layout, config, [], reference="demo:1", key="k")
    return Order(directory=tmp_path)


def test_secrets_are_read_beside_the_project(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"hush")
    sources = load_sources(with_layout(tmp_path, "token"), cache_in(tmp_path))
    assert (sources.app, sources.secrets) == ("demo", {"token": b"hush"})
    assert len(sources.images) == 1
    assert sources.images[0].facts.targets == ("orin-nano@36.4.3",)


def test_a_secret_that_is_not_there_or_too_large_is_said(tmp_path: Path) -> None:
    order = with_layout(tmp_path, "token")
    with pytest.raises(ConfigError, match=r"deploy\.secrets\.token: .*token cannot be read"):
        load_sources(order, cache_in(tmp_path))
    (tmp_path / "token").write_bytes(bytes(65537))
    with pytest.raises(ConfigError, match="at most 65536 bytes"):
        load_sources(order, cache_in(tmp_path))


def test_an_image_by_itself_is_called_by_its_label(tmp_path: Path) -> None:
    with_layout(tmp_path, "token")
    (tmp_path / "jetsonx.toml").unlink()
    order = Order(directory=tmp_path, image=tmp_path / "out/image")
    with pytest.raises(ConfigError, match="does not say what it is called"):
        load_sources(order, cache_in(tmp_path))
    assert (
        load_sources(Order(directory=tmp_path, image=tmp_path / "out/image", app="web"), cache_in(tmp_path)).app
        == "web"
    )
