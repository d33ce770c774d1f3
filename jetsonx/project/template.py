"""What people read about jetsonx.toml, written from its schema: the commented file and the reference page."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields

from jetsonx.project.document import toml_text
from jetsonx.project.kinds import Kind
from jetsonx.project.model import Project, System
from jetsonx.project.record import Key, Record, keys_of

_WIDTH = 110
_DEFAULT_TARGETS = ("orin-nano@39.2",)


def render_template(
    *, name: str, system: System, targets: tuple[str, ...] = (), outputs: tuple[str, ...] = (), version: str = "0.1.0"
) -> str:
    """A jetsonx.toml with the given values and, as comments, every other key that this build system knows.

    Prose stands behind ``# ``, a key that can be switched on behind ``#`` alone. ``targets`` are ``module@release``.
    """
    given = {"project.name": toml_text(name), "project.version": toml_text(version), "build.system": toml_text(system)}
    given |= {f"target.{key}": text for key, text in _target_values(targets or _DEFAULT_TARGETS)}
    if outputs:
        given["build.outputs"] = toml_text(outputs)
    blocks = ["# What jetsonx builds, and for which Jetsons. Lines with a # before the key show what else can be said."]
    for section, key in keys_of(Project).items():
        lines = [*_prose(key.doc), f"[{section}]"]
        for inner in _keys_in(key.kind):
            if not inner.only_for or system in inner.only_for:
                value = given.get(f"{section}.{inner.name}")
                if system in inner.needed_for:
                    value = value or _filled(inner.example, name)
                lines += _key_lines(inner, value, name)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def replace_target(text: str, targets: tuple[str, ...]) -> str:
    """The text of a jetsonx.toml with its ``[target]`` table, to the next blank line, replaced by these targets."""
    table = "[target]\n" + "".join(f"{key} = {value}\n" for key, value in _target_values(targets))
    present = re.search(r"^\[target\][^\n]*\n(?:[^\n\[][^\n]*\n?)*", text, re.MULTILINE)
    if present is None:
        return f"{text.rstrip()}\n\n{table}"
    return text[: present.start()] + table + text[present.end() :]


def render_reference() -> str:
    """The tables of docs/jetsonx-toml.md, one for each table of the file, as Markdown."""
    return "\n\n".join(_reference_of(section, key) for section, key in keys_of(Project).items()) + "\n"


def _target_values(targets: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    modules, releases = zip(*(target.split("@", 1) for target in targets), strict=True)
    if len(set(releases)) > 1:
        yield "targets", toml_text(targets)
        return
    yield "modules", toml_text(modules)
    yield "l4t", toml_text(releases[0])


def _keys_in(kind: Kind[object]) -> tuple[Key, ...]:
    return tuple(keys_of(kind.cls).values()) if isinstance(kind, Record) else ()


def _prose(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _key_lines(key: Key, value: str | None, name: str) -> Iterator[str]:
    yield from _prose(f"{key.doc} Default: {key.default}." if key.default else key.doc)
    for other in key.other_examples:
        yield f"# Or: {key.name} = {_filled(other, name)}"
    yield f"{key.name} = {value}" if value else f"#{key.name} = {_filled(key.example, name)}"


def _filled(example: str, name: str) -> str:
    return example.replace("{name}", name)


def _reference_of(section: str, key: Key) -> str:
    rows = ["| Key | Takes | Default | What it says |", "| --- | --- | --- | --- |"]
    rows += _rows(key.kind, "")
    return f"## `[{section}]`\n\n{key.doc}\n\n" + "\n".join(rows)


def _rows(kind: Kind[object], prefix: str) -> Iterator[str]:
    defaults = {field.name: field.default for field in fields(kind.cls)} if isinstance(kind, Record) else {}
    for key in _keys_in(kind):
        only = f" *Only for {', '.join(key.only_for)}.*" if key.only_for else ""
        shown = f" `{key.name} = {_filled(key.example, 'saxpy')}`" if key.example else ""
        cells = [f"`{prefix}{key.name}`", key.kind.what, _default(key, defaults[key.name]), f"{key.doc}{only}{shown}"]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield from _rows(key.kind, f"{key.name}.")


def _default(key: Key, value: object) -> str:
    if key.required:
        return "*required*"
    if key.default:
        return key.default
    return "none" if value in ((), None) else f"`{toml_text(value)}`"
