"""The Docker engine that a build goes to: found, asked what it is, and what is in the way said with what mends it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jetsonx.engine.buildx import Endpoint
from jetsonx.errors import HostError
from jetsonx.host.ask import Ask
from jetsonx.host.probe_docker import probe_docker
from jetsonx.runner import Runner

if TYPE_CHECKING:
    from jetsonx.host.facts import Docker

FIRST_WITH_CONTEXTS = 23
"""The first Docker Engine whose own BuildKit knows named contexts and OCI layouts; 20.10's does not."""
# `docker info` logs in several times, which took an emulated machine on a busy host 16 s. A build can wait for that; a
# socket of this host is no sign of a quick engine either, as those of virtual Jetsons are sockets here.
_BUILD_PATIENCE_S = 60.0
_CHECKS = ("docker", "daemon", "buildx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine that answered. ``url``: its address for the API, ``unix:///var/run/docker.sock`` or ``ssh://…``."""

    endpoint: Endpoint
    facts: Docker
    url: str

    @property
    def has_contexts(self) -> bool:
        """True when a build can take the sysroot as a named context."""
        major = re.match(r"\d+", self.facts.server)
        return major is not None and int(major[0]) >= FIRST_WITH_CONTEXTS

    @property
    def name(self) -> str:
        """For messages: ``Docker 26.1.5 (unix:///var/run/docker.sock)``."""
        return f"Docker {self.facts.server} ({self.url})"


def load_engine(runner: Runner, environ: Mapping[str, str], *, context: str = "") -> Engine:
    """The engine of ``context``, or the one that the docker command uses when it is "".

    Raises HostError, with what `jetsonx doctor` would say, when there is no client, no engine that answers, no
    permission to use it, or no buildx.
    """
    asked = {**environ, "DOCKER_CONTEXT": context} if context else dict(environ)
    if context:
        asked.pop("DOCKER_HOST", None)  # it would win over the context
    docker = probe_docker(Ask(runner, env=_changes(environ, asked)), asked, patience_s=_BUILD_PATIENCE_S)
    if docker is None or docker.answer != "yes" or not docker.buildx:
        raise _missing(runner, environ, docker, context)
    return Engine(endpoint=Endpoint(docker=docker.client.path, context=context), facts=docker, url=docker.endpoint)


def _changes(environ: Mapping[str, str], asked: Mapping[str, str]) -> dict[str, str | None]:
    changed: dict[str, str | None] = {name: value for name, value in asked.items() if environ.get(name) != value}
    return changed | {name: None for name in environ if name not in asked}


def _missing(runner: Runner, environ: Mapping[str, str], docker: Docker | None, context: str) -> HostError:
    """The first thing in the way, as doctor's checks say it."""
    if docker is not None and docker.is_podman:
        return HostError(
            f"cannot build in Docker: docker is Podman {docker.client.version} here, which has no BuildKit",
            hint="jetsonx dockerfile -o Dockerfile && podman build --format docker --platform linux/arm64 .",
        )
    from jetsonx.host.doctor import diagnose
    from jetsonx.host.probe import probe_host

    facts = replace(probe_host(runner, environ), docker=docker)
    lines = {line.check.name: line.finding for line in diagnose(facts).lines if line.check.name in _CHECKS}
    for name in _CHECKS:
        finding = lines[name]
        if finding.status in ("fail", "absent"):
            where = f"the context {context}: " if context else ""
            hint = finding.mend.text if finding.mend else "jetsonx doctor"
            return HostError(
                f"cannot build in Docker: {where}{finding.found}", hint=hint, details="\n".join(finding.notes) or None
            )
    return HostError("cannot build in Docker: the engine did not answer", hint="jetsonx doctor")
