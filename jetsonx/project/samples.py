"""The samples that ship with jetsonx, and copying one as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jetsonx.errors import ConfigError, HostError
from jetsonx.project.kinds import nearest
from jetsonx.project.model import FILE_NAME
from jetsonx.project.parse import parse_project
from jetsonx.project.template import replace_target

_LEFT_BY_BUILDS = ("__pycache__", "build", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A small project to start from; ``summary`` is the first sentence of its README."""

    name: str
    summary: str
    path: Path


def load_samples(root: Path | None = None) -> dict[str, Sample]:
    """The samples in a directory, or those shipped with jetsonx, by name."""
    root = root or Path(str(files("jetsonx.samples")))
    found = sorted(file.parent for file in root.glob(f"*/{FILE_NAME}"))
    return {path.name: Sample(name=path.name, summary=_summary(path / "README.md"), path=path) for path in found}


def find_sample(samples: dict[str, Sample], name: str) -> Sample:
    """The sample of that name. Raises ConfigError with the nearest name when there is none."""
    if name in samples:
        return samples[name]
    close = nearest(name, tuple(samples))
    hint = f"did you mean {close}?" if close else f"samples: {', '.join(samples)}"
    raise ConfigError(f"no sample is named {name!r}", hint=f"{hint} See them all: jetsonx init --list-samples")


def copy_sample(sample: Sample, directory: Path, targets: tuple[str, ...] = ()) -> None:
    """Copy a sample into a new directory, or into one that holds nothing of the same name.

    ``targets`` (``module@release``) take the place of the sample's own. After an error nothing has changed.

    Raises ConfigError when something is in the way, HostError when the directory cannot be written.
    """
    is_new = not directory.exists()
    _refuse_overwriting(sample, directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # Beside what it becomes, so that the last step is a rename within one file system.
        beside = directory.parent if is_new else directory
        with tempfile.TemporaryDirectory(prefix=".jetsonx-init-", dir=beside) as scratch, ExitStack() as undo:
            staged = Path(scratch) / sample.name
            shutil.copytree(sample.path, staged, ignore=shutil.ignore_patterns(*_LEFT_BY_BUILDS))
            if targets:
                _retarget(staged / FILE_NAME, targets)
            if is_new:
                staged.rename(directory)
                return
            # The directory itself must stay: it may be where the user's shell is.
            for entry in sorted(staged.iterdir()):
                undo.callback(entry.rename(directory / entry.name).rename, entry)
            undo.pop_all()
    except OSError as error:
        raise HostError(f"cannot copy the sample to {directory}: {error.strerror or error}") from None


def _refuse_overwriting(sample: Sample, directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory} is a file; a sample needs a directory", hint="name another one")
    present = [entry.name for entry in sorted(sample.path.iterdir()) if os.path.lexists(directory / entry.name)]
    if present:
        hint = f"name another directory: jetsonx init DIR --sample {sample.name}"
        raise ConfigError(f"already in {directory}: {', '.join(present)}; nothing was copied", hint=hint)


def _retarget(file: Path, targets: tuple[str, ...]) -> None:
    text = replace_target(file.read_text(encoding="utf-8"), targets)
    parse_project(text, file)
    file.write_text(text, encoding="utf-8")


def _summary(readme: Path) -> str:
    if not readme.is_file():
        return ""
    paragraphs = readme.read_text(encoding="utf-8").split("\n\n")
    prose = [paragraph for paragraph in paragraphs if not paragraph.startswith("#")]
    return " ".join(prose[0].split()).partition(". ")[0].rstrip(".") if prose else ""
