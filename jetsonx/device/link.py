"""One connection to a device for everything that is done there: ssh's own master, and sessions on it.

The master is a child of ours whose session on the device is a ``cat`` at the end of our pipe. So it says when it is
ready, and it ends with us however we end: a master in the background (ControlPersist) would outlive ``kill -9``.

Sessions name the master's socket and nothing else: where there is no master, since its directory takes no sockets or
the link broke a moment ago, ssh connects anew by itself.
"""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jetsonx.rootfs.ssh import Address, UnreachableError, by_hand, check_connection, ssh_command
from jetsonx.runner import Command, Completed, Runner, Session

# A link that died is noticed within a quarter of a minute: whoever uploads wants to know, and try again.
_OPTIONS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")
_MASTER = ("ControlMaster=yes", "ControlPersist=no")
_READY = b"jetsonx-link-ready"
_HOLD = f"echo {_READY.decode()}; exec cat"
_LOGIN_S = 60.0  # ssh's ConnectTimeout ends with the connection; logging in may take a weak device its time
_MOST_SESSIONS = 8  # sshd allows ten on a connection (MaxSessions), and the master's own is one
_NO_MASTER = ("unix_listener", "muxserver_listen", "Bad configuration option", "ControlPath", "ControlSocket")
# ssh binds the path and 17 characters more before it renames it, to a name of 107 bytes at most; it expands "%" and
# splits at blanks.
_SHORT_PATH = re.compile(r"/[A-Za-z0-9/._+-]{1,59}")


class Link:
    """The way to a device. Sessions may be opened by several threads; more than eight at once wait for each other.

    Nothing is sent before it is first used, and a master that died is opened anew when the next session asks for it.
    """

    def __init__(self, address: Address, *, runner: Runner, environ: Mapping[str, str], folder: Path | None) -> None:
        self.address = address
        self._runner = runner
        self._environ = environ
        self._socket = folder / "s" if folder else None
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_MOST_SESSIONS)
        self._master: Session | None = None
        self._ending = contextlib.ExitStack()

    def options(self) -> tuple[str, ...]:
        """What makes a call of ssh go over this link, whose master is up then if there can be one.

        Raises what :func:`~jetsonx.rootfs.ssh.check_connection` does, and UnreachableError when logging in takes more
        than a minute.
        """
        with self._lock:
            if self._socket and not (self._master and self._master.is_running):
                self._open_master(self._socket)
            return (*_OPTIONS, "ControlMaster=no", f"ControlPath={self._socket or 'none'}")

    def run(self, words: Sequence[str], *, stdin: bytes | None = None) -> Completed:
        """Run ``words`` on the device to their end. Raises as ``options`` does, also when the link breaks meanwhile."""
        command = self._command(words)
        with self._slots:
            done = self._runner.run(command, stdin=stdin)
        self.check(done)
        return done

    @contextlib.contextmanager
    def session(self, words: Sequence[str]) -> Iterator[Session]:
        """Speak with ``words`` on the device while the block runs; how they ended is for ``check`` to see."""
        command = self._command(words)
        with self._slots, self._runner.session(command) as session:
            yield session

    def check(self, done: Completed) -> None:
        """Raise DeviceError when it was the link that failed."""
        check_connection(self.address, done, self._environ)

    def close(self) -> None:
        """End the master, and with it the sessions that it carries."""
        with self._lock:
            self._master = None
            self._ending.close()

    def _command(self, words: Sequence[str]) -> Command:
        return ssh_command(self.address, words, self._environ, options=self.options())

    def _open_master(self, socket: Path) -> None:
        self._master = None
        self._ending.close()
        socket.unlink(missing_ok=True)
        options = (*_OPTIONS, *_MASTER, f"ControlPath={socket}")
        command = ssh_command(self.address, ("sh", "-c", _HOLD), self._environ, options=options)
        with contextlib.ExitStack() as stack:
            session = stack.enter_context(self._runner.session(command))
            if self._is_ready(session):
                self._master = session
                self._ending = stack.pop_all()
                return
            done = session.end()
        if any(words in done.tail for words in _NO_MASTER):
            self._socket = None
            return
        self.check(done)
        self._socket = None  # it can be logged in to, but has no sh: whoever runs something there will see

    def _is_ready(self, session: Session) -> bool:
        """True when the master stands, False when it ended; profiles may print what they like before."""
        until = time.monotonic() + _LOGIN_S
        came = b""
        while (left_s := until - time.monotonic()) > 0:
            ready, _, _ = select.select([session.stdout], [], [], left_s)
            data = session.stdout.read(1 << 12) if ready else b""
            if ready and not data:
                return False
            came = (came + data)[-(1 << 13) :]
            if _READY in came:
                return True
        raise UnreachableError(
            f"{self.address.host} did not let us in within {_LOGIN_S:g} s",
            hint=f"see whether it answers: {by_hand(self.address, self._environ)}",
        )


@contextlib.contextmanager
def open_link(address: Address, *, runner: Runner, environ: Mapping[str, str]) -> Iterator[Link]:
    """A link to ``address`` that ends with the block, however that is left."""
    folder = _private_folder(environ)
    link = Link(address, runner=runner, environ=environ, folder=folder)
    try:
        yield link
    finally:
        link.close()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _private_folder(environ: Mapping[str, str]) -> Path | None:
    """A new directory for this user alone with a path short enough for a socket; None when there is no place."""
    for place in (environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp below
        if _SHORT_PATH.fullmatch(place):
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="jetsonx-", dir=place))
    return None
