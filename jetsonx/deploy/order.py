"""What the user ordered: which project or image, where to, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jetsonx.deploy.fleet import Rollout
from jetsonx.deploy.transfer import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """``devices`` are names, tags, addresses or "all"; none: those of [deploy].

    ``directory`` is the project's, ``output`` where it was built to, None for its ``out``; ``image`` is an OCI layout
    or an archive of `docker save` to take instead. ``app`` is what the container is called, "" for the project's name.
    ``bytes_per_s`` limits each upload. ``retries``: whether an upload goes on when the link broke. ``jobs`` devices
    are served at once.
    """

    devices: tuple[str, ...] = ()
    directory: Path = Path()
    output: Path | None = None
    image: Path | None = None
    app: str = ""
    method: Method = "auto"
    bytes_per_s: float | None = None
    retries: bool = True
    is_blue_green: bool = False
    is_dry_run: bool = False
    rollout: Rollout = field(default_factory=Rollout)
    jobs: int = 8
