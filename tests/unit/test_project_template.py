"""The commented file and the reference page are written from the schema; these tests hold them together."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import get_args

import pytest

from jetsonx.project import Project, parse_project
from jetsonx.project.model import System
from jetsonx.project.record import Record, keys_of, walk
from jetsonx.project.template import render_reference, render_template, replace_target
from jetsonx.toml import load_toml

DOCS = Path(__file__).parents[2] / "docs" / "jetsonx-toml.md"
MARKER = "<!-- What follows is written from the schema"
SYSTEMS: tuple[System, ...] = get_args(System)
FILE = Path("jetsonx.toml")


def template(system: System) -> str:
    return render_template(name="demo", system=system, outputs=("demo",))


def switched_on(text: str, *, but_not: str = "") -> str:
    """The file with every commented key switched on, except one."""
    return re.sub(r"^#(?! )(?!" + (but_not or "(?!)") + r" = )", "", text, flags=re.MULTILINE)


def paths_in(tables: dict[str, object], at: str = "") -> set[str]:
    found = set()
    for name, value in tables.items():
        found.add(at + name)
        if isinstance(value, dict):
            found |= paths_in(value, f"{at}{name}.")
    return found


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_template_parses_as_it_is(system: System) -> None:
    project = parse_project(template(system), FILE)
    assert project.name == "demo"
    assert project.build.system == system
    assert project.target_names() == ("orin-nano@39.2",)


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_template_parses_with_every_comment_switched_on(system: System) -> None:
    project = parse_project(switched_on(template(system), but_not="targets"), FILE)
    assert project.build.env == (("CXXFLAGS", "-O3"),)
    assert project.deploy.health is not None


def test_the_templates_together_cover_every_key_of_the_schema() -> None:
    shown = set()
    for system in SYSTEMS:
        text = template(system)
        shown |= paths_in(load_toml(switched_on(text)))
        for other in re.findall(r"^# Or: (.*)$", text, re.MULTILINE):
            shown |= {f"deploy.{path}" for path in paths_in(load_toml(other))}
    assert {path for path, _ in walk(Project)} <= shown


def test_a_template_shows_no_key_that_its_system_does_not_take() -> None:
    assert "#args" not in template("cuda")
    assert "#flags" not in template("cmake")


@pytest.mark.parametrize(("path", "key"), [pair for pair in walk(Project) if pair[1].example])
def test_every_example_is_a_value_of_its_key(path: str, key: object) -> None:
    declared = dict(walk(Project))[path]
    assert key == declared
    for example in (declared.example, *declared.other_examples):
        declared.kind.read(load_toml(f"x = {example}".replace("{name}", "demo"))["x"], path)


def test_every_default_is_a_value_of_its_key() -> None:
    """A default that could not be typed into the file would be a second, hidden rule."""
    for section, key in keys_of(Project).items():
        assert isinstance(key.kind, Record)
        for name, inner in keys_of(key.kind.cls).items():
            default = inner.required or key.kind.cls.__dataclass_fields__[name].default
            if default not in ((), None, True, False):
                raw = list(default) if isinstance(default, tuple) else default
                assert inner.kind.read(raw, f"{section}.{name}") == default


def test_the_reference_page_lists_every_key() -> None:
    page = DOCS.read_text()
    for path, key in walk(Project):
        section, _, rest = path.partition(".")
        assert (f"| `{rest}` |" if rest else f"## `[{section}]`") in page, path
        assert key.doc in page


def test_the_reference_page_is_the_one_that_the_schema_gives() -> None:
    page = DOCS.read_text()
    prose, marker, rest = page.partition(MARKER)
    comment = rest.partition("\n")[0]
    expected = f"{prose}{marker}{comment}\n\n{render_reference()}"
    if os.environ.get("JETSONX_UPDATE_GOLDEN"):
        DOCS.write_text(expected)
        return
    assert page == expected, "stale: JETSONX_UPDATE_GOLDEN=1 pytest tests/unit/test_project_template.py"


def test_the_shortest_file_on_the_reference_page_is_a_project() -> None:
    block = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    assert parse_project(block[1], FILE).target_names() == ("orin-nano@39.2", "agx-thor@39.2")


def test_targets_of_one_release_are_written_as_modules_and_l4t() -> None:
    text = render_template(name="x", system="cuda", targets=("orin-nano@39.2", "agx-thor@39.2"))
    assert 'modules = ["orin-nano", "agx-thor"]\n' in text
    assert parse_project(text, FILE).target_names() == ("orin-nano@39.2", "agx-thor@39.2")


def test_targets_of_several_releases_are_written_as_targets() -> None:
    text = render_template(name="x", system="cuda", targets=("orin-nano@39.2", "orin-nano@36.4"))
    assert parse_project(text, FILE).target_names() == ("orin-nano@39.2", "orin-nano@36.4")


BEFORE = '[project]\nname = "x"\n\n'
AFTER = '\n# the build\n[build]\nsystem = "cuda"\nflags = ["[target]"]\n'


@pytest.mark.parametrize(
    "table",
    [
        '[target]\nmodules = ["a"]   # why\nl4t = "36.4"\n',
        '[target] # here\n# prose\nmodules = [\n  "a",\n  "b",\n]\nl4t = "36.4"\n',
        '[target]\ntargets = ["a@1", "b@2"]\n',
        "[target]\n",
    ],
)
def test_replace_target_leaves_everything_else_as_it_was(table: str) -> None:
    text = replace_target(BEFORE + table + AFTER, ("orin-nano@39.2",))
    assert text == BEFORE + '[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n' + AFTER


def test_replace_target_adds_the_table_where_there_is_none() -> None:
    text = replace_target(BEFORE + AFTER, ("orin-nano@39.2", "agx-thor@38.4"))
    assert parse_project(text, FILE).target_names() == ("orin-nano@39.2", "agx-thor@38.4")
