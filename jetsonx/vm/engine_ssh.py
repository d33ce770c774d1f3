"""What ssh, and so Docker, needs to find the engines: settings for each, and one line that includes them.

Docker's ssh reads nothing but the account's own configuration.
"""

from __future__ import annotations

from pathlib import Path

from jetsonx.vm.make import render_sharing
from jetsonx.vm.place import PREFIX, Place, Places

CONFIG = "engine_ssh"
"""The file in a machine's directory that makes it an engine."""


def of_libvirt(places: Places) -> Places:
    """Machines that libvirt runs are kept apart: `vm start` has no QEMU of its own for them."""
    return Places(places.root / ".libvirt")


def ssh_host(name: str) -> str:
    """The engine's name for ssh and Docker."""
    return f"jetsonx-engine-{name}"


def write_settings(place: Place, hypervisor: str) -> None:
    """Tell ssh of the engine, under that name; by way of a hypervisor ("" for none), on whose loopback it answers.

    That hop is a call of ssh by itself: it reads the user's own configuration, where the hypervisor may have a name,
    and never asks. With ProxyJump, it would read the machine's.
    """
    text = place.ssh_config.read_text()
    if hypervisor:
        text += f"  ProxyCommand ssh -o BatchMode=yes -W %h:%p -- {hypervisor}\n"
        place.ssh_config.write_text(text)
    text = text.replace(f"Host {PREFIX}{place.name}\n", f"Host {ssh_host(place.name)}\n")
    (place.path / CONFIG).write_text(text + render_sharing(place.path))


def include_line(places: Places) -> str:
    """What the account's ssh configuration has to hold for Docker to find the engines."""
    return f'Include "{places.root}/*/{CONFIG}" "{of_libvirt(places).root}/*/{CONFIG}"'


def is_included(config: Path, places: Places) -> bool:
    """True when the line is in there, at its place before any host's."""
    return include_line(places) in _read(config).splitlines()


def is_as_put(config: Path, places: Places) -> bool:
    """True when the line is where :func:`include` puts it."""
    return _read(config).startswith(f"{include_line(places)}\n")


def include(config: Path, places: Places) -> None:
    """Put the line first: after a Host line it would count for that host alone. By one rename."""
    _write(config, f"{include_line(places)}\n{_read(config)}")


def exclude(config: Path, places: Places) -> None:
    """Take that line away again, and the file too when it holds nothing else; by one rename."""
    rest = _read(config).removeprefix(f"{include_line(places)}\n")
    if rest or config.is_symlink():
        _write(config, rest)
    else:
        config.unlink()


def _read(config: Path) -> str:
    return config.read_text() if config.exists() else ""


def _write(config: Path, text: str) -> None:
    target = config.resolve()  # people keep theirs in a repository, behind a link
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.jetsonx")
    part.write_text(text)
    part.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o600)
    part.replace(target)
