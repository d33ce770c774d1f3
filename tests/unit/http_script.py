"""A network in memory: answers in order, for the tests of what stands on :class:`jetsonx.net.http.Http`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from jetsonx.console import Console
from jetsonx.net.http import Http
from jetsonx.net.mirrors import Mirrors


@dataclass(frozen=True, kw_only=True)
class Says:
    """One answer; the connection is reset after ``reset_after`` bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset_after: int | None = None


class _Body(io.BytesIO):
    def __init__(self, says: Says) -> None:
        super().__init__(says.body[: says.reset_after] if says.reset_after is not None else says.body)
        self._resets = says.reset_after is not None

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data and self._resets:
            raise ConnectionResetError(104, "Connection reset by peer")
        return data


class Script(BaseAdapter):
    """Gives the answers in their order, whatever is asked; ``asked`` are the requests that came."""

    def __init__(self, *answers: Says | Exception | Callable[[requests.PreparedRequest], Says]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[requests.PreparedRequest] = []
        self.waits: list[float] = []

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        says = answer if isinstance(answer, Says) else answer(request)
        raw = urllib3.HTTPResponse(
            body=_Body(says),
            status=says.status,
            headers={"Content-Length": str(len(says.body)), **says.headers},
            preload_content=False,
            decode_content=False,
        )
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        pass

    def http(self, mirrors: Mapping[str, str] | None = None, console: Console | None = None) -> Http:
        """An Http that talks to this script; waits are noted in ``waits`` and not waited."""
        session = requests.Session()
        session.trust_env = False
        session.mount("https://", self)
        session.mount("http://", self)
        table = tuple((mirrors or {}).items())
        return Http(Mirrors(table=table), console or Console(-1), session=session, sleep=self.waits.append)
