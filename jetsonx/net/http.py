"""HTTP as jetsonx needs it: through mirrors, patient with faults, careful with secrets."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from jetsonx.console import Console
from jetsonx.errors import DownloadError
from jetsonx.net.faults import DeniedError, NotFoundError, PassingError, UnreachableError, judge_exception, judge_status
from jetsonx.net.mirrors import Mirrors
from jetsonx.net.part import Part

if TYPE_CHECKING:
    import requests

__all__ = ["Answer", "Authorize", "DeniedError", "Http", "NotFoundError", "Refused", "UnreachableError"]

_TIMEOUT_S = (10.0, 60.0)  # to connect, and without a byte
_CHUNK = 1 << 20
_TRIES = 6
_TRIES_UNREACHABLE = 3  # while nobody has answered yet: most likely there is no network
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_LONGEST_ASKED_WAIT_S = 300.0
_HOPS = 10
_LOGINS = 2
_JSON_LIMIT_BYTES = 64 << 20
_REDIRECTS = {301, 302, 303, 307, 308}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A 401: the URL that was asked, the Authorization that was sent with it, and the WWW-Authenticate that came."""

    url: str
    sent: str | None
    challenge: str


Authorize = Callable[[Refused | None], str | None]
"""Gives the Authorization to send (None: none): called with None before a request, with the refusal after a 401."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: the URL that gave it after mirrors and redirects, its headers (any case), and the body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Http:
    """Gets things. Safe to share between threads.

    Every method raises DownloadError, or one of its kinds, with the URL, the status and what to do.
    """

    def __init__(
        self,
        mirrors: Mirrors,
        console: Console,
        *,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.mirrors = mirrors
        self._console = console
        self._given = session
        self._sleep = sleep
        self._answered = False
        self._lock = threading.Lock()

    @cached_property
    def _made(self) -> requests.Session:
        from jetsonx.net.adapter import CERTIFICATES, Session

        return Session(CERTIFICATES)

    @property
    def _session(self) -> requests.Session:
        with self._lock:
            return self._given or self._made

    def get_json(self, url: str) -> Any:
        """The JSON document at ``url`` (at most 64 MiB)."""
        try:
            return json.loads(self.get_bytes(url, _JSON_LIMIT_BYTES))
        except ValueError as error:
            raise DownloadError(
                f"{self.mirrors.url(url)}: what came is no JSON: {error}", hint="is a proxy or a login page in between?"
            ) from error

    def get_bytes(self, url: str, limit_bytes: int) -> bytes:
        """What is at ``url``; more than ``limit_bytes`` is refused."""
        return self.get(url, limit_bytes=limit_bytes).body

    def get(
        self,
        url: str,
        *,
        limit_bytes: int,
        headers: Mapping[str, str] | None = None,
        authorize: Authorize | None = None,
    ) -> Answer:
        """The same with headers, both ways."""
        return self._persist("", lambda: self._answer("GET", url, headers or {}, limit_bytes, authorize))

    def post(self, url: str, form: Mapping[str, str], *, limit_bytes: int) -> Answer:
        """Send a form; redirects are not followed."""
        return self._persist("", lambda: self._answer("POST", url, {}, limit_bytes, None, form))

    def speaks_tls(self, host: str) -> bool:
        """True when ``host`` (``name:port``) answers a TLS greeting, be its certificate right or wrong."""
        import requests

        try:
            self._session.get(f"https://{host}/v2/", timeout=_TIMEOUT_S, allow_redirects=False, stream=True).close()
        except requests.exceptions.SSLError as error:
            return "CERTIFICATE_VERIFY_FAILED" in str(error)
        except requests.exceptions.RequestException:
            return False
        return True

    def download(
        self,
        url: str,
        part: Path,
        *,
        sha256: str,
        size_bytes: int | None,
        what: str,
        advance: Callable[[int], None],
        authorize: Authorize | None = None,
        restarted: Callable[[], None] | None = None,
    ) -> None:
        """Fill the file ``part`` with what is at ``url``, going on from the bytes that it holds, and check it.

        Every write goes straight to the file, so another process can follow it. ``advance`` counts bytes: those that
        are there already first; negative when they have to be thrown away. That happens when the finished file is not
        right and held bytes from before this call: it is cut to nothing, ``restarted`` is called, and it is filled
        anew. A file that is wrong all the same is deleted and DownloadError says what was expected and what came;
        after any other failure it stays, for the next call to go on from. An exception from ``advance`` ends it too.
        """
        with Part(part, advance) as file:
            held = file.size_bytes
            while True:
                self._persist(
                    f"{what}: ", lambda: self._fill(url, file, size_bytes, authorize), mark=lambda: file.size_bytes
                )
                got = (file.size_bytes, file.sha256())
                if got == (size_bytes or file.size_bytes, sha256):
                    return
                if not held:
                    break
                held = 0
                file.restart()
                if restarted is not None:
                    restarted()
        part.unlink(missing_ok=True)
        expected = f"sha256 {sha256}" + ("" if size_bytes is None else f" ({size_bytes} bytes)")
        raise DownloadError(
            f"{what}: expected {expected}, got {got[1]} ({got[0]} bytes) from {self.mirrors.url(url)}",
            hint="something on the way changes what it passes on: try again, or another network or mirror",
        )

    def _persist(self, what: str, attempt: Callable[[], T], *, mark: Callable[[], int] = lambda: 0) -> T:
        """Try until it works, with growing waits; tries that got further (by ``mark``) do not count as failures."""
        failures, reached = 0, mark()
        while True:
            try:
                return attempt()
            except PassingError as fault:  # noqa: PERF203 - to try again is what this loop is for
                failures, reached = (1, mark()) if mark() > reached else (failures + 1, reached)
                gone = isinstance(fault.final, UnreachableError) and not self._answered
                most = _TRIES_UNREACHABLE if gone else _TRIES
                wait_s = fault.wait_s if fault.wait_s is not None else _wait_s(failures)
                if failures >= most or wait_s > _LONGEST_ASKED_WAIT_S:
                    raise fault.final from fault
                self._console.say(f"{what}{fault}; trying again in {wait_s:.1f} s")
                self._sleep(wait_s)

    def _answer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        limit_bytes: int,
        authorize: Authorize | None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        with self._send(method, url, headers, authorize, form) as response:
            body = bytearray()
            for chunk in _chunks(response):
                body += chunk
                if len(body) > limit_bytes:
                    raise DownloadError(f"{response.url}: more came than the {limit_bytes} bytes that are sane for it")
            return Answer(url=response.url, headers=response.headers, body=bytes(body))

    def _fill(self, url: str, part: Part, size_bytes: int | None, authorize: Authorize | None) -> None:
        """Ask for what ``part`` lacks and add it."""
        if size_bytes is not None and part.size_bytes >= size_bytes:
            return
        wanted = {"Range": f"bytes={part.size_bytes}-"} if part.size_bytes else {}
        with self._send("GET", url, wanted, authorize) as response:
            if response.status_code == 416:  # nothing after what is there
                return
            surplus = part.size_bytes - _first_byte(response)  # a server that knows no ranges sends all of it again
            if surplus < 0:
                raise PassingError(
                    DownloadError(f"{response.url}: the server sends another range than it was asked for")
                )
            for chunk in _chunks(response):
                part.write(memoryview(chunk)[surplus:])
                surplus = max(0, surplus - len(chunk))
                if size_bytes is not None and part.size_bytes > size_bytes:
                    return  # too long: the caller sees it
        if size_bytes is not None and part.size_bytes < size_bytes:
            ended = f"{response.url}: the server ended after {part.size_bytes} of {size_bytes} bytes"
            raise PassingError(DownloadError(ended, hint="try again; what came so far is kept"))

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorize: Authorize | None,
        form: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """One request, through redirects; what authorizes it goes to the host that was meant and no other."""
        first = here = self.mirrors.url(url)
        sent = authorize(None) if authorize else None
        logins = 0
        for _ in range(_HOPS):
            at_home = _origin(here) == _origin(first)
            response = self._once(method, here, headers, authorize is not None, sent if at_home else None, form)
            status = response.status_code
            if status in (200, 206) or (status == 416 and "Range" in headers):
                return response
            with response:
                words = _start(response)
            if status == 401 and authorize and at_home and logins < _LOGINS:
                logins += 1
                challenge = response.headers.get("WWW-Authenticate", "")
                sent = authorize(Refused(url=here, sent=sent, challenge=challenge))
                if sent is not None:
                    continue
            if status not in _REDIRECTS or method != "GET" or "Location" not in response.headers:
                raise judge_status(here, status, response.headers, words)
            here = _next_url(here, response.headers["Location"])
        raise DownloadError(f"{first}: redirected {_HOPS} times and still not there")

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        own_authorization: bool,
        authorization: str | None,
        form: Mapping[str, str] | None,
    ) -> requests.Response:
        import requests

        def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
            if authorization is not None:
                request.headers["Authorization"] = authorization
            return request

        try:
            response = self._session.request(
                method,
                url,
                headers={"Accept-Encoding": "identity", **headers},
                data=form,
                auth=sign if own_authorization else None,  # None: requests looks into ~/.netrc, as curl -n does
                timeout=_TIMEOUT_S,
                allow_redirects=False,
                stream=True,
            )
        except requests.exceptions.RequestException as error:
            raise judge_exception(url, error) from error
        self._answered = True
        return response


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it came over the wire; only the network's own faults become a PassingError."""
    import urllib3

    while True:
        try:
            chunk = response.raw.read(_CHUNK, decode_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise judge_exception(response.url, error) from error
        if not chunk:
            return
        yield chunk


def _start(response: requests.Response) -> bytes:
    """The first words of an answer that says no, for the error; read to its end, a connection can be used again."""
    try:
        return next(_chunks(response), b"")
    except PassingError:
        return b""


def _first_byte(response: requests.Response) -> int:
    """Where in the file the body begins (RFC 9110, 14.4)."""
    if response.status_code != 206:
        return 0
    match = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    if match is None:
        raise PassingError(DownloadError(f"{response.url}: the server does not say which range it sends"))
    return int(match[1])


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _next_url(url: str, location: str) -> str:
    there = urljoin(url, location)
    scheme = urlsplit(there).scheme
    if scheme not in ("http", "https") or (urlsplit(url).scheme == "https" and scheme == "http"):
        raise DownloadError(f"{url}: redirected to {there}, which is not safe: not followed")
    return there


def _wait_s(failures: int) -> float:
    """Doubles with each failure, with jitter so that parallel downloads do not all come back at once."""
    return float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (failures - 1)) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
