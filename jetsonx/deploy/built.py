"""What was built on this host, ready to go to devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetsonx.deploy.image import LocalImage
from jetsonx.deploy.options import ImageFacts, Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image on this host, where it lies and what it says of itself.

    With a ``program`` it is no image but files: ``path`` is their directory, and ``image`` their tar, told of as an
    image of one layer without a configuration, whose ID is the digest of the tar.
    """

    path: Path
    image: LocalImage
    facts: ImageFacts
    program: Program | None = None
