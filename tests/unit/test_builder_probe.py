"""What nodes and machines answer, as the real programs said it, and what is made of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import IO

import pytest

from jetsonx.engine.builder_list import nodes_json, render_nodes
from jetsonx.engine.builder_probe import NodeState, merge_state, parse_inspect, probe_nodes
from jetsonx.engine.builders import rank_builders
from jetsonx.engine.node_machine import Machine, check_machine, parse_machine
from jetsonx.errors import DeviceError
from jetsonx.host.ask import Ask
from jetsonx.host.facts import Node
from jetsonx.host.nodes import parse_contexts
from jetsonx.rootfs.ssh import Address
from jetsonx.runner import Command, Completed, Runner

CONTEXT = Node(name="orin", builder="orin", driver="docker", endpoint="ssh://jetson@orin", platforms=("linux/arm64",))
POOLED = Node(
    name="jetsonx-orin", builder="farm", driver="docker-container", endpoint="ssh://orin", platforms=("linux/arm64",)
)
REMOTE = Node(
    name="jetsonx-bk", builder="bk", driver="remote", endpoint="tcp://127.0.0.1:1", platforms=("linux/arm64",)
)

# Docker 20.10.24 and 28.2.2, `context ls --format '{{json .}}'`
CONTEXTS_20 = """\
{"Current":true,"Description":"Current DOCKER_HOST based configuration","DockerEndpoint":"unix:///var/run/docker.sock","KubernetesEndpoint":"","Name":"default","StackOrchestrator":"swarm"}
{"Current":false,"Description":"jetsonx builder node for linux/arm64","DockerEndpoint":"ssh://jetson@orin","KubernetesEndpoint":"","Name":"orin","StackOrchestrator":""}
"""
CONTEXTS_28 = """\
{"Current":true,"Description":"Current DOCKER_HOST based configuration","DockerEndpoint":"unix:///var/run/docker.sock","Error":"","Name":"default"}
{"Current":false,"Description":"jetsonx builder node for linux/arm64","DockerEndpoint":"ssh://jetson@orin","Error":"","Name":"orin"}
"""
# buildx 0.13.1, `inspect`
INSPECTED_CONTEXT = """\
Name:   orin
Driver: docker

Nodes:
Name:             orin
Endpoint:         orin
Status:           running
BuildKit version: v0.8+unknown
Platforms:        linux/amd64, linux/386, linux/arm64
"""
INSPECTED_POOL = """\
Name:          farm
Driver:        docker-container
Last Activity: 2026-11-26 11:26:08 +0000 UTC

Nodes:
Name:                  jetsonx-orin
Endpoint:              ssh://orin
Status:                inactive
BuildKit daemon flags: --allow-insecure-entitlement=network.host
Platforms:             linux/arm64*

Name:     jetsonx-off
Endpoint: ssh://nobody
Error:    error during connect: command [ssh -o ConnectTimeout=30 -- nobody docker system dial-stdio]
"""
INSPECTED_REMOTE = """\
Name:          bk
Driver:        remote

Nodes:
Name:      jetsonx-bk
Endpoint:  tcp://127.0.0.1:1
Status:    inactive
Platforms: linux/arm64*
"""
INFO: Mapping[str, object] = {
    "ServerVersion": "20.10.24",
    "Architecture": "aarch64",
    "OperatingSystem": "Ubuntu 22.04.4 LTS",
    "KernelVersion": "5.15.148-tegra",
    "NCPU": 6,
    "MemTotal": 7_900_000_000,
}
UNREACHABLE = (
    'error during connect: Get "http://docker.example.com/v1.45/info": command [ssh -o ConnectTimeout=30 -- nobody '
    "docker system dial-stdio] has exited with exit status 255"
)


def completed(stdout: str, status: int = 0, tail: str | None = None) -> Completed:
    return Completed(command=Command(argv=("x",)), status=status, stdout=stdout, tail=stdout if tail is None else tail)


def answered(node: Node = CONTEXT, seconds: float = 0.4, **info: object) -> NodeState:
    return merge_state(node, (completed(json.dumps({**INFO, **info})), seconds), None, limit_s=8)


@pytest.mark.parametrize("text", [CONTEXTS_20, CONTEXTS_28])
def test_contexts_of_ours_are_nodes_and_others_are_not(text: str) -> None:
    assert parse_contexts(text) == (CONTEXT,)


@pytest.mark.parametrize(
    "text",
    ["", "null", "{", "[]\n", '{"Name": "x"}', '{"Name": "", "Description": "jetsonx builder node for linux/arm64"}'],
)
def test_whatever_else_docker_says_of_contexts_is_none(text: str) -> None:
    assert parse_contexts(text) == ()


def test_buildx_s_description_is_read_node_by_node() -> None:
    (found,) = parse_inspect(INSPECTED_CONTEXT).values()
    assert (found.status, found.buildkit) == ("running", "0.8+unknown")
    assert found.platforms == ("linux/amd64", "linux/386", "linux/arm64")
    pool = parse_inspect(INSPECTED_POOL)
    assert list(pool) == ["jetsonx-orin", "jetsonx-off"]
    assert pool["jetsonx-orin"].platforms == ("linux/arm64",)
    assert pool["jetsonx-off"].error.startswith("error during connect")
    assert parse_inspect("ERROR: no builder") == {}


def test_older_buildx_writes_buildkit_otherwise() -> None:
    assert parse_inspect("Nodes:\nName: n\nStatus: running\nBuildkit: v0.11.6\n")["n"].buildkit == "0.11.6"


def test_an_engine_that_answers_is_ready() -> None:
    state = merge_state(CONTEXT, (completed(json.dumps(INFO)), 0.41), (completed(INSPECTED_CONTEXT), 1.0), limit_s=8)
    assert (state.is_ready, state.answer_s, state.trouble) == (True, 0.41, "")
    assert (state.machine, state.cores, state.memory_bytes) == ("aarch64", 6, 7_900_000_000)
    assert (state.engine, state.buildkit) == ("20.10.24", "0.8+unknown")
    assert not state.is_emulated
    assert answered(Architecture="x86_64").is_emulated


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (completed("", 1, UNREACHABLE), UNREACHABLE),
        (completed("", 124, ""), "no answer in 3 s"),
        (completed('{"ServerVersion":"","ServerErrors":["Cannot\\nconnect"]}', 1), "Cannot connect"),
        (completed("", 0, ""), "it does not say why"),
        (None, "this host has no timeout(1) to ask it with"),
    ],
)
def test_one_that_does_not_is_not_and_says_why(said: Completed | None, trouble: str) -> None:
    state = merge_state(CONTEXT, (said, 1.0), None, limit_s=3)
    assert (state.is_ready, state.answer_s, state.trouble) == (False, None, trouble)


def test_nodes_without_an_engine_are_known_by_what_buildx_says() -> None:
    off = merge_state(REMOTE, None, (completed(INSPECTED_REMOTE), 0.1), limit_s=8)
    assert (off.is_ready, off.trouble) == (False, "inactive")
    on = merge_state(REMOTE, None, (completed(INSPECTED_REMOTE.replace("inactive", "running")), 0.1), limit_s=8)
    assert (on.is_ready, on.answer_s) == (True, 0.1)


class Said(Runner):
    """Plays docker: answers by the words of the call."""

    def __init__(self, answers: Mapping[str, Completed]) -> None:
        super().__init__()
        self.answers = answers
        self.calls: list[str] = []

    def run(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        status_fd: Callable[[str], None] | None = None,
        stdin: bytes | None = None,
        stdout: Callable[[IO[bytes]], None] | None = None,
    ) -> Completed:
        words = " ".join(command.argv[3:])  # without timeout and its options
        self.calls.append(words)
        return self.answers.get(words, completed("", 1, "not played"))


def test_every_node_is_asked_the_question_of_its_kind() -> None:
    info = completed(json.dumps(INFO))
    runner = Said(
        {
            "docker --host ssh://jetson@orin info --format {{json .}}": info,
            "docker --host ssh://orin info --format {{json .}}": completed("", 1, UNREACHABLE),
            "docker buildx inspect orin": completed(INSPECTED_CONTEXT),
            "docker buildx inspect bk": completed(INSPECTED_REMOTE),
        }
    )
    states = probe_nodes(Ask(runner), "docker", [CONTEXT, POOLED, REMOTE])
    assert [state.is_ready for state in states] == [True, False, False]
    assert states[0].buildkit == "0.8+unknown"
    assert "docker buildx inspect farm" not in runner.calls  # its engine was silent: no second wait

    runner.calls.clear()
    probe_nodes(Ask(runner), "docker", [CONTEXT], with_buildkit=False)
    assert runner.calls == ["docker --host ssh://jetson@orin info --format {{json .}}"]
    assert probe_nodes(Ask(runner), "docker", []) == ()


def test_the_best_builder_is_no_emulator_has_cores_and_answers_soon() -> None:
    def other(name: str) -> Node:
        return Node(name=name, builder=name, driver="docker", endpoint=f"ssh://{name}", platforms=("linux/arm64",))

    states = (
        answered(other("x86"), Architecture="x86_64", NCPU=64),
        answered(other("slow"), 2.0, NCPU=8),
        answered(other("small"), NCPU=4),
        answered(other("quick"), 0.1, NCPU=8),
        merge_state(other("off"), (completed("", 1, "off"), 1.0), None, limit_s=8),
        answered(POOLED, NCPU=2),
    )
    ranked = rank_builders(states)
    assert [each.builder for each in ranked] == ["quick", "slow", "small", "farm", "x86"]
    assert (ranked[0].context, ranked[3].context) == ("quick", "")
    assert ranked[0].why == "quick (ssh://quick): aarch64, 8 cores"
    assert "emulated" in ranked[-1].why


def test_the_list_says_what_helps_to_choose() -> None:
    off = merge_state(POOLED, (completed("", 124, ""), 8.0), None, limit_s=8)
    lines = list(render_nodes((answered(), off)))
    assert lines[1].split() == [
        *("orin", "ssh://jetson@orin", "docker", "linux/arm64", "aarch64,", "6", "cores,", "7.9", "GB"),
        *("0.4", "s", "Docker", "20.10.24"),
    ]
    assert lines[2].startswith("farm/jetsonx-orin")
    assert lines[3] == "farm/jetsonx-orin: no answer in 8 s"
    assert "builder add" in next(iter(render_nodes(())))


def test_the_json_has_null_for_what_is_not_known() -> None:
    document = nodes_json((merge_state(POOLED, (completed("", 1, "off"), 1.0), None, limit_s=8),))
    assert document["schema"] == 1
    (row,) = document["nodes"]
    assert (row["ready"], row["trouble"], row["added_by_jetsonx"]) == (False, "off", True)
    assert [row[key] for key in ("answer_s", "machine", "cores", "engine", "buildkit")] == [None] * 5
    json.dumps(document)


# Machines over ssh

JETSON = """\
Welcome = to a banner
machine=aarch64
cores=6
memory_kib=7714816
user=jetson
groups=jetson adm sudo docker
l4t=# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64
docker=/usr/bin/docker
endpoint=unix:///var/run/docker.sock
socket=srw-rw---- 1 root docker 0 Nov 26 11:24 /var/run/docker.sock
server=20.10.24
root=/var/lib/docker
free_kib=20000000
"""
# As Docker 28.2.2 says it to a user outside the group, and with nobody at the socket.
NO_PERMISSION = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
    '"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/version": dial unix /var/run/docker.sock: connect: permission denied'
)
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
ADDRESS = Address(host="jetson@orin")


def without(*keys: str, **changed: str) -> Machine:
    lines = [line for line in JETSON.splitlines() if line.partition("=")[0] not in {*keys, *changed}]
    return parse_machine("\n".join([*lines, *(f"{key}={value}" for key, value in changed.items())]))


def complaint(machine: Machine, *, emulated: bool = False) -> DeviceError:
    with pytest.raises(DeviceError) as error:
        check_machine(ADDRESS, machine, "linux/arm64", emulated=emulated)
    return error.value


def test_a_jetson_is_read_and_fits() -> None:
    machine = parse_machine(JETSON)
    assert (machine.machine, machine.cores, machine.memory_bytes) == ("aarch64", 6, 7714816 * 1024)
    assert (machine.l4t, machine.server, machine.free_bytes) == ("36.4.3", "20.10.24", 20_000_000 * 1024)
    check_machine(ADDRESS, machine, "linux/arm64", emulated=False)


def test_what_a_machine_does_not_say_is_not_known() -> None:
    machine = parse_machine("machine=x\ncores=\nfree_kib=many\nmemory_kib=-1")
    assert (machine.cores, machine.memory_bytes, machine.free_bytes, machine.l4t) == (None, None, None, None)
    assert "no POSIX shell" in complaint(parse_machine("This account is not available.")).message


def test_another_processor_needs_a_word() -> None:
    machine = without(machine="x86_64")
    assert "no machine for linux/arm64" in complaint(machine).message
    check_machine(ADDRESS, machine, "linux/arm64", emulated=True)
    check_machine(ADDRESS, machine, "linux/amd64", emulated=False)


def test_no_docker_and_old_docker_are_named() -> None:
    assert "no docker command on jetson@orin" in complaint(without("docker", "server")).message
    assert "too old" in complaint(without(server="17.12.1-ce")).message


def test_a_daemon_that_is_off_is_told_from_a_closed_door() -> None:
    error = complaint(without("server", trouble=NO_DAEMON))
    assert "does not answer at unix:///var/run/docker.sock" in error.message
    assert error.details == NO_DAEMON


def test_no_permission_names_the_three_things_to_check() -> None:
    error = complaint(without("server", groups="jetson adm", trouble=NO_PERMISSION))
    assert "three things to check" in error.message
    assert error.details is not None
    group, daemon, context = error.details.splitlines()[-3:]
    assert group == "1. group: jetson is not in docker; its groups there: jetson adm"
    assert daemon.startswith("2. daemon: srw-rw----")
    assert context.endswith("looks at unix:///var/run/docker.sock")
    assert error.hint is not None
    assert "usermod -aG docker jetson" in error.hint
    member = complaint(without("server", trouble=NO_PERMISSION))
    assert member.hint == "compare socket and context there: ssh jetson@orin docker info"
