"""Devices are reached with the user's own ``ssh``: its configuration, agent, keys, jump hosts and known hosts.

Nothing is asked for on the way (``BatchMode``): where ssh would want an answer, the error says what to run by hand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.errors import ConfigError, DeviceError
from jetsonx.runner import Command, Completed

# A link that died is noticed after a minute; a device that is switched off does not keep anyone waiting for longer.
QUIET_OPTIONS = (
    "BatchMode=yes",
    "ControlMaster=no",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
)
"""Never ask, and share no connection."""
_FAILED = 255  # ssh's own exit status for whatever went wrong with the connection
_URL = re.compile(r"ssh://(?P<host>[^/]+)(?P<root>/.*)?")
_PORT = re.compile(r"(?P<host>[^:]+):(?P<port>[0-9]+)")
# A ProxyCommand or `Match exec` of the user's configuration hands names to a shell: what OpenSSH refuses from 9.6 on
# (ssh.c, valid_hostname and valid_ruser) is refused with every version.
_SHELL_WORDS = frozenset("'`\"$;&<>|(){}")
_CHANGED = "IDENTIFICATION HAS CHANGED"
_UNKNOWN = "Host key verification failed"
_HINTS = {
    _CHANGED: "refused: it may be another machine. If the device was flashed anew, forget its old key: {forget}",
    _UNKNOWN: "look at its key and accept it once: {by_hand}",
    "Permission denied": "jetsonx logs in with a key; give the device yours once: {copy}",
}
_OFFENDING = re.compile(r"Offending \S+ key in (?P<file>.+):[0-9]+$", re.MULTILINE)
_CHANGED_NAME = re.compile(r"Host key for (?P<name>\S+) has changed")


class HostKeyError(DeviceError):
    """ssh does not know the key of a machine, and was not to ask."""


class UnreachableError(DeviceError):
    """There was no connection, or it broke; later there may be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A device and the directory on it that holds its root file system.

    ``host`` is what ``ssh`` takes: a name from its configuration, ``user@host`` or ``ssh://user@host:port``.
    ``config`` is a configuration file for ssh that knows this device, in place of the user's.
    """

    host: str
    root: str = "/"
    config: Path | None = None

    def __str__(self) -> str:
        """As :func:`parse_address` takes it."""
        if self.root == "/":
            return self.host
        return self.host + ("" if self.host.startswith("ssh://") else ":") + self.root


def parse_address(text: str) -> Address:
    """The device that ``jetson@host``, ``jetson@host:/other/root`` or ``ssh://jetson@host:2222/other/root`` means.

    Raises ConfigError for what ssh could not take, or would take for an option.
    """
    text = text.strip()
    if found := _URL.fullmatch(text):
        host, root = f"ssh://{found['host']}", found["root"] or "/"
    else:
        host, colon, rest = text.partition(":/")
        root = f"/{rest}" if colon else "/"
        host = re.sub(r"\[(.+)\]$", r"\1", host)  # scp wants an IPv6 address in brackets, ssh wants it bare
    if port := _PORT.fullmatch(host):
        raise ConfigError(
            f"{text}: an address takes no port in this form", hint=f"write ssh://{port['host']}:{port['port']}"
        )
    bare = host.removeprefix("ssh://")
    name = bare.rpartition("@")[2]
    if not name or bare.startswith(("-", "@")) or name.startswith("-") or not text.isprintable() or " " in host:
        raise ConfigError(f"{text!r} is no SSH address", hint="write it as for ssh: jetson@192.168.55.1")
    if _SHELL_WORDS & set(host) or name.startswith("\\") or bare.partition("@")[0].endswith("\\"):
        raise ConfigError(
            f"{text!r} is no SSH address: OpenSSH takes no such characters",
            hint="give the machine a name in ~/.ssh/config (Host jetson, with HostName and User) and use that",
        )
    return Address(host=host, root=root.rstrip("/") or "/")


def parse_machine_address(text: str, *, what: str) -> Address:
    """The same for a machine as a whole; ``what`` says in the error for whom there is no directory on it.

    Raises ConfigError as :func:`parse_address` does, and for an address with a directory.
    """
    address = parse_address(text)
    if address.root != "/":
        raise ConfigError(f"{text}: {what} has no directory", hint=f"write it as for ssh: {address.host}")
    return address


def ssh_command(
    address: Address, words: Sequence[str], environ: Mapping[str, str], *, options: Sequence[str] = QUIET_OPTIONS
) -> Command:
    """Run ``words`` on the device. ``JETSONX_SSH_CONFIG`` in ``environ`` names another configuration for ssh.

    A device that comes with a configuration of its own is reached by that one.

    ``options`` take the place of those that never ask.
    """
    given = [word for option in options for word in ("-o", option)]
    # `env` because csh and older fish, which may be the login shell there, do not know NAME=value before a command.
    remote = shlex.join(("env", "LC_ALL=C", *words))
    return Command(argv=("ssh", *_config(address, environ), *given, "--", address.host, remote))


def check_connection(address: Address, done: Completed, environ: Mapping[str, str]) -> None:
    """Raise DeviceError when it was the connection that failed, with ssh's own words and what to do about them.

    For a machine whose key is not known it is a :class:`HostKeyError`, and an :class:`UnreachableError` when nothing
    needs to be done but to try again later.
    """
    if done.status != _FAILED and done.status >= 0:
        return
    found = next((words for words in _HINTS if words in done.tail), "")
    hint = _HINTS.get(found, "see whether it answers: {by_hand}")
    name, port = _name_and_port(address)
    copy = ("ssh-copy-id", *(("-p", port) if port else ()), name)
    kind = HostKeyError if found == _UNKNOWN else DeviceError if found else UnreachableError
    raise kind(
        f"cannot reach {address.host} with ssh",
        details=done.tail.strip(),
        hint=hint.format(by_hand=by_hand(address, environ), copy=shlex.join(copy), forget=_forget(address, done.tail)),
    )


def by_hand(address: Address, environ: Mapping[str, str]) -> str:
    """The call that logs in by hand, for a shell."""
    return shlex.join(("ssh", *_config(address, environ), address.host))


def _forget(address: Address, tail: str) -> str:
    """The call that takes a changed key out of the file that ssh found it in; an alias has another name there."""
    name, port = _name_and_port(address)
    host = name.rpartition("@")[2]
    known = found["name"] if (found := _CHANGED_NAME.search(tail)) else f"[{host}]:{port}" if port else host
    file = ("-f", offending["file"]) if (offending := _OFFENDING.search(tail)) else ()
    return shlex.join(("ssh-keygen", *file, "-R", known))


def _name_and_port(address: Address) -> tuple[str, str]:
    """``user@host`` and the port of a URL, "" for none."""
    if address.host.startswith("ssh://"):
        bare = address.host.removeprefix("ssh://")
        found = re.fullmatch(r"(.+):([0-9]{1,5})", bare)
        return (found[1], found[2]) if found else (bare, "")
    return address.host, ""


def _config(address: Address, environ: Mapping[str, str]) -> tuple[str, ...]:
    chosen = address.config or environ.get("JETSONX_SSH_CONFIG")
    return ("-F", str(Path(chosen).expanduser())) if chosen else ()
