"""A build of one L4T release in Docker: a generated Dockerfile, its outputs, their check, the image.

The outputs come out of the build first, by a stage of their own, and are checked like those of the local engine; only
then is the image made, of the same stages, which BuildKit has in its cache by now.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx import __version__
from jetsonx.build import emulate
from jetsonx.build.docker_options import DockerOptions
from jetsonx.build.output import claim_output, collect_outputs, write_if_changed
from jetsonx.build.result import DONE, Result, load_summary, summarize, write_json
from jetsonx.catalog import Target
from jetsonx.dockerfile import WORKSTATION, Machine
from jetsonx.engine.buildx import Build, build_command
from jetsonx.engine.client import Engine
from jetsonx.engine.images import EngineImage, Images
from jetsonx.engine.run import run_build
from jetsonx.errors import BuildError, DownloadError
from jetsonx.image.oci import Image, plan_of, read_image
from jetsonx.image.saved import write_saved
from jetsonx.project import Project
from jetsonx.verify.report import Report

if TYPE_CHECKING:
    from jetsonx.effects import Effects

OUTPUTS_STAGE = "outputs"
"""The stage of a Dockerfile that holds the outputs and nothing else."""
_IGNORED = (".git", ".hg", ".svn", ".venv")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerPlan:
    """Everything about a build in Docker, decided. ``contexts``: named build contexts by name."""

    project: Project
    targets: tuple[Target, ...]
    out: Path
    engine: Engine
    dockerfile: str
    contexts: Mapping[str, str]
    tag: str
    machine: Machine
    options: DockerOptions
    why: tuple[str, ...]

    @property
    def names(self) -> str:
        """What it is for, for messages."""
        if self.machine is WORKSTATION:
            return "x86-64 machines with a GPU"
        return ", ".join(target.name for target in self.targets)

    @property
    def folder(self) -> Path:
        """Where the Dockerfile lies."""
        return self.out / "docker"

    @property
    def outputs_build(self) -> Build:
        """The build that brings the outputs out."""
        return replace(self._build, target=OUTPUTS_STAGE, files_to=self.folder / "outputs")

    @property
    def image_build(self) -> Build:
        """The build that puts the image into the engine."""
        return replace(self._build, tag=self.tag, load=True, cache_to=self.options.cache_to)

    @property
    def push_build(self) -> Build:
        """The build that puts the image into its registry."""
        return replace(self._build, tag=self.tag, push=True)

    @property
    def _build(self) -> Build:
        return Build(
            dockerfile=self.folder / "Dockerfile",
            context=self.project.root.absolute(),
            platform=self.machine.platform,
            builder=self.options.builder,
            contexts=self.contexts,
            cache_from=self.options.cache_from,
        )

    @property
    def key(self) -> str:
        """Names all inputs outside of the source directory."""
        parts = [__version__, self.dockerfile, self.tag, self.project.target, [target.name for target in self.targets]]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def lines(self) -> Iterator[str]:
        """The plan for ``--dry-run``: what a shell takes, and comments."""
        yield f"# {self.project.name} for {self.names}, by {self.engine.name}"
        yield from (f"# {line}" for line in self.why)
        yield f"# write {self.folder / 'Dockerfile'} (jetsonx dockerfile prints it) and {self.folder / IGNORE_FILE}"
        yield str(build_command(self.engine.endpoint, self.outputs_build))
        yield f"# check them for {self.names}" if self.machine is not WORKSTATION else "# they are not checked"
        yield str(build_command(self.engine.endpoint, self.image_build))
        yield f"# save it to {self.out / 'image'}"
        if self.options.push:
            yield str(build_command(self.engine.endpoint, self.push_build))


IGNORE_FILE = "Dockerfile.dockerignore"
"""BuildKit reads it in place of .dockerignore when it lies beside the Dockerfile."""


def build_in_docker(plan: DockerPlan, effects: Effects) -> Result:
    """Build, check, make the image. A failed check is in the result, and leaves no image in the output directory.

    Raises what :func:`jetsonx.engine.run.run_build` raises, HostError when the engine does not do what is asked.
    """
    claim_output(plan.out)
    plan.folder.mkdir(exist_ok=True)
    write_if_changed(plan.folder / "Dockerfile", plan.dockerfile)
    write_if_changed(plan.folder / IGNORE_FILE, render_ignore(plan.project.root, plan.out))
    changed, outputs = _fetch_outputs(plan, effects)
    outcome = Result(
        out=plan.out,
        targets=plan.targets,
        engine="docker",
        reference=plan.tag,
        why=plan.why,
        notes=(),
        report=None,
        image=None,
        summary={},
        tags=(plan.tag,),
    )
    done = None if changed else load_summary(plan.out, key=plan.key)
    report = None
    if done is None:
        from jetsonx.verify.formats.document import report_json

        (plan.out / DONE).unlink(missing_ok=True)
        report = _check(plan)
        write_json(plan.out / "report.json", report_json(report))
        write_json(plan.out / emulate.RECORD, _run_record(plan, report))
        if report.verdict == "error":
            shutil.rmtree(plan.out / "image", ignore_errors=True)  # an image of the build before would mislead
            return replace(outcome, report=report, summary=_finish(plan, outputs, report, None), tags=())
    try:
        image, is_new = _make_image(plan, effects)
    except BuildError:  # image.test failed, for one
        shutil.rmtree(plan.out / "image", ignore_errors=True)  # as above
        raise
    if done is not None and not is_new:
        return replace(outcome, summary=done)
    report = report or _check(plan)
    return replace(outcome, report=report, image=image, summary=_finish(plan, outputs, report, image))


def _run_record(plan: DockerPlan, report: Report) -> dict[str, list[str]]:
    """What `jetsonx run` needs: how a container is started, and the programs, the image's entrypoint first."""
    start = ("run", "--rm", "--interactive", "--platform", plan.machine.platform, "--entrypoint")
    return {
        "container": list(plan.engine.endpoint.command(*start).argv),
        "image": [plan.tag],
        "folder": [f"/opt/{plan.project.name}"],
        "programs": emulate.order_programs(plan.project, report),
    }


def _finish(plan: DockerPlan, outputs: tuple[str, ...], report: Report, image: Image | None) -> dict[str, object]:
    summary = summarize(plan.targets, outputs, report, image, key=plan.key)
    write_json(plan.out / DONE, summary)
    return summary


def _fetch_outputs(plan: DockerPlan, effects: Effects) -> tuple[bool, tuple[str, ...]]:
    """Build the outputs and bring them to ``out/files``: (did any change, their names)."""
    scratch = plan.folder / "outputs"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        what = f"building {plan.project.name}"
        run_build(plan.engine.endpoint, plan.outputs_build, what=what, runner=effects.runner, console=effects.console)
        found = {
            str(Path(top, name).relative_to(scratch)): Path(top, name)
            for top, _, names in os.walk(scratch)
            for name in names
        }
        changed = collect_outputs(dict(sorted(found.items())), plan.out / "files")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return changed, tuple(sorted(found))


def _make_image(plan: DockerPlan, effects: Effects) -> tuple[Image, bool]:
    """Build the image and save it to ``out/image``; False when it lay there already."""
    what = f"making the image {plan.tag}"
    endpoint, runner, console = plan.engine.endpoint, effects.runner, effects.console
    run_build(endpoint, plan.image_build, what=what, runner=runner, console=console)
    if plan.options.push:
        run_build(endpoint, plan.push_build, what=f"pushing {plan.tag}", runner=runner, console=console)
    images = Images(plan.engine, runner)
    made = images.find(plan.tag)
    if made is None:
        raise BuildError(
            f"{what}: the builder did not put it into {plan.engine.name}",
            hint="name a builder that can load images, or leave --builder out",
        )
    _refuse_other_platform(made, plan)
    place = plan.out / "image"
    if plan_of(place) == made.id and (image := read_image(place, made.id)) is not None:
        return image, False
    console.say("saving the image")
    return write_saved(images.save(plan.tag), place, reference=plan.tag, key=made.id), True


def _refuse_other_platform(made: EngineImage, plan: DockerPlan) -> None:
    """A base image that has no variant for the platform gives an image for another, whatever --platform says."""
    wanted = plan.machine.platform
    if f"{made.os}/{made.architecture}" != wanted:
        raise BuildError(
            f"the image {plan.tag} is for {made.os}/{made.architecture}, expected {wanted}",
            hint=f"image.base has to be an image for {wanted}: {plan.project.image.base}",
        )


def render_ignore(root: Path, out: Path) -> str:
    """What the build context leaves out: the project's own .dockerignore, the output directory, version control."""
    own = root / ".dockerignore"
    lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if own.is_file() else []
    place = out.resolve()
    if place.is_relative_to(root.resolve()) and place != root.resolve():
        lines.append("/" + "".join(f"\\{x}" if x in "*?[\\" else x for x in str(place.relative_to(root.resolve()))))
    return "".join(f"{line}\n" for line in (*lines, *_IGNORED))


def join_platforms(plans: Sequence[DockerPlan], effects: Effects) -> None:
    """Have the first plan's tag in its registry mean the images of all, one for each platform.

    Raises DownloadError when the registry does not take it.
    """
    endpoint, tag = plans[0].engine.endpoint, plans[0].tag
    tags = [plan.tag for plan in plans]
    done = effects.runner.run(endpoint.command("buildx", "imagetools", "create", "--tag", tag, *tags))
    if not done.ok:
        raise DownloadError(f"{tag} could not be made an index of {' and '.join(tags)}", details=done.tail)


def _check(plan: DockerPlan) -> Report:
    from jetsonx.verify.outputs import check_outputs

    if plan.machine is WORKSTATION:  # what is known of targets is of Jetsons; the Dockerfile looked at the architecture
        return Report(targets=(), inputs=(), findings=())
    return check_outputs(
        plan.out / "files",
        targets=plan.targets,
        sysroot=None,  # the libraries are the image's, which is made of these files only later
        jit=plan.project.target.jit,
    )
