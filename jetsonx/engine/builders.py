"""Which builder a native build goes to: a node for the platform that answers now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jetsonx.engine.builder_probe import NodeState, probe_nodes
from jetsonx.errors import HostError
from jetsonx.host.ask import REMOTE_PATIENCE_S, Ask
from jetsonx.host.facts import Node
from jetsonx.host.nodes import load_nodes
from jetsonx.runner import Runner
from jetsonx.toolchain.search import which_host

ARM64 = "linux/arm64"


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeBuilder:
    """Where a build can be sent.

    ``builder`` is what `docker buildx build --builder` takes. ``context``, when it is not "", has to be the client's
    context for that (buildx refuses the builder of another), and its engine keeps the image that was built: it comes
    here by `docker --context CONTEXT save`. Otherwise `--load` brings it into this host's engine.
    """

    builder: str
    context: str
    state: NodeState

    @property
    def why(self) -> str:
        """One line of what it is: ``jetsonx-orin (ssh://jetson@orin): aarch64, 6 cores``."""
        state = self.state
        facts = [state.machine, f"{state.cores} cores" if state.cores else "", "emulated" if state.is_emulated else ""]
        said = ", ".join(filter(None, facts))
        return f"{self.builder} ({state.node.endpoint})" + (f": {said}" if said else "")


def load_known(runner: Runner, environ: Mapping[str, str]) -> tuple[str, tuple[Node, ...]]:
    """The Docker client of this host, and all builder nodes that it knows.

    Raises HostError when there is no client.
    """
    docker = which_host("docker")
    if docker is None:
        raise HostError("there is no docker command on this host", hint="jetsonx doctor says how to install it")
    return docker, load_nodes(Ask(runner), docker, environ, patience_s=REMOTE_PATIENCE_S)


def choose_native(runner: Runner, environ: Mapping[str, str], *, platform: str = ARM64) -> NativeBuilder:
    """The best builder with a node for ``platform`` on another machine that answers.

    Raises HostError when there is none, with what each node said, or no Docker client.
    """
    states = _ask(runner, environ, platform)
    if best := rank_builders(states):
        return best[0]
    if not states:
        raise HostError(f"no builder node for {platform} is known", hint="jetsonx builder add USER@DEVICE makes one")
    raise HostError(
        f"no builder node for {platform} answers",
        details="\n".join(f"{state.node.builder} ({state.node.endpoint}): {state.trouble}" for state in states),
        hint="switch one on, or see what jetsonx builder list says",
    )


def _ask(runner: Runner, environ: Mapping[str, str], platform: str) -> tuple[NodeState, ...]:
    docker, known = load_known(runner, environ)
    nodes = [node for node in known if node.is_remote and platform in node.platforms]
    return probe_nodes(Ask(runner), docker, nodes, limit_s=REMOTE_PATIENCE_S, with_buildkit=False)


def rank_builders(states: Iterable[NodeState]) -> tuple[NativeBuilder, ...]:
    """Builders with a node that is ready, the best first: no emulation, then the most cores, then the quickest answer.

    Each builder once, as its best node: which of its nodes builds is buildx's choice.
    """

    def order(state: NodeState) -> tuple[bool, int, float]:
        return state.is_emulated, -(state.cores or 0), state.answer_s or 0.0

    best: dict[str, NodeState] = {}
    for state in sorted((each for each in states if each.is_ready), key=order):
        best.setdefault(state.node.builder, state)
    return tuple(
        NativeBuilder(builder=name, context=name if state.node.is_context else "", state=state)
        for name, state in best.items()
    )
