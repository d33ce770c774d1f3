"""What the user names, whatever it is, as a tree of files with their facts."""

from __future__ import annotations

from pathlib import Path

from jetsonx.artifact.directory import load_directory, load_single
from jetsonx.artifact.tree import Tree
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import ConfigError

__all__ = ["Options", "load_artifact"]


def load_artifact(reference: str, options: Options, effects: Effects) -> Tree:  # noqa: ARG001 - images will use them
    """Read what ``reference`` names: a file, a directory.

    Raises ConfigError when it is not there or not what it should be.
    """
    path = Path(reference)
    try:
        if path.is_dir():
            return load_directory(path, reference, options)
        return load_single(path, reference, options)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{reference}: {why}", hint=_EXPECTED) from None


_EXPECTED = "name a file, a directory, oci:DIR, docker-archive:FILE or docker:IMAGE"
