"""Text from jetsonx.toml as a Dockerfile must spell it. Three readers, three spellings.

A shell reads RUN; BuildKit's own word expansion, which knows ``\\``, ``$`` and quotes, reads ENV, LABEL and WORKDIR;
JSON is read for ENTRYPOINT, CMD and HEALTHCHECK, which nothing expands. An instruction is one line: only JSON can hold
a line break.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from jetsonx.errors import ConfigError


def shell_word(text: str) -> str:
    """One word for a shell in a RUN instruction. Raises ConfigError for a line break."""
    return shlex.quote(_one_line(text))


def shell_glob(text: str) -> str:
    r"""A glob as one quoted word, to be expanded by ``$pattern`` in a shell without field splitting (``IFS=``).

    ``* ? [`` mean there what they mean in jetsonx.toml. A backslash, an ordinary character here, quotes there, but only
    in a word that is a glob: as ``[\\]`` it makes the word one.
    """
    return shell_word(text.replace("\\", r"[\\]"))


def shell_lines(text: str) -> str:
    """Text of several lines as the words of a ``printf '%s\\n'``, one on each line of the Dockerfile."""
    return " \\\n      ".join(shlex.quote(line) for line in text.strip("\n").split("\n"))


def docker_word(text: str) -> str:
    r"""A value for ENV, LABEL or WORKDIR, in double quotes: ``say "$HOME"`` is ``"say \"\$HOME\""``.

    Raises ConfigError for a line break.
    """
    escaped = "".join(f"\\{character}" if character in '\\"$' else character for character in _one_line(text))
    return f'"{escaped}"'


def json_words(words: Sequence[str]) -> str:
    """The exec form of ENTRYPOINT, CMD and HEALTHCHECK."""
    return json.dumps(list(words), ensure_ascii=False)


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ConfigError(
            f"{text!r} cannot stand in a Dockerfile: an instruction is one line, and this holds a line break",
            hint="put it into a file of the project",
        )
    return text
