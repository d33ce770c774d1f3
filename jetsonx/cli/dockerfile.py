"""``jetsonx dockerfile``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context


@click.command("dockerfile")
@options.project_dir
@options.targets
@click.option(
    "--strategy",
    type=click.Choice(["auto", "cross", "emulate", "native"]),
    help="Cross compilers of this workstation, the target's own under QEMU, or those of an ARM machine; auto is "
    "cross.  [default: build.strategy]",
)
@click.option(
    "--context",
    "named_context",
    is_flag=True,
    help="Take the sysroot from a named build context, not from the L4T image.",
)
@click.option(
    "--mirrored",
    is_flag=True,
    help="Name images where this site's mirrors have them (JETSONX_MIRRORS, config.toml): Docker does not know them.",
)
@click.option(
    "--platform",
    type=click.Choice(["linux/arm64", "linux/amd64"]),
    default="linux/arm64",
    show_default=True,
    help="linux/arm64 is the Jetson; linux/amd64 is the same program for a workstation with a GPU.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file.  [default: standard output]")
@click.pass_obj
def command(
    context: Context,
    directory: Path,
    targets: tuple[str, ...],
    strategy: str | None,
    named_context: bool,
    mirrored: bool,
    platform: str,
    output: Path | None,
) -> None:
    """Print a multi-stage Dockerfile that builds the project in DIR for its targets.

    It is for plain `docker buildx build` in the directory of jetsonx.toml, and says how in its first lines. The targets
    must be of one L4T release. The same project gives the same bytes.

    \b
    jetsonx dockerfile -o Dockerfile
    docker buildx build --platform linux/arm64 -t app .
    """
    from jetsonx.build.lockfile import apt_pins
    from jetsonx.build.pipeline import group_targets
    from jetsonx.dockerfile import JETSON, WORKSTATION, load_toolchain_images, plan_dockerfile, render_dockerfile
    from jetsonx.dockerfile.pins import NO_PINS
    from jetsonx.dockerfile.plan import resolve_strategy
    from jetsonx.errors import ConfigError
    from jetsonx.net.mirrors import Mirrors, load_mirrors
    from jetsonx.project import load_project
    from jetsonx.project.lock import FILE_NAME, load_lock

    project = load_project(directory).with_targets(targets)
    groups = group_targets(project, where="-t" if targets else f"{project.path}: target")
    if len(groups) > 1:
        releases = ", ".join(group[0].release.l4t for group in groups)
        raise ConfigError(
            f"a Dockerfile is for one L4T release, and the targets are of {len(groups)}: {releases}",
            hint=f"choose with -t, for example: -t {groups[0][0].name}",
        )
    asked = strategy or project.build.strategy
    is_for_workstation = platform == WORKSTATION.platform
    lock = load_lock(project.root / FILE_NAME)
    plan = plan_dockerfile(
        project,
        groups[0],
        strategy="native" if is_for_workstation else resolve_strategy(asked),
        machine=WORKSTATION if is_for_workstation else JETSON,
        toolchains=load_toolchain_images(),
        lock=lock,
        pins=NO_PINS if is_for_workstation else apt_pins(lock, project, groups[0][0]),
        context=named_context,
        mirrors=load_mirrors(os.environ) if mirrored else Mirrors(),
    )
    if mirrored and not plan.stand_ins:
        context.console.warn("--mirrored: no mirror is set for the registries of these images")
    text = render_dockerfile(plan)
    if output is None:
        context.console.out(text.removesuffix("\n"))
    else:
        _write(output, text)
        context.console.say(f"wrote {output}")


def _write(path: Path, text: str) -> None:
    from jetsonx.errors import HostError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"{path} cannot be written: {error.strerror}", hint="name a file in a directory that is there"
        ) from error
