"""The images that Dockerfiles start from beside the releases' own, which are in the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

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
