"""Debian packages of other suites, unpacked aside: nothing is installed, and they are downloaded once per machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from jetsonx.packages.apt import render_conf
from jetsonx.packages.mirrors import load_host, render_sources, resolve_sources
from tests.images.build import default_cache


def unpack_aside(suite: str, packages: Sequence[str]) -> Path:
    """A directory with the files of ``packages`` alone, as they lie below / ; from the host's own mirror."""
    sources = render_sources(resolve_sources(load_host(), suite, os.environ.get("JETSONX_APT_MIRROR", "")))
    key = hashlib.sha256("\n".join((sources, *sorted(packages))).encode()).hexdigest()[:12]
    cache = default_cache() / "debs"
    place = cache / f"{suite}-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{suite}.lock"):
        if not place.is_dir():
            made = cache / f"{suite}.part"
            shutil.rmtree(made, ignore_errors=True)
            _download(sources, packages, made)
            (made / "root").mkdir()
            for package in sorted(made.glob("*.deb")):
                subprocess.run(["dpkg-deb", "-x", str(package), str(made / "root")], check=True)
            (made / "root").rename(place)
            shutil.rmtree(made)
    return place


def _download(sources: str, packages: Sequence[str], folder: Path) -> None:
    for name in ("apt/state/lists/partial", "apt/cache/archives/partial", "apt/etc"):
        (folder / name).mkdir(parents=True)
    (folder / "apt/state/status").touch()
    (folder / "apt/etc/suite.sources").write_text(sources)
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout
    (folder / "apt.conf").write_text(render_conf(folder / "apt", architecture.strip()))
    for words in (["update", "-o", "APT::Update::Error-Mode=any"], ["download", *packages]):
        argv = ["apt-get", "-qq", "-c", str(folder / "apt.conf"), *words]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}:\n{done.stderr}")
