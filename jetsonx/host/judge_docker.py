"""Judges the Docker client, the engine behind it and what belongs to them: pure, from facts already read."""

from __future__ import annotations

import re

from jetsonx.console import amount
from jetsonx.host.facts import Docker, HostFacts, Socket
from jetsonx.host.mend import Finding, Mend, as_root, resolve_package, told

# An L4T base image is 2 to 6 GB, and a build holds it beside its own layers.
ROOT_LEAST_BYTES, _ROOT_GOOD_BYTES = 5_000_000_000, 20_000_000_000
_FIRST_WITH_CONTEXTS = 23
"""The first Docker Engine whose own BuildKit knows named contexts; 20.10's does not."""


def judge_client(facts: HostFacts) -> Finding:
    """The docker command."""
    docker = facts.docker
    if docker is None:
        return Finding(status="absent", found="no docker command", mend=resolve_package("docker", facts))
    if docker.is_podman:
        found = f"Podman {docker.client.version} under the name docker: never tried with jetsonx"
        return Finding(status="warn", found=found)
    return Finding(status="ok", found=f"{docker.client.version} ({docker.client.path})")


def judge_daemon(facts: HostFacts) -> Finding:
    """The engine: does it answer, and if not, why not."""
    docker = facts.docker
    if docker is None:
        return Finding(status="absent", found="needs the docker command")
    if docker.answer == "yes":
        desktop = f", {docker.operating_system}" if docker.is_desktop else ""
        return Finding(status="ok", found=f"{docker.server}{desktop} at {docker.endpoint}")
    if docker.is_podman:
        return Finding(status="absent", found="Podman works without one")
    words = (f"docker says: {docker.words}",) if docker.words else ()
    if docker.socket is not None and docker.socket.exists and not docker.socket.is_writable:
        return _judge_permission(docker.socket, facts)
    said = "does not answer in time" if docker.answer == "silence" else "does not answer"
    found = f"the engine at {docker.endpoint or 'an unknown place'} {said}"
    return Finding(status="fail", found=found, mend=_start(docker, facts), notes=words)


def _judge_permission(socket: Socket, facts: HostFacts) -> Finding:
    """Three things have to be right; say which are."""
    user, group = facts.user, socket.group
    has_group = group not in ("", "root")
    is_member, in_session = group in user.member_of, group in user.groups
    notes = (
        f"1. the socket belongs to a group of Docker's users: {_yes(has_group)} ({group or 'unknown'})",
        f"2. {user.name} is a member of it (id -nG {user.name}): {_yes(is_member)}",
        f"3. this session began after that (id -nG): {_yes(in_session)}",
        "a member of that group has root's rights on this machine through Docker",
    )
    if not has_group:
        mend = told(facts, "groupadd -f docker", "systemctl restart docker.socket docker")
    elif not is_member:
        mend = told(facts, f"usermod -aG {group} {user.name}", note=" and log in again")
    elif not in_session:
        mend = Mend(text=f"newgrp {group}, or log in again")
    else:
        mend = told(facts, f"chmod g+rw {socket.path}")
    found = f"no permission on {socket.path}: three things to check"
    return Finding(status="fail", found=found, mend=mend, notes=notes)


def _yes(claim: bool) -> str:
    return "yes" if claim else "no"


def _start(docker: Docker, facts: HostFacts) -> Mend:
    """How the engine that the client looks for is brought to answer."""
    if docker.is_named_by_environment:
        return Mend(text="unset DOCKER_HOST to use this machine's engine, or start the one it names")
    if docker.context != "default":
        return Mend(text="docker context use default, or start the engine of this context")
    if docker.socket is not None and docker.socket.exists:
        return told(facts, "systemctl restart docker" if facts.has_systemd else "service docker restart")
    if facts.is_wsl and not docker.has_engine:
        return Mend(text="start Docker Desktop in Windows and switch on its WSL integration for this distribution")
    if not docker.has_engine:
        return resolve_package("docker", facts)
    if facts.has_systemd:
        return as_root(facts, ("systemctl", "enable", "--now", "docker"))
    return as_root(facts, ("service", "docker", "start"))


def judge_buildx(facts: HostFacts) -> Finding:
    """The plugin that all builds in Docker go through."""
    docker = facts.docker
    if docker is None or not docker.buildx:
        return Finding(status="absent", found="no buildx plugin", mend=resolve_package("buildx", facts))
    return Finding(status="ok", found=docker.buildx)


def judge_buildkit(facts: HostFacts) -> Finding:
    """Which generation of BuildKit builds by default."""
    docker = facts.docker
    if docker is None or docker.answer != "yes":
        return Finding(status="absent", found="needs an engine that answers")
    major = re.match(r"\d+", docker.server)
    named = f"BuildKit {docker.buildkit}" if docker.buildkit else f"that of Docker {docker.server}"
    if major is None:
        return Finding(status="warn", found=f"{named}: generation unknown")
    if int(major[0]) < _FIRST_WITH_CONTEXTS:
        found = f"{named}: the older generation, without named contexts; jetsonx does without them"
        return Finding(status="ok", found=found)
    return Finding(status="ok", found=f"{named}, with named contexts")


def judge_builder(facts: HostFacts) -> Finding:
    """Builder nodes pinned to arm64 on other machines. Whether they answer is not tried here."""
    docker = facts.docker
    nodes = docker.nodes if docker else ()
    arm = [node for node in nodes if node.is_remote and "linux/arm64" in node.platforms]
    if arm:
        named = ", ".join(f"{node.builder} ({node.endpoint})" for node in arm)
        return Finding(status="ok", found=f"{named}; not tried")
    add = Mend(text="jetsonx builder add USER@DEVICE, an ARM machine with Docker: a Jetson, or a server")
    return Finding(status="absent", found="no builder node for linux/arm64", mend=add)


def judge_nvidia(facts: HostFacts) -> Finding:
    """The nvidia runtime: x86-64 builds of a project on this machine's own GPU."""
    docker = facts.docker
    if docker is not None and "nvidia" in docker.runtimes:
        return Finding(status="ok", found="Docker has the runtime nvidia")
    if not facts.has_gpu:
        return Finding(status="absent", found="no NVIDIA GPU with a driver on this machine, none is needed to build")
    if "nvidia-ctk" in facts.programs:
        mend = told(facts, "nvidia-ctk runtime configure --runtime=docker", "systemctl restart docker")
        return Finding(status="absent", found="Docker does not know the runtime", mend=mend)
    found = "there is a GPU, but no NVIDIA container toolkit"
    return Finding(status="absent", found=found, mend=resolve_package("nvidia", facts))


def judge_root(facts: HostFacts) -> Finding:
    """Room where the engine keeps images and build caches."""
    root = facts.docker.root if facts.docker else None
    if root is None:
        return Finding(status="absent", found="needs an engine that answers")
    if root.free_bytes is None:
        return Finding(status="ok", found=f"{root.path}: on another machine, not seen from here")
    found = f"{amount(root.free_bytes)} free for {root.path}"
    if root.free_bytes >= _ROOT_GOOD_BYTES:
        return Finding(status="ok", found=found)
    prune = Mend(text="docker system df shows what takes room; docker builder prune frees the build cache")
    if root.free_bytes >= ROOT_LEAST_BYTES:
        return Finding(status="warn", found=f"{found}: few L4T images fit", mend=prune)
    return Finding(status="fail", found=f"{found}: an L4T image does not fit", mend=prune)
