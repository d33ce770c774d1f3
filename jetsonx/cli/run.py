"""``jetsonx run``."""

from __future__ import annotations

from pathlib import Path

import click

from jetsonx.cli.context import Context


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-C", "--directory", default=".", type=click.Path(path_type=Path), help="The project.  [default: here]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output directory of the build.")
@click.option("--program", metavar="NAME", help="Which output to start.  [default: the image's entrypoint]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--] [ARGS]...")
@click.pass_obj
def command(
    context: Context, directory: Path, output: Path | None, program: str | None, arguments: tuple[str, ...]
) -> None:
    """Start the built program under QEMU user emulation, against the sysroot it was built with.

    There is no GPU and no driver under QEMU: CUDA calls fail as they do on a machine without a device. Arguments,
    input, output and exit status pass through.
    """
    from jetsonx.build.emulate import emulator_command

    call = emulator_command(directory, output, program, arguments)
    raise click.exceptions.Exit(context.runner.replace(call))
