"""``jetsonx sysroot``: fetch, list and look after the sysroots in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.sysroot_store import COMMANDS
from jetsonx.errors import ConfigError

if TYPE_CHECKING:
    from jetsonx.cli.context import Context
    from jetsonx.sysroot.pull import Sysroot

_SOURCE = click.option(
    "--from",
    "source",
    default="auto",
    metavar="SOURCE",
    help="apt, image [REFERENCE], device ADDRESS, tarball FILE or dir PATH.  [default: as pulled before, else the "
    "release's image before CUDA 13, else apt]",
)


@click.group("sysroot", short_help="The targets' headers and libraries: pull, add, list, show, verify, prune, export.")
def command() -> None:
    """Fetch, list and look after sysroots: the headers and libraries of a target."""


@command.command()
@click.argument("words", nargs=-1, required=True, metavar="TARGET [ORIGIN]")
@_SOURCE
@click.option(
    "-p", "--packages", multiple=True, metavar="NAMES", help="Extra -dev packages, comma separated; repeatable."
)
@click.option("-w", "--wheel", "wheels", multiple=True, metavar="NAME", help="An extra NVIDIA wheel, such as cublas.")
@click.option("--cuda", multiple=True, metavar="NAMES", help="Extra CUDA libraries, such as libcublas,cudnn.")
@click.option("--cuda-version", metavar="X.Y[.Z]", help="Another CUDA than the release's own.")
@click.option("--no-cuda", is_flag=True, help="Leave CUDA out, for programs that use none.")
@click.option("--full", is_flag=True, help="Keep every file, not only what compilers and linkers need.")
@options.offline
@click.option("--refresh", is_flag=True, help="Look for newer packages and layers, although the cache has an answer.")
@click.pass_obj
def pull(
    obj: Context,
    words: tuple[str, ...],
    source: str,
    packages: tuple[str, ...],
    wheels: tuple[str, ...],
    cuda: tuple[str, ...],
    cuda_version: str | None,
    no_cuda: bool,
    full: bool,
    offline: bool,
    refresh: bool,
) -> None:
    """Make the sysroot of TARGET and print its path.

    \b
    jetsonx sysroot pull orin-nano@36.4.3
    jetsonx sysroot pull orin-nano@36.4.3 --from device jetson@192.168.55.1
    jetsonx sysroot pull agx-orin@35.4.1 --from tarball Tegra_Linux_Sample-Root-Filesystem_R35.4.1_aarch64.tbz2
    """
    from jetsonx.build.pulling import pull as pull_target
    from jetsonx.catalog import load_catalog, resolve_target
    from jetsonx.sysroot.cuda import Toolkit
    from jetsonx.sysroot.request import Request
    from jetsonx.sysroot.source import parse_source

    name, origin = _target_and_origin(words)
    target = resolve_target(load_catalog(), name)
    request = Request(
        source=parse_source(source, origin),
        packages=_names(packages),
        wheels=_names(wheels),
        cuda=_names(cuda),
        toolkit=Toolkit(source="none", version=target.cuda_version) if no_cuda else None,
        full=full,
    )
    sysroot = pull_target(target, request, obj.effects(offline=offline), cuda=cuda_version, refresh=refresh)
    _say(obj, sysroot)
    obj.console.out(str(sysroot.path))


@command.command()
@click.argument("packages", nargs=-1, required=True, metavar="PACKAGE...")
@options.targets
@click.option("-C", "--directory", default=".", type=click.Path(path_type=Path), help="The project.  [default: .]")
@options.offline
@click.pass_obj
def add(obj: Context, packages: tuple[str, ...], targets: tuple[str, ...], directory: Path, offline: bool) -> None:
    """Add packages to the project's sysroots, and to its jetsonx.toml.

    With -t the project is left alone: the sysroot pulled last for that target gets them. apt resolves them against what
    an image, device or tarball has installed, with its own sources, so that only what is missing comes.
    """
    from jetsonx.build.pulling import add as add_to

    for sysroot in add_to(directory, _names(packages), targets, obj.effects(offline=offline)):
        _say(obj, sysroot)
        obj.console.out(str(sysroot.path))


def _say(obj: Context, sysroot: Sysroot) -> None:
    from jetsonx.store.usage import load_usage

    parts = {"packages": sysroot.packages, "wheels": sysroot.wheels, "archives": sysroot.archives}
    made_of = ", ".join(f"{len(items)} {name}" for name, items in parts.items() if items)
    usage = load_usage(obj.store)[sysroot.tree.name]
    obj.console.say(sysroot.why + (f" with {made_of}" if made_of else ""))
    obj.console.say(f"{sysroot.digest}: {usage}")


def _target_and_origin(words: tuple[str, ...]) -> tuple[str, str]:
    """The target among one or two words, and the other one: people write them in either order."""
    if len(words) > 2:
        raise ConfigError(
            f"too many words: {' '.join(words)}", hint="jetsonx sysroot pull TARGET --from device ADDRESS"
        )
    if len(words) == 2 and not _is_target(words[0]) and _is_target(words[1]):
        return words[1], words[0]
    return words[0], words[1] if len(words) == 2 else ""


def _is_target(word: str) -> bool:
    from jetsonx.catalog import load_catalog, resolve_target

    try:
        resolve_target(load_catalog(), word)
    except ConfigError:
        return False
    return True


def _names(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for word in words for name in word.replace(",", " ").split())


for _each in COMMANDS:
    command.add_command(_each)
