"""jetsonx.toml as text and as a file → :class:`Project`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jetsonx.errors import ConfigError
from jetsonx.project.document import load_text, parse_document
from jetsonx.project.kinds import Invalid, Problem
from jetsonx.project.model import FILE_NAME, Project
from jetsonx.project.record import Record, keys_of, walk


def parse_project(text: str, path: Path) -> Project:
    """The project that a jetsonx.toml describes. ``path`` is kept in it and named in errors; nothing is read.

    Raises ConfigError with every problem of the file, one on each line.
    """
    tables = parse_document(text, path)
    try:
        project = Record(Project).read(tables, "")
    except Invalid as invalid:
        lines = [f"{path}: {_with_home(problem)}" for problem in invalid.args]
        raise ConfigError(
            "\n".join(lines),
            hint="every key is explained in docs/jetsonx-toml.md; `jetsonx init` writes a commented file",
        ) from None
    outputs = project.build.outputs or (project.name,)
    return replace(project, path=path, build=replace(project.build, outputs=outputs))


def load_project(path: Path) -> Project:
    """The project in a directory, or of a jetsonx.toml of any name.

    Raises ConfigError when the file is not there, cannot be read, or is wrong.
    """
    file = path / FILE_NAME if path.is_dir() else path
    try:
        text = load_text(file)
    except FileNotFoundError:
        folder = path.parent if path.suffix == ".toml" else path
        where = "" if folder == Path() else f" {folder}"
        raise ConfigError(f"{file} is not there", hint=f"write one: jetsonx init{where}") from None
    return parse_project(text, file)


def _with_home(problem: Problem) -> Problem:
    """An unknown key that another table knows is most likely one that slipped into the wrong table."""
    if not problem.is_unknown_key or problem.fix:
        return problem
    name = problem.path.rpartition(".")[2]
    homes = [path.rpartition(".")[0] for path, key in walk(Project) if key.name == name and "." in path]
    fix = "it belongs in " + " or ".join(f"[{home}]" for home in homes) if homes else _known(problem.path)
    return replace(problem, fix=fix)


def _known(path: str) -> str:
    section = path.rpartition(".")[0]
    key = keys_of(Project).get(section)
    known = keys_of(key.kind.cls) if key and isinstance(key.kind, Record) else keys_of(Project) if not section else {}
    return f"known here: {', '.join(known)}" if known else ""
