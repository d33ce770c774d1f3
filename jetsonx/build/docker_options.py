"""What the user wants of the Docker engine; apart from it, as every build has this value and few need the engine."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerOptions:
    """What the user wants of the engine.

    ``load``: put the image into the engine, also when the local engine packed it. ``context``: a Docker context, "" for
    the default. ``builder``: a builder of buildx. ``tag``: the image's name in place of the project's. ``push``: also
    into the registry that the tag names. ``cache_from`` and ``cache_to``: buildx's own words. ``platforms``: what the
    image is for, "linux/arm64" for the Jetson, "linux/amd64" for a workstation.
    """

    load: bool = False
    context: str = ""
    builder: str = ""
    tag: str = ""
    push: bool = False
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("linux/arm64",)

    @property
    def needs_docker(self) -> bool:
        """True when they say something that only a build in Docker can do."""
        other = replace(self, load=False, context="") if self.load else self
        return other != NO_OPTIONS


NO_OPTIONS = DockerOptions()
"""What a build has that says nothing of Docker."""
