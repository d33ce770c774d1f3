"""``jetsonx demo``."""

from __future__ import annotations

from pathlib import Path

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context


@click.command("demo")
@click.option("-o", "--output", default="jetsonx-demo", show_default=True, type=click.Path(path_type=Path))
@options.targets
@options.offline
@click.pass_obj
def command(context: Context, output: Path, targets: tuple[str, ...], offline: bool) -> None:
    """The main job end to end: build the vector-add sample, check it, pack its image, start it under QEMU.

    Builds for orin-nano@39.2 and agx-thor@39.2 unless -t says otherwise.
    """
    from jetsonx.build.demo import run_demo

    run_demo(output, targets, context.effects(offline=offline))
