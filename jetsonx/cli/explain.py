"""``jetsonx explain``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.host.explain import Match


@click.command("explain")
@click.argument("file", default="-", metavar="[FILE|-]", type=click.Path(path_type=Path))
@click.option("--list", "list_all", is_flag=True, help="Show every known failure instead; no log is read.")
@options.as_json
@click.pass_obj
def command(context: Context, file: Path, list_all: bool, as_json: bool) -> None:
    """Say what is known about the failures in a log: cause, fix, and where they were reported.

    FILE is the log of a build or a run, of any tool, or - for standard input. Each known failure is shown once, at the
    first line that gives it away, with how sure we are: measured, verified, reported or unverified. A log with none of
    them is said to have none; nothing is guessed.

    Exit status 0 in both cases.

    \b
    docker run app 2>&1 | jetsonx explain
    jetsonx explain build.log
    """
    from jetsonx.host.explain import failure_json, load_failures, match_json, render_failure, render_matches

    if list_all:
        failures = load_failures()
        document: dict[str, object] = {"failures": [failure_json(failure) for failure in failures]}
        lines = [line for failure in failures for line in (*render_failure(failure), "")][:-1]
    else:
        matches = _explain(context, file)
        document = {"matches": [match_json(match) for match in matches]}
        lines = render_matches(matches) or [f"no known failure in this log ({len(load_failures())} are known)"]
    for line in [json.dumps({"schema": 1, **document}, indent=2)] if as_json else lines:
        context.console.out(line)


def _explain(context: Context, file: Path) -> tuple[Match, ...]:
    from jetsonx.errors import ConfigError
    from jetsonx.host.explain import explain_blocks, read_blocks

    if str(file) == "-":
        if sys.stdin.isatty():
            context.console.say("reading a log from the terminal; end it with Ctrl-D")
        return explain_blocks(read_blocks(sys.stdin.buffer))
    try:
        with file.open("rb") as stream:
            return explain_blocks(read_blocks(stream))
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}",
            hint="name a log file, or pipe one in: COMMAND 2>&1 | jetsonx explain",
        ) from None
