"""TOML text in and out: parsing with errors a person can act on, and writing of single values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from jetsonx.errors import ConfigError
from jetsonx.toml import load_toml

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def parse_document(text: str, path: Path) -> dict[str, object]:
    """The tables of a TOML text. ``path`` is only named in errors.

    Raises ConfigError with line and column when the text is not TOML.
    """
    try:
        tables: dict[str, object] = load_toml(text)
        return tables
    except RecursionError:
        raise ConfigError(f"{path}: not TOML that can be read: lists or tables are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError is one; so is int()'s refusal of thousands of digits
        raise ConfigError(
            f"{path}: not TOML: {_with_position(str(error), text)}",
            hint="strings stand in quotes, lists in [ ], and a key is on one line with its value",
        ) from None


def load_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises ConfigError when it is not UTF-8 or cannot be read, FileNotFoundError when it is not there.
    """
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}: line {line}: not UTF-8 text", hint="save the file as UTF-8") from None


def toml_text(value: object) -> str:
    """One value as TOML on one line: strings, booleans, whole numbers, lists and tables of these.

    Raises TypeError for anything else.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return '"' + "".join(_escaped(char) for char in value) + '"'
        case list() | tuple():
            return "[" + ", ".join(toml_text(item) for item in value) + "]"
        case Mapping():
            pairs = ", ".join(f"{toml_key(name)} = {toml_text(item)}" for name, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")


def toml_key(name: str) -> str:
    """A key as TOML: bare when that is allowed, else quoted."""
    return name if _BARE_KEY.fullmatch(name) else toml_text(name)


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04X}" if ord(char) < 0x10000 else f"\\U{ord(char):08X}"


def _with_position(message: str, text: str) -> str:
    """The parser says "at end of document" for an unfinished one; a person looks for a line."""
    lines = text.split("\n")
    return message.replace("at end of document", f"at line {len(lines)}, column {len(lines[-1]) + 1}, the end")
