"""Other places to ask than the public ones, for sites behind a proxy cache or without a way out.

``JETSONX_MIRRORS="nvcr.io=http://127.0.0.1:5000,docker.io=https://cache.example/v2/hub"``, and the same as a table
``[mirrors]`` in the user's config.toml. A host that is not named is asked itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from jetsonx.errors import ConfigError
from jetsonx.toml import TOMLDecodeError, load_toml

VARIABLE = "JETSONX_MIRRORS"
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?")
# Images are named docker.io/…, but that host serves a web site; these are the ones that serve Docker Hub's images.
_SAME = {"registry-1.docker.io": "docker.io", "index.docker.io": "docker.io"}
_EXAMPLE = "write it as nvcr.io=http://127.0.0.1:5000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """``table`` pairs a host (``nvcr.io``, ``host:port``) with the base URL that is asked in its place."""

    table: tuple[tuple[str, str], ...] = ()

    def base(self, host: str) -> str | None:
        """The base URL that stands for ``host``, without a slash at its end, or None."""
        host = host.lower()
        return dict(self.table).get(_SAME.get(host, host))

    def url(self, url: str) -> str:
        """``url`` with its scheme and host replaced by the mirror's base URL; unchanged when there is no mirror.

        A base that has a ``/v2`` of its own (Harbor, Artifactory: ``https://harbor.example/v2/nvcr``) takes the place
        of the registry's ``/v2`` too.
        """
        parts = urlsplit(url)
        base = self.base(parts.netloc)
        if base is None:
            return url
        path = parts.path
        if path.startswith("/v2/") and "v2" in urlsplit(base).path.split("/"):
            path = path[3:]
        return base + urlunsplit(("", "", path, parts.query, ""))


def load_mirrors(environ: Mapping[str, str]) -> Mirrors:
    """The mirrors of the user's configuration file and of ``JETSONX_MIRRORS``, which wins host by host.

    The file is ``jetsonx/config.toml`` in the user's configuration directory, or what ``JETSONX_CONFIG`` names.
    Raises ConfigError, with the place, for what is no host or no http(s) URL.
    """
    table = dict(_from_file(environ))
    table |= dict(parse_mirrors(environ.get(VARIABLE, "")))
    return Mirrors(table=tuple(sorted(table.items())))


def parse_mirrors(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of a ``JETSONX_MIRRORS`` value. Raises ConfigError for what is none."""
    for item in filter(None, (item.strip() for item in text.split(","))):
        host, equals, url = item.partition("=")
        if not equals:
            raise ConfigError(f"{VARIABLE}: {item!r} names no URL", hint=_EXAMPLE)
        yield _pair(host.strip(), url.strip(), where=VARIABLE)


def _from_file(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    path = config_file(environ)
    try:
        data = load_toml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if environ.get("JETSONX_CONFIG"):
            raise ConfigError(f"{path} is not there", hint="JETSONX_CONFIG names it; correct or unset it") from None
        return
    except (OSError, UnicodeDecodeError, TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    mirrors = data.get("mirrors", {})
    if not isinstance(mirrors, dict):
        raise ConfigError(
            f"{path}: mirrors: should be a table, not {mirrors!r}", hint="write [mirrors] above the hosts"
        )
    for host, url in _flat(mirrors, ""):
        yield _pair(host, url, where=f"{path}: mirrors")


def config_file(environ: Mapping[str, str]) -> Path:
    """The user's configuration file, there or not; other files of the user's lie beside it."""
    if named := environ.get("JETSONX_CONFIG"):
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("jetsonx") / "config.toml"


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    # TOML reads a bare nvcr.io = "…" as a table in a table
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _pair(host: str, url: object, *, where: str) -> tuple[str, str]:
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ConfigError(f"{where}: {host!r} is no host name", hint=_EXAMPLE)
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ConfigError(f"{where}: {host}: {url!r} is no http or https URL", hint=_EXAMPLE)
    if parts.username is not None:
        raise ConfigError(
            f"{where}: {host}: a login does not belong into the URL",
            hint=f"log in with `docker login {parts.netloc.rpartition('@')[2]}`; jetsonx reads what that writes",
        )
    return _SAME.get(host, host), urlunsplit(parts).rstrip("/")
