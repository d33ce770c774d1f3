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
_OPTIONS = ("BatchMode=yes", "ControlMaster=no", "ConnectTimeout=20", "ServerAliveInterval=15", "ServerAliveCountMax=4")
_FAILED = 255  # ssh's own exit status for whatever went wrong with the connection
_URL = re.compile(r"ssh://(?P<host>[^/]+)(?P<root>/.*)?")
_PORT = re.compile(r"(?P<host>[^:]+):(?P<port>[0-9]+)")
_HINTS = {
    "IDENTIFICATION HAS CHANGED": "if the device was flashed anew, forget its old key: ssh-keygen -R {name}",
    "Host key verification failed": "look at its key and accept it once: {by_hand}",
    "Permission denied": "jetsonx logs in with a key; give the device yours once: ssh-copy-id {name}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A device and the directory on it that holds its root file system.

    ``host`` is what ``ssh`` takes: a name from its configuration, ``user@host`` or ``ssh://user@host:port``.
    """

    host: str
    root: str = "/"

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
    if not bare or bare.startswith("-") or bare.endswith("@") or not text.isprintable() or " " in host:
        raise ConfigError(f"{text!r} is no SSH address", hint="write it as for ssh: jetson@192.168.55.1")
    return Address(host=host, root=root.rstrip("/") or "/")


def ssh_command(address: Address, words: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Run ``words`` on the device. ``JETSONX_SSH_CONFIG`` in ``environ`` names another configuration for ssh."""
    options = [word for option in _OPTIONS for word in ("-o", option)]
    # `env` because csh and older fish, which may be the login shell there, do not know NAME=value before a command.
    remote = shlex.join(("env", "LC_ALL=C", *words))
    return Command(argv=("ssh", *_config(environ), *options, "--", address.host, remote))


def check_connection(address: Address, done: Completed, environ: Mapping[str, str]) -> None:
    """Raise DeviceError when it was the connection that failed, with ssh's own words and what to do about them."""
    if done.status != _FAILED and done.status >= 0:
        return
    by_hand = shlex.join(("ssh", *_config(environ), address.host))
    name = address.host.removeprefix("ssh://")
    hint = next((text for words, text in _HINTS.items() if words in done.tail), "see whether it answers: {by_hand}")
    raise DeviceError(
        f"cannot reach {address.host} with ssh",
        details=done.tail.strip(),
        hint=hint.format(name=name.rpartition("@")[2] if "keygen" in hint else name, by_hand=by_hand),
    )


def _config(environ: Mapping[str, str]) -> tuple[str, ...]:
    chosen = environ.get("JETSONX_SSH_CONFIG")
    return ("-F", str(Path(chosen).expanduser())) if chosen else ()
