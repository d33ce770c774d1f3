"""The parts of CUDA that a sysroot gets beside its base: NVIDIA's wheels, or its redistributable archives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jetsonx.catalog import Target
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.packages.package import Archive, Pins, Wheel
from jetsonx.packages.redist import archive_place, download_archives, resolve_archives, unpack_archive
from jetsonx.packages.unpack import Job
from jetsonx.packages.wheels import Platform, download_wheels, fetch_wheels, parse_metadata, unpack_wheel
from jetsonx.store.tree import TreeWriter
from jetsonx.sysroot.cuda import (
    Toolkit,
    compiler_place,
    has_overlay,
    load_wheel_names,
    overlay_place,
    overlay_wheels,
    toolkit_constraints,
    toolkit_requirement,
    wheels_of,
)

Files = tuple[tuple[Wheel, Path], ...]
ArchiveFiles = tuple[tuple[Archive, Path], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaParts:
    """The files that CUDA is laid out from; none at all leaves it out."""

    wheels: Files = ()
    archives: ArchiveFiles = ()

    def __len__(self) -> int:
        """How many files."""
        return len(self.wheels) + len(self.archives)

    @property
    def size_bytes(self) -> int:
        """Of all files together, as they are packed."""
        return sum(path.stat().st_size for _, path in (*self.wheels, *self.archives))

    def jobs(self, target: Target) -> list[tuple[int, Job]]:
        """What :func:`jetsonx.packages.unpack.unpack_all` takes to lay them out."""
        jobs: list[tuple[int, Job]] = [
            (path.stat().st_size, partial(_add_wheel, wheel, path, target)) for wheel, path in self.wheels
        ]
        jobs += [(path.stat().st_size, partial(_add_archive, each, path, target)) for each, path in self.archives]
        return jobs


def default_toolkit(target: Target) -> Toolkit:
    """The toolkit when nobody chose one: the wheels where they hold this release's CUDA."""
    source = "wheels" if has_overlay(target) else "none"
    return Toolkit(source=source, version=target.cuda_version)  # type: ignore[arg-type]  # one of two literals


def fetch_parts(
    target: Target,
    toolkit: Toolkit,
    *,
    wheels: Sequence[str],
    cuda: Sequence[str],
    held: bool,
    effects: Effects,
    refresh: bool,
) -> CudaParts:
    """Resolve and download what the sysroot needs: the base of CUDA unless its source has it (``held``), and what was
    asked for by wheel or by CUDA library name.

    Raises ConfigError for names that do not exist for this release, DownloadError when something cannot be had.
    """
    if has_overlay(target):
        names = load_wheel_names()
        asked = (*wheels, *wheels_of(cuda, target, names))
        wanted = overlay_wheels(target, asked, names, base=not held and toolkit.source == "wheels")
        return CudaParts(wheels=_fetch_wheels(wanted, target, effects, refresh=refresh) if wanted else ())
    if wheels:
        overlay_wheels(target, wheels, load_wheel_names())  # says why there are none
    if toolkit.source == "redist" and toolkit.redist is not None and (cuda or not held):
        archives = resolve_archives(
            cuda,
            toolkit=toolkit.redist,
            platform=_platform(target),
            cudnn=target.release.cudnn,
            base=not held,
            effects=effects,
            refresh=refresh,
        )
        return CudaParts(archives=download_archives(archives, effects=effects))
    if cuda:
        raise ConfigError(
            f"[sysroot] cuda = {list(cuda)}: no archives of CUDA {target.cuda_version} are known to hold them for "
            f"{target.name}",
            hint='name a toolkit that NVIDIA publishes ([target] cuda = "12.6.3"), or take an image or a device',
        )
    return CudaParts()


def pinned_parts(pins: Pins, effects: Effects) -> CudaParts:
    """Exactly the files that a lock file names. Raises DownloadError."""
    wheels = download_wheels(
        pins.wheels, store=effects.store, runner=effects.runner, console=effects.console, offline=effects.offline
    )
    return CudaParts(wheels=wheels, archives=download_archives(pins.archives, effects=effects))


def fetch_constraints(target: Target, effects: Effects, *, refresh: bool = False) -> tuple[str, ...]:
    """Constraint lines that hold every CUDA wheel, for device or workstation, to the target's release."""
    names = load_wheel_names()
    [(_, toolkit)] = fetch_wheels(
        [toolkit_requirement(target.release, names)],
        platform="x86_64",
        dependencies=False,
        store=effects.store,
        runner=effects.runner,
        console=effects.console,
        offline=effects.offline,
        refresh=refresh,
    )
    return toolkit_constraints(_requires(toolkit), target.release, names)


def _platform(target: Target) -> str:
    if target.cuda is None:
        raise ConfigError(f"CUDA {target.cuda_version} is not one that jetsonx knows")
    return target.cuda.redist_platform


def _fetch_wheels(requirements: Sequence[str], target: Target, effects: Effects, *, refresh: bool) -> Files:
    names = load_wheel_names()
    constraints = fetch_constraints(target, effects, refresh=refresh)

    def fetch(wanted: Sequence[str], platform: Platform, *, alone: bool) -> Files:
        return fetch_wheels(
            wanted,
            platform=platform,
            constraints=constraints,
            glibc=target.glibc,
            dependencies=not alone,
            store=effects.store,
            runner=effects.runner,
            console=effects.console,
            offline=effects.offline,
            refresh=refresh,
        )

    return (*fetch(requirements, "aarch64", alone=False), *fetch([names.compiler], "x86_64", alone=True))


def _requires(wheel: Path) -> list[str]:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return list(parse_metadata(archive.read(name).decode()).get("Requires-Dist", []))


def _add_wheel(wheel: Wheel, path: Path, target: Target, writer: TreeWriter) -> None:
    names = load_wheel_names()
    if wheel.name == names.compiler:
        place = compiler_place(target.cuda_dir, target.cuda_target, names)
    else:
        place = overlay_place(target.cuda_dir, target.cuda_target, wheel.name)
    unpack_wheel(path, writer, place, owner=wheel.name)


def _add_archive(archive: Archive, path: Path, target: Target, writer: TreeWriter) -> None:
    place = archive_place(target.cuda_dir, target.cuda_target, archive.name)
    unpack_archive(path, writer, place, owner=archive.name)
