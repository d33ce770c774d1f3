"""image.test: how the command is started in the image, and what is said of how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.build import image_test
from jetsonx.build.image_test import Place, run_test
from jetsonx.build.image_test import test_command as command_of
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import BuildError, HostError
from jetsonx.image.layer import Blob
from jetsonx.image.oci import Config, Image
from jetsonx.image.pack import ImagePlan
from jetsonx.runner import Command, Completed, Runner
from jetsonx.store.store import Store
from tests.unit.test_minimal import PACKAGES, make_deb, plan

CONFIG = Config(env={"PATH": "/opt/x", "A": "b c,$d"}, working_dir="/data/../data/./in")
WORDS = ("/opt/demo/demo", "it's", "$HOME", 'a "b"', "")


class Played(Runner):
    """Starts nothing: the last call of a build, the test, ends as told, and ``tries`` is how the one before ended."""

    def __init__(self, status: int, said: str = "", *, tries: int = 0) -> None:
        self.calls: list[Command] = []
        self._status, self._said, self._tries = status, said, tries

    def run(self, command: Command, **_options: object) -> Completed:
        self.calls.append(command)
        if command.argv[0] == "tar":  # the layers: one file is enough to be looked for
            root = Path(command.argv[command.argv.index("-C") + 1])
            (root / "opt/demo").mkdir(parents=True, exist_ok=True)
            (root / "etc").mkdir(exist_ok=True)
            (root / "opt/demo/demo").touch()
            return Completed(command=command, status=0, stdout="", tail="")
        is_try = command.argv[-1] == "--version"
        return Completed(
            command=command,
            status=self._tries if is_try else self._status,
            stdout="",
            tail="unshare: not permitted" if is_try else self._said,
        )


@pytest.fixture(autouse=True)
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "qemu-aarch64-static"
    program.touch()
    monkeypatch.setattr(image_test, "which_host", lambda name: str(program) if name == program.name else None)
    return program


@pytest.fixture
def tested(tmp_path: Path) -> ImagePlan:
    debs = {name: make_deb(tmp_path / "debs", name, members) for name, members in PACKAGES.items()}
    return plan(tmp_path, debs, test=["demo", "--self-test"])


Run = Callable[..., None]


@pytest.fixture
def run(tested: ImagePlan, tmp_path: Path) -> Run:
    def work(runner: Runner, *, of: ImagePlan = tested, timeout_s: int = 300) -> None:
        image = Image(digest="", id="", path=tmp_path, size_bytes=0, layers=())
        layers = _layers() if of.test else ()
        effects = Effects(store=Store(tmp_path / "store", Console(-1)), runner=runner, console=Console(-1))
        run_test(of, replace(image, layers=layers), timeout_s=timeout_s, effects=effects)

    return work


def _layers() -> tuple[Blob, ...]:
    return (Blob(digest="sha256:ab", diff_id="sha256:cd", size_bytes=1),)


def test_the_image_is_the_root_of_the_command() -> None:
    made = command_of(Place(root=Path("/s/root"), qemu="/q", is_isolated=True), CONFIG, WORDS, timeout_s=7)
    assert made.argv[:4] == ("timeout", "--signal=KILL", "7", "unshare")
    ends = ("env", "-i", "PATH=/opt/x", "A=b c,$d", "unshare", "--root=/s/root", "--wd=/data/in", "/.jetsonx-qemu")
    assert made.argv[-len(ends) - len(WORDS) :] == (*ends, *WORDS)


def test_without_namespaces_qemu_looks_into_the_image_first() -> None:
    made = command_of(Place(root=Path("/s/root"), qemu="/q", is_isolated=False), CONFIG, WORDS, timeout_s=7)
    assert made.argv == (
        *("timeout", "--signal=KILL", "7", "env", "-i", "PATH=/opt/x", "A=b c,$d"),
        *("/q", "-L", "/s/root", "-0", "/opt/demo/demo", "/s/root/opt/demo/demo", *WORDS[1:]),
    )
    assert made.cwd == Path("/s/root/data/in")


@pytest.mark.parametrize("place", ["/../../x", "//x", "/x/"])
def test_a_working_directory_stays_in_the_image(place: str) -> None:
    config = replace(CONFIG, working_dir=place)
    made = command_of(Place(root=Path("/s/root"), qemu="/q", is_isolated=False), config, WORDS, timeout_s=7)
    assert made.cwd == Path("/s/root/x")


def test_no_test_starts_nothing(run: Run, tested: ImagePlan) -> None:
    runner = Played(1)
    run(runner, of=replace(tested, test=()))
    assert runner.calls == []


def test_success_says_nothing_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    runner = Played(0)
    run(runner)
    assert runner.calls[-1].argv[-2:] == ("/opt/demo/demo", "--self-test")
    assert runner.calls[-1].argv[3] == "unshare"
    assert not [path for path in (tmp_path / "store/tmp").iterdir() if path.is_dir()]


def test_a_host_without_namespaces_is_no_reason_to_fail(run: Run) -> None:
    runner = Played(0, tries=1)
    run(runner)
    assert runner.calls[-1].argv[3] == "env"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (3, "/opt/demo/demo --self-test failed with status 3"),
        (139, "was killed by SIGSEGV"),
        (-6, "was killed by SIGABRT"),
        (137, "was killed by SIGKILL"),
        (255, "failed with status 255"),
    ],
)
def test_how_it_ended(status: int, expected: str, run: Run) -> None:
    with pytest.raises(BuildError) as error:
        run(Played(status, "line\nits own words"))
    assert expected in error.value.message
    assert "without a GPU" in error.value.message
    assert error.value.details == "line\nits own words"
    assert error.value.hint == "there is no GPU under QEMU: a test of the image has to pass without one"


@pytest.mark.parametrize("status", [137, -9])
def test_a_program_that_hangs(status: int, run: Run) -> None:
    with pytest.raises(BuildError, match="did not end within 0 s") as error:
        run(Played(status), timeout_s=0)
    assert error.value.hint == "if it only needs longer: [image] test_timeout_s"


def test_without_qemu_nothing_is_skipped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_test, "which_host", lambda _name: None)
    with pytest.raises(HostError, match="no QEMU") as error:
        run(Played(0))
    assert "apt-get install qemu-user-static" in str(error.value.hint)


def test_a_program_that_is_not_in_the_image(run: Run, tested: ImagePlan) -> None:
    with pytest.raises(BuildError, match="the image has no /usr/bin/nope"):
        run(Played(0), of=replace(tested, test=("/usr/bin/nope",)))
