"""Looks at the Docker client and what answers it: `docker info` has most of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jetsonx.host.ask import PATIENCE_S, REMOTE_PATIENCE_S, Ask, find_version, free_bytes, group_of, is_silent
from jetsonx.host.facts import DESKTOP, Disk, Docker, Program, Socket
from jetsonx.host.nodes import load_nodes, parse_object
from jetsonx.runner import Completed
from jetsonx.toolchain.search import which_host

_UNIX = "unix://"


def probe_docker(ask: Ask, environ: Mapping[str, str], *, patience_s: float | None = None) -> Docker | None:
    """The Docker client of this host and its engine; None without a client.

    ``patience_s``: how long the engine may take to answer a question; None for what one here, or elsewhere, needs.
    """
    path = which_host("docker")
    if path is None:
        return None
    said = ask(path, "--version")
    client = Program(path=path, version=find_version(said))
    if said is not None and "podman" in said.stdout.lower():
        return Docker(client=client, is_podman=True)
    if is_silent(said):
        return Docker(client=client, answer="silence")
    shown = ask(path, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    endpoint = environ.get("DOCKER_HOST") or (shown.stdout.strip() if shown else "")
    is_remote = bool(endpoint) and not endpoint.startswith(_UNIX)
    if patience_s is None:
        patience_s = REMOTE_PATIENCE_S if is_remote else PATIENCE_S
    answered = ask(path, "info", "--format", "{{json .}}", patience_s=patience_s)
    info = parse_info(answered.stdout if answered else "")
    answer: Literal["yes", "no", "silence"] = "yes" if info.server else "silence" if is_silent(answered) else "no"
    buildx = info.plugins.get("buildx") or find_version(ask(path, "buildx", "version"))
    return Docker(
        client=client,
        has_engine=which_host("dockerd") is not None or os.access("/usr/sbin/dockerd", os.X_OK),
        endpoint=endpoint,
        is_named_by_environment=bool(environ.get("DOCKER_HOST")),
        context=info.context,
        socket=_socket(endpoint),
        answer=answer,
        words="" if info.server else info.errors or _words(answered),
        server=info.server,
        operating_system=info.operating_system,
        runtimes=info.runtimes,
        root=_root(info, endpoint),
        buildx=buildx.removeprefix("v"),
        buildkit=_buildkit(ask, path, patience_s) if buildx and info.server else "",
        nodes=load_nodes(ask, path, environ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What of `docker info` matters here. ``server`` is "" when no engine answered, ``errors`` may say why."""

    server: str = ""
    errors: str = ""
    operating_system: str = ""
    root: str = ""
    context: str = "default"
    runtimes: tuple[str, ...] = ()
    plugins: Mapping[str, str] = field(default_factory=dict)


def parse_info(text: str) -> Info:
    """Read `docker info --format '{{json .}}'`; whatever else it is counts as no answer."""
    info = parse_object(text)
    client = _object(info.get("ClientInfo"))
    plugins = client.get("Plugins")
    rows = [_object(row) for row in plugins] if isinstance(plugins, list) else []
    errors = info.get("ServerErrors")
    return Info(
        server=str(info.get("ServerVersion") or ""),
        errors="; ".join(map(str, errors)) if isinstance(errors, list) else "",
        operating_system=str(info.get("OperatingSystem") or ""),
        root=str(info.get("DockerRootDir") or ""),
        context=str(client.get("Context") or "default"),
        runtimes=tuple(_object(info.get("Runtimes"))),
        plugins={str(row.get("Name")): str(row.get("Version") or "") for row in rows if not row.get("Err")},
    )


def _socket(endpoint: str) -> Socket | None:
    if not endpoint.startswith(_UNIX):
        return None
    path = endpoint.removeprefix(_UNIX)
    exists = os.access(path, os.F_OK)
    return Socket(path=path, exists=exists, is_writable=os.access(path, os.R_OK | os.W_OK), group=group_of(path))


def _root(info: Info, endpoint: str) -> Disk | None:
    if not info.root:
        return None
    is_here = endpoint.startswith(_UNIX) and info.operating_system != DESKTOP
    return Disk(path=info.root, free_bytes=free_bytes(info.root) if is_here else None)


def _buildkit(ask: Ask, docker: str, patience_s: float) -> str:
    said = ask(docker, "buildx", "inspect", "default", patience_s=patience_s)
    match = re.search(r"^Build[Kk]it(?: version)?:\s*v?(\S+)", said.stdout if said else "", re.MULTILINE)
    return match[1] if match else ""


def _words(said: Completed | None) -> str:
    """The client's last line that is not the answer itself."""
    lines = [line.strip() for line in (said.tail.splitlines() if said else ()) if not line.startswith("{")]
    return next((line for line in reversed(lines) if line and not line.startswith("errors pretty")), "")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
