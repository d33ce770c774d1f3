"""What the user wants of the Docker engine; apart from it, as every build has this value and few need the engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerOptions:
    """What the user wants of the engine.

    ``context``: a Docker context, "" for the default. ``builder``: a builder of buildx. ``tag``: the image's name in
    place of the project's. ``push``: also into the registry that the tag names. ``cache_from`` and ``cache_to``:
    buildx's own words.
    """

    context: str = ""
    builder: str = ""
    tag: str = ""
    push: bool = False
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()


NO_OPTIONS = DockerOptions()
"""What a build has that says nothing of Docker."""
