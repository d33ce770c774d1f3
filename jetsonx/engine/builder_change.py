"""Adds builder nodes and takes them away. What an `add` began and did not finish is undone, also after Ctrl-C."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jetsonx.console import Console, amount
from jetsonx.engine.builder_mirrors import resolve_mirrors
from jetsonx.engine.builder_probe import inspect_words, parse_inspect
from jetsonx.engine.builders import load_known
from jetsonx.engine.node_machine import Machine, check_machine, probe_machine
from jetsonx.engine.node_plan import NodeRequest, check_new, create_builder, create_context, plan_removal
from jetsonx.errors import ConfigError, DeviceError, HostError, undone
from jetsonx.host.facts import Node
from jetsonx.host.judge_docker import ROOT_LEAST_BYTES
from jetsonx.net.mirrors import Mirrors, load_mirrors
from jetsonx.runner import Command, Completed, Runner

_CONTAINER = "docker-container"
_START_HINTS = {
    _CONTAINER: "BuildKit's image comes from Docker Hub: JETSONX_MIRRORS=docker.io=URL or --driver-opt image=… name "
    "another place, and --driver docker needs no image",
    "remote": "see that BuildKit listens there, and that nothing on the way closes the port",
    "kubernetes": "see what kubectl says of the cluster; --driver-opt passes on what buildx's driver needs",
}


def add_node(
    request: NodeRequest, *, emulated: bool, runner: Runner, console: Console, environ: Mapping[str, str]
) -> Node:
    """Check the machine, then make the node: a Docker context, or a node of a buildx builder.

    Raises ConfigError for a name that is taken, DeviceError for a machine that cannot do it, HostError when there is
    no Docker client or no buildx here.
    """
    docker, known = load_known(runner, environ)
    joins = check_new(request, known, _contexts(runner, docker))
    if not runner.run(Command(argv=(docker, "buildx", "version"))).ok:
        raise HostError("the docker command here has no buildx", hint="jetsonx doctor says how to install it")
    if request.address is not None:
        machine = probe_machine(request.address, runner)
        check_machine(request.address, machine, request.platform, emulated=emulated)
        _show(request, machine, console)
        _check_way(docker, request, runner)
    if request.node.is_context:
        with undone(lambda: list(_take_away(docker, (request.node,), known, runner))):
            _do(create_context(docker, request), runner, what=f"make the Docker context {request.node.builder}")
    else:
        _create(docker, request, known, joins=joins, runner=runner, console=console, environ=environ)
    return request.node


def _contexts(runner: Runner, docker: str) -> list[str]:
    done = runner.run(Command(argv=(docker, "context", "ls", "--quiet")))
    if not done.ok:  # a context that is there unseen would be taken for a half-made one, and removed
        raise HostError("docker cannot list its contexts", details=done.tail, hint="docker context ls")
    return done.stdout.split()


def _show(request: NodeRequest, machine: Machine, console: Console) -> None:
    cores = f", {machine.cores} cores" if machine.cores else ""
    memory = f", {amount(machine.memory_bytes)} of memory" if machine.memory_bytes else ""
    l4t = f", L4T {machine.l4t}" if machine.l4t else ""
    console.say(f"{request.node.endpoint}: {machine.machine}{cores}{memory}{l4t}, Docker {machine.server}")
    free = machine.free_bytes
    if free is not None and free < ROOT_LEAST_BYTES:
        console.warn(f"only {amount(free)} free for {machine.root} there: an L4T image does not fit")


def _check_way(docker: str, request: NodeRequest, runner: Runner) -> None:
    """Ask the engine there, by Docker's own way, what it builds for; nothing has been made yet."""
    # As the default context of a client whose DOCKER_HOST it is: so no context has to be made first, and undone.
    env = {"DOCKER_HOST": request.node.endpoint, "DOCKER_CONTEXT": None, "BUILDX_BUILDER": None}
    done = runner.run(Command(argv=inspect_words(docker, "default"), env=env))
    found = parse_inspect(done.stdout).get("default")
    if not done.ok or found is None or found.error or not found.platforms:
        raise DeviceError(
            f"ssh reaches {request.node.endpoint}, but Docker does not build through it",
            details=found.error if found and found.error else done.tail,
            hint="Docker calls ssh with ~/.ssh/config and keys that need no answer: "
            f"see what `docker --host {request.node.endpoint} info` says",
        )
    if request.platform not in found.platforms:
        raise DeviceError(
            f"the engine at {request.node.endpoint} builds for {', '.join(found.platforms)}, not {request.platform}",
            hint="let its kernel start such programs: jetsonx binfmt install there",
        )


def _create(
    docker: str,
    request: NodeRequest,
    known: Sequence[Node],
    *,
    joins: bool,
    runner: Runner,
    console: Console,
    environ: Mapping[str, str],
) -> None:
    """Make the builder's node and start BuildKit: what cannot work should say so now and not in the first build."""
    mirrors = resolve_mirrors(load_mirrors(environ) if request.node.driver == _CONTAINER else Mirrors())
    for host, why in mirrors.left_out:
        console.warn(f"the mirror of {host} is not used there: {why}")
    opts = request.driver_opts
    if not any(option.startswith("image=") for option in opts):
        opts = (*mirrors.driver_opts, *opts)
    with tempfile.TemporaryDirectory(prefix="jetsonx-") as scratch:
        config = Path(scratch) / "buildkitd.toml" if mirrors.config else None
        if config is not None:
            config.write_text(mirrors.config + "\n")
        full = NodeRequest(node=request.node, address=request.address, driver_opts=opts)
        with undone(lambda: list(_take_away(docker, (request.node,), (*known, request.node), runner))):
            _do(create_builder(docker, full, joins=joins, config=config), runner, what="make the builder")
            console.say("starting BuildKit there")
            start = Command(argv=(docker, "buildx", "inspect", "--bootstrap", request.node.builder))
            _do(start, runner, what="start BuildKit there", hint=_START_HINTS.get(request.node.driver))


def _do(command: Command, runner: Runner, *, what: str, hint: str | None = None) -> None:
    done = runner.run(command)
    if not done.ok:
        raise DeviceError(
            f"could not {what}; nothing of it is left", details=done.tail, hint=hint or f"it was: {command}"
        )


def remove_nodes(name: str, *, runner: Runner, environ: Mapping[str, str]) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """Take away what `add` made under ``name``, of a builder or of one node in it: the nodes, and what stays of them.

    What stays is on machines that do not answer now. Raises ConfigError when there is nothing of that name that
    jetsonx has made.
    """
    docker, known = load_known(runner, environ)
    named = [node for node in known if name in (node.builder, node.name)]
    doomed = [node for node in named if node.is_ours]
    if not doomed:
        ours = sorted({node.builder for node in known if node.is_ours})
        why = f"jetsonx did not make the builder {name}" if named else f"there is no builder node {name}"
        hint = f"docker buildx rm {name} removes it" if named else f"those of jetsonx are: {', '.join(ours) or 'none'}"
        raise ConfigError(why, hint=hint)
    failed = list(_take_away(docker, doomed, known, runner))
    left = {(node.builder, node.name) for node in load_known(runner, environ)[1]}
    if any((node.builder, node.name) in left for node in doomed):
        raise HostError(f"could not remove {name}", details="\n".join(done.tail for _, done in failed))
    return tuple(doomed), tuple(_last(done) for _, done in failed if "No such container" not in done.tail)


def _last(done: Completed) -> str:
    return next((line for line in reversed(done.tail.splitlines()) if line.strip()), str(done.command))


def _take_away(
    docker: str, doomed: Sequence[Node], known: Sequence[Node], runner: Runner
) -> Iterator[tuple[Command, Completed]]:
    """Carry out the removal and give back the calls that failed: the machine may be off, and the node still be gone."""
    for command in plan_removal(docker, doomed, known):
        done = runner.run(command)
        if not done.ok:
            yield command, done
