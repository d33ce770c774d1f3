"""nvcc of the target's CUDA version: found on this host, else from NVIDIA's x86-64 wheels or archives."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.catalog import Target
from jetsonx.errors import HostError
from jetsonx.packages.redist import HOST as REDIST_HOST
from jetsonx.runner import Command, Runner
from jetsonx.toolchain.search import which_host

WHEELS = ("nvidia-cuda-nvcc", "nvidia-nvvm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvcc:
    """An x86-64 CUDA compiler. ``root`` holds ``bin/nvcc`` and ``nvvm/bin/cicc``; ``version`` is "13.2"."""

    version: str
    root: Path
    origin: str


def host_roots(version: str, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a CUDA toolkit of that version would lie on this host, most specific first."""
    named = [environment[name] for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
    on_path = which_host("nvcc")
    beside = [str(Path(on_path).resolve().parent.parent)] if on_path else []
    places = [*named, f"/usr/local/cuda-{version}", "/usr/local/cuda", f"/opt/cuda-{version}", "/opt/cuda", *beside]
    return tuple(dict.fromkeys(Path(place) for place in places))


def find_nvcc(runner: Runner, version: str, roots: Iterable[Path]) -> Nvcc | None:
    """The first complete toolkit of exactly that ``major.minor`` version, or None."""
    for root in roots:
        nvcc = root / "bin/nvcc"
        if os.access(root / "libexec/nvcc.profile", os.F_OK):
            continue  # an SDK of ours, which `jetsonx env` exports as CUDA_HOME
        if not all(os.access(program, os.X_OK) for program in (nvcc, root / "nvvm/bin/cicc", root / "bin/ptxas")):
            continue
        if read_version(runner, nvcc) == version:
            return Nvcc(version=version, root=root.resolve(), origin=f"{nvcc} of this host")
    return None


def read_version(runner: Runner, nvcc: Path) -> str | None:
    """The ``major.minor`` that an nvcc says it is; None when it does not start or says nothing of the kind."""
    match = re.search(r"release (\d+\.\d+)", runner.run(Command(argv=(str(nvcc), "--version"))).stdout)
    return match[1] if match else None


def no_nvcc(target: Target, unreachable: str = "") -> HostError:
    """Say what a release needs whose nvcc is neither on this host nor among NVIDIA's wheels and archives.

    ``unreachable``: why the archives, which do have it, could not be had.
    """
    version = target.cuda_version
    reason = "none that is known among NVIDIA's wheels (CUDA 13 and newer) and archives"
    hint = f"let NVIDIA's archives be reached (JETSONX_MIRRORS names another place of {REDIST_HOST}), or "
    return HostError(
        f"{target.name} has CUDA {version}: no nvcc {version} on this host (looked in /usr/local/cuda-{version}, "
        f"CUDA_HOME and PATH), and {unreachable or reason}",
        hint=f"{hint if unreachable else ''}install NVIDIA's cuda-nvcc-{version.replace('.', '-')} and the cross "
        f"packages for aarch64 so that /usr/local/cuda-{version}/bin/nvcc and "
        f"/usr/local/cuda-{version}/targets/{target.cuda_target} exist, "
        "or build for a release with CUDA 13 (jetsonx targets)",
    )
