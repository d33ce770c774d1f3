"""A proxy that does to downloads what networks do: drops, corrupts, delays, refuses, redirects, forgets ranges.

    with serve_proxy(registry.url) as proxy:
        proxy.faults.append(Fault(path="/blobs/", drop_after=1000, times=3))
        environ = {"JETSONX_MIRRORS": f"nvcr.io={proxy.url}"}

What it was asked is in ``proxy.requests``.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_CHUNK = 1 << 18
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@dataclass(kw_only=True)
class Fault:
    """What happens to the next ``times`` GET requests whose path holds ``path``; offsets count the body's bytes."""

    path: str = ""
    times: int = 1_000_000
    status: int | None = None  # this answer in place of the real one
    headers: Mapping[str, str] = field(default_factory=dict)  # with `status`
    body: bytes = b""  # with `status`
    delay_s: float = 0  # before anything is sent
    drop_after: int | None = None  # a reset
    truncate_to: int | None = None  # an end that looks right
    corrupt_at: int | None = None
    redirect_to: str | None = None  # another server, same path
    ignore_range: bool = False
    rate: int | None = None  # bytes per second


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]


class FaultProxy(ThreadingHTTPServer):
    """Passes GET and HEAD on to ``upstream``; see the module's text."""

    daemon_threads = True

    def __init__(self, upstream: str, name: str = "127.0.0.1") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.url = f"http://{name}:{self.server_address[1]}"
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news here."""

    def take(self, path: str) -> Fault:
        """The fault for a request, counted down."""
        with self._lock:
            for fault in self.faults:
                if fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def do_HEAD(self) -> None:
        self._pass_on(Fault())

    def do_GET(self) -> None:
        self.server.requests.append(Request(path=self.path, headers=dict(self.headers)))
        fault = self.server.take(self.path)
        time.sleep(fault.delay_s)
        if fault.redirect_to is not None:
            self._say(307, {"Location": fault.redirect_to + self.path})
        elif fault.status is not None:
            self._say(fault.status, fault.headers, fault.body)
        else:
            self._pass_on(fault)

    def _say(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, fault: Fault) -> None:
        upstream = urlsplit(self.server.upstream)
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
        unwanted = {"host", "connection", *(["range"] if fault.ignore_range else [])}
        wanted = {name: value for name, value in self.headers.items() if name.lower() not in unwanted}
        # the registry names itself in what it answers: with our name, clients come back here
        with closing(connection):
            connection.request(self.command, self.path, headers={**wanted, "Host": self.headers["Host"]})
            self._answer(connection, fault)

    def _answer(self, connection: http.client.HTTPConnection, fault: Fault) -> None:
        with connection.getresponse() as answer:
            length = int(answer.headers.get("Content-Length", "0"))
            if fault.truncate_to is not None:
                length = min(length, fault.truncate_to)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command == "GET":
                self._send_body(answer, length, fault)

    def _send_body(self, answer: http.client.HTTPResponse, length: int, fault: Fault) -> None:
        done = 0
        while done < length:
            end = length if fault.drop_after is None else min(length, fault.drop_after)
            chunk = bytearray(answer.read(min(_CHUNK, end - done)))
            if fault.corrupt_at is not None and done <= fault.corrupt_at < done + len(chunk):
                chunk[fault.corrupt_at - done] ^= 0x40
            self.wfile.write(chunk)
            done += len(chunk)
            if fault.rate:
                time.sleep(len(chunk) / fault.rate)
            if done == fault.drop_after:
                self._reset()
                return

    def _reset(self) -> None:
        time.sleep(0.05)  # a reset overtakes what was sent before it
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
        pass


@contextmanager
def serve_proxy(upstream: str, name: str = "127.0.0.1") -> Iterator[FaultProxy]:
    """A proxy before ``upstream`` on a port of its own, known as ``name`` (another name is another host)."""
    proxy = FaultProxy(upstream, name)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
