"""BuildKit's progress, from what buildx 0.13 wrote on Docker 26.1: tests/golden/buildkit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.engine.buildx import Build, Endpoint
from jetsonx.engine.progress import Progress
from jetsonx.engine.run import build_failure, run_build
from jetsonx.errors import BuildError, DownloadError, HostError, JetsonxError
from jetsonx.runner import Command, Completed, Runner

GOLDEN = Path(__file__).parents[1] / "golden" / "buildkit"


def read(name: str) -> tuple[Progress, list[str]]:
    progress = Progress()
    shown = [text for line in (GOLDEN / f"{name}.txt").read_text().splitlines() for text in progress.take(line)]
    return progress, shown


def failure(name: str) -> JetsonxError:
    progress, _ = read(name)
    return build_failure(progress.failure(), what="building app", log=progress.log)


def test_steps_are_shown_when_they_are_at_work_and_when_they_took_long() -> None:
    _, shown = read("fail")
    assert shown[:2] == [
        '          [toolchain 2/2] RUN echo "preparing 1"; sleep 1; echo "preparing 2"',
        '   1.4 s  [toolchain 2/2] RUN echo "preparing 1"; sleep 1; echo "preparing 2"',
    ]
    assert shown[2].startswith("          [build 2/2] RUN cat /a; for i in 1 2 3;")
    assert len(shown) == 3
    assert len(shown[2]) == 110


def test_what_was_cached_is_not_worth_a_line() -> None:
    _, shown = read("cached")
    assert [line.strip() for line in shown] == ["exporting to image"]


def test_mounts_are_left_out_of_what_is_shown() -> None:
    progress = Progress()
    lines = ["#4 [build 1/6] RUN --mount=type=bind,target=/project --mount=type=cache,id=x,target=/y   make -j 2"]
    assert [text for line in [*lines, "#4 0.1 cc"] for text in progress.take(line)] == [
        "          [build 1/6] RUN make -j 2"
    ]


def test_a_failing_command_is_told_with_its_stage_and_its_last_lines() -> None:
    error = failure("fail")
    assert isinstance(error, BuildError)
    assert error.message.startswith("building app: stage build: RUN cat /a;")
    assert error.message.endswith(": exit status 3")
    assert error.details is not None
    assert error.details.splitlines()[-1] == "nvcc fatal : Unsupported gpu architecture 'compute_53'"
    assert "preparing" not in error.details
    assert "preparing 2" in (error.log or "")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("missing", BuildError, "building app: /missing is not in the build context"),
        ("nobase", DownloadError, "building app: cannot pull nvcr.io/none:1: failed to do request"),
        ("full", HostError, "building app: the disk of the engine is full"),
        ("push", DownloadError, 'building app: Get "http://127.0.0.1:1/v2/"'),
    ],
)
def test_the_class_of_a_failure_is_its_cause(name: str, kind: type[JetsonxError], words: str) -> None:
    error = failure(name)
    assert type(error) is kind
    assert error.message.startswith(words)
    assert error.hint


class Forgetful(Runner):
    """A docker command whose engine loses the client ``times`` times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def run(self, command: Command, *, on_line: Callable[[str], None] | None = None, **_: object) -> Completed:
        forgets, self.left = self.left > 0, self.left - 1
        if forgets and on_line:
            on_line("ERROR: failed to solve: no active session for rt0lx3udmvb: context deadline exceeded")
        return Completed(command=command, status=int(forgets), stdout="", tail="")


@pytest.mark.parametrize(("times", "is_built"), [(1, True), (3, True), (4, False)])
def test_an_engine_that_lost_the_client_is_asked_again_a_few_times(times: int, is_built: bool) -> None:
    build = Build(dockerfile=Path("Dockerfile"), context=Path(), platform="linux/arm64")
    with nullcontext() if is_built else pytest.raises(HostError, match="too busy to keep in touch"):
        run_build(Endpoint(docker="docker"), build, what="app", runner=Forgetful(times), console=Console(-1))


def test_a_registry_of_this_host_is_out_of_reach_for_an_engine_elsewhere() -> None:
    progress = Progress()
    for line in (
        "#3 [internal] load metadata for 127.0.0.1:5000/nvidia/cuda:13",
        "#3 ERROR: failed to do request: dial tcp 127.0.0.1:5000: connect: connection refused",
    ):
        list(progress.take(line))
    error = build_failure(progress.failure(), what="building app", log="")
    assert isinstance(error, DownloadError)
    assert "ssh -N -R 127.0.0.1:5000:127.0.0.1:5000" in (error.hint or "")


def test_a_killed_command_is_mostly_one_without_memory() -> None:
    progress = Progress()
    for line in ("#4 [build 2/5] RUN ninja", '#4 ERROR: process "ninja" did not complete successfully: exit code: 137'):
        list(progress.take(line))
    error = build_failure(progress.failure(), what="building app", log="")
    assert error.message == "building app: stage build: RUN ninja: killed"
    assert "-j 2" in (error.hint or "")


@pytest.mark.parametrize(
    "sentence",
    [
        "error: failed to solve: rpc error: code = Unavailable desc = error reading from server: EOF",
        "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    ],
)
def test_an_engine_that_went_away_is_no_fault_of_the_project(sentence: str) -> None:
    progress = Progress()
    list(progress.take(sentence))
    assert isinstance(build_failure(progress.failure(), what="building app", log=""), HostError)


def test_what_is_no_progress_is_kept_for_the_log() -> None:
    progress = Progress()
    for line in ("", "#", "# 1 x", "#12", "\x1b[31mred", "#1 [internal] load"):
        assert list(progress.take(line)) == []
    assert progress.failure().reason == "the builder said no reason"
    assert progress.log.count("\n") == 5
