"""Asks `jetsonx verify` about an image before it goes to a device, once for each pair of image and kind of device."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx import __version__
from jetsonx.deploy.built import Built
from jetsonx.device.identify import Identity
from jetsonx.device.profile import device_facts
from jetsonx.device.values import Device
from jetsonx.effects import Effects
from jetsonx.errors import JetsonxError

if TYPE_CHECKING:
    from jetsonx.artifact.tree import Tree
    from jetsonx.verify.profile import DeviceFacts

_WAIVERS = "jetsonx-waivers.toml"


class Checks:
    """Verdicts of one run, and of earlier ones by what they depend on. Devices of a fleet may ask at once."""

    def __init__(self, directory: Path, effects: Effects) -> None:
        self._directory = directory
        self._effects = effects
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._trees: Mapping[str, Tree] = {}

    def expect(self, built: Built) -> None:
        """Begin to read an image of which a verdict will be asked: that goes on while devices are."""
        self._reader = threading.Thread(target=self._read_ahead, args=(built,), daemon=True)
        self._reader.start()

    def _read_ahead(self, built: Built) -> None:
        from jetsonx.verify.command import Request, read_ahead

        with contextlib.suppress(JetsonxError):  # who wants the verdict reads it again, and says so
            self._trees = read_ahead(Request(what=(_named(built),)), self._effects)

    def verdict(self, built: Built, identity: Identity, device: Device) -> tuple[str, ...] | None:
        """The errors in the image for this device, one line each; None when nothing is known of what it runs."""
        if identity.target is None:
            return None
        facts = device_facts(device)
        place = self._effects.store.root / "verified" / f"{self._key(built, identity.target.name, facts)}.json"
        with self._lock:  # the image is read once, not by all at once
            if (known := _read(place)) is None:
                if self._reader:
                    self._reader.join()
                known = self._verify(built, identity, facts)
                _write(place, known)
            return known

    def _key(self, built: Built, target: str, facts: DeviceFacts) -> str:
        waivers = self._directory / _WAIVERS
        # Waivers end on a day.
        said = waivers.read_bytes() + date.today().isoformat().encode() if waivers.is_file() else b""
        made_of = (__version__, built.image.id, target, repr(facts), hashlib.sha256(said).hexdigest())
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()

    def _verify(self, built: Built, identity: Identity, facts: DeviceFacts) -> tuple[str, ...]:
        from jetsonx.verify.command import Request, verify
        from jetsonx.verify.profile import profile_of_device

        if identity.target is None:
            raise TypeError(identity)
        request = Request(
            what=(_named(built),),
            profiles=(profile_of_device(identity.target, facts),),
            directory=self._directory,
        )
        report = verify(request, self._effects, read=self._trees)
        return tuple(
            f"{found.path}: {found.message} ({found.rule})" for found in report.findings if found.severity == "error"
        )


def _named(built: Built) -> str:
    """As `jetsonx verify` calls it."""
    if built.program is not None:
        return str(built.path)
    return f"{'oci' if built.path.is_dir() else 'docker-archive'}:{built.path}"


def _read(place: Path) -> tuple[str, ...] | None:
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(known, list) and all(isinstance(each, str) for each in known)
    return tuple(known) if is_ours else None


def _write(place: Path, verdict: tuple[str, ...]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.write_text(json.dumps(verdict), encoding="utf-8")
    part.replace(place)
