"""Where logins come from, and how a registry's question is answered with them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest

from jetsonx.errors import ConfigError, DownloadError, HostError
from jetsonx.net.http import Refused
from jetsonx.registry.authorization import Authorization, Challenge, parse_challenges
from jetsonx.registry.credentials import Credentials, Login, load_credentials
from jetsonx.runner import Command, Completed, Runner
from tests.unit.http_script import Says, Script


class Programs(Runner):
    """Answers for every program; ``calls`` are (name, what it read)."""

    def __init__(self, stdout: str = "", *, status: int = 0, there: bool = True) -> None:
        super().__init__()
        self.answer = (stdout, status)
        self.there = there
        self.calls: list[tuple[str, bytes]] = []

    def run(self, command: Command, **options: Any) -> Completed:
        if not self.there:
            raise HostError(f"cannot run {command.argv[0]}: No such file or directory")
        self.calls.append((command.argv[0], options["stdin"]))
        stdout, status = self.answer
        return Completed(command=command, status=status, stdout=stdout, tail=stdout.strip())


def basic(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def logins(tmp_path: Path) -> Callable[..., Credentials]:
    def make(data: object, runner: Runner | None = None, podman: object = None) -> Credentials:
        files = []
        for name, content in (("config.json", data), ("auth.json", podman)):
            path = tmp_path / name
            if content is not None:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
            files.append(path)
        return Credentials(runner or Programs(), files)

    return make


Logins = Callable[..., Credentials]


@pytest.mark.parametrize("key", ["nvcr.io", "https://nvcr.io", "https://nvcr.io/v2/", "http://nvcr.io/v1/", "nvcr.io/"])
def test_a_login_in_the_file(logins: Logins, key: str) -> None:
    found = logins({"auths": {key: {"auth": basic("$oauthtoken:a:b")}}}).find("nvcr.io")
    assert found.login == Login(username="$oauthtoken", password="a:b")
    assert "$oauthtoken" in found.origin
    assert "a:b" not in f"{found}"


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io", "index.docker.io"])
def test_dockers_own_registry_has_a_name_of_its_own_there(logins: Logins, host: str) -> None:
    found = logins({"auths": {"https://index.docker.io/v1/": {"auth": basic("a:b")}}}).find(host)
    assert found.login == Login(username="a", password="b")


def test_another_hosts_login_is_not_taken(logins: Logins) -> None:
    auths = {name: {"auth": basic("a:b")} for name in ("nvcr.io:5000", "xnvcr.io", "nvcr.io.evil.example")}
    assert logins({"auths": auths}).find("nvcr.io").login is None


def test_podmans_file_and_its_narrower_keys(logins: Logins) -> None:
    auths = {"r.example": {"auth": basic("all:1")}, "r.example/team/x": {"auth": basic("x:2")}}
    credentials = logins(None, podman={"auths": auths})
    assert cast("Login", credentials.find("r.example", "team/x/y").login).username == "x"
    assert cast("Login", credentials.find("r.example", "team/xy").login).username == "all"


def test_identity_tokens(logins: Logins) -> None:
    entry = {"auth": basic("00000000-0000-0000-0000-000000000000:"), "identitytoken": "T"}
    login = logins({"auths": {"a.example": entry}}).find("a.example").login
    assert login is not None
    assert login.identity_token == "T"


def test_what_credsstore_leaves_in_the_file_is_no_login(logins: Logins) -> None:
    assert logins({"auths": {"a.example": {}}}).find("a.example").login is None


def test_a_helper_for_one_registry_comes_before_the_store(logins: Logins) -> None:
    programs = Programs(json.dumps({"ServerURL": "x", "Username": "u", "Secret": "s"}))
    credentials = logins({"credsStore": "desktop", "credHelpers": {"nvcr.io": "pass"}}, programs)
    assert credentials.find("nvcr.io").login == Login(username="u", password="s")
    assert credentials.find("docker.io").login == Login(username="u", password="s")
    assert programs.calls == [
        ("docker-credential-pass", b"nvcr.io"),
        ("docker-credential-desktop", b"https://index.docker.io/v1/"),
    ]


def test_a_helper_with_an_identity_token(logins: Logins) -> None:
    programs = Programs(json.dumps({"Username": "<token>", "Secret": "s"}))
    login = logins({"credsStore": "x"}, programs).find("a.example").login
    assert login == Login(username="<token>", identity_token="s")


def test_a_helper_that_knows_nothing_is_no_trouble(logins: Logins) -> None:
    programs = Programs("credentials not found in native keychain\n", status=1)
    auths = {"a.example": {"auth": basic("a:b")}}
    assert logins({"credsStore": "x"}, programs).find("a.example").origin == ""
    assert logins({"credsStore": "x", "auths": auths}, programs).find("a.example").login is not None


@pytest.mark.parametrize(
    ("programs", "words"),
    [
        (Programs(there=False), "names docker-credential-x: cannot run"),
        (Programs("locked\n", status=1), "failed: locked"),
        (Programs("", status=3), "failed: exit status 3"),
        (Programs('{"Username": "u", "Sec'), "no login that can be read"),
        (Programs("[]"), "no login that can be read"),
    ],
)
def test_a_helper_that_fails_is_told_of(logins: Logins, programs: Programs, words: str) -> None:
    found = logins({"credsStore": "x"}, programs).find("a.example")
    assert found.login is None
    assert words in found.origin


@pytest.mark.parametrize(
    "data", ["{", "[]", {"auths": []}, {"credHelpers": 1}, {"auths": {"a.example": {"auth": "%%"}}}]
)
def test_a_damaged_file_is_named(logins: Logins, data: object) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        logins(data).find("a.example")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        Credentials(Programs(), [tmp_path / "config.json"]).find("a.example")


def test_where_they_are_looked_for(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": "/run/user/1"}
    for folder in (".docker", ".config/containers"):
        (tmp_path / folder).mkdir(parents=True)
    auths = {"auths": {"a.example": {"auth": basic("podman:x")}}}
    (tmp_path / ".config/containers/auth.json").write_text(json.dumps(auths))
    assert "podman" in load_credentials(environ, Programs()).find("a.example").origin
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {"a.example": {"auth": basic("docker:x")}}}))
    assert "docker" in load_credentials(environ, Programs()).find("a.example").origin
    moved = {**environ, "DOCKER_CONFIG": str(tmp_path / "none"), "REGISTRY_AUTH_FILE": str(tmp_path / "none")}
    assert load_credentials(moved, Programs()).find("a.example").login is None


# ---- challenges ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://nvcr.io/proxy_auth",scope="repository:nvidia/cuda:pull,push"',
            [("bearer", {"realm": "https://nvcr.io/proxy_auth", "scope": "repository:nvidia/cuda:pull,push"})],
        ),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        (
            'bearer realm = "u", Service=s , Basic realm="say \\"hi\\"", charset="UTF-8"',
            [("bearer", {"realm": "u", "service": "s"}), ("basic", {"realm": 'say "hi"', "charset": "UTF-8"})],
        ),
        ('Basic realm="open', [("basic", {})]),
    ],
)
def test_parse_challenges(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(text) == tuple(Challenge(scheme=scheme, parameters=names) for scheme, names in expected)


BEARER = 'Bearer realm="https://auth.example/token?x=1",service="the service",scope="repository:a/b:pull"'
TOKEN = Says(body=b'{"token": "T"}')


def refusal(challenge: str = BEARER, *, sent: str | None = None, url: str = "https://nvcr.io/v2/a/b/x") -> Refused:
    return Refused(url=url, sent=sent, challenge=challenge)


def sent_with(script: Script) -> list[str | None]:
    words = (request.headers.get("Authorization") for request in script.asked)
    return [None if word is None else str(word) for word in words]


def test_a_token_is_fetched_once_for_all_who_were_refused(logins: Logins) -> None:
    script = Script(TOKEN)
    authorization = Authorization(script.http(), logins({}), "a/b")
    assert authorization(None) is None
    assert [authorization(refusal()), authorization(refusal()), authorization(None)] == ["Bearer T"] * 3
    query = parse_qs(urlsplit(cast("str", script.asked[0].url)).query)
    assert query == {"x": ["1"], "service": ["the service"], "scope": ["repository:a/b:pull"]}


def test_a_token_that_ran_out_is_fetched_anew(logins: Logins) -> None:
    authorization = Authorization(Script(TOKEN, Says(body=b'{"access_token": "U"}')).http(), logins({}), "a/b")
    authorization(refusal())
    assert authorization(refusal(sent="Bearer T")) == "Bearer U"


def test_the_login_is_sent_for_the_token(logins: Logins) -> None:
    script = Script(TOKEN)
    credentials = logins({"auths": {"nvcr.io": {"auth": basic("u:p")}}})
    Authorization(script.http(), credentials, "a/b")(refusal())
    assert sent_with(script) == [f"Basic {basic('u:p')}"]


def test_an_identity_token_is_sent_as_a_form(logins: Logins) -> None:
    script = Script(TOKEN)
    credentials = logins({"auths": {"nvcr.io": {"identitytoken": "I"}}})
    Authorization(script.http(), credentials, "a/b")(refusal())
    form = parse_qs(cast("str", script.asked[0].body))
    assert (script.asked[0].method, form["refresh_token"], form["grant_type"]) == ("POST", ["I"], ["refresh_token"])


def test_a_login_that_is_refused_gives_way_to_none(logins: Logins) -> None:
    script = Script(Says(status=401), TOKEN)
    credentials = logins({"auths": {"nvcr.io": {"auth": basic("u:old")}}})
    authorization = Authorization(script.http(), credentials, "a/b")
    assert authorization(refusal()) == "Bearer T"
    assert sent_with(script) == [f"Basic {basic('u:old')}", None]
    assert "the login of u" in authorization.tried[0]


def test_a_login_never_goes_out_in_the_clear(logins: Logins) -> None:
    credentials = logins({"auths": {"nvcr.io": {"auth": basic("u:p")}}})
    script = Script()
    with pytest.raises(DownloadError, match="in the clear"):
        Authorization(script.http(), credentials, "a/b")(refusal('Bearer realm="http://auth.example/"'))
    assert script.asked == []


@pytest.mark.parametrize("realm", ["", "file:///etc/passwd", "//x"])
def test_a_place_for_tokens_that_is_none(logins: Logins, realm: str) -> None:
    with pytest.raises(DownloadError, match="names no place"):
        Authorization(Script().http(), logins({}), "a/b")(refusal(f'Bearer realm="{realm}"'))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"token": "a\\r\\nX: y"}', b'{"token": 5}'])
def test_tokens_that_are_none(logins: Logins, body: bytes) -> None:
    with pytest.raises(DownloadError, match=r"auth\.example.*token"):
        Authorization(Script(Says(body=body)).http(), logins({}), "a/b")(refusal())


def test_basic_is_tried_once(logins: Logins) -> None:
    credentials = logins({"auths": {"nvcr.io": {"auth": basic("u:p")}}})
    authorization = Authorization(Script().http(), credentials, "a/b")
    header = authorization(refusal("Basic realm=x"))
    assert header == f"Basic {basic('u:p')}"
    assert authorization(refusal("Basic realm=x", sent=header)) is None


def test_without_a_way_that_is_known_nothing_is_sent(logins: Logins) -> None:
    assert Authorization(Script().http(), logins({}), "a/b")(refusal("Negotiate")) is None
