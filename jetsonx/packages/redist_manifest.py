"""NVIDIA's manifests of redistributable archives, read: which archive a component's name means. Pure but for the table.

    {"release_date": …, "cuda_cudart": {"name": …, "version": "12.6.77", "linux-aarch64": {
        "relative_path": "cuda_cudart/linux-aarch64/….tar.xz", "sha256": …, "md5": …, "size": "1175528"}}}

cuDNN's entries hold one such archive for each CUDA major: ``{"linux-aarch64": {"cuda12": {"relative_path": …}}}``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.links import clean_path
from jetsonx.packages.package import Archive
from jetsonx.toml import load_toml

Manifest = Mapping[str, Mapping[str, Any]]

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedistNames:
    """``redist.toml``: which components make the overlay and the compiler, and what a library needs beside itself."""

    base: tuple[str, ...]
    required: tuple[str, ...]
    compiler: tuple[str, ...]
    cudnn: tuple[str, ...]
    needs: Mapping[str, Sequence[str]]


@lru_cache(maxsize=1)
def load_redist_names() -> RedistNames:
    """Read the table shipped beside this module."""
    data = load_toml((Path(__file__).parent / "redist.toml").read_text(encoding="utf-8"))
    words = {name: tuple(data[name]) for name in ("base", "required", "compiler", "cudnn")}
    return RedistNames(**words, needs=data["needs"])


def parse_manifest(value: object) -> Manifest:
    """A manifest's components, without the fields about the release. Raises TypeError when it is no manifest."""
    if not isinstance(value, dict):
        raise TypeError
    return {name: item for name, item in value.items() if isinstance(item, dict)}


def pick_base(manifest: Manifest, platform: str, names: RedistNames, *, toolkit: str) -> tuple[Archive, ...]:
    """The base components that a manifest has for a platform. Raises DownloadError when a required one is missing."""
    there = [name for name in names.base if platform in manifest.get(name, {})]
    lacking = [name for name in names.required if name not in there]
    if lacking:
        raise DownloadError(
            f"CUDA {toolkit} has no {' and no '.join(lacking)} for {platform} among NVIDIA's archives",
            hint='name a toolkit that has: [target] cuda = "12.6.3", for one',
        )
    return tuple(pick_archive(manifest, name, platform) for name in there)


def with_needs(asked: Iterable[str], manifest: Manifest, platform: str, toolkit: str, names: RedistNames) -> list[str]:
    """The full names of what is asked for and, as far as this toolkit has it, of what that needs."""
    found = [find_component(name, manifest, platform, toolkit=toolkit) for name in asked]
    for name in found:  # grows while it is walked
        needs = names.needs.get(name, ())
        found += [need for need in needs if need not in found and platform in manifest.get(need, {})]
    return list(dict.fromkeys(found))


def find_component(name: str, manifest: Manifest, platform: str, *, toolkit: str) -> str:
    """The manifest's name of the component that people call ``name``: with or without ``lib`` and ``cuda_``.

    Raises ConfigError when there is none, or none for this platform.
    """
    plain = plain_name(name)
    bare = plain.removeprefix("lib").removeprefix("cuda_")
    spellings = dict.fromkeys((plain, f"lib{bare}", f"cuda_{bare}", bare))
    there = [spelling for spelling in spellings if isinstance(manifest.get(spelling), dict)]
    for spelling in there:
        if platform in manifest[spelling]:
            return spelling
    if there:
        platforms = sorted(key for key in manifest[there[0]] if key.startswith(("linux-", "windows-")))
        raise ConfigError(
            f"CUDA {toolkit} has {there[0]} for {', '.join(platforms)}, not for {platform}",
            hint="take it out of [sysroot] cuda, or take a base that holds it: jetsonx sysroot pull --from image",
        )
    known = sorted(key for key, value in manifest.items() if isinstance(value, dict) and platform in value)
    near = difflib.get_close_matches(plain, known, n=3, cutoff=0.6) or [key for key in known if bare in key]
    raise ConfigError(
        f"CUDA {toolkit} has no component {name!r}",
        hint=f"did you mean {', '.join(near)}?" if near else f"it has {', '.join(known)}",
    )


def plain_name(name: str) -> str:
    """A component's name as people write it, in the manifests' spelling: ``"Libcudnn"`` is ``"cudnn"``."""
    plain = name.strip().lower().replace("-", "_")
    return "cudnn" if plain == "libcudnn" else plain


def pick_archive(manifest: Manifest, name: str, platform: str, *, tree: str = "cuda", cuda_major: str = "") -> Archive:
    """The archive of a component. cuDNN's entries hold one archive per CUDA major, under "cuda12".

    Raises DownloadError when the manifest is not what it should be or has nothing for this CUDA.
    """
    component = manifest.get(name, {})
    entry: Any = component.get(platform)
    if isinstance(entry, dict) and "relative_path" not in entry:
        variants = entry
        entry = variants.get(f"cuda{cuda_major}")
        if entry is None:
            raise DownloadError(f"{name} {component.get('version')} for {platform} is made for {', '.join(variants)}")
    try:
        filename = clean_path(entry["relative_path"], source="NVIDIA's manifest")
        archive = Archive(
            name=name,
            version=str(component["version"]),
            platform=platform,
            filename=filename,
            sha256=str(entry["sha256"]).lower(),
            size_bytes=int(entry["size"]),
            tree=tree,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DownloadError(f"NVIDIA's manifest has no usable entry for {name} on {platform}: {error!r}") from error
    if not _SHA256.fullmatch(archive.sha256) or archive.size_bytes < 0:
        raise DownloadError(f"NVIDIA's manifest has no usable sha256 or size for {name} on {platform}")
    return archive
