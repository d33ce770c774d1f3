"""An image that Docker's engine has: asked to save it, and read while it does."""

from __future__ import annotations

from typing import IO

from jetsonx.artifact.archive import read_archive
from jetsonx.artifact.tree import Tree
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Command

_STEP = 1 << 20
_UNKNOWN = ("no such image", "not found", "invalid reference", "reference does not exist")
"""What engines of several generations say of an image that they do not have."""


def load_image(image: str, name: str, options: Options, effects: Effects) -> Tree:
    """The image called ``image`` there.

    Raises ConfigError when the engine has no such image or what it gives is damaged, HostError when there is no engine.
    """
    if not image or image.startswith("-"):
        raise ConfigError(f"{name}: {image!r} is no image", hint="name one that `docker images` lists")
    trees: list[Tree] = []
    errors: list[ConfigError] = []

    def read(stream: IO[bytes]) -> None:
        try:
            trees.append(read_archive(stream.read, name, "docker", options, effects))
        except ConfigError as error:  # the engine's own words, which come last, say more than that its stream ends
            errors.append(error)
            while stream.read(_STEP):
                pass

    done = effects.runner.run(Command(argv=("docker", "save", image)), stdout=read)
    if not done.ok:
        raise _refused(name, image, done.tail)
    if errors:
        raise errors[0]
    return trees[0]


def _refused(name: str, image: str, words: str) -> ConfigError | HostError:
    said = words.lower()
    if any(word in said for word in _UNKNOWN):
        return ConfigError(
            f"{name}: Docker's engine has no such image", hint=f"`docker images` lists what it has; docker pull {image}"
        )
    return HostError(
        f"docker save {image} failed",
        hint="does the engine run, and may you use it? jetsonx doctor says",
        details=words,
    )
