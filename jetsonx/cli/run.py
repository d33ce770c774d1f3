"""``jetsonx run``."""

from __future__ import annotations

from pathlib import Path

import click

from jetsonx.cli.context import Context

_KEPT_BYTES = 1 << 18


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-C", "--directory", default=".", type=click.Path(path_type=Path), help="The project.  [default: here]")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output directory of the build.")
@click.option("--program", metavar="NAME", help="Which output to start.  [default: the image's entrypoint]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--] [ARGS]...")
@click.pass_obj
def command(
    context: Context, directory: Path, output: Path | None, program: str | None, arguments: tuple[str, ...]
) -> None:
    """Start the built program under QEMU user emulation: with the sysroot it was built against, or in its container.

    There is no GPU and no driver under QEMU: CUDA calls fail as they do on a machine without a device. Arguments,
    input, output and exit status pass through. When the program fails, what is known about the failures in its last
    words on standard error follows them (see jetsonx explain).
    """
    from jetsonx.build.emulate import emulator_command

    call = emulator_command(directory, output, program, arguments)
    last_words = bytearray()

    def keep(data: bytes) -> None:
        last_words.extend(data)
        del last_words[:-_KEPT_BYTES]

    status = context.runner.replace(call, watch=keep)
    if status != 0:
        from jetsonx.host.explain import explain, render_matches

        if lines := render_matches(explain(bytes(last_words).decode(errors="replace")), numbered=False):
            context.console.err("\n".join(["", *lines]))
    raise click.exceptions.Exit(status)
