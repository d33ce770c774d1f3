"""Reads what state.sh printed: pure. A device is not trusted: what is none of ours in its answer is passed over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jetsonx.deploy.outcome import read_fields
from jetsonx.deploy.request import is_app
from jetsonx.deploy.values import Form, RemoteContainer, RemoteImage

APP_LABEL = "dev.jetsonx.app"
RELEASE_LABEL = "dev.jetsonx.release"
REFERENCE_LABEL = "dev.jetsonx.reference"

_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}")
_PORT = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_FILES = re.compile(
    r"(current|previous|older) (([0-9a-f]{6,64})\.[0-9]{1,9}) ([0-9a-f]{64}) (\S{1,400}) ([a-z-]{1,20}) "
    r"([0-9]{1,9}) ([0-9]{1,9})"
)
# What systemd calls the states of a unit, in Docker's words.
_STATES = {"active": "running", "activating": "restarting", "failed": "exited", "inactive": "exited"}
_OF_APPS = ("journal", "holder", "history", "modified", "failed", "form", "files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lock of an app, with what kind of operation, since when by the clock of that workstation."""

    who: str
    when: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An operation that was interrupted, or is under way when the lock is held, and the step that its journal names."""

    op: str
    kind: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """An app of a device, of one ``form``. ``current`` and ``previous`` are its releases, ``older`` those to be pruned.

    ``history`` are its last operations, the oldest first; ``failed`` is the release whose log was kept. ``modified``
    are containers that `jetsonx sync` put files into, by ID: when, and by whom. ``debugged`` is the container that
    stands in for it while it is debugged.
    """

    name: str
    form: Form = "container"
    current: RemoteContainer | None = None
    previous: RemoteContainer | None = None
    older: tuple[RemoteContainer, ...] = ()
    unfinished: Unfinished | None = None
    holder: Holder | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    failed: str = ""
    modified: Mapping[str, str] = field(default_factory=dict)
    debugged: RemoteContainer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceState:
    """What a device has of images, containers and apps.

    ``staged`` are bundles in its staging directory, whole or in part (``.part``), and their sizes in bytes;
    ``free_bytes`` is what is free there, None when it does not say. ``by`` is how docker is reached: ``"user"``,
    ``"sudo"``, "" when it is not, and then there are no images and no containers. ``has_units``: systemd runs units of
    the user there; ``has_linger``: also while nobody is logged in. ``can_run``: programs can be started below $HOME.
    """

    images: tuple[RemoteImage, ...] = ()
    containers: tuple[RemoteContainer, ...] = ()
    apps: Mapping[str, AppState] = field(default_factory=dict)
    staged: Mapping[str, int] = field(default_factory=dict)
    free_bytes: int | None = None
    by: str = ""
    has_units: bool = False
    has_linger: bool = False
    can_run: bool = True


@dataclass(slots=True)
class _Lines:
    """What was said of one app, by name."""

    journal: dict[str, str] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    history: list[Mapping[str, Any]] = field(default_factory=list)
    failed: str = ""
    form: Form = "container"
    files: dict[str, RemoteContainer] = field(default_factory=dict)
    modified: dict[str, str] = field(default_factory=dict)


def parse_state(text: str) -> DeviceState | None:
    """The state in a whole answer, None for one that is cut off."""
    images: list[RemoteImage] = []
    containers: list[RemoteContainer] = []
    apps: dict[str, _Lines] = {}
    staged: dict[str, int] = {}
    facts: dict[str, str] = {}
    lines = _Lines()  # what comes before the first app, or is said of what can be none, gets lost
    for name, value in read_fields(text):
        if name == "image":
            images.extend(_image(value))
        elif name == "container":
            containers.extend(_container(value))
        elif name == "app":
            lines = _Lines()
            if is_app(value):
                apps[value] = lines
        elif name == "staged":
            size, _, file = value.partition(" ")
            if _NUMBER.fullmatch(size):
                staged[file] = int(size)
        elif name in _OF_APPS:
            _take(lines, name, value)
        else:
            facts[name] = value.strip()
    if facts.get("end") != "whole":
        return None
    names = {*apps, *(app for each in containers if is_app(app := each.labels.get(APP_LABEL, "")))}
    free = facts.get("free_kib", "")
    return DeviceState(
        images=tuple(images),
        containers=tuple(containers),
        apps={name: _app(name, apps.get(name, _Lines()), containers) for name in sorted(names)},
        staged=staged,
        free_bytes=int(free) * 1024 if _NUMBER.fullmatch(free) else None,
        by=facts.get("docker", ""),
        has_units=facts.get("units") == "yes",
        has_linger=facts.get("linger") == "Linger=yes",
        can_run="noexec" not in facts.get("home_mount", "").split(","),
    )


def _take(lines: _Lines, name: str, value: str) -> None:
    if name in ("journal", "holder"):
        key, _, item = value.partition("=")
        getattr(lines, name)[key] = item
    elif name == "history":
        lines.history.extend(parse_history(value))
    elif name == "modified":
        container, _, what = value.partition(" ")
        if what.strip():
            lines.modified[container] = what.strip()
    elif name == "form":
        lines.form = "files" if value == "files" else "container"
    elif name == "files":
        lines.files.update(_files(value, lines.files))
    else:
        lines.failed = value.rpartition(".")[0]


def parse_history(text: str) -> Iterator[Mapping[str, Any]]:
    """The operations in lines of a history; one that a power cut spoilt is passed over."""
    for line in text.splitlines():
        entry = _object(line)
        if isinstance(entry.get("op"), str):
            yield entry


def _app(name: str, lines: _Lines, containers: list[RemoteContainer]) -> AppState:
    own = {each.name: each for each in containers if each.labels.get(APP_LABEL) == name}
    if lines.form == "files":
        own = {name + slot: replace(each, name=name) for slot, each in lines.files.items()}
    journal, holder = lines.journal, lines.holder
    named = (name, f"{name}.prev", f"{name}.debug")
    return AppState(
        name=name,
        form=lines.form,
        current=own.get(name),
        previous=own.get(f"{name}.prev"),
        older=tuple(each for key, each in sorted(own.items()) if key not in named),
        unfinished=Unfinished(op=journal.get("op", ""), kind=journal.get("kind", ""), step=journal["step"])
        if "step" in journal
        else None,
        holder=Holder(who=holder.get("who", ""), when=holder.get("when", ""), kind=holder.get("kind", ""))
        if holder
        else None,
        history=tuple(lines.history),
        failed=lines.failed,
        modified=lines.modified,
        debugged=own.get(f"{name}.debug"),
    )


def _image(text: str) -> Iterator[RemoteImage]:
    found = _object(text)
    if _ID.fullmatch(str(found.get("id"))):
        yield RemoteImage(
            id=str(found["id"]),
            diff_ids=tuple(item for item in _strings(found.get("layers")) if _ID.fullmatch(item)),
            tags=tuple(_strings(found.get("tags"))),
            repo_digests=tuple(_strings(found.get("digests"))),
            labels=_labels(found.get("labels")),
        )


def _container(text: str) -> Iterator[RemoteContainer]:
    found = _object(text)
    if _ID.fullmatch(str(found.get("id"))):
        yield RemoteContainer(
            id=str(found["id"]),
            name=str(found.get("name", "")).removeprefix("/"),
            image_id=str(found.get("image", "")),
            state=str(found.get("state", "")),
            labels=_labels(found.get("labels")),
            ports=tuple(sorted({*_ports(found.get("bound")), *_ports(found.get("ports"))})),
            health=str(found.get("health") or ""),
            restarts=_count(found.get("restarts")),
            status=_count(found.get("status")),
        )


def _files(text: str, others: Mapping[str, RemoteContainer]) -> Iterator[tuple[str, RemoteContainer]]:
    """A release of files under what its container would have behind the app's name."""
    if found := _FILES.fullmatch(text.strip()):
        slot, directory, release, payload, reference, state, restarts, status = found.groups()
        suffix = {"current": "", "previous": ".prev"}.get(slot, f".{len(others)}")
        yield (
            suffix,
            RemoteContainer(
                id=directory,
                name="",
                image_id=f"sha256:{payload}",
                state=_STATES.get(state, state),
                labels={RELEASE_LABEL: release, REFERENCE_LABEL: reference},
                restarts=int(restarts),
                status=int(status),
                form="files",
            ),
        )


def _ports(found: Any) -> Iterator[str]:
    """Docker names those inside, ``{"80/tcp": [{"HostPort": "8080"}]}``; the device holds 8080/tcp."""
    for inside, bindings in found.items() if isinstance(found, dict) else ():
        for binding in bindings if isinstance(bindings, list) else ():
            port = str(binding.get("HostPort", "")) if isinstance(binding, dict) else ""
            if _PORT.fullmatch(port):
                yield f"{port}/{inside.partition('/')[2] or 'tcp'}"


def _strings(found: Any) -> list[str]:
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def _labels(found: Any) -> dict[str, str]:
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _count(found: Any) -> int:
    return found if isinstance(found, int) else 0


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
