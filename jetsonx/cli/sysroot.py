"""``jetsonx sysroot``: fetch, list and look after the sysroots in the store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import amount
from jetsonx.errors import ConfigError
from jetsonx.sysroot import Store, Sysroot, Tree, pull_sysroot

if TYPE_CHECKING:
    from jetsonx.cli.context import Context

_KIND = "sysroot"


@click.group("sysroot", short_help="The targets' headers and libraries: pull, list, show, verify, prune.")
def command() -> None:
    """Fetch, list and look after sysroots: the headers and libraries of a target."""


@command.command()
@click.argument("target")
@click.option(
    "-p", "--packages", multiple=True, metavar="NAMES", help="Extra -dev packages, comma separated; repeatable."
)
@click.option("-w", "--wheel", "wheels", multiple=True, metavar="NAME", help="An extra NVIDIA library, such as cublas.")
@click.option("--full", is_flag=True, help="Keep every file of the packages, not only what compilers and linkers need.")
@click.option("--offline", is_flag=True, help="Use only what the cache holds.")
@click.option("--refresh", is_flag=True, help="Resolve the packages anew, although the cache has an answer.")
@click.pass_obj
def pull(
    obj: Context,
    target: str,
    packages: tuple[str, ...],
    wheels: tuple[str, ...],
    full: bool,
    offline: bool,
    refresh: bool,
) -> None:
    """Make the sysroot of TARGET and print its path."""
    sysroot = pull_sysroot(
        resolve_target(load_catalog(), target),
        packages=_names(packages),
        wheels=_names(wheels),
        full=full,
        store=obj.store,
        runner=obj.runner,
        console=obj.console,
        offline=offline,
        refresh=refresh,
    )
    obj.console.say(f"{sysroot.digest}: {len(sysroot.packages)} packages of {sysroot.suite.codename}, "
                    f"{len(sysroot.wheels)} wheels")  # fmt: skip
    obj.console.out(str(sysroot.path))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(obj: Context, as_json: bool) -> None:
    """List the sysroots in the cache."""
    trees = _trees(obj.store)
    if as_json:
        obj.console.out(json.dumps({"schema": 1, "sysroots": [_summary(tree) for tree in trees]}, indent=2))
        return
    for tree in trees:
        cuda = tree.info["cuda_dir"]
        parts = [f"{len(tree.info['packages'])} packages", f"{len(tree.info['wheels'])} wheels"]
        parts += [cuda.rpartition("/")[2]] if cuda else []
        parts += ["damaged"] if tree.damaged else []
        obj.console.out(f"{tree.name}  {tree.info['suite']}  {', '.join(parts)}")


@command.command()
@click.argument("which", metavar="TARGET|DIGEST")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show(obj: Context, which: str, as_json: bool) -> None:
    """Show what a sysroot was made of."""
    tree = _find(obj, which)
    if as_json:
        obj.console.out(json.dumps({"schema": 1, **_summary(tree), **tree.info}, indent=2))
        return
    entries = tree.load_manifest()
    size = sum(entry.size_bytes for entry in entries.values())
    obj.console.out(f"digest  {tree.digest}\npath    {tree.path}\nsuite   {tree.info['suite']}")
    obj.console.out(f"holds   {len(entries)} paths, {amount(size)}\ncuda    {tree.info['cuda_dir'] or 'none'}")
    for item in (*tree.info["packages"], *tree.info["wheels"]):
        obj.console.out(f"  {item['name']} {item['version']}")


@command.command()
@click.argument("which", metavar="TARGET|DIGEST")
@click.pass_obj
def path(obj: Context, which: str) -> None:
    """Print where a sysroot that is in the cache lies."""
    obj.console.out(str(_find(obj, which).path))


@command.command()
@click.argument("which", metavar="[TARGET|DIGEST]", required=False)
@click.pass_context
def verify(ctx: click.Context, which: str | None) -> None:
    """Read every file of a sysroot (of all without an argument) again; exit status 1 when one was damaged."""
    obj: Context = ctx.obj
    trees = [_find(obj, which)] if which else _trees(obj.store)
    damaged = 0
    for tree in trees:
        troubles = obj.store.verify(tree)
        damaged += bool(troubles)
        for trouble in troubles:
            obj.console.out(f"{tree.name}: {trouble}")
        if not troubles:
            obj.console.say(f"{tree.name}: whole")
    if damaged:
        obj.console.say("the next pull makes a damaged sysroot anew")
        ctx.exit(1)


@command.command()
@click.option("--days", type=click.IntRange(min=0), default=30, show_default=True, help="Keep what was used since.")
@click.option("--all", "everything", is_flag=True, help="Remove all of it.")
@click.pass_obj
def prune(obj: Context, days: int, everything: bool) -> None:
    """Remove sysroots that were not used lately, and every file that only they needed."""
    pruned = obj.store.prune(days=None if everything else days)
    for name in pruned.trees:
        obj.console.out(name)
    obj.console.say(f"{len(pruned.trees)} trees removed, {amount(pruned.size_bytes)} freed")


def _names(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for word in words for name in word.replace(",", " ").split())


def _trees(store: Store) -> list[Tree]:
    return [tree for tree in store.trees() if tree.kind == _KIND]


def _summary(tree: Tree) -> dict[str, object]:
    return {"name": tree.name, "digest": tree.digest, "path": str(tree.path), "damaged": tree.damaged}


def _find(obj: Context, which: str) -> Tree:
    """A sysroot by digest, by its directory's name, or by the target whose plain sysroot it is."""
    if "@" not in which:
        wanted = which.removeprefix("sha256:").removeprefix(f"{_KIND}-")
        found = [tree for tree in _trees(obj.store) if wanted and tree.digest.startswith(f"sha256:{wanted}")]
        if len(found) == 1:
            return found[0]
        held = ", ".join(tree.name for tree in _trees(obj.store)) or "none"
        raise ConfigError(f"{'no' if not found else 'more than one'} sysroot {which!r}", hint=f"in the cache: {held}")
    target = resolve_target(load_catalog(), which)
    sysroot: Sysroot = pull_sysroot(target, store=obj.store, runner=obj.runner, console=obj.console, offline=True)
    return sysroot.tree
