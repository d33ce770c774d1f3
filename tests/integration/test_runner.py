"""Programs as they run: bytes in, bytes out, and their end."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from jetsonx.errors import HostError
from jetsonx.runner import Command, Runner

BINARY = bytes(range(256)) * 8192


def python(code: str) -> Command:
    return Command(argv=(sys.executable, "-c", code))


def test_lines_are_text() -> None:
    lines: list[str] = []
    code = r"import sys; print('out'); sys.stderr.buffer.write(b'\xff\r\n'); sys.exit(3)"
    done = Runner().run(python(code), on_line=lines.append)
    assert (done.status, done.stdout, sorted(lines)) == (3, "out\n", ["out", "�"])


def test_bytes_go_in_and_out_untouched() -> None:
    got: list[bytes] = []
    done = Runner().run(Command(argv=("cat",)), stdin=BINARY, stdout=lambda stream: got.append(stream.read()))
    assert done.ok
    assert got == [BINARY]


def test_a_program_need_not_read_its_input() -> None:
    assert Runner().run(Command(argv=("true",)), stdin=BINARY).ok


def test_without_input_there_is_none() -> None:
    assert Runner().run(Command(argv=("cat",))).stdout == ""


def test_what_the_reader_raises_ends_the_program() -> None:
    def refuse(stream: IO[bytes]) -> None:
        assert stream.read(1) == b"x"
        raise ValueError("enough")

    started = time.monotonic()
    with pytest.raises(ValueError, match="enough"):
        Runner().run(python("import sys, time; print('x', flush=True); time.sleep(60)"), stdout=refuse)
    assert time.monotonic() - started < 30


def test_a_reader_may_stop_early() -> None:
    done = Runner().run(Command(argv=("yes",)), stdout=lambda stream: None)
    assert not done.ok


def test_a_watched_program_still_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[bytes] = []
    code = "import sys; print('out'); sys.stderr.write('e' * 300_000); sys.exit(9)"
    assert Runner().replace(python(code), watch=seen.append) == 9
    out, err = capfd.readouterr()
    assert (out, err) == ("out\n", "e" * 300_000)
    assert b"".join(seen) == err.encode()


def test_a_watched_program_may_leave_another_behind(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    script = "echo last words >&2; sleep 20 & exit 3"
    assert Runner().replace(Command(argv=("sh", "-c", script)), watch=lambda _: None) == 3
    assert time.monotonic() - started < 10
    assert capfd.readouterr().err == "last words\n"


def test_a_watched_program_that_a_signal_ended_has_a_shells_status() -> None:
    assert Runner().replace(Command(argv=("sh", "-c", "kill -9 $$")), watch=lambda _: None) == 137


def test_a_session_is_spoken_with() -> None:
    code = "import sys; print(input(), flush=True); sys.stderr.write('last words'); sys.exit(3)"
    with Runner().session(python(code)) as session:
        assert session.is_running
        session.stdin.write(b"ping\n")
        assert session.stdout.readline() == b"ping\n"
        done = session.end()
        assert (done.status, done.tail, session.is_running) == (3, "last words", False)


def test_a_session_that_is_left_ends_with_all_that_it_started() -> None:
    script = "sleep 60 & echo $!; trap '' HUP; wait"
    started = time.monotonic()
    with Runner().session(Command(argv=("sh", "-c", script))) as session:
        child = int(session.stdout.readline())
    assert time.monotonic() - started < 10
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or "zombie" in Path(f"/proc/{child}/status").read_text():
            break
        time.sleep(0.02)
    else:
        pytest.fail("it is still running")


def test_a_session_ends_whatever_its_program_still_says() -> None:
    with Runner().session(Command(argv=("sh", "-c", "head -c 300000 /dev/zero; cat >/dev/null"))) as session:
        assert session.end().ok


def test_a_session_without_its_program_is_refused() -> None:
    with pytest.raises(HostError, match="cannot run"), Runner().session(Command(argv=("no-such-program",))):
        pass


def test_each_connection_to_a_relay_is_a_run_of_its_own() -> None:
    code = "import os; print(os.getpid(), flush=True); print(input(), flush=True); input()"
    pids = set()
    with Runner().relay(python(code)) as path:
        assert path.parent.stat().st_mode & 0o077 == 0
        for word in (b"one\n", b"two\n"):
            connection = socket.socket(socket.AF_UNIX)
            with connection, connection.makefile("rwb") as stream:
                connection.connect(str(path))
                pids.add(int(stream.readline()))
                stream.write(word)
                stream.flush()
                assert stream.readline() == word
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not path.parent.exists()


def test_a_port_is_served_one_connection_after_the_other() -> None:
    code = "import os; print(os.getpid(), flush=True); print(input(), flush=True); input()"
    pids = []
    with Runner().forward(python(code), 0) as port, Runner().forward(python(code), port) as other:
        assert other != port  # taken
        for word in (b"one\n", b"two\n"):
            with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rwb") as stream:
                pids.append(int(stream.readline()))
                stream.write(word)
                stream.flush()
                assert stream.readline() == word
        first = socket.create_connection(("127.0.0.1", port))
        pids.append(int(first.makefile("rb").readline()))
    with first:
        assert first.recv(1) == b""
    assert len({*pids}) == 3
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port)).close()


def test_a_relay_without_its_program_is_refused() -> None:
    with (
        pytest.raises(HostError, match="cannot run no-such-program"),
        Runner().relay(Command(argv=("no-such-program",))),
    ):
        pass
