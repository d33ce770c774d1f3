"""Names of images, by the rules of Docker (distribution/reference) that people's fingers know."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jetsonx.errors import ConfigError

_REGISTRY = re.compile(r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(f"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 255
_EXAMPLE = "an image is written as nvcr.io/nvidia/l4t-jetpack:r36.4.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image in a registry: by ``tag``, or exactly by ``digest`` (``sha256:…``), which counts when both are there."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        """The full name, as every tool takes it: ``docker.io/library/debian:bookworm``."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """The image that ``text`` names: ``debian`` is ``docker.io/library/debian:latest``; ``localhost:5000/x`` is there.

    Raises ConfigError for what is no image name.
    """
    rest, at, digest = text.strip().partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise ConfigError(f"{text!r}: {digest!r} is no digest", hint="a digest is sha256: and 64 of 0-9a-f")
    before, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        before, tag = rest, ""
    elif not _TAG.fullmatch(tag):
        raise ConfigError(f"{text!r}: {tag!r} is no tag", hint=_EXAMPLE)
    registry, repository = _split(before)
    if not _REGISTRY.fullmatch(registry):
        raise ConfigError(f"{text!r}: {registry!r} is no registry", hint=_EXAMPLE)
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST:
        hint = "names of repositories are lower case" if repository != repository.lower() else _EXAMPLE
        raise ConfigError(f"{text!r}: {repository!r} is no repository", hint=hint)
    return Reference(
        registry=registry, repository=repository, tag=tag or (None if digest else "latest"), digest=digest or None
    )


def _split(name: str) -> tuple[str, str]:
    """The registry and the repository: a first part with a dot or a port in it, or localhost, is a registry."""
    first, slash, rest = name.partition("/")
    if not slash or not (set(first) & set(".:") or first == "localhost"):
        first, rest = "docker.io", name
    first = first.lower()
    if first in ("index.docker.io", "registry-1.docker.io"):
        first = "docker.io"
    if first == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest
