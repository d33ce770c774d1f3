"""Adding and removing nodes with a Docker client that is played: what is called, and what is undone."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from jetsonx.console import Console
from jetsonx.engine import builders
from jetsonx.engine.builder_change import add_node, remove_nodes
from jetsonx.engine.node_plan import NodeRequest, plan_device, plan_elsewhere
from jetsonx.errors import ConfigError, DeviceError, HostError
from jetsonx.runner import Command, Completed, Runner
from tests.unit.test_builder_probe import CONTEXTS_28, JETSON

INSPECTED = "Nodes:\nName: default\nStatus: running\nPlatforms: linux/arm64, linux/arm/v7\n"
ORIN = plan_device("jetson@orin", driver="docker", name="orin")
FARM = plan_device("jetson@orin", driver="docker-container", name="farm")


class Docker(Runner):
    """Plays docker and ssh. ``fails`` and ``interrupts``: the beginning of the call that does."""

    def __init__(self, *, fails: str = "", interrupts: str = "", contexts: str = "") -> None:
        super().__init__()
        self.fails = fails
        self.interrupts = interrupts
        self.contexts = contexts
        self.inspected = INSPECTED
        self.calls: list[str] = []
        self.configs: list[str] = []

    def run(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        status_fd: Callable[[str], None] | None = None,
        stdin: bytes | None = None,
        stdout: Callable[[IO[bytes]], None] | None = None,
    ) -> Completed:
        argv = command.argv[3:] if command.argv[0] == "timeout" else command.argv
        words = " ".join(argv[1:])
        self.configs += [Path(word[9:]).read_text() for word in argv if word.startswith("--config=")]
        if argv[0] == "ssh":
            assert stdout is not None
            stdout(io.BytesIO(JETSON.encode()))
            return self._answer(command, "")
        if words.startswith("context ls"):
            names = "default\norin\n" if self.contexts else "default\n"
            return self._answer(command, names if "--quiet" in argv else self.contexts)
        if words not in ("buildx version", "buildx inspect default"):
            self.calls.append(words)
        if words == "context rm --force orin":
            self.contexts = ""
        if self.interrupts and words.startswith(self.interrupts):
            raise KeyboardInterrupt
        if self.fails and words.startswith(self.fails):
            return Completed(command=command, status=1, stdout="", tail="as docker said it")
        return self._answer(command, self.inspected if "inspect" in argv else "")

    def _answer(self, command: Command, text: str) -> Completed:
        return Completed(command=command, status=0, stdout=text, tail=text)


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "which_host", lambda name: name)


def add(docker: Docker, request: NodeRequest, tmp_path: Path, **environ: str) -> str:
    err = io.StringIO()
    add_node(
        request,
        emulated=False,
        runner=docker,
        console=Console(err=err),
        environ={"DOCKER_CONFIG": str(tmp_path), "JETSONX_CONFIG": str(config(tmp_path)), **environ},
    )
    return err.getvalue()


def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.touch()
    return path


def test_a_context_is_made_last_and_in_one_call(tmp_path: Path) -> None:
    docker = Docker()
    said = add(docker, ORIN, tmp_path)
    assert [call.split()[:2] for call in docker.calls] == [["context", "create"]]
    assert "ssh://jetson@orin: aarch64, 6 cores, 7.9 GB of memory, L4T 36.4.3, Docker 20.10.24" in said


def test_a_builder_is_made_and_started_with_the_mirrors(tmp_path: Path) -> None:
    docker = Docker()
    mirrors = "docker.io=https://hub.example,nvcr.io=http://127.0.0.1:5000"
    said = add(docker, FARM, tmp_path, JETSONX_MIRRORS=mirrors)
    create, start = docker.calls
    assert "--driver-opt=image=hub.example/moby/buildkit:buildx-stable-1 ssh://jetson@orin" in create
    assert docker.configs == ['[registry."docker.io"]\nmirrors = ["hub.example"]\n']
    assert start == "buildx inspect --bootstrap farm"
    assert "the mirror of nvcr.io is not used there" in said


def test_the_user_s_own_image_of_buildkit_wins(tmp_path: Path) -> None:
    docker = Docker()
    own = plan_device("jetson@orin", driver="docker-container", name="farm", driver_opts=["image=x/y"])
    add(docker, own, tmp_path, JETSONX_MIRRORS="docker.io=https://hub.example")
    assert docker.calls[0].count("image=") == 1


@pytest.mark.parametrize(
    ("request_", "breaks", "undo"),
    [
        (ORIN, "context create", "context rm --force orin"),
        (FARM, "buildx create", "buildx rm farm"),
        (FARM, "buildx inspect --bootstrap", "buildx rm farm"),
        (plan_elsewhere("tcp://h:1", name="bk"), "buildx inspect --bootstrap", "buildx rm bk"),
    ],
)
def test_what_was_begun_is_undone(request_: NodeRequest, breaks: str, undo: str, tmp_path: Path) -> None:
    docker = Docker(fails=breaks)
    with pytest.raises(DeviceError, match="nothing of it is left") as error:
        add(docker, request_, tmp_path)
    assert error.value.details == "as docker said it"
    assert docker.calls[-1] == undo
    docker = Docker(interrupts=breaks)
    with pytest.raises(KeyboardInterrupt):
        add(docker, request_, tmp_path)
    assert docker.calls[-1] == undo


def test_nothing_is_made_where_docker_does_not_get_through(tmp_path: Path) -> None:
    docker = Docker()
    docker.inspected = "Nodes:\nName: default\nError: Cannot connect\n"
    with pytest.raises(DeviceError, match="Docker does not build through it") as error:
        add(docker, ORIN, tmp_path)
    assert error.value.details == "Cannot connect"
    docker.inspected = INSPECTED.replace("arm64", "riscv64")
    with pytest.raises(DeviceError, match="not linux/arm64"):
        add(docker, ORIN, tmp_path)
    assert docker.calls == []


def test_a_list_of_contexts_that_cannot_be_had_stops_all(tmp_path: Path) -> None:
    """Else a context of the user's that is there unseen would be removed as a half-made one."""

    class Mute(Docker):
        def run(self, command: Command, **options: object) -> Completed:
            return Completed(command=command, status=1, stdout="", tail="")

    with pytest.raises(HostError, match="cannot list its contexts"):
        add(Mute(), ORIN, tmp_path)


def test_removing_takes_only_what_is_there_and_ours(tmp_path: Path) -> None:
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    instances = tmp_path / "buildx/instances"
    instances.mkdir(parents=True)
    (instances / "theirs").write_text('{"Name": "theirs", "Driver": "remote", "Nodes": [{"Name": "n"}]}')
    docker = Docker(contexts=CONTEXTS_28)
    with pytest.raises(ConfigError, match="jetsonx did not make the builder theirs"):
        remove_nodes("theirs", runner=docker, environ=environ)
    with pytest.raises(ConfigError, match="no builder node nope") as error:
        remove_nodes("nope", runner=docker, environ=environ)
    assert error.value.hint == "those of jetsonx are: orin"
    removed, stays = remove_nodes("orin", runner=docker, environ=environ)
    assert [node.builder for node in removed] == ["orin"]
    assert stays == ()
    assert docker.calls == ["context rm --force orin"]


def test_a_node_that_cannot_be_removed_is_said_so(tmp_path: Path) -> None:
    instances = tmp_path / "buildx/instances"
    instances.mkdir(parents=True)
    record = instances / "farm"
    record.write_text('{"Name": "farm", "Driver": "docker-container", "Nodes": [{"Name": "jetsonx-orin"}]}')
    with pytest.raises(HostError, match="could not remove farm") as error:
        remove_nodes("farm", runner=Docker(fails="buildx rm"), environ={"DOCKER_CONFIG": str(tmp_path)})
    assert error.value.details == "as docker said it"

    class Off(Docker):
        def run(self, command: Command, **options: object) -> Completed:
            done = super().run(command, **options)  # type: ignore[arg-type]
            if not done.ok:
                record.unlink()  # buildx does, and fails all the same
            return done

    _, stays = remove_nodes("jetsonx-orin", runner=Off(fails="buildx rm"), environ={"DOCKER_CONFIG": str(tmp_path)})
    assert stays == ("as docker said it",)
