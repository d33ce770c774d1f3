"""What jetsonx.lock fixes in a Dockerfile beside digests of images: versions of packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AptPins:
    """Packages as apt is asked for one version of them, ``name=version``, with all that they bring along.

    ``target``: of ``sysroot.packages``; ``image``: of ``image.packages``. None: the lock holds nothing that the package
    sources of the release's image would know.
    """

    target: tuple[str, ...] | None = None
    image: tuple[str, ...] | None = None


NO_PINS = AptPins()
"""Every package in the version that the package sources offer."""
