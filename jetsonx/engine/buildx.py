"""Calls to `docker buildx build` as values; nothing here runs them.

Source of the options: docs.docker.com, "docker buildx build". ``--output`` and the cache options take fields separated
by commas, read by Go's encoding/csv: a field with a comma or a quote stands in quotes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jetsonx.runner import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Which engine a call goes to. ``docker`` is the client's path; ``context`` a context of it, "" for the default."""

    docker: str
    context: str = ""

    def command(self, *words: str) -> Command:
        """A call of the client to this engine."""
        chosen = ("--context", self.context) if self.context else ()
        return Command(argv=(self.docker, *chosen, *words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build of a Dockerfile.

    ``target``: the stage to build, "" for the last. ``files_to``: put the stage's files there in place of an image.
    ``tag``: the image's name; ``load`` puts it into the engine, ``push`` into its registry. ``contexts``: named build
    contexts. ``cache_from`` and ``cache_to`` are buildx's own words, ``builder`` one of its builders.
    """

    dockerfile: Path
    context: Path
    platform: str
    target: str = ""
    files_to: Path | None = None
    tag: str = ""
    load: bool = False
    push: bool = False
    builder: str = ""
    contexts: Mapping[str, str] = field(default_factory=dict)
    cache_from: Sequence[str] = ()
    cache_to: Sequence[str] = ()


def build_command(endpoint: Endpoint, build: Build) -> Command:
    """The call that carries out ``build``, with BuildKit's progress as plain lines."""
    words = ["buildx", "build", "--progress", "plain", "--platform", build.platform, "--file", str(build.dockerfile)]
    words += ["--builder", build.builder] if build.builder else []
    words += ["--target", build.target] if build.target else []
    for name, place in build.contexts.items():
        words += ["--build-context", f"{name}={place}"]
    for option, values in (("--cache-from", build.cache_from), ("--cache-to", build.cache_to)):
        for value in values:
            words += [option, value]
    if build.files_to is not None:
        words += ["--output", csv_fields(type="local", dest=str(build.files_to))]
    words += ["--tag", build.tag] if build.tag else []
    words += ["--load"] if build.load else []
    words += ["--push"] if build.push else []
    return endpoint.command(*words, str(build.context))


def csv_fields(**fields: str) -> str:
    """``name=value`` fields as one value of ``--output``: ``csv_fields(type="local", dest="/a,b")``."""
    return ",".join(_csv_field(f"{name}={value}") for name, value in fields.items())


def _csv_field(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\n\r') else text
