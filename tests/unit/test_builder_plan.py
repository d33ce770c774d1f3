"""New builder nodes as values: addresses, names, what is refused, and the calls that make and remove them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.engine.builder_mirrors import resolve_mirrors
from jetsonx.engine.node_plan import (
    Driver,
    build_words,
    check_new,
    create_builder,
    create_context,
    docker_url,
    plan_device,
    plan_elsewhere,
    plan_removal,
)
from jetsonx.errors import ConfigError
from jetsonx.host.facts import Node
from jetsonx.net.mirrors import Mirrors
from jetsonx.rootfs.ssh import parse_address
from jetsonx.toml import load_toml

ORIN = plan_device("jetson@orin", driver="docker")
FARM = plan_device("jetson@orin", driver="docker-container", name="farm")


def node(
    name: str,
    builder: str,
    driver: str = "docker-container",
    endpoint: str = "ssh://other",
    platforms: tuple[str, ...] = ("linux/amd64",),
) -> Node:
    return Node(name=name, builder=builder, driver=driver, endpoint=endpoint, platforms=platforms)


@pytest.mark.parametrize(
    ("address", "url", "name"),
    [
        ("jetson", "ssh://jetson", "jetsonx-jetson"),
        ("jetson@192.168.55.1", "ssh://jetson@192.168.55.1", "jetsonx-192.168.55.1"),
        ("ssh://jetson@Orin.local:2222", "ssh://jetson@Orin.local:2222", "jetsonx-orin.local-2222"),
        ("jetson@[fe80::1]", "ssh://jetson@[fe80::1]", "jetsonx-fe80-1"),
        ("jetson@fe80::1%eth0", "ssh://jetson@[fe80::1%25eth0]", "jetsonx-fe80-1-25eth0"),
    ],
)
def test_addresses_become_docker_s_and_names(address: str, url: str, name: str) -> None:
    request = plan_device(address, driver="docker")
    assert (request.node.endpoint, request.node.builder) == (url, name)
    assert request.node.is_ours


@pytest.mark.parametrize(
    "address",
    ["", "-oProxyCommand=x", "a b", "jetson@", "ssh://-x", "jetson@host/../x", 'a"b', "a'b@host", "-l@host", "a$(x)@b"],
)
def test_what_ssh_or_docker_would_misread_is_refused(address: str) -> None:
    with pytest.raises(ConfigError):
        plan_device(address, driver="docker")


def test_a_port_needs_an_url_and_a_directory_has_no_place() -> None:
    with pytest.raises(ConfigError, match="no directory"):
        plan_device("jetson@host:/media/APP", driver="docker")
    with pytest.raises(ConfigError, match="no port"):
        plan_device("jetson@host:22", driver="docker")
    assert docker_url(parse_address("ssh://host:22")) == "ssh://host:22"


@pytest.mark.parametrize("name", ["-x", "a b", "Orin", "default", "a", "9a", "a/b", "a'b", "a\n"])
def test_names_that_docker_or_buildx_would_not_take(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        plan_device("jetson", driver="docker", name=name)


@pytest.mark.parametrize("url", ["http://host", "host:1234", "-x", "tcp://", "tcp://a b", "--append"])
def test_what_is_no_address_of_a_buildkit(url: str) -> None:
    with pytest.raises(ConfigError, match="no address of a BuildKit"):
        plan_elsewhere(url)


@pytest.mark.parametrize("option", ["-x", "--append", "image", "=x", ""])
def test_driver_options_are_pairs(option: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        plan_elsewhere("tcp://host:1", driver_opts=[option])


def test_an_engine_s_own_buildkit_has_no_options() -> None:
    with pytest.raises(ConfigError, match="--driver-opt"):
        plan_device("jetson", driver="docker", driver_opts=["network=host"])


def test_the_calls_that_make_nodes() -> None:
    assert create_context("docker", ORIN).argv == (
        *("docker", "context", "create", "--description", "jetsonx builder node for linux/arm64"),
        *("--docker=host=ssh://jetson@orin", "jetsonx-orin"),
    )
    assert create_builder("docker", FARM, joins=True, config=Path("/c")).argv == (
        *("docker", "buildx", "create", "--name=farm", "--node=jetsonx-orin", "--driver=docker-container"),
        *("--platform=linux/arm64", "--append", "--config=/c", "ssh://jetson@orin"),
    )
    cluster = plan_elsewhere("", driver_opts=["namespace=ci", "nodeselector=kubernetes.io/arch=arm64"])
    assert create_builder("docker", cluster, joins=False, config=None).argv == (
        *("docker", "buildx", "create", "--name=jetsonx-kubernetes", "--node=jetsonx-kubernetes"),
        *("--driver=kubernetes", "--platform=linux/arm64", "--driver-opt=namespace=ci"),
        "--driver-opt=nodeselector=kubernetes.io/arch=arm64",
    )
    remote = plan_elsewhere("tcp://10.0.0.2:1234", platform="linux/amd64")
    assert create_builder("docker", remote, joins=False, config=None).argv[3:] == (
        *("--name=jetsonx-10.0.0.2-1234", "--node=jetsonx-10.0.0.2-1234", "--driver=remote"),
        *("--platform=linux/amd64", "tcp://10.0.0.2:1234"),
    )


def test_a_node_joins_a_builder_that_lacks_its_platform() -> None:
    assert check_new(FARM, [], []) is False
    assert check_new(FARM, [node("x86", "farm")], []) is True


@pytest.mark.parametrize(
    ("known", "contexts", "words"),
    [
        ([node("n", "farm", endpoint="ssh://jetson@orin")], [], "is a node already: farm"),
        ([], ["default", "farm"], "a Docker context farm already"),
        ([node("n", "farm", "remote")], [], "driver remote, not docker-container"),
        ([node("jetsonx-orin", "farm")], [], "has a node jetsonx-orin already"),
        ([node("n", "farm", platforms=("linux/arm64",))], [], "uses one node for each platform"),
    ],
)
def test_what_is_there_already_is_not_made_twice(known: list[Node], contexts: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        check_new(FARM, known, contexts)
    assert error.value.hint


def test_a_context_joins_no_builder() -> None:
    with pytest.raises(ConfigError, match="not docker"):
        check_new(ORIN, [node("n", "jetsonx-orin")], [])


@pytest.mark.parametrize("driver", ["docker", "docker-container"])
def test_the_same_machine_twice_is_refused_by_driver(driver: Driver) -> None:
    first = plan_device("jetson@orin", driver=driver).node
    with pytest.raises(ConfigError, match="is a node already"):
        check_new(plan_device("jetson@orin", driver=driver, name="other"), [first], [])


def test_a_context_s_builder_is_used_in_its_context() -> None:
    assert " ".join(build_words(ORIN.node)) == "--context jetsonx-orin buildx build --builder jetsonx-orin"
    assert " ".join(build_words(FARM.node)) == "buildx build --builder farm"


def removal(doomed: list[Node], known: list[Node]) -> list[str]:
    return [" ".join(command.argv[1:]) for command in plan_removal("docker", doomed, known)]


def test_removal_takes_exactly_what_was_added() -> None:
    assert removal([ORIN.node], [ORIN.node]) == ["context rm --force jetsonx-orin"]
    assert removal([FARM.node], [FARM.node]) == ["buildx rm farm"]
    assert removal([FARM.node], [FARM.node, node("x86", "farm")]) == [
        "--host ssh://jetson@orin rm --force buildx_buildkit_jetsonx-orin",
        "--host ssh://jetson@orin volume rm --force buildx_buildkit_jetsonx-orin_state",
        "buildx create --name=farm --leave --node=jetsonx-orin",
    ]


def test_mirrors_that_a_node_can_reach_become_buildkit_s() -> None:
    mirrors = Mirrors(
        table=(
            ("docker.io", "https://cache.example/v2/hub"),
            ("ghcr.io", "https://cache.example/prefix"),
            ("nvcr.io", "http://10.0.0.1:5000"),
            ("quay.io", "http://127.0.0.1:5000"),
            ("own.example", "http://own.example"),
        )
    )
    found = resolve_mirrors(mirrors)
    assert found.driver_opts == ("image=cache.example/hub/moby/buildkit:buildx-stable-1",)
    assert load_toml(found.config) == {
        "registry": {
            "docker.io": {"mirrors": ["cache.example/hub"]},
            "nvcr.io": {"mirrors": ["10.0.0.1:5000"]},
            "10.0.0.1:5000": {"http": True},
            "own.example": {"mirrors": ["own.example"], "http": True},
        }
    }
    assert [host for host, _ in found.left_out] == ["ghcr.io", "quay.io"]


def test_without_mirrors_buildkit_is_told_nothing() -> None:
    found = resolve_mirrors(Mirrors())
    assert (found.config, found.driver_opts, found.left_out) == ("", (), ())
