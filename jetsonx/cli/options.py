"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

targets = click.option(
    "-t", "--target", "targets", multiple=True, metavar="TARGET", help="Build for this target instead of the file's."
)
offline = click.option("--offline", is_flag=True, help="Never use the network; take what the cache holds.")
project_dir = click.argument("directory", default=".", type=click.Path(path_type=Path), metavar="[DIR]")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
