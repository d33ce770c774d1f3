"""What goes over sockets of this host: QEMU's control socket (QMP), and the port where a guest's sshd answers.

QMP is QEMU's own protocol (docs/interop/qmp-spec.rst): a greeting, `qmp_capabilities`, then a command and its answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from jetsonx.errors import HostError

_PATIENCE_S = 20.0
LOOPBACK = "127.0.0.1"
SOCKET_PATH_BYTES = 107
"""The longest path that a Unix socket may have (unix(7), without the final zero)."""


class _Stream(Protocol):
    """What is asked of a connection."""

    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...
    def readline(self) -> bytes: ...


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


def is_port_taken(port: int) -> bool:
    """True when a program of this host listens there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


class Doorbell:
    """Waits for sshd's greeting on a port of this host.

    A connection stays open while there is no answer: QEMU takes it before the guest does, and each that is given up
    costs a guest that is busy starting one more process.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None

    def is_answered(self, *, limit_s: float) -> bool:
        """True when sshd greets within ``limit_s``."""
        try:
            if self._connection is None:
                self._connection = socket.create_connection((LOOPBACK, self._port), timeout=limit_s)
            greeting = self._connection.recv(4)
        except TimeoutError:
            return False
        except OSError:
            greeting = b""
        self.close()
        return greeting == b"SSH-"

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_served(path: Path) -> bool:
    """True when a QEMU listens on the control socket: the machine runs."""
    try:
        with _connected(path):
            return True
    except TimeoutError:
        return True  # somebody listens, and is busy
    except OSError:
        return False


def ask_qemu(path: Path, command: str, arguments: Mapping[str, Any] | None = None) -> object:
    """Have QEMU carry out a QMP command; its answer. Raises HostError when QEMU is not there or refuses."""
    try:
        with _connected(path) as connection, connection.makefile("rwb") as stream:
            _answer(stream, {})
            _answer(stream, {"execute": "qmp_capabilities"})
            return _answer(stream, {"execute": command, "arguments": dict(arguments or {})})
    except (OSError, ValueError) as error:
        raise HostError(f"QEMU does not answer at {path}: {error}") from None


def end_qemu(path: Path) -> None:
    """The power cut: QEMU ends now, whatever the guest is doing. One that is gone already is well."""
    with contextlib.suppress(HostError):  # it may close the socket before it has answered
        ask_qemu(path, "quit")


def _answer(stream: _Stream, question: Mapping[str, Any]) -> object:
    """Ask, and read what comes until it is the answer: events come in between."""
    if question:
        stream.write(json.dumps(question).encode() + b"\n")
        stream.flush()
    while line := stream.readline():
        said = json.loads(line)
        if "error" in said:
            raise HostError(f"QEMU refused {question.get('execute')}: {said['error'].get('desc')}")
        if "return" in said or "QMP" in said:
            return said.get("return")
    raise OSError("it closed the connection")


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    """A connection by way of the directory's descriptor: a socket's own path may have no more than 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE_S)
            _connect(connection, f"/proc/self/fd/{folder}/{path.name}")
            yield connection
    finally:
        os.close(folder)


def _connect(connection: socket.socket, address: str) -> None:
    """QEMU serves one at a time, and the next ones wait; the kernel says EAGAIN to those for whom there is no room."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return connection.connect(address)
        except BlockingIOError:  # noqa: PERF203 - it waits anyway
            if time.monotonic() > until:
                raise TimeoutError(address) from None
            time.sleep(0.05)
