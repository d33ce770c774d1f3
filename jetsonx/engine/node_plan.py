"""What is asked of a new builder node, checked and turned into calls of the Docker client; nothing here runs them.

Source of the options and of the rules for names: docs.docker.com, "docker buildx create" and "docker context create",
and what buildx 0.13 and Docker 20.10 to 28.2 themselves say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from jetsonx.errors import ConfigError
from jetsonx.host.facts import CONTEXT_DRIVER, OWN_PREFIX, Node
from jetsonx.host.nodes import describe_context
from jetsonx.rootfs.ssh import Address, parse_machine_address
from jetsonx.runner import Command
from jetsonx.vm.place import Place

Driver = Literal["docker", "docker-container", "kubernetes", "remote"]
PLATFORMS = {"linux/arm64": ("aarch64", "arm64"), "linux/amd64": ("x86_64", "amd64")}
"""Platform -> what `uname -m` and Docker call a machine that builds for it without an emulator."""

# What both a context and a builder may be called; buildx would make capitals small and then not find the name.
_NAME = re.compile(r"[a-z][a-z0-9._-]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
_REMOTE = re.compile(r"(?:tcp|unix|docker-container|kube-pod|podman-container|ssh)://[^\s,]+")
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9._-]*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRequest:
    """A node to be made. ``address`` is where ssh finds the machine, None for a cluster or a BuildKit elsewhere."""

    node: Node
    address: Address | None = None
    driver_opts: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """The one platform that it is for."""
        return self.node.platforms[0]


def plan_device(
    destination: str, *, driver: Driver, name: str = "", platform: str = "linux/arm64", driver_opts: Sequence[str] = ()
) -> NodeRequest:
    """A node on the machine at ``destination`` (``jetson@host``, ``ssh://jetson@host:2222``).

    ``name`` "" makes one from the address. Raises ConfigError for what ssh, Docker or buildx would not take, or would
    take for an option.
    """
    address = parse_machine_address(destination, what="a builder node")
    url = docker_url(address)
    return _plan(url, _slug(url), driver=driver, name=name, platform=platform, driver_opts=driver_opts, address=address)


def plan_virtual(
    place: Place, *, driver: Driver, name: str = "", platform: str = "linux/arm64", driver_opts: Sequence[str] = ()
) -> NodeRequest:
    """A node on a virtual machine, by the socket that leads to its engine: Docker's own ssh knows no such machine.

    Raises ConfigError as :func:`plan_device` does.
    """
    return _plan(
        f"unix://{place.docker}",
        f"vm-{place.name}",
        driver=driver,
        name=name,
        platform=platform,
        driver_opts=driver_opts,
        address=place.address,
    )


def plan_elsewhere(
    endpoint: str, *, name: str = "", platform: str = "linux/arm64", driver_opts: Sequence[str] = ()
) -> NodeRequest:
    """A node at a BuildKit that runs already (``tcp://host:1234``) or, for "", in the cluster of the user's kubectl.

    Raises ConfigError as :func:`plan_device` does.
    """
    if endpoint and not _REMOTE.fullmatch(endpoint):
        raise ConfigError(f"{endpoint!r} is no address of a BuildKit", hint="write it as tcp://192.168.55.1:1234")
    driver: Driver = "remote" if endpoint else "kubernetes"
    return _plan(
        endpoint,
        _slug(endpoint or driver),
        driver=driver,
        name=name,
        platform=platform,
        driver_opts=driver_opts,
        address=None,
    )


def _plan(
    endpoint: str,
    slug: str,
    *,
    driver: Driver,
    name: str,
    platform: str,
    driver_opts: Sequence[str],
    address: Address | None,
) -> NodeRequest:
    builder = name or f"{OWN_PREFIX}{slug}"
    if not _NAME.fullmatch(builder) or builder == "default":
        raise ConfigError(
            f"{builder!r} cannot be the name of a builder",
            hint="two or more of a-z, 0-9, dot, dash and underscore, a letter first; `default` is Docker's own",
        )
    for option in driver_opts:
        if not _OPTION.fullmatch(option):
            raise ConfigError(f"--driver-opt {option!r} is no NAME=VALUE", hint="--driver-opt network=host")
    is_context = driver == CONTEXT_DRIVER
    if is_context and driver_opts:
        raise ConfigError(
            "--driver-opt is for BuildKit in a container; an engine's own has no options",
            hint="--driver docker-container takes them",
        )
    node = Node(
        name=builder if is_context else f"{OWN_PREFIX}{slug}",
        builder=builder,
        driver=driver,
        endpoint=endpoint,
        platforms=(platform,),
    )
    return NodeRequest(node=node, address=address, driver_opts=tuple(driver_opts))


def docker_url(address: Address) -> str:
    """An address as Docker takes it: ``ssh://jetson@192.168.55.1:2222``.

    Raises ConfigError for a user or host of other characters than names have: Docker would split it elsewhere.
    """
    bare = address.host.removeprefix("ssh://")
    user, at, rest = bare.rpartition("@")
    host, port = rest, ""
    if address.host.startswith("ssh://") and (found := re.fullmatch(r"(.+):([0-9]{1,5})", rest)):
        host, port = found[1], f":{found[2]}"
    host = host.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host) or (at and not _USER.fullmatch(user)):
        raise ConfigError(
            f"{address.host!r}: Docker takes no such address",
            hint="give the machine a name in ~/.ssh/config (Host jetson, with HostName, User and Port) and use that",
        )
    if ":" in host:
        host = f"[{quote(host, safe=':')}]"
    return f"ssh://{user}{at}{host}{port}"


def _slug(endpoint: str) -> str:
    """What is left of an address that every kind of name may hold: ``ssh://jetson@Orin.local:22`` -> orin.local-22."""
    host = endpoint.rpartition("://")[2].rpartition("@")[2].lower()
    return re.sub(r"[^a-z0-9.]+", "-", host).strip("-.") or "node"


def check_new(request: NodeRequest, known: Sequence[Node], contexts: Sequence[str]) -> bool:
    """True when the node joins a builder that is there, False when it makes a new one.

    ``known``: all nodes that there are; ``contexts``: the names of all Docker contexts. Raises ConfigError when the
    name is taken, or the machine is a node already.
    """
    node = request.node
    for other in known:
        if (other.endpoint, other.driver) == (node.endpoint, node.driver) and other.endpoint:
            raise ConfigError(
                f"{node.endpoint} is a node already: {other.builder}",
                hint=f"jetsonx builder remove {other.builder} takes it away",
            )
    siblings = [other for other in known if other.builder == node.builder and not other.is_context]
    free = f"choose another name with --name, or jetsonx builder remove {node.builder}"
    if node.builder in contexts:
        raise ConfigError(f"there is a Docker context {node.builder} already", hint=free)
    if not siblings:
        return False
    driver = siblings[0].driver
    if driver != node.driver or node.is_context:
        raise ConfigError(
            f"the builder {node.builder} is there and has nodes of the driver {driver}, not {node.driver}", hint=free
        )
    if any(other.name == node.name for other in siblings):
        raise ConfigError(f"the builder {node.builder} has a node {node.name} already", hint=free)
    if rival := next((other for other in siblings if request.platform in other.platforms), None):
        # buildx would take the platform from the node that has it (NodeGroup.Update), and that would stand idle.
        raise ConfigError(
            f"{node.builder} has {rival.name} for {request.platform}, and buildx uses one node for each platform",
            hint="give this one a builder of its own with --name",
        )
    return True


def create_context(docker: str, request: NodeRequest) -> Command:
    """Make a Docker context that is known as a node by its description."""
    described = ("--description", describe_context(request.platform))
    words = ("context", "create", *described, f"--docker=host={request.node.endpoint}", request.node.builder)
    return Command(argv=(docker, *words))


def create_builder(docker: str, request: NodeRequest, *, joins: bool, config: Path | None) -> Command:
    """Make a buildx builder, or one more node of it. ``config``: buildkitd.toml for BuildKit there; buildx keeps it.

    `--config` is what every buildx takes; newer ones also call it `--buildkitd-config`.
    """
    node = request.node
    words = ["buildx", "create", f"--name={node.builder}", f"--node={node.name}", f"--driver={node.driver}"]
    words += [f"--platform={request.platform}"]
    words += ["--append"] if joins else []
    words += [f"--config={config}"] if config else []
    words += [f"--driver-opt={option}" for option in request.driver_opts]
    words += [node.endpoint] if node.endpoint else []
    return Command(argv=(docker, *words))


def build_words(node: Node) -> tuple[str, ...]:
    """What `docker` is followed by to build on a node, up to the build's own options.

    buildx takes a context's builder only from a client that is in that context.
    """
    chosen = ("--context", node.builder) if node.is_context else ()
    return (*chosen, "buildx", "build", "--builder", node.builder)


def plan_removal(docker: str, doomed: Sequence[Node], known: Sequence[Node]) -> tuple[Command, ...]:
    """The calls that take nodes out of their builders, and builders away that would be left without any.

    buildx takes a builder's record away also when its machines are off, and then says that it failed. A node that
    leaves a builder is only forgotten by buildx, with its BuildKit left running: that is ended here.
    """
    calls: list[tuple[str, ...]] = []
    for builder in dict.fromkeys(node.builder for node in doomed):
        going = [node for node in doomed if node.builder == builder]
        staying = [node for node in known if node.builder == builder and node not in going]
        if going[0].is_context:
            calls.append(("context", "rm", "--force", builder))
        elif not staying:
            calls.append(("buildx", "rm", builder))
        else:
            for node in going:
                calls += _ending(node)
                calls.append(("buildx", "create", f"--name={builder}", "--leave", f"--node={node.name}"))
    return tuple(Command(argv=(docker, *words)) for words in calls)


def _ending(node: Node) -> list[tuple[str, ...]]:
    """How BuildKit in a container is ended, under the names that buildx gives to it and to its volume."""
    if node.driver != "docker-container":
        return []
    container = f"buildx_buildkit_{node.name}"
    place = ("--host", node.endpoint)
    return [(*place, "rm", "--force", container), (*place, "volume", "rm", "--force", f"{container}_state")]
