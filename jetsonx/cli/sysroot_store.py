"""``jetsonx sysroot list|show|path|verify|prune|export``: what is done with sysroots that are in the store.

Everything is imported when its command is used: `path` stands in other people's makefiles, where its time counts.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.console import amount
from jetsonx.errors import ConfigError
from jetsonx.sysroot.lookup import find_sysroot, sysroots

if TYPE_CHECKING:
    from jetsonx.cli.context import Context
    from jetsonx.image.layer import Compression
    from jetsonx.store.prune import PrunePlan
    from jetsonx.store.store import Tree

_DAYS = 30
_DAY_S = 86_400
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B?", re.IGNORECASE)
_PREFIXES = " kmgt"

_which = click.argument("which", metavar="TARGET|DIGEST")


@click.command("list")
@options.as_json
@click.pass_obj
def list_(obj: Context, as_json: bool) -> None:
    """List the sysroots in the cache, the last used first.

    SIZE is what one holds, OWN what only it holds: that much is freed when it goes.
    """
    from jetsonx.sysroot.render import SCHEMA, load_rows, render_table, row_json

    rows = load_rows(obj.store)
    if as_json:
        obj.console.out(json.dumps({"schema": SCHEMA, "sysroots": [row_json(row) for row in rows]}, indent=2))
    elif rows:
        obj.console.out(render_table(rows))
    else:
        obj.console.say(f"no sysroot in {obj.store.root}; jetsonx sysroot pull TARGET makes one")


@click.command()
@_which
@options.as_json
@click.pass_obj
def show(obj: Context, which: str, as_json: bool) -> None:
    """Show what is in a sysroot, found by reading it, and what it was made of."""
    from jetsonx.sysroot.contents import read_contents
    from jetsonx.sysroot.render import load_rows, render_show, show_json

    tree = find_sysroot(obj.store, which)
    row = next(row for row in load_rows(obj.store) if row.tree.name == tree.name)
    contents = read_contents(tree.path)
    obj.console.out(json.dumps(show_json(row, contents), indent=2) if as_json else render_show(row, contents))


@click.command()
@_which
@click.pass_obj
def path(obj: Context, which: str) -> None:
    """Print where a sysroot that is in the cache lies; of a target's, the one that was used last."""
    tree = find_sysroot(obj.store, which)
    if tree.damaged:
        raise ConfigError(f"{tree.name} is damaged", hint=f"jetsonx sysroot verify --repair {tree.name}")
    obj.store.use(tree)
    obj.console.out(str(tree.path))


@click.command()
@click.argument("which", metavar="[TARGET|DIGEST]", required=False)
@click.option("--repair", is_flag=True, help="Make what is damaged anew, from exactly what it was made of.")
@click.option("--all", "everything", is_flag=True, help="Read tools, downloads and unused contents again, too.")
@options.offline
@click.pass_context
def verify(ctx: click.Context, which: str | None, repair: bool, everything: bool, offline: bool) -> None:
    """Read every file of a sysroot (of all without an argument) again.

    Exit status 1 when something was damaged and is not repaired. Damaged downloads and contents are removed: they are
    fetched again when they are needed.
    """
    obj: Context = ctx.obj
    trees = [find_sysroot(obj.store, which)] if which else list(sysroots(obj.store))
    if everything:
        trees += [tree for tree in obj.store.trees() if tree.name not in {each.name for each in trees}]
    is_bad = [_verify(obj, tree, repair=repair, offline=offline) for tree in trees]
    if everything:
        is_bad += [_verify_rest(obj) and not repair]
    if any(is_bad):
        ctx.exit(1)


def _verify(obj: Context, tree: Tree, *, repair: bool, offline: bool) -> bool:
    """True when it is damaged and stays so."""
    from jetsonx.sysroot.upkeep import check_tree, repair_sysroot

    troubles = check_tree(obj.store, tree)
    for trouble in troubles:
        obj.console.out(f"{tree.name}: {trouble}")
    if troubles and repair and tree.kind == "sysroot":
        repair_sysroot(tree, obj.effects(offline=offline))
        obj.console.say(f"{tree.name}: made anew")
        return False
    if troubles:
        hint = f"jetsonx sysroot verify --repair {tree.name}" if tree.kind == "sysroot" else "the next build"
        obj.console.say(f"{tree.name}: damaged; {hint} makes it anew")
    else:
        obj.console.say(f"{tree.name}: whole")
    return bool(troubles)


def _verify_rest(obj: Context) -> bool:
    from jetsonx.sysroot.upkeep import check_downloads, check_objects

    troubles = 0
    for trouble in (*check_downloads(obj.store), *check_objects(obj.store)):
        obj.console.out(trouble)
        troubles += 1
    return troubles > 0


def _parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:  # noqa: ARG001 - click's
    if value is None:
        return None
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no size; write it like 10GB, 500MB or 8GiB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** _PREFIXES.index(found[2].lower() or " "))


@click.command()
@click.option("--days", type=click.IntRange(min=0), help=f"Remove what was not used for so long.  [default: {_DAYS}]")
@click.option("--to", "budget", metavar="SIZE", callback=_parse_size, help="Remove the longest unused until it fits.")
@click.option("--downloads", is_flag=True, help="Only what can be downloaded again: packages, wheels, layers, lists.")
@click.option("--even-locked", is_flag=True, help="Also what the jetsonx.lock of a project needs.")
@click.option("--all", "everything", is_flag=True, help="Remove all of it, also what a project needs.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.pass_obj
def prune(
    obj: Context,
    days: int | None,
    budget: int | None,
    downloads: bool,
    even_locked: bool,
    everything: bool,
    dry_run: bool,
) -> None:
    """Remove sysroots, tools and downloads that were not used lately.

    What a project's jetsonx.lock needs is kept while that file is there.
    """
    from jetsonx.store.items import load_items
    from jetsonx.store.prune import BUSY_S, plan_prune
    from jetsonx.store.prune import prune as act

    if days is None and budget is None:
        days = _DAYS
    before_s = float("inf") if everything else None if days is None else time.time() - days * _DAY_S
    store = obj.store
    plan = plan_prune(
        load_items(store, downloads_only=downloads),
        before_s=before_s,
        budget_bytes=budget,
        even_locked=even_locked or everything,
        busy_since_s=time.time() - BUSY_S if store.others_at_work() else float("inf"),
    )
    _show_plan(obj, plan, all_names=downloads)
    if dry_run:
        obj.console.say(f"{_count(plan)} would be removed, {amount(plan.freed_bytes)} freed")
    else:
        freed = act(store, plan, everything=everything and not downloads)
        obj.console.say(f"{_count(plan)} removed, {amount(freed)} freed")
    if budget is not None and plan.left_bytes > budget:
        obj.console.warn(f"{amount(plan.left_bytes)} are left, more than the {amount(budget)} asked for: see above")


def _show_plan(obj: Context, plan: PrunePlan, *, all_names: bool) -> None:
    for item in plan.remove:
        if item.is_tree or all_names:
            obj.console.out(item.name)
    for item, why in plan.keep:
        if item.is_tree:
            obj.console.say(f"kept {item.name}: {why}")
    others = Counter(why for item, why in plan.keep if not item.is_tree)
    for why, count in others.items():
        obj.console.say(f"kept {count} downloads: {why}")


def _count(plan: PrunePlan) -> str:
    trees = sum(item.is_tree for item in plan.remove)
    return f"{trees} sysroots and tools, {len(plan.remove) - trees} downloads and layers"


@click.command()
@_which
@click.option("--tar", "tar", metavar="FILE", help="As a tar file; - is standard output. .gz and .zst are compressed.")
@click.option("--oci", type=click.Path(path_type=Path), metavar="DIR", help="As an OCI image layout of one layer.")
@click.option("--compress", "compression", type=click.Choice(["gzip", "zstd", "none"]), help="How the layer is packed.")
@click.option("--force", is_flag=True, help="Replace a tar file that is there.")
@click.pass_obj
def export(
    obj: Context, which: str, tar: str | None, oci: Path | None, compression: Compression | None, force: bool
) -> None:
    """Write a sysroot for other programs: the same sysroot gives the same bytes.

    BuildKit takes an image layout as a named context: --build-context sysroot=oci-layout://DIR (in Docker with the
    containerd image store, or a builder of the docker-container driver).
    """
    from jetsonx.image.export import export_oci, export_tar, resolve_compression, write_tar

    if (tar is None) == (oci is None):
        raise click.UsageError("say where to: --tar FILE or --oci DIR")
    tree = find_sysroot(obj.store, which)
    obj.store.use(tree)
    if oci is not None:
        with obj.store.lock(f"export to {oci.absolute()}"):
            image = export_oci(tree, oci, compression=compression or "zstd")
        obj.console.say(f"{tree.name}: {amount(image.size_bytes)}, {image.digest}")
        obj.console.out(str(oci))
    elif tar == "-":
        if sys.stdout.isatty():
            raise ConfigError("a tar file is not for the terminal", hint="pipe it into a program, or: --tar FILE")
        write_tar(tree, sys.stdout.buffer, resolve_compression("", compression))
        sys.stdout.buffer.flush()
    elif tar is not None:
        file = Path(tar)
        with obj.store.lock(f"export to {file.absolute()}"):
            blob = export_tar(tree, file, compression=compression, force=force)
        obj.console.say(f"{tree.name}: {amount(blob.size_bytes)}, {blob.digest}")
        obj.console.out(tar)


COMMANDS = (list_, show, path, verify, prune, export)
