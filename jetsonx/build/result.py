"""What a build of one L4T release gave, whichever engine did it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx.catalog import Target

if TYPE_CHECKING:
    from jetsonx.image.oci import Image
    from jetsonx.verify.report import Report

DONE = "done.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``why``: what was chosen, and the reasons; ``notes``: what was changed on the way.

    ``report`` and ``image`` are None when nothing had changed since the last build. ``engine``: which one did it;
    ``reference``: the image's name; ``tags``: its names in Docker, empty when it was not put there.
    """

    out: Path
    targets: tuple[Target, ...]
    engine: str
    reference: str
    why: tuple[str, ...]
    notes: tuple[str, ...]
    report: Report | None
    image: Image | None
    summary: dict[str, object]
    tags: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when the check found no error."""
        return self.summary["verdict"] != "error"

    @property
    def names(self) -> str:
        """The targets, for messages."""
        return ", ".join(target.name for target in self.targets)


def summarize(
    targets: Sequence[Target], files: Sequence[str], report: Report, image: Image | None, *, key: str
) -> dict[str, object]:
    """What ``done.json`` and ``build --json`` say; ``key`` names all that it depends on beside the outputs."""
    from jetsonx.verify.report import device_names  # like the rest of verify, only when there is something to check

    return {
        "targets": [target.name for target in targets],
        "verdict": report.verdict,
        "files": list(files),
        "image": image.digest if image else None,
        "image_bytes": image.size_bytes if image else None,
        "device_code": {file.path: list(device_names(file)) for file in report.files},
        "findings": len(report.findings),
        "key": key,
    }


def load_summary(out: Path, *, key: str) -> dict[str, object] | None:
    """The last build's summary when it was made for ``key``, found no error and its image is still there."""
    try:
        done = json.loads((out / DONE).read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(done, dict) or done.get("key") != key or done.get("verdict") == "error":
        return None
    return done if (out / "image/index.json").is_file() else None


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n")
    part.replace(path)
