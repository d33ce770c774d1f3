"""What a device's shell is given: names that can be none are refused, values stay values."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.deploy.request import Debugger, Files, Request, check_app, check_release, render_release, render_request
from jetsonx.deploy.values import Health, Release
from jetsonx.errors import ConfigError

RELEASE = Release(app="demo", id="0123456789ab", image_id="sha256:" + "1" * 64, reference="jetsonx/demo:0123456789ab")
REQUEST = Request(kind="switch", app="demo", op="0" * 16, who="me@here", when="2026-01-01T00:00:00Z", release=RELEASE)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "Demo",
        "-rf",
        "a b",
        "a;b",
        "$(id)",
        "../up",
        "a/b",
        "demo.next",
        "demo.prev",
        "demo.debug",
        "a.old.b",
        "a" * 64,
        "a\n",
        "é",
    ],
)
def test_hostile_names_of_apps_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of an app"):
        check_app(name)
    with pytest.raises(ConfigError):
        render_request(replace(REQUEST, app=name))


@pytest.mark.parametrize("name", ["ab", "demo", "my-demo_2", "a.b"])
def test_names_of_apps(name: str) -> None:
    check_app(name)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../x"},
        {"id": "g" * 12},
        {"image_id": "sha256:12"},
        {"reference": "jetsonx/demo"},
        {"reference": "-x:1"},
        {"restart": "always; id"},
        {"secrets": {"../x": b""}},
        {"secrets": {"-x": b""}},
        {"secrets": {"a,b": b""}},
        {"options": ("a\0b",)},
        {"labels": {"a": "\0"}},
        {"health": Health(kind="http", url="file:///etc/passwd")},
        {"health": Health(kind="http", url="http://a b")},
        {"health": Health(kind="command")},
    ],
)
def test_what_can_be_no_release_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        check_release(replace(RELEASE, **change))  # type: ignore[arg-type]


@given(st.lists(TEXTS, max_size=5), st.lists(TEXTS, max_size=3), TEXTS)
def test_words_come_back_as_they_were(options: list[str], command: list[str], label: str) -> None:
    release = replace(RELEASE, options=tuple(options), command=tuple(command), labels={"x": label})
    text = render_release(release)
    words = shlex.split(text[text.index("with_words()") : text.index("with_health()")].rstrip().removesuffix("; }"))
    assert words[3:] == [*options, "--label", f"x={label}", release.image_id, *command]


@given(TEXTS, st.binary(max_size=40))
def test_a_request_is_assignments_and_quoted_words(who: str, secret: bytes) -> None:
    request = replace(
        REQUEST, who=who, release=replace(RELEASE, secrets={"key": secret}), entry={"op": "0" * 16, "who": who}
    )
    text = render_request(request)
    assignments, _, puts = text.partition("put_secrets() {")
    values = dict(word.split("=", 1) for word in shlex.split(assignments))
    assert values["release_text"] == render_release(RELEASE)
    assert "\n" not in values["who"]
    assert json.loads(values["entry"] + "}")["who"] == who
    assert puts.split() == ["put_secret", "key", *base64.b64encode(secret).decode().split(), "}"]


def test_a_release_gets_the_time_to_stay_up() -> None:
    text = render_release(replace(RELEASE, health=Health(kind="stays", stays_s=60, timeout_s=30)))
    assert "health_timeout=65\n" in text


@given(TEXTS)
def test_words_of_a_debugged_program_and_names_of_files_stay_words(text: str) -> None:
    debugger = Debugger(tools="0" * 64, loader="/jetsonx-debug/ld.so", words=("-", text))
    asked = replace(REQUEST, kind="debug", release=None, debugger=debugger)
    assert f'with_program() {{ "$@" - {shlex.quote(text)}; }}\n' in render_request(asked)
    name = text.replace("\n", "")
    asked = replace(
        REQUEST, kind="sync", release=None, files=Files(archive="1", folder="/opt/demo", contents={name: "2"})
    )
    assert f"contents={shlex.quote(f'file=2 {name}' + chr(10))}\n" in render_request(asked)
