"""A root file system of a few arm64 packages of a Debian suite: just enough for a program to start in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.packages.apt import fetch_lists, fetch_packages, resolve_packages
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.links import MERGED, clean_path, merge_usr, relative_link
from jetsonx.packages.mirrors import load_host, resolve_sources

RUNTIME = ("libc6", "libgcc-s1", "libstdc++6", "zlib1g")


def make_suite_root(
    root: Path,
    codename: str,
    effects: Effects,
    packages: Sequence[str] = RUNTIME,
    *,
    with_dependencies: bool = False,
) -> None:
    """Unpack ``packages``, and what they need only if asked, at ``root``, with one /usr, as Ubuntu's roots have it."""
    sources = resolve_sources(load_host(), codename, os.environ.get("JETSONX_APT_MIRROR", ""))
    store, runner, console = effects.store, effects.runner, effects.console
    apt = fetch_lists(sources, codename, debian_arch="arm64", store=store, runner=runner, console=console)
    resolved = resolve_packages(apt, packages, store=store, runner=runner)
    found = [each for each in resolved if with_dependencies or each.name in packages]
    paths = fetch_packages(apt, found, store=store, runner=runner, console=console)
    for link, target in MERGED.items():
        (root / target).mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)
    for package in found:
        _unpack(paths[package.sha256], root)
    shell = root / "usr/bin/sh"
    if (root / "usr/bin/dash").exists() and not shell.exists():
        shell.symlink_to("dash")  # bullseye's dash leaves that to its script


def _unpack(deb: Path, root: Path) -> None:
    for info, content in iter_deb(deb):
        raw = clean_path(info.name, source=deb.name)
        path = root / merge_usr(raw)
        if info.isdir() or raw in MERGED or raw.startswith("usr/share/"):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            with path.open("wb") as out:
                shutil.copyfileobj(content, out)
            path.chmod(info.mode & 0o755)
        elif info.issym():
            path.symlink_to(relative_link(raw, info.linkname))
