"""A real sshd with keys of its own, for this user alone; it works for root and for anyone else."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_START_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """``ssh -F config name`` logs in. ``known_hosts`` may be emptied and ``user_key`` moved by a test."""

    name: str
    config: Path
    port: int
    known_hosts: Path
    user_key: Path
    log: Path
    pid: int


def find_sshd() -> str | None:
    """sshd is called by its full path (it starts itself again); /usr/sbin is not on everyone's PATH."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def serve_ssh(
    tmp: Path,
    name: str = "jetson",
    *,
    environ: Mapping[str, str] | None = None,
    ip: str = "127.0.0.1",
    inside: Sequence[str] = (),
) -> Iterator[SshHost]:
    """Serve SSH on ``ip`` while the block runs; everything it needs lies in ``tmp``.

    ``environ``: what those who log in find set; it wins over what sshd sets by itself, such as PATH. ``inside`` are the
    words that sshd is started with, to be in another network.
    """
    sshd = find_sshd()
    if sshd is None:
        raise FileNotFoundError("sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd, as root, locks its unprivileged half in
    tmp.mkdir(parents=True, exist_ok=True)
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", tmp / key], check=True)
    shutil.copy(tmp / "user_key.pub", tmp / "authorized_keys")
    port = _free_port()
    algorithm, public, *_ = (tmp / "host_key.pub").read_text().split()
    (tmp / "known_hosts").write_text(f"[{ip}]:{port} {algorithm} {public}\n")
    (tmp / "sshd_config").write_text(_sshd_config(tmp, ip, port) + _set_env(environ or {}))
    (tmp / "ssh_config").write_text(_ssh_config(tmp, name, ip, port))
    log = tmp / "sshd.log"
    with subprocess.Popen([*inside, sshd, "-D", "-f", tmp / "sshd_config", "-E", log]) as server:
        try:
            _await_port(ip, port, server, log)
            yield SshHost(
                name=name,
                config=tmp / "ssh_config",
                port=port,
                known_hosts=tmp / "known_hosts",
                user_key=tmp / "user_key",
                log=log,
                pid=server.pid,
            )
        finally:
            server.terminate()


def _sshd_config(tmp: Path, ip: str, port: int) -> str:
    return f"""\
ListenAddress {ip}
Port {port}
HostKey {tmp}/host_key
PidFile {tmp}/sshd.pid
AuthorizedKeysFile {tmp}/authorized_keys
AllowUsers {getpass.getuser()}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
LogLevel VERBOSE
"""


def _set_env(environ: Mapping[str, str]) -> str:
    words = " ".join(f'"{name}={value}"' for name, value in environ.items())
    return f"SetEnv {words}\n" if words else ""


def _ssh_config(tmp: Path, name: str, ip: str, port: int) -> str:
    return f"""\
Host {name}
  HostName {ip}
  Port {port}
  User {getpass.getuser()}
  IdentityFile {tmp}/user_key
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {tmp}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_port(ip: str, port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((ip, port), timeout=1):
            return
        time.sleep(0.02)
    words = log.read_text() if log.exists() else ""
    raise RuntimeError(f"sshd did not come up on port {port}: {words}")
