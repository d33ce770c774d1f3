"""What the user names, whatever it is, as a tree of files with their facts.

What reads images and packages is imported when there is one: most runs look at a directory, and start-up time counts.
"""

from __future__ import annotations

from pathlib import Path

from jetsonx.artifact.directory import load_directory, load_single
from jetsonx.artifact.recognise import HEAD_BYTES, is_deb, is_layout, is_wheel, looks_like_tar
from jetsonx.artifact.tree import Tree
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import ConfigError

__all__ = ["Options", "load_artifact"]

_EXPECTED = "name a file, a directory, oci:DIR, docker-archive:FILE or docker:IMAGE"


def load_artifact(reference: str, options: Options, effects: Effects) -> Tree:
    """Read what ``reference`` names.

    That is a file, a static library, a wheel, a Debian package, an image in a tar file (``docker-archive:FILE`` or the
    file alone), a directory, an OCI layout (``oci:DIR`` or the directory alone), or ``docker:IMAGE`` of the engine.

    Raises ConfigError when it is not there or not what it should be, HostError when there is no engine to ask.
    """
    kind, colon, rest = reference.partition(":")
    try:
        if colon and kind == "docker":
            from jetsonx.artifact.engine import load_image

            return load_image(rest, reference, options, effects)
        if colon and kind == "oci":
            return _load_layout(Path(rest), reference, options, effects)
        if colon and kind == "docker-archive":
            return _load_archive(Path(rest), reference, options, effects)
        return _load_path(Path(reference), reference, options, effects)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{reference}: {why}", hint=_EXPECTED) from None


def _load_path(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    if path.is_dir():
        return _load_layout(path, name, options, effects) if is_layout(path) else load_directory(path, name, options)
    if not path.is_file():
        why = "is not a regular file" if path.exists() else "is not there"
        raise ConfigError(f"{name} {why}", hint=_EXPECTED)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if is_deb(head):
        from jetsonx.artifact.package import load_deb

        return load_deb(path, name, options, effects)
    if is_wheel(head, path):
        from jetsonx.artifact.package import load_wheel

        return load_wheel(path, name, options, effects)
    if looks_like_tar(head):
        return _load_archive(path, name, options, effects)
    return load_single(path, name, options)


def _load_layout(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    from jetsonx.artifact.oci import load_layout

    return load_layout(path, name, options, effects)


def _load_archive(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    from jetsonx.artifact.archive import load_archive

    return load_archive(path, name, options, effects)
