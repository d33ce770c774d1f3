"""What went wrong on the network, and whether it is worth another try.

DownloadError
├── UnreachableError   nothing answered at all
├── NotFoundError      404
└── DeniedError        401, 403
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Iterator, Mapping

from jetsonx.errors import DownloadError

# RFC 9110 and 6585: what a server or proxy says when the same request may do later.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_WORDS = 500


class UnreachableError(DownloadError):
    """Nothing answered: no such name, no route, nobody listens, no TLS."""


class NotFoundError(DownloadError):
    """The server answered that it has no such thing."""


class DeniedError(DownloadError):
    """The server wants a login, or another one."""


class PassingError(Exception):
    """Something that may pass: ``wait_s`` is how long the server asks to wait, ``final`` the error if it stays."""

    def __init__(self, final: DownloadError, *, wait_s: float | None = None) -> None:
        super().__init__(final.message)
        self.final = final
        self.wait_s = wait_s


def judge_status(url: str, status: int, headers: Mapping[str, str], body: bytes) -> DownloadError | PassingError:
    """What an answer that is neither success nor redirect means. ``body``, or the start of it, is quoted."""
    message, details = f"{url}: the server answered {status}", "\n".join(_words(headers, body)) or None
    if status == 404:
        return NotFoundError(f"{url} is not there (404)", details=details)
    if status in (401, 403):
        return DeniedError(f"{url}: access denied ({status})", details=details)
    if status == 407:
        return DownloadError(
            f"{url}: the proxy wants a login (407)", hint="put it into https_proxy: http://user:…@host"
        )
    if status not in _PASSING:
        return DownloadError(message, details=details)
    hint = "try again later" if status != 429 else "too many requests: try again later, or log in (docker login)"
    return PassingError(
        DownloadError(message, details=details, hint=hint), wait_s=parse_retry_after(headers.get("Retry-After"))
    )


def parse_retry_after(value: str | None, *, now_s: float | None = None) -> float | None:
    """Seconds to wait by a Retry-After header, a number or a date (RFC 9110, 10.2.3); None for none or nonsense."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, then.timestamp() - (time.time() if now_s is None else now_s))


def _words(headers: Mapping[str, str], body: bytes) -> Iterator[str]:
    """The server's own words: of a registry's JSON (OCI distribution, "error codes"), or of plain text."""
    kind = headers.get("Content-Type", "")
    text = body.decode("utf-8", "replace")
    if "json" in kind:
        try:
            errors = json.loads(text)["errors"]
            for error in errors:
                yield f"{error.get('code', '')}: {error.get('message', '')}"[:_WORDS]
        except (ValueError, TypeError, KeyError, AttributeError):
            return
    elif kind.startswith("text/plain") and text.strip():
        yield text.strip()[:_WORDS]


def judge_exception(url: str, error: Exception) -> DownloadError | PassingError:
    """What an exception of requests or urllib3 means."""
    import requests.exceptions as of_requests
    import urllib3.exceptions as of_urllib3

    causes = tuple(_causes(error))
    host = url.split("/")[2] if url.count("/") >= 2 else url
    why = _why(causes)
    if any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in causes):
        return DownloadError(
            f"{url}: its certificate is not trusted: {why}",
            hint=f"if it is signed by an authority of your own, put that into /etc/docker/certs.d/{host}/ca.crt or "
            f"~/.docker/certs.d/{host}/ca.crt, or name a bundle in REQUESTS_CA_BUNDLE",
        )
    if isinstance(error, (of_requests.InvalidURL, of_requests.InvalidSchema, of_requests.MissingSchema)):
        return DownloadError(f"{url}: no usable URL: {error}")
    if isinstance(error, (of_requests.TooManyRedirects, of_urllib3.DecodeError)):
        return DownloadError(f"{url}: {why}")
    if isinstance(error, of_requests.SSLError):
        hint = f"if {host} speaks plain HTTP: JETSONX_MIRRORS={host}=http://{host}"
        return PassingError(UnreachableError(f"{url}: no TLS: {why}", hint=hint))
    silent = (of_urllib3.NewConnectionError, of_urllib3.ConnectTimeoutError, of_urllib3.ProxyError)
    if any(isinstance(cause, silent) for cause in causes):
        hint = "check the network and the proxy (https_proxy); JETSONX_MIRRORS names other places to ask"
        return PassingError(UnreachableError(f"{url}: {host} cannot be reached: {why}", hint=hint))
    return PassingError(DownloadError(f"{url}: {why}", hint="try again; what came so far is kept"))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it wraps (by ``raise from``, as ``reason``, as an argument), outermost first."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
        todo += [item for item in inner if isinstance(item, BaseException)]


def _why(causes: tuple[BaseException, ...]) -> str:
    """In the operating system's words if it has any, else in those of the innermost library."""
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.errno is not None and cause.strerror:
            return cause.strerror
    texts = [str(cause) for cause in causes if str(cause)]
    return texts[-1] if texts else type(causes[0]).__name__
