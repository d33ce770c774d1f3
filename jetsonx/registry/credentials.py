"""Logins, from where `docker login` and `podman login` put them.

``credHelpers`` and ``credsStore`` name programs (docker-credential-X), which are asked by the protocol of
docker/docker-credential-helpers; ``auths`` holds logins in the file itself. Nothing is read before a registry asks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Command, Runner

_HUB = "https://index.docker.io/v1/"  # what Docker calls docker.io here, for reasons of history
_HUB_HOSTS = {"index.docker.io", "registry-1.docker.io"}
_NOT_FOUND = "credentials not found"  # what every helper prints then, by its protocol
_IDENTITY = "<token>"  # the user name that says: the secret is an identity token


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user name with a password, or an identity token (OAuth 2) in place of both. Secrets stay out of its repr."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found for a registry: a login or none, and in words where it is from or what was in the way."""

    login: Login | None
    origin: str


class Credentials:
    """The logins of ``files``, each in the format of Docker's config.json; the first that has one counts."""

    def __init__(self, runner: Runner, files: Sequence[Path]) -> None:
        self._runner = runner
        self._files = files

    def find(self, host: str, repository: str = "") -> Found:
        """The login for a registry (``nvcr.io``, ``host:port``); one that is for the repository alone comes first.

        Raises ConfigError for a file that cannot be read.
        """
        host = "docker.io" if host in _HUB_HOSTS else host
        troubles = []
        for path in self._files:
            for found in self._look(path, _load(path), host, repository):
                if found.login is not None:
                    return found
                troubles.append(found.origin)
        return Found(login=None, origin="; ".join(filter(None, troubles)))

    def _look(self, path: Path, data: Mapping[str, Any], host: str, repository: str) -> Iterator[Found]:
        helper = _table(path, data, "credHelpers").get(host) or data.get("credsStore")
        if isinstance(helper, str) and helper:
            yield self._ask(path, f"docker-credential-{helper}", _HUB if host == "docker.io" else host)
        entries = {_normal(key): entry for key, entry in _table(path, data, "auths").items()}
        for key in _keys(host, repository):
            login = _parse_entry(path, key, entries.get(key))
            if login is not None:
                yield Found(login=login, origin=f"the login of {login.username} in {path}")

    def _ask(self, path: Path, program: str, server: str) -> Found:
        try:
            done = self._runner.run(Command(argv=(program, "get")), stdin=server.encode())
        except HostError as error:
            return Found(login=None, origin=f"{path} names {program}: {error.message}")
        if not done.ok:
            words = (done.tail.strip().splitlines() or [f"exit status {done.status}"])[-1]
            return Found(
                login=None, origin="" if _NOT_FOUND in words else f"{program}, named by {path}, failed: {words}"
            )
        try:
            answer = json.loads(done.stdout)
            username, secret = answer["Username"], answer["Secret"]
        except (ValueError, TypeError, KeyError):  # never quote it: there may be a secret in it
            return Found(login=None, origin=f"{program}, named by {path}, gave no login that can be read")
        login = (
            Login(username=username, identity_token=secret)
            if username == _IDENTITY
            else Login(username=username, password=secret)
        )
        return Found(login=login, origin=f"the login of {username} from {program}")


def load_credentials(environ: Mapping[str, str], runner: Runner) -> Credentials:
    """Where this user's logins are: Docker's config.json (``DOCKER_CONFIG`` moves it), then podman's auth.json."""
    home = Path(environ.get("HOME") or Path.home())
    files = [Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"]
    if named := environ.get("REGISTRY_AUTH_FILE"):
        files.append(Path(named))
    else:
        if runtime := environ.get("XDG_RUNTIME_DIR"):
            files.append(Path(runtime) / "containers" / "auth.json")
        files.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json")
    return Credentials(runner, files)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", hint="it holds the logins of docker or podman") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: should be a JSON object", hint="docker login writes it")
    return data


def _table(path: Path, data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {key} should be an object", hint="docker login writes it")
    return table


def _normal(key: str) -> str:
    """``https://nvcr.io/v2/`` is nvcr.io; podman's keys may go on with a repository."""
    host, _, path = key.partition("://")[2].partition("/") if "://" in key else key.partition("/")
    path = path.strip("/")
    host = "docker.io" if host in _HUB_HOSTS else host
    return host if path in ("", "v1", "v2") else f"{host}/{path}"


def _keys(host: str, repository: str) -> Iterator[str]:
    """``host/a/b``, ``host/a``, ``host``."""
    parts = repository.split("/") if repository else []
    for count in range(len(parts), -1, -1):
        yield "/".join((host, *parts[:count]))


def _parse_entry(path: Path, key: str, entry: Any) -> Login | None:
    if not isinstance(entry, dict):
        return None
    username, password = entry.get("username") or "", entry.get("password") or ""
    if auth := entry.get("auth"):
        try:
            username, _, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}: auths: {key}: not readable", hint=f"log in anew: docker login {key}") from error
        password = password.rstrip("\0")  # Docker pads it
    identity = entry.get("identitytoken") or ""
    if not identity and not password:
        return None  # what credsStore leaves behind
    return Login(username=username or _IDENTITY, password=password, identity_token=identity)
