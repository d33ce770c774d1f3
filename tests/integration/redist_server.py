"""NVIDIA's archives on loopback: a directory served as developer.download.nvidia.com serves it, with ranges."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PREFIX = "/compute/"


@dataclass(kw_only=True)
class RedistServer:
    """Serves ``root`` under ``/compute/``.

    ``asked`` and ``ranges`` collect what was asked for; ``cut_after`` ends bodies after that many bytes.
    """

    root: Path
    port: int = 0
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    cut_after: int | None = None

    @property
    def mirrors(self) -> str:
        """For JETSONX_MIRRORS."""
        return f"developer.download.nvidia.com=http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serve_redist(root: Path) -> Iterator[RedistServer]:
    """A server on a free port, until the block ends."""
    state = RedistServer(root=root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            _answer(self, state)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, state: RedistServer) -> None:
    path = unquote(urlsplit(handler.path).path)
    state.asked.append(path)
    file = state.root / path.removeprefix(PREFIX)
    if not path.startswith(PREFIX) or ".." in path or not file.is_file():
        handler.send_error(404)
        return
    data = file.read_bytes()
    total, first = len(data), 0
    if match := re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", "")):
        first = int(match[1])
        state.ranges.append(match[0])
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
    else:
        handler.send_response(200)
    body = data[first:]
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    cut = state.cut_after is not None and len(body) > state.cut_after
    handler.wfile.write(body[: state.cut_after] if cut else body)
    if cut:
        handler.close_connection = True
