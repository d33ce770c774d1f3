"""The images that Dockerfiles start from beside the releases' own, which are in the catalog."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

from jetsonx.errors import ConfigError
from jetsonx.net.mirrors import Mirrors
from jetsonx.registry.reference import parse_reference
from jetsonx.toml import load_toml

DIRECTORY = Path(import_module("jetsonx.dockerfiles").__path__[0])
"""Where the templates and ``images.toml`` lie; named in words because a checkout has it elsewhere than a wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolchainImage:
    """An x86-64 image with nvcc ``cuda`` (``"12.6"``) on the Ubuntu ``suite``; ``digest`` is None where none is known.

    ``confidence`` and ``sources`` as in the catalog.
    """

    cuda: str
    suite: str
    reference: str
    confidence: str
    sources: tuple[str, ...]
    digest: str | None = None


def load_toolchain_images() -> tuple[ToolchainImage, ...]:
    """The rows of ``images.toml``."""
    rows = load_toml((DIRECTORY / "images.toml").read_text(encoding="utf-8"))["toolchain"]
    return tuple(ToolchainImage(**{**row, "sources": tuple(row["sources"])}) for row in rows)


def pinned(reference: str, digest: str | None) -> str:
    """``reference`` as FROM takes it, with ``digest`` when there is one and it does not say one itself."""
    return f"{reference}@{digest}" if digest and "@" not in reference else reference


def mirrored(reference: str, mirrors: Mirrors) -> str:
    """``reference`` as FROM has to name it for the mirror of its registry to be asked; as it is when there is none.

    Docker knows nothing of the user's mirrors, and takes a registry by its host alone. A base URL with a ``/v2`` of its
    own puts the rest of its path before the repository: of ``https://harbor.example/v2/nvcr`` it is
    ``harbor.example/nvcr/…``. Raises ConfigError for a mirror that no image name can say.
    """
    image = parse_reference(reference)
    base = mirrors.base(image.registry)
    if base is None:
        return reference
    parts = urlsplit(base)
    first, *prefix = parts.path.strip("/").split("/")
    if first not in ("", "v2"):
        raise ConfigError(
            f"the mirror {base} of {image.registry} cannot stand in a Dockerfile: an image name has no path before /v2",
            hint=f"name the images' own place: {parts.scheme}://{parts.netloc}/v2/REPOSITORY-PREFIX",
        )
    return str(replace(image, registry=parts.netloc, repository="/".join((*prefix, image.repository))))
