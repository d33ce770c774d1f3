"""Keys of machines that ssh does not know yet: shown by ssh's own question, accepted by ssh's own answer.

ssh is let ask, through the program that it calls for questions when there is no terminal. So what is shown is what ssh
found by the user's configuration, jump hosts included, and it is ssh that writes known_hosts, for the very key that was
shown: another one that turns up meanwhile is refused. Nobody logs in for that. Before OpenSSH 8.4 there is no
SSH_ASKPASS_REQUIRE; without a terminal, which our programs never have, DISPLAY does.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.errors import DeviceError
from jetsonx.rootfs.ssh import Address, HostKeyError, by_hand, ssh_command
from jetsonx.runner import Runner

_OPTIONS = ("ConnectTimeout=20", "ControlMaster=no", "ControlPath=none", "PreferredAuthentications=none")
_QUESTION = re.compile(r"authenticity of host '(?P<host>.+)' can't be established")
_FINGERPRINT = re.compile(r"(?P<kind>\S+) key fingerprint is (?P<fingerprint>[A-Za-z0-9]+:[A-Za-z0-9+/=:]+)\.")
_MOST_KEYS = 6  # the machine's own and those of the jump hosts before it


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A key that ssh asked about: ``fingerprint`` is "SHA256:…", ``host`` the name and address that ssh shows."""

    host: str
    kind: str
    fingerprint: str


def parse_question(text: str) -> HostKey | None:
    """The key in ssh's question; None for another text."""
    asked, key = _QUESTION.search(text), _FINGERPRINT.search(text)
    if asked is None or key is None or not text.replace("\n", "").isprintable():
        return None
    return HostKey(host=asked["host"], kind=key["kind"], fingerprint=key["fingerprint"])


def trust(
    address: Address,
    refused: HostKeyError,
    *,
    confirm: Callable[[HostKey], bool],
    runner: Runner,
    environ: Mapping[str, str],
) -> None:
    """Let ssh learn the unknown keys on the way to ``address`` that ``confirm`` says yes to.

    Raises DeviceError for one that is not confirmed, and ``refused``, what ssh said before, when it asks about none:
    the user's configuration may forbid it.
    """
    for number in range(_MOST_KEYS):
        key = _ask(address, "", runner=runner, environ=environ)
        if key is None:
            if number == 0:
                raise refused
            return
        if not confirm(key):
            raise DeviceError(
                f"{address.host}: the key of {key.host} is not known: {key.kind} {key.fingerprint}",
                hint="compare it with what the device says on its own console, "
                "ssh-keygen -lf /etc/ssh/ssh_host_" + key.kind.lower() + "_key.pub, then accept it: "
                f"{by_hand(address, environ)}, or jetsonx device add with --accept-host-key {key.fingerprint}",
            )
        _ask(address, key.fingerprint, runner=runner, environ=environ)
    raise refused


def _ask(address: Address, fingerprint: str, *, runner: Runner, environ: Mapping[str, str]) -> HostKey | None:
    """What ssh asks on the way to ``address``, None for nothing; it is told yes to the key of ``fingerprint``."""
    with tempfile.TemporaryDirectory(prefix="jetsonx-") as folder:
        question, program = Path(folder) / "question", Path(folder) / "askpass"
        program.write_bytes(Path(__file__).with_name("askpass.sh").read_bytes())
        program.chmod(0o700)
        env = {
            "SSH_ASKPASS": str(program),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": ":0",
            "LC_ALL": "C",
            "JETSONX_QUESTION": str(question),
            "JETSONX_FINGERPRINT": fingerprint,
        }
        command = ssh_command(address, ("true",), environ, options=_OPTIONS)
        runner.run(replace(command, env=env))
        return parse_question(question.read_text(errors="replace")) if question.exists() else None
