"""A planned Dockerfile as text, by the templates in ``dockerfiles/``: the same plan gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jetsonx.dockerfile import quote
from jetsonx.dockerfile.images import DIRECTORY
from jetsonx.dockerfile.plan import Dockerfile

if TYPE_CHECKING:
    from jinja2 import Environment


def render_dockerfile(plan: Dockerfile) -> str:
    """The text of the Dockerfile. Raises ConfigError for a line break where an instruction cannot hold one."""
    return _environment().get_template("Dockerfile.j2").render(plan=plan)


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported late: start-up time counts

    # Not autoescape: what is written is no HTML, and every value of the user's goes through one of the filters.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(DIRECTORY),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="<#",  # the usual one is what a shell counts an array by: ${#files[@]}
        comment_end_string="#>",
    )
    environment.filters |= {
        "shell": quote.shell_word,
        "glob": quote.shell_glob,
        "lines": quote.shell_lines,
        "docker": quote.docker_word,
        "exec": quote.json_words,
    }
    return environment
