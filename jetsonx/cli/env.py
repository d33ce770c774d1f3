"""``jetsonx env``."""

from __future__ import annotations

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context


@click.command("env")
@click.argument("target")
@click.option(
    "--format", "style", type=click.Choice(["shell", "cmake", "json"]), default="shell", show_default=True,
    help="Shell exports, the path of a CMake toolchain file, or JSON.",
)  # fmt: skip
@click.option("-p", "--package", "packages", multiple=True, metavar="NAME", help="Extra -dev package for the target.")
@click.option("--wheel", "wheels", multiple=True, metavar="NAME", help="Extra NVIDIA wheel for the target.")
@click.option("--cuda", multiple=True, metavar="NAME", help="Extra CUDA library for the target, such as libcublas.")
@click.option("--from", "source", default="auto", show_default=True, metavar="SOURCE", help="As [sysroot] source.")
@click.option("--cuda-version", metavar="X.Y[.Z]", help="Another CUDA than the release's own.")
@click.option("--compiler", type=click.Choice(["auto", "gcc", "clang", "zig"]), default="auto", show_default=True)
@options.offline
@click.pass_obj
def command(
    context: Context,
    target: str,
    style: str,
    packages: tuple[str, ...],
    wheels: tuple[str, ...],
    cuda: tuple[str, ...],
    source: str,
    cuda_version: str | None,
    compiler: str,
    offline: bool,
) -> None:
    """Print the cross tools for TARGET: what was chosen, and why.

    \b
    eval "$(jetsonx env orin-nano@39.2)"; nvcc x.cu -o x
    cmake -DCMAKE_TOOLCHAIN_FILE=$(jetsonx env orin-nano@39.2 --format cmake) …
    """
    from jetsonx.build.environment import load_sdk, render_json, render_shell
    from jetsonx.sysroot.request import Request
    from jetsonx.sysroot.source import parse_source

    request = Request(source=parse_source(source), packages=packages, wheels=wheels, cuda=cuda)
    effects = context.effects(offline=offline)
    sysroot, sdk = load_sdk(target, request, effects, compiler=compiler, cuda=cuda_version)
    if style == "cmake":
        for line in (sysroot.why, *sdk.why):
            context.console.say(line)
        context.console.out(str(sdk.path / "toolchain.cmake"))
    else:
        context.console.out(render_shell(sysroot, sdk) if style == "shell" else render_json(sysroot, sdk))
