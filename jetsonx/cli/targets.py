"""``jetsonx targets``: what can be built for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.catalog.render import catalog_json, render_table, render_target, target_json

if TYPE_CHECKING:
    from jetsonx.cli.context import Context


@click.command("targets")
@click.argument("target", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.pass_obj
def command(obj: Context, target: str | None, as_json: bool) -> None:
    """List the Jetson modules and L4T releases, or everything known about one TARGET (orin-nano@39.2)."""
    catalog = load_catalog()
    if target is None:
        text = json.dumps(catalog_json(catalog), indent=2) if as_json else render_table(catalog)
    else:
        chosen = resolve_target(catalog, target)
        text = json.dumps(target_json(chosen), indent=2) if as_json else render_target(chosen)
    obj.console.out(text)
