"""The only place that starts a process.

A program call is a value (:class:`Command`); :class:`Runner` carries it out, shows it under ``-v`` in a form that can
be pasted into a shell, and ends the whole process group when the user presses Ctrl-C.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from jetsonx.errors import HostError

_TAIL_LINES = 60
_GRACE_S = 5.0
_PATIENCE_S = 0.25
_STDERR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One program call.

    ``env`` is added to the environment (None removes a variable); ``cwd`` None means where jetsonx was started.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        """The call as a shell would take it."""
        removed = [f"-u {name}" for name, value in self.env.items() if value is None]
        words = ["env", *removed] if removed else []
        words += [f"{name}={shlex.quote(value)}" for name, value in self.env.items() if value is not None]
        words += [shlex.quote(word) for word in self.argv]
        line = " ".join(words)
        return f"cd {shlex.quote(str(self.cwd))} && {line}" if self.cwd else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a program ended: exit status (negative: ended by that signal), its output, and the last lines of it."""

    command: Command
    status: int
    stdout: str
    tail: str

    @property
    def ok(self) -> bool:
        """True when the program said success."""
        return self.status == 0


class Session:
    """A running program that is spoken with, in the calling thread: ``stdin`` and ``stdout`` have no buffers, so that
    their descriptors may be polled. What it says on standard error is kept, the last lines of it.
    """

    def __init__(
        self,
        command: Command,
        process: subprocess.Popen[bytes],
        stdin: IO[bytes],
        stdout: IO[bytes],
        reader: threading.Thread,
        tail: deque[str],
    ) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self._command = command
        self._process = process
        self._reader = reader
        self._tail = tail

    @property
    def is_running(self) -> bool:
        """False when the program has ended."""
        return self._process.poll() is None

    def end(self) -> Completed:
        """Close the program's input, wait for its end, and say how it ended; its ``stdout`` has been read already."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        while self.stdout.read(1 << 16):  # a program that cannot get rid of its words would never end
            pass
        status = self._process.wait()
        self._reader.join(_GRACE_S)
        return Completed(command=self._command, status=status, stdout="", tail="\n".join(self._tail))


class Runner:
    """Starts programs on this host. ``show`` receives every command line before it runs."""

    def __init__(self, show: Callable[[str], None] = lambda _: None) -> None:
        self._show = show

    def run(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        status_fd: Callable[[str], None] | None = None,
        stdin: bytes | None = None,
        stdout: Callable[[IO[bytes]], None] | None = None,
    ) -> Completed:
        """Run to the end and return how it ended; never raises for a non-zero exit.

        ``on_line`` receives each line of standard error as it comes, and of standard output too. ``status_fd``, when
        given, receives the lines the program writes to the descriptor whose number replaces ``{status_fd}`` in argv.
        ``stdin`` is what the program reads, nothing by default. ``stdout`` reads standard output as bytes instead of
        lines, in the calling thread; what it raises ends the program and is passed on.

        Raises HostError when the program is not there.
        """
        self._show(f"+ {command}")
        with contextlib.ExitStack() as stack:
            argv = command.argv
            pass_fds: tuple[int, ...] = ()
            if status_fd is not None:
                read_end, write_end = os.pipe()
                argv = tuple(word.replace("{status_fd}", str(write_end)) for word in argv)
                pass_fds = (write_end,)
                stack.callback(os.close, read_end)
            process = self._start(command, argv, pass_fds, is_fed=stdin is not None)
            if status_fd is not None:
                os.close(write_end)
                _pump(stack, os.fdopen(os.dup(read_end), errors="replace"), status_fd)
            if stdin is not None:
                _feed(stack, process, stdin)
            return self._collect(stack, command, process, on_line, stdout)

    def replace(self, command: Command, *, watch: Callable[[bytes], None] | None = None) -> int:
        """Run with the user's own terminal as input and output, and return the exit status as a shell would.

        ``watch`` is also given what the program writes to standard error, which then is a pipe for it.
        """
        self._show(f"+ {command}")
        try:
            process = subprocess.Popen(
                command.argv,
                cwd=command.cwd,
                env=_environment(command),
                stderr=subprocess.PIPE if watch is not None else None,
            )
        except FileNotFoundError as error:
            raise _missing(command, error) from None
        with contextlib.ExitStack() as stack:
            if watch is not None:
                _pass_on(stack, process, watch)
            stack.enter_context(_killed(process))
            status = process.wait()
        return 128 - status if status < 0 else status

    @contextlib.contextmanager
    def session(self, command: Command) -> Iterator[Session]:
        """Run a program to speak with while the block runs; what is left of it then is ended, its whole group.

        Raises HostError when the program is not there.
        """
        self._show(f"+ {command}")
        with contextlib.ExitStack() as stack:
            process = self._start(command, command.argv, (), is_fed=True, buffer_bytes=0)
            assert process.stdin is not None  # noqa: S101 - PIPE was asked for; tells mypy
            assert process.stdout is not None  # noqa: S101
            assert process.stderr is not None  # noqa: S101
            tail: deque[str] = deque(maxlen=_TAIL_LINES)
            reader = _pump(stack, _lines(process.stderr), tail.append)
            stack.enter_context(process.stdout)
            stack.callback(_end_group, process)
            stack.callback(process.stdin.close)
            yield Session(command, process, process.stdin, process.stdout, reader, tail)

    @contextlib.contextmanager
    def relay(self, command: Command) -> Iterator[Path]:
        """Serve a Unix socket: each connection to it becomes the standard input and output of a new run of ``command``.

        For libraries that speak to a socket, where the way to it is a program. All runs end with the block. Raises
        HostError when the program is not there.
        """
        self._show(f"+ {command}")
        if shutil.which(command.argv[0]) is None:
            raise _missing(command, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        with tempfile.TemporaryDirectory(prefix="jetsonx-") as folder, socket.socket(socket.AF_UNIX) as listener:
            path = Path(folder) / "socket"
            listener.bind(str(path))
            listener.listen()
            processes: list[subprocess.Popen[bytes]] = []
            thread = threading.Thread(target=_serve, args=(listener, command, processes), daemon=True)
            thread.start()
            try:
                yield path
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
                for process in processes:  # firmly: the other end of the socket is gone, there is nothing to finish
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    @contextlib.contextmanager
    def forward(self, command: Command, port: int) -> Iterator[int]:
        """Serve ``port`` of this host's loopback, or a free one when it is taken, and give its number.

        A connection becomes the standard input and output of a new run of ``command``, one after the other: who comes
        meanwhile waits. What it says on standard error goes to ours. The run ends with its connection, all with the
        block. Raises HostError when the program is not there.
        """
        self._show(f"+ {command}")
        if shutil.which(command.argv[0]) is None:
            raise _missing(command, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
        with _listen(port) as listener:
            processes: list[subprocess.Popen[bytes]] = []
            thread = threading.Thread(target=_serve_in_turn, args=(listener, command, processes), daemon=True)
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                for process in processes:
                    _end_group(process)
                thread.join()

    def _start(
        self,
        command: Command,
        argv: tuple[str, ...],
        pass_fds: tuple[int, ...],
        *,
        is_fed: bool,
        buffer_bytes: int = -1,
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                argv,
                buffer_bytes,
                cwd=command.cwd,
                env=_environment(command),
                stdin=subprocess.PIPE if is_fed else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=pass_fds,
                start_new_session=True,  # so that Ctrl-C reaches us alone and we end the whole group, grandchildren too
            )
        except (FileNotFoundError, PermissionError) as error:
            raise _missing(command, error) from None

    def _collect(
        self,
        stack: contextlib.ExitStack,
        command: Command,
        process: subprocess.Popen[bytes],
        on_line: Callable[[str], None] | None,
        read: Callable[[IO[bytes]], None] | None,
    ) -> Completed:
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        stdout: list[str] = []

        def take_stdout(line: str) -> None:
            stdout.append(line)
            take(line)

        def take(line: str) -> None:
            tail.append(line)
            if on_line is not None:
                on_line(line)

        assert process.stdout is not None  # noqa: S101 - PIPE was asked for above; tells mypy
        assert process.stderr is not None  # noqa: S101
        readers = [_pump(stack, _lines(process.stderr), take)]
        if read is None:
            readers.append(_pump(stack, _lines(process.stdout), take_stdout))
        with _group_ended(process):
            if read is not None:
                with process.stdout as stream:
                    read(stream)
            for reader in readers:
                reader.join()
            status = process.wait()
        return Completed(command=command, status=status, stdout="".join(f"{x}\n" for x in stdout), tail="\n".join(tail))


def _serve(listener: socket.socket, command: Command, processes: list[subprocess.Popen[bytes]]) -> None:
    """Start a program for each connection, until the listener is shut."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                processes.append(_start_at(connection, command, stderr=subprocess.DEVNULL))


def _start_at(connection: socket.socket, command: Command, *, stderr: int | None) -> subprocess.Popen[bytes]:
    """A program whose standard input and output is the connection; ``stderr`` None is ours."""
    return subprocess.Popen(
        command.argv,
        cwd=command.cwd,
        env=_environment(command),
        stdin=connection.fileno(),
        stdout=connection.fileno(),
        stderr=stderr,
        start_new_session=True,
    )


def _listen(port: int) -> socket.socket:
    """A listener on loopback, on another port when this one is taken."""
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def _serve_in_turn(listener: socket.socket, command: Command, processes: list[subprocess.Popen[bytes]]) -> None:
    """Run a program for each connection, one at a time, until the listener is shut."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                process = _start_at(connection, command, stderr=None)
                processes[:] = [process]
                process.wait()


def _environment(command: Command) -> dict[str, str]:
    merged = {**os.environ, **command.env}
    return {name: value for name, value in merged.items() if value is not None}


def _missing(command: Command, error: OSError) -> HostError:
    if command.cwd is not None and not command.cwd.is_dir():
        return HostError(f"cannot run {command.argv[0]}: the directory {command.cwd} is not there")
    return HostError(
        f"cannot run {command.argv[0]}: {error.strerror}",
        hint=f"install it, or check PATH: {os.environ.get('PATH', '')}",
    )


def _lines(stream: IO[bytes]) -> IO[str]:
    return io.TextIOWrapper(stream, errors="replace")


def _feed(stack: contextlib.ExitStack, process: subprocess.Popen[bytes], data: bytes) -> None:
    """Write a program's standard input from a thread of its own: it may answer before it has read all of it."""
    stream = process.stdin
    assert stream is not None  # noqa: S101 - PIPE was asked for; tells mypy

    def work() -> None:
        with contextlib.suppress(BrokenPipeError), stream:  # a program need not read what it is given
            stream.write(data)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    stack.callback(thread.join, 1.0)


def _pass_on(stack: contextlib.ExitStack, process: subprocess.Popen[bytes], watch: Callable[[bytes], None]) -> None:
    """Copy a program's standard error to ours as it comes, from a thread of its own, and let ``watch`` see it.

    When ``stack`` closes, what the program wrote before it ended is still copied; what it left running in the
    background may hold the pipe open and is not waited for.
    """
    stream = process.stderr
    assert stream is not None  # noqa: S101 - PIPE was asked for; tells mypy
    ended = threading.Event()

    def work() -> None:
        with stream:
            while True:
                ready, _, _ = select.select([stream], [], [], 0.2)
                data = os.read(stream.fileno(), 1 << 16) if ready else b""
                if not data and (ready or ended.is_set()):
                    return
                watch(data)
                with contextlib.suppress(OSError):  # nobody reads ours any more; the program need not know
                    _write_all(_STDERR, data)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(ended.set)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _pump(stack: contextlib.ExitStack, stream: IO[str], take: Callable[[str], None]) -> threading.Thread:
    """Feed a text stream to ``take`` line by line from a thread of its own; joined when ``stack`` closes."""

    def work() -> None:
        with stream as lines:
            for line in lines:
                take(line.rstrip("\n"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    stack.callback(thread.join, 1.0)
    return thread


@contextlib.contextmanager
def _killed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process when the block is left by an exception. Ctrl-C has reached it too: it gets a moment to end."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_S)
        process.kill()
        process.wait()
        raise


@contextlib.contextmanager
def _group_ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process group politely, then firmly, when the block is left by an exception."""
    try:
        yield
    except BaseException:
        _end_group(process)
        raise


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the process group politely, then firmly; one whose leader was waited for has ended."""
    if process.returncode is not None:
        return
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            break
