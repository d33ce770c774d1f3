"""The user's named devices: ``devices.json`` beside the configuration file, with what each said when last asked.

What is kept of a device is its answer as it came, so that what follows from it is always worked out by today's rules.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetsonx.errors import ConfigError
from jetsonx.net.mirrors import config_file
from jetsonx.rootfs.ssh import Address, parse_machine_address
from jetsonx.vm.place import PREFIX, Places, open_places

SCHEMA = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LATEST_S = 1e11  # the year 5138: what no clock says
_RESERVED = ("all",)  # means every device where devices are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A device by the user's name for it. ``said`` is empty and ``asked_s`` (since 1970) 0 when it was never asked.

    ``tags`` are words that several devices may share.
    """

    name: str
    address: str
    said: Mapping[str, str] = field(default_factory=dict)
    asked_s: float = 0.0
    tags: tuple[str, ...] = ()

    @property
    def seen(self) -> str:
        """When it was last asked, in UTC; "" for never."""
        if not self.asked_s:
            return ""
        return datetime.fromtimestamp(self.asked_s, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Registry:
    """The file of named devices at ``path``. Every change is one rename; two at once wait for each other.

    ``places`` holds the virtual machines, which are devices by the name ``vm:NAME``; None for none.
    """

    path: Path
    places: Places | None = None

    def load(self) -> dict[str, Named]:
        """All devices by name, sorted. Raises ConfigError, with the place, for a file that is none of ours."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path}: cannot be read: {error}") from None
        return parse_devices(text, where=str(self.path))

    def find(self, text: str) -> tuple[str, Address]:
        """The name, "" for none, and the address that a user's ``NAME|ADDRESS`` means.

        Raises ConfigError for what is neither, DeviceError for a virtual machine that does not run.
        """
        known = self.load().get(text)
        address = self.address(known.address if known else text)
        if self.places and address.host.startswith(PREFIX):
            self.places.check_running(address.host)
        return known.name if known else "", address

    def address(self, text: str) -> Address:
        """Where ssh finds the device at ``ADDRESS``, or the virtual machine ``vm:NAME``. Raises ConfigError."""
        if self.places and text.startswith(PREFIX):
            return self.places.load(text)[0].address
        return parse_machine_address(text, what="a device")

    def select(self, words: Sequence[str]) -> tuple[tuple[str, Address], ...]:
        """The devices that ``NAME|TAG|ADDRESS|all`` mean, each once, in that order; the name is "" where there is none.

        Raises ConfigError for a word that is none of them.
        """
        known = self.load()
        found: dict[str, tuple[str, Address]] = {}
        for word in words:
            named = [device for device in known.values() if word in device.tags] if word not in known else []
            if word == "all":
                named = list(known.values())
                if not named:
                    raise ConfigError("there are no devices by name", hint="jetsonx device add NAME USER@HOST")
            for name, address in map(self.find, [each.name for each in named] or [word]):
                found.setdefault(name or str(address), (name, address))
        return tuple(found.values())

    def add(self, device: Named) -> None:
        """Put a device in, or what it said anew. Raises ConfigError for a name that is none or another device's."""
        check_name(device.name)
        with self._locked():
            devices = self.load()
            check_free(devices, device.name, device.address)
            self._write({**devices, device.name: device})

    def remember(self, name: str, said: Mapping[str, str], asked_s: float) -> None:
        """Keep what a device said; one that was removed meanwhile stays away."""
        with self._locked():
            devices = self.load()
            if name in devices:
                self._write({**devices, name: replace(devices[name], said=said, asked_s=asked_s)})

    def remove(self, name: str) -> Named:
        """Take a device out. Raises ConfigError when there is none of that name."""
        with self._locked():
            devices = self.load()
            if name not in devices:
                raise ConfigError(f"there is no device {name!r}", hint=f"known: {', '.join(devices) or 'none'}")
            gone = devices.pop(name)
            self._write(devices)
            return gone

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, devices: Mapping[str, Named]) -> None:
        path = self.path.resolve()  # the file may be a link to where the user keeps such files
        beside = path.with_name(f".{path.name}.part")
        try:
            beside.write_text(render_devices(devices), encoding="utf-8")
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise


def open_registry(environ: Mapping[str, str]) -> Registry:
    """The user's own. ``JETSONX_CONFIG`` moves it along with the configuration file."""
    return Registry(config_file(environ).with_name("devices.json"), open_places(environ))


def check_name(name: str) -> None:
    """Raise ConfigError unless a device can be called that."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise ConfigError(
            f"{name!r} cannot be the name of a device",
            hint="up to 63 letters, digits, dots, dashes and underscores, a letter or digit first; `all` means all",
        )


def check_free(devices: Mapping[str, Named], name: str, address: str) -> None:
    """Raise ConfigError when ``name`` is another address's; the same one is added anew."""
    if name in devices and devices[name].address != address:
        raise ConfigError(
            f"{name} is the name of {devices[name].address} already",
            hint=f"take another, or give it up first: jetsonx device remove {name}",
        )


def parse_devices(text: str, *, where: str) -> dict[str, Named]:
    """The devices in a file's text. Raises ConfigError for anything that :func:`render_devices` does not write."""
    mend = "correct it, or move it away and add the devices anew"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: is no JSON: {error}", hint=mend) from None
    rows = data.get("devices") if isinstance(data, dict) else None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(rows, dict):
        raise ConfigError(f"{where}: is no list of devices of schema {SCHEMA}", hint=mend)
    devices = {}
    for name, row in sorted(rows.items()):
        check_name(name)
        try:
            devices[name] = _parse_row(name, row)
        except (ConfigError, KeyError, TypeError, ValueError):
            raise ConfigError(f"{where}: {name}: expected address, asked_s and said", hint=mend) from None
    return devices


def _parse_row(name: str, row: Mapping[str, Any]) -> Named:
    address, asked_s, said = str(row["address"]), float(row["asked_s"]), dict(row["said"])
    parse_machine_address(address, what="a device")
    if not 0 <= asked_s < _LATEST_S or not all(isinstance(value, str) for value in said.values()):
        raise ValueError(name)
    tags = tuple(row.get("tags", ()))
    for tag in tags:
        check_name(tag)
    return Named(name=name, address=address, said=said, asked_s=asked_s, tags=tags)


def render_devices(devices: Mapping[str, Named]) -> str:
    """The file's text."""
    rows = {
        name: {
            "address": device.address,
            "asked_s": device.asked_s,
            "said": dict(device.said),
            **({"tags": list(device.tags)} if device.tags else {}),
        }
        for name, device in sorted(devices.items())
    }
    return json.dumps({"schema": SCHEMA, "devices": rows}, indent=2) + "\n"
