"""What flows through a deployment, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["container", "files"]
"""What an app is on a device: a container, or files in a directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteImage:
    """An image that a device has. ``id`` is what its engine calls it: of the configuration, with containerd's store of
    the manifest. ``diff_ids`` are its layers, base first; ``tags`` and ``repo_digests`` its names.
    """

    id: str
    diff_ids: tuple[str, ...]
    tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteContainer:
    """A container that a device has, whoever made it, or a release of files, told of in the same words: its ``id`` is
    the name of its directory then, and ``image_id`` the digest of its files. ``ports`` are those of the device that it
    holds, "8080/tcp".

    ``health`` is what its health check says, "" when it has none; ``restarts`` how often it was started again by
    itself, ``status`` its last exit status.
    """

    id: str
    name: str
    image_id: str
    state: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    health: str = ""
    restarts: int = 0
    status: int = 0
    form: Form = "container"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a release shows that it works.

    ``image``: by the HEALTHCHECK of its image; ``command`` ends with 0 in the container; ``url`` answers with 200 on
    the device; ``stays``: it runs for ``stays_s`` seconds without a restart. All within ``timeout_s`` seconds.
    """

    kind: Literal["image", "command", "http", "stays"] = "stays"
    command: tuple[str, ...] = ()
    url: str = ""
    timeout_s: int = 30
    stays_s: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of an app for one device: what its container is made of.

    ``app`` is the container's name. ``id`` names the release on the device and in histories: twelve hexadecimal
    digits of what it is made of. ``reference`` is the image's name there, which no other image ever gets. ``options``
    are words for ``docker create``, without names, labels, secrets and image; ``command`` follows the image.
    ``secrets`` are the contents of files by their names in the container's /run/secrets: they never become part of a
    command line, an image, a label or a log. ``keep`` is how many earlier releases stay on the device.

    Of ``files``, ``image_id`` is the digest of their tar, ``command`` the program and its arguments, which a user unit
    of systemd starts when it ``has_unit``, with the variables ``env`` and the directories ``library_dirs``, relative to
    the release's, to look for libraries in.
    """

    app: str
    id: str
    image_id: str
    reference: str
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    restart: str = "unless-stopped"
    health: Health = field(default_factory=Health)
    stop_timeout_s: int = 10
    is_blue_green: bool = False
    keep: int = 1
    form: Form = "container"
    has_unit: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    library_dirs: tuple[str, ...] = ()
