"""The first-boot configuration of Fedora CoreOS as a value: a user with a key, Docker, and no password. Pure.

Sources: the Ignition configuration specification 3.3.0 (coreos.github.io/ignition), whose configs newer Fedora CoreOS
releases take too, and docs.fedoraproject.org/en-US/fedora-coreos for the user `core` and how QEMU and libvirt hand the
file over. Debian's Ignition accepts and carries out what is written here; no Fedora CoreOS was booted with it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from jetsonx.errors import ConfigError

VERSION = "3.3.0"
FIRMWARE_KEY = "opt/com.coreos/config"
"""The name of QEMU's firmware configuration (fw_cfg) under which the guest looks for its config."""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY = re.compile(r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-\S+) [A-Za-z0-9+/]+={0,3}( [^\n]*)?")
_SSHD = "PasswordAuthentication no\nPermitRootLogin no\n"
# An update ends in a restart at once, in the middle of whatever is built (coreos.github.io/zincati/usage/auto-updates).
_NO_UPDATES = "[updates]\nenabled = false\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """An ed25519 key pair of the guest's sshd, made on this host, so that the guest is known before it is met."""

    private: str
    public: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstBoot:
    """What a new guest is told. ``keys``: public keys that may log in as ``user``, who may use Docker."""

    hostname: str
    user: str
    keys: tuple[str, ...]
    host_key: HostKey | None = None


def check_first_boot(wanted: FirstBoot) -> FirstBoot:
    """Raise ConfigError for what would lock everybody out, or be read as something else."""
    if not _USER.fullmatch(wanted.user):
        raise ConfigError(f"{wanted.user!r} cannot be a user's name", hint="a-z, 0-9, dash and underscore: core")
    if not _HOST.fullmatch(wanted.hostname):
        raise ConfigError(f"{wanted.hostname!r} cannot be a host's name", hint="a-z, 0-9 and dash: isolated")
    if not wanted.keys:
        raise ConfigError(
            "without a key nobody could log in, as there is no password", hint="--key ~/.ssh/id_ed25519.pub"
        )
    for key in wanted.keys:
        if "PRIVATE KEY" in key:
            raise ConfigError("this is a private key, which stays where it is", hint="name the file that ends in .pub")
        if not _KEY.fullmatch(key):
            raise ConfigError(f"{key[:40]!r} is no public key of SSH", hint="ssh-keygen -t ed25519 makes a pair")
    return wanted


def render_ignition(wanted: FirstBoot) -> str:
    """The config as JSON. Raises ConfigError as :func:`check_first_boot` does."""
    check_first_boot(wanted)
    files = [
        _file("/etc/hostname", f"{wanted.hostname}\n"),
        _file("/etc/ssh/sshd_config.d/10-jetsonx.conf", _SSHD),
        _file("/etc/zincati/config.d/90-disable-auto-updates.toml", _NO_UPDATES),
    ]
    if wanted.host_key is not None:
        files.append(_file("/etc/ssh/ssh_host_ed25519_key", wanted.host_key.private, mode=0o600))
        files.append(_file("/etc/ssh/ssh_host_ed25519_key.pub", wanted.host_key.public))
    user = {"name": wanted.user, "groups": ["docker", "wheel"], "sshAuthorizedKeys": list(wanted.keys)}
    # The service and not only its socket: the engine is there when ssh is, and is stopped in order.
    units = [{"name": name, "enabled": True} for name in ("docker.socket", "docker.service")]
    config = {
        "ignition": {"version": VERSION},
        "passwd": {"users": [user]},
        "storage": {"files": files},
        "systemd": {"units": units},
    }
    return json.dumps(config, indent=2) + "\n"


def _file(path: str, text: str, *, mode: int = 0o644) -> dict[str, Any]:
    return {"path": path, "mode": mode, "overwrite": True, "contents": {"source": f"data:,{quote(text, safe='')}"}}
