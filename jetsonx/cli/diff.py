"""``jetsonx diff``."""

from __future__ import annotations

import json

import click

from jetsonx.cli import options
from jetsonx.cli.artifacts import cannot_check
from jetsonx.cli.context import Context


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@click.option("--deep", is_flag=True, help="Look for device code in the whole of each file.")
@options.as_json
@options.offline
@click.pass_obj
def command(context: Context, before: str, after: str, deep: bool, as_json: bool, offline: bool) -> None:
    """Say what changed from A to B: files, what they need, device code, sizes.

    Each is what `jetsonx verify` takes: a file, a directory, a .whl, a .deb, oci:DIR, docker-archive:FILE or
    docker:IMAGE. Two images with the same files and settings are equal however their layers are cut and compressed.

    Exit status: 0 equal, 1 there are differences, 2 they could not be compared.

    \b
    jetsonx diff docker:app:1.0 docker:app:1.1
    jetsonx diff old/out/files out/files --json
    """
    with cannot_check():
        from jetsonx.verify.command import load_tree
        from jetsonx.verify.diff import diff_trees
        from jetsonx.verify.formats.difference import diff_json, render_diff

        effects = context.effects(offline=offline)
        found = diff_trees(load_tree(before, effects, deep=deep), load_tree(after, effects, deep=deep))
    if as_json:
        context.console.out(json.dumps(diff_json(found), indent=2))
    else:
        context.console.out("\n".join(render_diff(found, everything=context.console.verbosity > 0)))
    if not found.is_equal:
        raise click.exceptions.Exit(1)
