"""``jetsonx build``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.project.model import Strategy


@click.command("build")
@options.project_dir
@options.targets
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output directory.  [default: DIR/out]")
@click.option(
    "--strategy",
    type=click.Choice(["auto", "cross", "emulate", "native"]),
    help="cross: compilers of this workstation; emulate: the target's own under QEMU; native: an ARM machine; auto: "
    "the fastest that can do it.  [default: build.strategy]",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "local", "docker"]),
    default="auto",
    show_default=True,
    help="local needs no daemon; docker builds a generated Dockerfile; auto is local unless only Docker can do it.",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="How many compilers run at once.  [default: cores]")
@click.option("--locked", is_flag=True, help="Take exactly what jetsonx.lock says, or fail.")
@click.option("--refresh", is_flag=True, help="Look for newer packages and wheels, and write them to jetsonx.lock.")
@options.offline
@click.option("--load", is_flag=True, help="Put the image into Docker; a build in Docker always does.")
@click.option("--tag", default="", metavar="NAME:TAG", help="Docker: the image's name.  [default: name:version]")
@click.option("--push", is_flag=True, help="Docker: also send the image to the registry that --tag names.")
@click.option(
    "--context", "docker_context", default="", metavar="NAME", help="Docker: a context of the docker command."
)
@click.option("--builder", default="", metavar="NAME", help="Docker: a builder of buildx.")
@click.option(
    "--platform",
    "platforms",
    default="linux/arm64",
    show_default=True,
    metavar="LIST",
    help="Docker: linux/arm64 is the Jetson; linux/amd64 also makes an image for a workstation with a GPU.",
)
@click.option("--cache-from", multiple=True, metavar="WHERE", help="Docker: passed on to buildx; can be repeated.")
@click.option("--cache-to", multiple=True, metavar="WHERE", help="Docker: passed on to buildx; can be repeated.")
@click.option("--dry-run", is_flag=True, help="Print what would be run, and run nothing.")
@options.as_json
@click.pass_obj
def command(
    context: Context,
    directory: Path,
    targets: tuple[str, ...],
    output: Path | None,
    strategy: Strategy | None,
    engine: str,
    jobs: int | None,
    locked: bool,
    refresh: bool,
    load: bool,
    tag: str,
    push: bool,
    docker_context: str,
    builder: str,
    platforms: str,
    cache_from: tuple[str, ...],
    cache_to: tuple[str, ...],
    offline: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build the project in DIR for its targets, check the result and pack the image.

    Leaves DIR/out/files (the outputs), out/image (an OCI layout that docker load takes as a tar), out/report.json and
    out/compile_commands.json; with targets of several L4T releases one such directory for each. An unchanged project
    rebuilds nothing.

    Prints the output directory. Exits with 1 when the check finds an error.
    """
    from jetsonx.build.command import Request, build
    from jetsonx.build.docker_options import DockerOptions
    from jetsonx.build.show import result_json, summary_lines

    request = Request(
        directory=directory,
        targets=targets,
        output=output,
        strategy=strategy,
        jobs=jobs,
        locked=locked,
        refresh=refresh,
        engine=engine,
        docker=DockerOptions(
            load=load,
            context=docker_context,
            builder=builder,
            tag=tag,
            push=push,
            cache_from=cache_from,
            cache_to=cache_to,
            platforms=tuple(platforms.split(",")),
        ),
    )
    effects = context.effects(offline=offline)
    if dry_run:
        from jetsonx.build.command import plan_lines

        for line in plan_lines(request, effects):
            context.console.out(line)
        return
    results = build(request, effects)
    for result in results:
        for line in summary_lines(result):
            context.console.say(line)
        if not as_json:
            context.console.out(str(result.out))
    if as_json:
        context.console.out(json.dumps(result_json(results), indent=2))
    if not all(result.ok for result in results):
        raise click.exceptions.Exit(1)
