"""From a project to what lies in the output directory: sysroot, SDK, build, check, image.

One function, :func:`build_release`, is the whole job for one L4T release; the effects come in as parameters.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx import __version__
from jetsonx.build import emulate, image_packages, image_runtime, lockfile
from jetsonx.build.image_packages import ImagePackages
from jetsonx.build.image_runtime import ImageRuntime
from jetsonx.build.local import Built, run_plan
from jetsonx.build.output import claim_output
from jetsonx.build.plan import BuildPlan, Inputs, Places, Programs, plan_build
from jetsonx.build.result import DONE, Result, load_summary, summarize, write_json
from jetsonx.build.revision import Revision, load_epoch, load_revision
from jetsonx.build.source import find_sources, source_directory
from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.errors import ConfigError, JetsonxError
from jetsonx.project import Project
from jetsonx.project.lock import Lock
from jetsonx.sysroot.cuda import Toolkit
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.request import Request as SysrootRequest
from jetsonx.sysroot.source import parse_source
from jetsonx.toolchain import tools
from jetsonx.toolchain.resolve import Host, resolve_sdk
from jetsonx.toolchain.sdk import Sdk
from jetsonx.toolchain.toolkit import choose_toolkit
from jetsonx.toolchain.tools import Fetcher

if TYPE_CHECKING:
    from jetsonx.verify.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``locked``: take exactly what jetsonx.lock says. ``refresh``: look for newer packages than those in the cache."""

    locked: bool = False
    refresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything a build of one release needs, chosen and at hand."""

    project: Project
    targets: tuple[Target, ...]
    sysroot: Sysroot
    sdk: Sdk
    plan: BuildPlan
    runtime: ImageRuntime
    image: ImagePackages
    out: Path

    @property
    def key(self) -> str:
        """Names all inputs outside the source directory; the build directory starts afresh when it changes."""
        build = self.project.build
        parts = [__version__, self.sdk.path.name, build.system, build.args, build.env, build.strip, build.override_arch]
        return hashlib.sha256(repr([*parts, build.command, str(self.plan.places.source)]).encode()).hexdigest()[:16]

    @property
    def names(self) -> str:
        """The targets, for messages."""
        return ", ".join(target.name for target in self.targets)

    @property
    def why(self) -> tuple[str, ...]:
        """What was chosen, and the reasons."""
        return (self.sysroot.why, *self.sdk.why, *self.runtime.why)


def group_targets(project: Project, *, where: str) -> tuple[tuple[Target, ...], ...]:
    """The project's targets by L4T release: modules of one release share a build.

    Raises ConfigError for a target that does not exist; ``where`` says what named it.
    """
    catalog = load_catalog()
    groups: dict[str, dict[str, Target]] = {}
    for name in project.target_names():
        try:
            target = resolve_target(catalog, name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error.message}", hint=error.hint) from None
        groups.setdefault(target.release.l4t, {})[target.name] = target
    return tuple(tuple(group.values()) for group in groups.values())


def output_directory(base: Path, targets: Sequence[Target], *, several: bool) -> Path:
    """``base``, or one directory per L4T release below it when there are several."""
    return base / f"r{targets[0].release.l4t}" if several else base


def prepare(
    project: Project, targets: tuple[Target, ...], out: Path, *, lock: Lock | None, options: Options, fetcher: Fetcher
) -> Prepared:
    """Have the sysroot and the SDK at hand, and plan the build."""
    _refuse(project)
    source = source_directory(project)
    out = out.resolve()
    request = lockfile.request_key(project, targets[0])
    host = Host(environ=os.environ)
    chosen = [choose_toolkit(target, host, runner=fetcher.runner, asked=project.target.cuda) for target in targets]
    targets = tuple(target for target, _ in chosen)
    pins = lockfile.find_pins(lock, project, targets[0], request, locked=options.locked, refresh=options.refresh)
    wanted = sysroot_request(project, chosen[0][1])
    sysroot = pull_sysroot(targets[0], wanted, fetcher.effects, pins=pins, refresh=options.refresh)
    runtime = image_runtime.resolve(
        targets[0], sysroot, fetcher.effects, lock=lock, locked=options.locked, refresh=options.refresh
    )
    image = image_packages.resolve(
        project,
        targets[0],
        sysroot,
        runtime,
        fetcher.effects,
        lock=lock,
        locked=options.locked,
        refresh=options.refresh,
    )
    sdk = resolve_sdk(
        targets, sysroot, compiler=project.build.compiler, fetcher=fetcher, host=host, toolkit=chosen[0][1]
    )
    inputs = Inputs(
        project=project,
        sdk=sdk,
        places=Places(source=source, build=out / "build"),
        programs=_find_programs(project, targets[0], fetcher),
        sources=find_sources(project, source, exclude=out) if project.build.system == "cuda" else (),
        cores=len(os.sched_getaffinity(0)),
        epoch=load_epoch(),
    )
    plan = plan_build(inputs)
    return Prepared(
        project=project, targets=targets, sysroot=sysroot, sdk=sdk, plan=plan, runtime=runtime, image=image, out=out
    )


def _refuse(project: Project) -> None:
    """Raise ConfigError for what only an engine that runs programs of the target can do."""
    if project.image.scripts:
        raise ConfigError(
            f"{project.path}: image.scripts: the local engine unpacks packages and runs no maintainer scripts",
            hint="leave scripts out if the program works without them (image.test tells), or set [image] base to an "
            "image that has apt and let Docker run them: --engine docker",
        )


def sysroot_request(project: Project, toolkit: Toolkit) -> SysrootRequest:
    """What a project asks of its sysroot; paths in it are relative to the project."""
    section = project.sysroot
    source = parse_source(section.source)
    if source.kind in ("tarball", "directory"):
        source = replace(source, origin=str(project.root / source.origin))
    return SysrootRequest(
        source=source,
        packages=section.packages,
        wheels=section.wheels,
        cuda=section.cuda,
        toolkit=toolkit,
        full=section.full,
    )


def build_release(prepared: Prepared, fetcher: Fetcher) -> Result:
    """Build, check, pack. Raises BuildError when the build fails; a failed check is in the result."""
    claim_output(prepared.out)
    built = run_plan(
        prepared.plan,
        prepared.out,
        key=prepared.key,
        targets=prepared.names,
        runner=fetcher.runner,
        console=fetcher.effects.console,
    )
    revision = load_revision(prepared.plan.places.source, fetcher.runner)
    done_key = _done_key(prepared, revision)
    outcome = Result(
        out=prepared.out,
        targets=prepared.targets,
        engine="local",
        reference=f"{prepared.project.name}:{prepared.project.version}",
        why=prepared.why,
        notes=built.notes,
        report=None,
        image=None,
        summary={},
    )
    done = None if built.changed else load_summary(prepared.out, key=done_key)
    if done is not None:
        return replace(outcome, summary=done)
    from jetsonx.verify.formats.document import report_json

    (prepared.out / DONE).unlink(missing_ok=True)
    report = _check(prepared, built)
    write_json(prepared.out / "report.json", report_json(report))
    write_json(prepared.out / emulate.RECORD, _run_record(prepared, built, report))
    image = None
    if report.verdict == "error":
        shutil.rmtree(prepared.out / "image", ignore_errors=True)  # an image of the build before would mislead
    else:
        from jetsonx.build.pack import pack

        fetcher.effects.console.say("packing the image")
        try:
            image = pack(prepared, built, revision, fetcher)
        except JetsonxError:
            shutil.rmtree(prepared.out / "image", ignore_errors=True)  # as above
            raise
    summary = summarize(prepared.targets, built.outputs, report, image, key=done_key)
    write_json(prepared.out / DONE, summary)
    return replace(outcome, report=report, image=image, summary=summary)


def _check(prepared: Prepared, built: Built) -> Report:
    from jetsonx.verify.outputs import check_outputs  # only when there is something to read

    return check_outputs(
        built.files,
        targets=prepared.targets,
        sysroot=prepared.sysroot.path,
        jit=prepared.project.target.jit,
    )


def _run_record(prepared: Prepared, built: Built, report: Report) -> dict[str, list[str]]:
    """What `jetsonx run` needs: programs (the image's entrypoint first), and where their libraries are."""
    sdk = prepared.sdk
    return {
        "sysroot": [str(sdk.sysroot)],
        "library_dirs": [str(sdk.cuda / "lib"), str(sdk.path / "share/driver-stubs")],
        "files": list(built.outputs),
        "programs": emulate.order_programs(prepared.project, report),
    }


def _find_programs(project: Project, target: Target, fetcher: Fetcher) -> Programs:
    """The build programs this project's build system needs, fetched when the host has none that fits."""
    system = project.build.system
    if system in {"make", "command"}:
        return Programs()
    ninja = tools.find_ninja(fetcher)
    ccache = shutil.which("ccache") or shutil.which("sccache")
    if system == "cmake":
        minimum = target.cuda.min_cmake if target.cuda and target.cuda.min_cmake else "3.18"
        return Programs(ninja=ninja, ccache=ccache, cmake=tools.find_cmake(fetcher, minimum))
    if system == "meson":
        return Programs(ninja=ninja, ccache=ccache, meson=tools.find_meson(fetcher))
    return Programs(ninja=ninja, ccache=ccache)


def _done_key(prepared: Prepared, revision: Revision | None) -> str:
    """Everything that the check and the image depend on beside the outputs."""
    project = prepared.project
    parts = [
        prepared.key,
        project.name,
        project.version,
        project.target,
        project.image,
        prepared.runtime,
        prepared.image,
        prepared.sysroot.digest,
        revision,
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
