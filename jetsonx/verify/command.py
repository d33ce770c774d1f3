"""``jetsonx verify`` and ``jetsonx diff`` without their command lines: load, judge, set aside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from jetsonx.artifact.load import Options as Reading
from jetsonx.artifact.load import load_artifact
from jetsonx.artifact.tree import Tree
from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.verify.context import Options
from jetsonx.verify.finding import Finding, sort_findings
from jetsonx.verify.inputs import input_of
from jetsonx.verify.judge import UNCHECKED, applied_rules, judge
from jetsonx.verify.profile import Profile, profile_of
from jetsonx.verify.report import Input, Report
from jetsonx.verify.rulebook import load_rules

if TYPE_CHECKING:
    from jetsonx.catalog import Target
    from jetsonx.verify.baseline import Known
    from jetsonx.verify.waivers import Waiver

_LABEL = "jetsonx.target"
_PROJECT = "jetsonx.toml"
_WAIVERS = "jetsonx-waivers.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for.

    ``what`` names artifacts, none: what the project in ``directory`` built. ``targets`` are names, none: those of the
    project, else those that the artifact is labelled with; not with ``profiles``, which are judged against as they are
    (those of devices that were asked). ``waivers`` and ``baseline`` are files; without one the
    project's own waivers hold.
    """

    what: tuple[str, ...]
    targets: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    directory: Path = Path()
    waivers: Path | None = None
    baseline: Path | None = None
    options: Options = field(default_factory=Options)
    deep: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One artifact, and the names of its targets when something says them already."""

    reference: str
    targets: tuple[str, ...] = ()


def verify(request: Request, effects: Effects, *, read: Mapping[str, Tree] = MappingProxyType({})) -> Report:
    """Look at everything that was asked for; ``read`` is what :func:`read_ahead` gave.

    Raises ConfigError for what cannot be looked at.
    """
    waivers = _waivers(request)  # first, so that a mistake in a file does not cost minutes
    baseline = _baseline(request)
    profiles = _Profiles(effects)
    judged: list[tuple[Input, tuple[Profile, ...], tuple[Finding, ...]]] = []
    for job in _jobs(request):
        tree = read.get(job.reference) or load_artifact(job.reference, _reading(request), effects)
        own = (*request.profiles, *profiles.of(_targets(request, job, tree)))
        judged.append((input_of(tree), own, judge(tree, own, request.options)))
    report = _report(request, judged)
    if waivers is not None:
        from jetsonx.verify.waivers import apply_waivers

        path, rows = waivers
        report = apply_waivers(report, rows, path=path, today=date.today())
    if baseline is not None:
        from jetsonx.verify.baseline import apply_baseline

        report = apply_baseline(report, baseline)
    return report


def read_ahead(request: Request, effects: Effects) -> dict[str, Tree]:
    """The artifacts that were named, for :func:`verify` with the same request but for whom to judge them for.

    Raises ConfigError and DownloadError for what cannot be read.
    """
    return {reference: load_artifact(reference, _reading(request), effects) for reference in request.what}


def _reading(request: Request) -> Reading:
    judging = request.options
    return Reading(deep=request.deep, hardening=judging.hardening, host_prefixes=judging.host_prefixes)


def load_tree(reference: str, effects: Effects, *, deep: bool = False) -> Tree:
    """The artifact as ``diff`` wants it: every file with the hash of its content. Raises ConfigError."""
    return load_artifact(reference, Reading(deep=deep, hash=True, instructions=False), effects)


def _waivers(request: Request) -> tuple[Path, tuple[Waiver, ...]] | None:
    """The waivers that hold and the file they are in: the one that was named, else the project's."""
    path = request.waivers
    if path is None:
        path = request.directory / _WAIVERS
        if not (request.directory / _PROJECT).is_file() or not path.is_file():
            return None
    from jetsonx.verify.waivers import load_waivers

    return path, load_waivers(path, load_rules().keys())


def _baseline(request: Request) -> tuple[Known, ...] | None:
    if request.baseline is None:
        return None
    from jetsonx.verify.baseline import load_baseline

    return load_baseline(request.baseline)


def _jobs(request: Request) -> tuple[_Job, ...]:
    """The artifacts that were named, each once, or what the project's last build left."""
    if request.what:
        return tuple(_Job(reference=reference) for reference in dict.fromkeys(request.what))
    built = tuple(_built(request.directory / "out"))
    if not built:
        raise ConfigError(
            f"{request.directory / 'out'} holds nothing that was built",
            hint="name what to verify: jetsonx verify FILE|DIR|oci:DIR|docker:IMAGE -t TARGET; or build first",
        )
    return built


def _built(out: Path) -> Iterator[_Job]:
    """What builds left in ``out``, the image where there is one; for several L4T releases each has its directory."""
    for place in (out, *sorted(out.glob("r*"))):
        try:
            report = json.loads((place / "report.json").read_text())
            targets = tuple(str(name) for name in report["targets"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        image = place / "image"
        yield _Job(reference=f"oci:{image}" if image.is_dir() else str(place / "files"), targets=targets)


def _targets(request: Request, job: _Job, tree: Tree) -> tuple[str, ...]:
    """For what to judge ``tree``: asked for, built for, the project's, or said by the image's label."""
    if request.targets or request.profiles:
        return request.targets
    if job.targets:
        return job.targets
    if (request.directory / _PROJECT).is_file():
        from jetsonx.project import load_project

        return load_project(request.directory).target_names()
    label = tree.config.labels.get(_LABEL, "") if tree.config else ""
    if names := tuple(name for name in label.split(",") if name):
        return names
    raise ConfigError(
        f"for which Jetson is {job.reference}?",
        hint="say -t TARGET, as -t orin-nano@36.4.3; `jetsonx targets` lists them",
    )


class _Profiles:
    """The profiles of targets, each made once."""

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._found: dict[str, Profile] = {}

    def of(self, names: Iterable[str]) -> tuple[Profile, ...]:
        """The profiles of the targets called so, from a sysroot where the store has one. Raises ConfigError."""
        targets = {target.name: target for target in (resolve_target(load_catalog(), name) for name in names)}
        for name in targets.keys() - self._found.keys():
            self._found[name] = profile_of(targets[name], self._sysroot(targets[name]))
        return tuple(self._found[name] for name in targets)

    def _sysroot(self, target: Target) -> Path | None:
        from jetsonx.sysroot.lookup import find_sysroot

        try:
            tree = find_sysroot(self._effects.store, target.name)
        except DownloadError:
            return None
        return None if tree.damaged else tree.path


def _report(request: Request, judged: Sequence[tuple[Input, tuple[Profile, ...], tuple[Finding, ...]]]) -> Report:
    profiles = {profile.name: profile.source for _, own, _ in judged for profile in own}
    several = len(judged) > 1
    findings = (replace(x, artifact=each.name) if several else x for each, _, found in judged for x in found)
    return Report(
        targets=tuple(profiles),
        profiles=tuple(profiles.items()),
        inputs=tuple(each for each, _, _ in judged),
        findings=sort_findings(findings),
        rules=applied_rules(request.options),
        unchecked=tuple(_unchecked(request)),
    )


def _unchecked(request: Request) -> Iterator[str]:
    yield from UNCHECKED
    if not request.deep:
        yield "device code outside of the sections for it (--deep looks)"
    if not request.options.hardening:
        yield "how files are hardened (--hardening looks)"
