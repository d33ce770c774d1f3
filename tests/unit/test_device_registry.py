"""The user's named devices: where they are kept, what is refused, what survives."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from jetsonx.cli import cli
from jetsonx.device.fleet import known_rows
from jetsonx.device.hostkey import HostKey, parse_question
from jetsonx.device.registry import Named, Registry, open_registry, parse_devices
from jetsonx.device.render import render_rows, rows_json
from jetsonx.errors import ConfigError
from jetsonx.rootfs.ssh import Address
from tests.unit.device_answers import ASKED_S, ORIN


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry({"JETSONX_CONFIG": str(tmp_path / "mine/config.toml")})


def test_devices_lie_beside_the_configuration_file(registry: Registry, tmp_path: Path) -> None:
    assert registry.load() == {}
    assert not (tmp_path / "mine").exists()
    orin = Named(name="orin", address="jetson@orin", said=ORIN, asked_s=ASKED_S)
    registry.add(orin)
    registry.add(Named(name="nano", address="ssh://nano:2222"))
    assert registry.path == tmp_path / "mine/devices.json"
    assert list(registry.load()) == ["nano", "orin"]
    assert registry.load()["orin"] == orin
    assert registry.find("orin")[1].host == "jetson@orin"
    assert registry.find("other@host") == ("", Address(host="other@host"))
    assert registry.remove("orin") == orin
    with pytest.raises(ConfigError, match="there is no device 'orin'") as error:
        registry.remove("orin")
    assert error.value.hint == "known: nano"


@pytest.mark.parametrize("name", ["", "-x", "all", "a b", "a/b", "x" * 64, "a\n", "é"])
def test_what_is_no_name(registry: Registry, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a device"):
        registry.add(Named(name=name, address="host"))


def test_a_name_belongs_to_one_address(registry: Registry) -> None:
    registry.add(Named(name="orin", address="a"))
    registry.add(Named(name="orin", address="a", said=ORIN, asked_s=ASKED_S))
    with pytest.raises(ConfigError, match="orin is the name of a already"):
        registry.add(Named(name="orin", address="b"))


def test_an_answer_does_not_bring_back_what_was_removed(registry: Registry) -> None:
    registry.add(Named(name="orin", address="a"))
    registry.remove("orin")
    registry.remember("orin", ORIN, ASKED_S)
    assert registry.load() == {}


def test_devices_added_at_once_are_all_kept(registry: Registry) -> None:
    threads = [threading.Thread(target=registry.add, args=(Named(name=f"d{n}", address="a"),)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.load()) == 12


def test_a_link_to_the_file_stays_one_and_nothing_is_left_beside_it(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "dotfiles").mkdir()
    registry.path.symlink_to(tmp_path / "dotfiles/devices.json")
    registry.add(Named(name="orin", address="a"))
    assert registry.path.is_symlink()
    assert [path.name for path in (tmp_path / "dotfiles").iterdir()] == ["devices.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        '{"schema": 2, "devices": {}}',
        '{"schema": 1, "devices": []}',
        '{"schema": 1, "devices": {"x": 5}}',
        '{"schema": 1, "devices": {"x": {"address": "-oProxyCommand=x", "asked_s": 0, "said": {}}}}',
        '{"schema": 1, "devices": {"x": {"address": "a", "asked_s": 1e300, "said": {}}}}',
        '{"schema": 1, "devices": {"x": {"address": "a", "asked_s": NaN, "said": {}}}}',
        '{"schema": 1, "devices": {"x": {"address": "a", "asked_s": 0, "said": {"machine": 1}}}}',
        '{"schema": 1, "devices": {"-x": {"address": "a", "asked_s": 0, "said": {}}}}',
    ],
)
def test_a_file_of_something_else_is_said_and_left_alone(registry: Registry, text: str) -> None:
    registry.path.parent.mkdir()
    registry.path.write_text(text)
    with pytest.raises(ConfigError):
        registry.load()
    with pytest.raises(ConfigError):
        registry.add(Named(name="orin", address="a"))
    assert registry.path.read_text() == text


def test_the_list_shows_what_is_known(registry: Registry) -> None:
    assert list(render_rows(known_rows(registry))) == ["no devices; jetsonx device add NAME USER@HOST adds one"]
    registry.add(Named(name="orin", address="jetson@orin", said=ORIN, asked_s=ASKED_S))
    registry.add(Named(name="new", address="new", tags=("field", "north")))
    rows = known_rows(registry)
    heading, new, orin = render_rows(rows)
    assert heading.split() == ["NAME", "ADDRESS", "MODULE", "L4T", "DOCKER", "STORE", "FREE", "READY", "SEEN", "TAGS"]
    assert new.split() == ["new", "new", *"------", "never", "field,north"]
    words = ["orin", "jetson@orin", "orin-nano", "36.4.3", "27.5.1", "overlay2", "41.0", "GB", "yes"]
    assert orin.split() == [*words, "2023-11-14T22:13:20Z"]
    document = json.loads(json.dumps(rows_json(rows)))
    assert [each["known"] and each["known"]["target"] for each in document["devices"]] == [None, "orin-nano@36.4.3"]


def test_ssh_s_question_is_read() -> None:
    text = """\
The authenticity of host '[10.0.0.1]:22022 ([10.0.0.1]:22022)' can't be established.
ED25519 key fingerprint is SHA256:vivTI/etumL6mCv7QLp3BhuEYMnvTFQleYwDk/LpkR8.
This key is not known by any other names.
Are you sure you want to continue connecting (yes/no/[fingerprint])? """
    assert parse_question(text) == HostKey(
        host="[10.0.0.1]:22022 ([10.0.0.1]:22022)",
        kind="ED25519",
        fingerprint="SHA256:vivTI/etumL6mCv7QLp3BhuEYMnvTFQleYwDk/LpkR8",
    )
    assert parse_question("me@host's password: ") is None
    assert parse_question(text + "\x1b[2J") is None


@pytest.mark.parametrize("address", ["-oProxyCommand=x", "$(id)@jetson", "jetson;id", "a@-oX=y", "`id`", "a b", "h:/x"])
def test_hostile_addresses_start_nothing_and_are_not_kept(
    address: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETSONX_CONFIG", str(registry.path.with_name("config.toml")))
    for words in (
        ("add", "orin", "--no-probe", "--", address),
        ("add", "orin", "--", address),
        ("probe", "--", address),
    ):
        done = CliRunner().invoke(cli, ["device", *words])
        assert isinstance(done.exception, ConfigError)
    assert registry.load() == {}


def test_devices_are_chosen_by_name_tag_address_or_all(registry: Registry) -> None:
    registry.add(Named(name="one", address="a@one", tags=("field",)))
    registry.add(Named(name="two", address="a@two", tags=("field", "north")))
    registry.add(Named(name="three", address="a@three"))

    def names(*words: str) -> list[str]:
        return [name or str(address) for name, address in registry.select(words)]

    assert names("all") == ["one", "three", "two"]
    assert names("field") == ["one", "two"]
    assert names("north", "field", "three", "b@four", "two") == ["two", "one", "three", "b@four"]


def test_all_of_none_is_said(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="no devices by name"):
        registry.select(["all"])


def test_files_without_tags_are_read_and_tags_are_names(registry: Registry) -> None:
    row = {"address": "a@one", "asked_s": 0, "said": {}}
    assert parse_devices(json.dumps({"schema": 1, "devices": {"one": row}}), where="x")["one"].tags == ()
    with pytest.raises(ConfigError, match="one: expected"):
        parse_devices(json.dumps({"schema": 1, "devices": {"one": row | {"tags": ["all"]}}}), where="x")
