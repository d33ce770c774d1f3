"""How a registry asks who we are, and what it is told: Basic (RFC 7617), or Bearer with a token fetched elsewhere.

Sources: distribution's docs/spec/auth/{token,oauth}.md; RFC 9110, 11.6.1 for the header.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from jetsonx.errors import DownloadError
from jetsonx.net.http import DeniedError, Http, Refused
from jetsonx.registry.credentials import Credentials, Login

_TOKEN_LIMIT_BYTES = 1 << 20
_CLIENT = "jetsonx"
_CHALLENGE = re.compile(r"""(?:^|,)\s*([A-Za-z]+)(?=\s+[A-Za-z_-]+\s*=|\s*(?:,|$))""")
_PARAMETER = re.compile(r"""([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to log in that a server offers: ``scheme`` in lower case, its parameters by name."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(text: str) -> tuple[Challenge, ...]:
    """The ways that a WWW-Authenticate header offers; what cannot be read is passed over."""
    # a comma in a quoted value separates nothing: hide what is quoted while looking for the schemes
    hidden = re.sub(r'"(?:[^"\\]|\\.)*"', lambda quoted: '"' + "x" * (len(quoted[0]) - 2) + '"', text)
    starts = list(_CHALLENGE.finditer(hidden))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return tuple(
        Challenge(scheme=match[1].lower(), parameters=_parameters(text[match.end() : end]))
        for match, end in zip(starts, ends, strict=False)  # of no challenge there is still an end
    )


def _parameters(text: str) -> Mapping[str, str]:
    found = _PARAMETER.finditer(text)
    return {match[1].lower(): re.sub(r"\\(.)", r"\1", match[2]) if match[3] is None else match[3] for match in found}


class Authorization:
    """The Authorization for one repository, for :class:`Http`; shared by the threads that fetch its blobs.

    ``tried`` says in words with what it was tried, for the error when nothing helped.
    """

    def __init__(self, http: Http, credentials: Credentials, repository: str) -> None:
        self.tried: list[str] = []
        self._http = http
        self._credentials = credentials
        self._repository = repository
        self._header: str | None = None
        self._lock = threading.Lock()

    def __call__(self, refused: Refused | None) -> str | None:
        """The header to send; after a refusal a new one, or None when there is none."""
        with self._lock:
            if refused is not None and refused.sent == self._header:  # else another thread has a new one already
                self._header = self._answer(refused)
            return self._header

    def _answer(self, refused: Refused) -> str | None:
        self.tried = []
        ways = {challenge.scheme: challenge for challenge in reversed(parse_challenges(refused.challenge))}
        found = self._credentials.find(urlsplit(refused.url).netloc, self._repository)
        if found.origin:
            self.tried.append(found.origin)
        if "bearer" in ways:
            return self._fetch_token(ways["bearer"].parameters, found.login, refused.url)
        if "basic" in ways and found.login is not None and found.login.password:
            header = _basic(found.login)
            return header if header != refused.sent else None
        return None

    def _fetch_token(self, parameters: Mapping[str, str], login: Login | None, url: str) -> str | None:
        """A token by the login, else without: public images can be had with a login that is out of date, too."""
        realm = parameters.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise DownloadError(f"{url}: the registry names no place to get a token: {realm!r}")
        if urlsplit(url).scheme == "https" and login is not None and not realm.startswith("https://"):
            raise DownloadError(f"{url}: the registry wants the login sent in the clear to {realm}: not done")
        names = {
            "service": parameters.get("service", ""),
            "scope": parameters.get("scope") or f"repository:{self._repository}:pull",
        }
        names = {key: value for key, value in names.items() if value}
        for each in (login, None) if login is not None else (None,):
            with contextlib.suppress(DeniedError):
                return f"Bearer {_parse_token(self._ask(realm, names, each), realm)}"
        return None

    def _ask(self, realm: str, names: Mapping[str, str], login: Login | None) -> bytes:
        if login is not None and login.identity_token:
            form = {"grant_type": "refresh_token", "client_id": _CLIENT, "refresh_token": login.identity_token, **names}
            return self._http.post(realm, form, limit_bytes=_TOKEN_LIMIT_BYTES).body
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(names)}"
        header = _basic(login) if login is not None else None
        return self._http.get(
            url, limit_bytes=_TOKEN_LIMIT_BYTES, authorize=lambda refused: header if refused is None else None
        ).body


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def _parse_token(body: bytes, realm: str) -> str:
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer["access_token"]
    except (ValueError, KeyError, AttributeError) as error:
        raise DownloadError(f"{realm}: answered without a token", hint="is a proxy or a login page between?") from error
    # it goes into a header line
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise DownloadError(f"{realm}: its token is none")
    return token
