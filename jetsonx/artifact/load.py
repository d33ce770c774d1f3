"""What the user names, whatever it is, as a tree of files with their facts."""

from __future__ import annotations

from pathlib import Path

from jetsonx.artifact.archive import load_archive, looks_like_tar
from jetsonx.artifact.directory import load_directory, load_single
from jetsonx.artifact.engine import load_image
from jetsonx.artifact.oci import is_layout, load_layout
from jetsonx.artifact.package import load_deb, load_wheel
from jetsonx.artifact.tree import Tree
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import ConfigError

__all__ = ["Options", "load_artifact"]

_EXPECTED = "name a file, a directory, oci:DIR, docker-archive:FILE or docker:IMAGE"
_HEAD_BYTES = 512
_DEB_MAGIC = b"!<arch>\ndebian-binary"


def load_artifact(reference: str, options: Options, effects: Effects) -> Tree:
    """Read what ``reference`` names.

    That is a file, a static library, a wheel, a Debian package, an image in a tar file (``docker-archive:FILE`` or the
    file alone), a directory, an OCI layout (``oci:DIR`` or the directory alone), or ``docker:IMAGE`` of the engine.

    Raises ConfigError when it is not there or not what it should be, HostError when there is no engine to ask.
    """
    kind, colon, rest = reference.partition(":")
    try:
        if colon and kind == "docker":
            return load_image(rest, reference, options, effects)
        if colon and kind == "oci":
            return load_layout(Path(rest), reference, options, effects)
        if colon and kind == "docker-archive":
            return load_archive(Path(rest), reference, options, effects)
        return _load_path(Path(reference), reference, options, effects)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{reference}: {why}", hint=_EXPECTED) from None


def _load_path(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    if path.is_dir():
        return load_layout(path, name, options, effects) if is_layout(path) else load_directory(path, name, options)
    if not path.is_file():
        why = "is not a regular file" if path.exists() else "is not there"
        raise ConfigError(f"{name} {why}", hint=_EXPECTED)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_DEB_MAGIC):
        return load_deb(path, name, options, effects)
    if head.startswith(b"PK") and path.suffix == ".whl":
        return load_wheel(path, name, options, effects)
    if looks_like_tar(head):
        return load_archive(path, name, options, effects)
    return load_single(path, name, options)
