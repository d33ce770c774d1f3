"""``jetsonx init``: a commented jetsonx.toml, or a whole sample."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.errors import ConfigError, HostError

if TYPE_CHECKING:
    from jetsonx.cli.context import Context
    from jetsonx.console import Console


@click.command("init")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--sample", metavar="NAME", help="Copy a sample into DIR (./NAME when DIR is not given).")
@click.option("-t", "--target", "targets", metavar="TARGET", multiple=True, help="module@release; may be repeated.")
@click.option("--list-samples", is_flag=True, help="List the samples and do nothing else.")
@click.pass_obj
def command(
    context: Context, directory: Path | None, sample: str | None, targets: tuple[str, ...], list_samples: bool
) -> None:
    """Write a commented jetsonx.toml into DIR (here when not given), or start from a sample.

    What is already there is never overwritten.
    """
    from jetsonx.project.samples import copy_sample, find_sample, load_samples

    console = context.console
    if list_samples:
        samples = load_samples().values()
        width = max((len(one.name) for one in samples), default=0)
        for one in samples:
            console.out(f"{one.name:{width}}  {one.summary}")
        return
    spelled = tuple(_checked(target) for target in targets)
    if sample is None:
        _write_template(console, directory or Path(), spelled)
        return
    found = find_sample(load_samples(), sample)
    place = directory or Path(found.name)
    copy_sample(found, place, spelled)
    console.say(f"copied the sample {found.name} to {place}")
    console.say(f"next: {_inside(place)}jetsonx build")


def _checked(target: str) -> str:
    """The user's own spelling where a file can hold it; the catalog must know it either way."""
    from jetsonx.catalog import load_catalog, resolve_target
    from jetsonx.project.values import TARGET

    resolved = resolve_target(load_catalog(), target)
    return target if TARGET.accepts(target) else resolved.name


def _write_template(console: Console, directory: Path, targets: tuple[str, ...]) -> None:
    from jetsonx.project.detect import detect_build
    from jetsonx.project.model import FILE_NAME
    from jetsonx.project.template import render_template
    from jetsonx.project.values import slug

    found = detect_build(directory)
    name = slug(found.program or directory.resolve().name)
    outputs = () if found.system == "cuda" else (found.program or name,)
    file = directory / FILE_NAME
    _create(file, render_template(name=name, system=found.system, targets=targets, outputs=outputs))
    reason = f"from {found.sign.name}" if found.sign else "a guess: no build file and no .cu file is there"
    console.say(f'wrote {file}: system = "{found.system}" ({reason})')
    if found.sign is None:
        console.say("nothing to build yet? start from a sample: jetsonx init --list-samples")
    if outputs:
        console.say(f'check in it: outputs = ["{outputs[0]}"], a guess at what the build leaves')
    if not targets:
        console.say("check in it: [target], an example so far; all that there are: jetsonx targets")
    console.say(f"next: {_inside(directory)}jetsonx build")


def _create(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{file} is already there; it was left as it is", hint="edit it, or remove it first"
        ) from None
    except OSError as error:
        raise HostError(f"cannot write {file}: {error.strerror}") from None


def _inside(directory: Path) -> str:
    return "" if directory == Path() else f"cd {shlex.quote(str(directory))} && "
