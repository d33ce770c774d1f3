"""``jetsonx init``: what it writes, what it says, and that nothing that is there is ever lost."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from jetsonx.cli.context import Context
from jetsonx.cli.init import command
from jetsonx.console import Console
from jetsonx.errors import ConfigError, HostError
from jetsonx.project import load_project
from jetsonx.project.detect import detect_build
from jetsonx.project.samples import Sample, copy_sample, find_sample, load_samples

BUILT_IN = load_samples()


@pytest.fixture(autouse=True)
def _in_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(*args: str) -> tuple[str, str]:
    """Run the command; its answer and what it said beside."""
    out, err = io.StringIO(), io.StringIO()
    context = Context()
    context.console = Console(out=out, err=err)
    command.main(args, obj=context, standalone_mode=False)
    return out.getvalue(), err.getvalue()


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "samples" / "tiny"
    (path / "src").mkdir(parents=True)
    (path / "out").mkdir()
    (path / "out" / "tiny").write_text("left by a build")
    (path / "src" / "main.cu").write_text("int main() {}\n")
    (path / "README.md").write_text("# tiny\n\nVery small. Nothing more.\n")
    (path / "jetsonx.toml").write_text(
        '[project]\nname = "tiny"\n\n[target]\nmodules = ["nano"]\nl4t = "32.7"\n\n[build]\nsystem = "cuda"\n'
    )
    return load_samples(path.parent)["tiny"]


def test_an_empty_directory_gets_a_commented_file_and_a_next_step(tmp_path: Path) -> None:
    answer, said = init("my App")
    project = load_project(tmp_path / "my App")
    assert (project.name, project.build.system) == ("my-app", "cuda")
    assert answer == ""
    assert 'system = "cuda" (a guess: no build file' in said
    assert "jetsonx targets" in said
    assert said.endswith("next: cd 'my App' && jetsonx build\n")


@pytest.mark.parametrize(
    ("name", "content", "system", "program"),
    [
        ("CMakeLists.txt", "# add_executable(no)\n  add_executable( edge-tool a.cpp)\n", "cmake", "edge-tool"),
        ("CMakeLists.txt", "add_executable(${PROJECT_NAME} main.cpp)\n", "cmake", None),
        ("meson.build", "project('p')\nexe = executable('edges', 'a.cc')\n", "meson", "edges"),
        ("Makefile", "CC=gcc\nTARGET := edges\nall:\n", "make", "edges"),
        ("GNUmakefile", "TARGET = $(NAME)\n", "make", None),
        ("kernel.cu", "\n\n", "cuda", None),
        ("README", "", "cuda", None),
    ],
)  # fmt: skip
def test_the_build_system_is_read_from_the_directory(
    tmp_path: Path, name: str, content: str, system: str, program: str | None
) -> None:
    (tmp_path / name).write_text(content)
    found = detect_build(tmp_path)
    assert (found.system, found.program) == (system, program)
    init()
    project = load_project(tmp_path)
    assert project.build.system == system
    assert project.build.outputs == (program or project.name,)


def test_cmake_goes_before_make_and_a_directory_is_no_build_file(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("")
    (tmp_path / "meson.build").mkdir()
    assert detect_build(tmp_path).system == "make"
    (tmp_path / "CMakeLists.txt").write_bytes(b"\xff\xfe")
    assert detect_build(tmp_path).system == "cmake"


def test_targets_are_checked_and_written(tmp_path: Path) -> None:
    _, said = init("-t", "orin-nano@39.2", "--target", "agx-thor@39.2")
    project = load_project(tmp_path)
    assert (project.target.modules, project.target.l4t) == (("orin-nano", "agx-thor"), "39.2")
    assert "an example so far" not in said


def test_a_spelling_that_the_file_cannot_hold_is_written_in_full(tmp_path: Path) -> None:
    init("-t", "Orin Nano@39.2.0")
    assert load_project(tmp_path).target_names() == ("orin-nano@39.2.0",)


@pytest.mark.parametrize("target", ["orin-nan@39.2", "orin-nano@38.4", "orin-nano", ""])
def test_a_wrong_target_writes_nothing(tmp_path: Path, target: str) -> None:
    for more in ((), ("--sample", "vector-add")):
        with pytest.raises(ConfigError):
            init("-t", target, *more)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "jetsonx.toml").write_text("mine")
    with pytest.raises(ConfigError, match=r"jetsonx\.toml is already there"):
        init()
    assert (tmp_path / "jetsonx.toml").read_text() == "mine"


def test_a_directory_that_cannot_be_made_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for args in (("file",), ("file/below",), ("file/below", "--sample", "vector-add")):
        with pytest.raises((ConfigError, HostError)):
            init(*args)
    assert tree(tmp_path) == {"file": b""}


def test_samples_are_listed_on_standard_output() -> None:
    answer, said = init("--list-samples")
    assert [line.split()[0] for line in answer.splitlines()] == list(BUILT_IN)
    assert all(len(line.split()) > 3 for line in answer.splitlines())
    assert said == ""


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_every_sample_that_ships_can_be_copied_and_retargeted(tmp_path: Path, name: str) -> None:
    _, said = init("--sample", name)
    assert said.endswith(f"next: cd {name} && jetsonx build\n")
    first = load_project(tmp_path / name)
    init("other", "--sample", name, "-t", "orin-nx@36.4", "-t", "orin-nano@39.2")
    other = load_project(tmp_path / "other")
    assert other.target_names() == ("orin-nx@36.4", "orin-nano@39.2")
    assert (other.project, other.build, other.image, other.deploy) == (
        first.project, first.build, first.image, first.deploy,
    )  # fmt: skip
    assert tree(tmp_path / name).keys() == tree(tmp_path / "other").keys()


def test_an_unknown_sample_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sample is named 'vector_ad'") as caught:
        init("--sample", "vector_ad")
    assert "did you mean vector-add?" in str(caught.value.hint)
    with pytest.raises(ConfigError) as caught:
        find_sample(BUILT_IN, "../../etc")
    assert "vector-add" in str(caught.value.hint)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_holds_the_sample_without_what_builds_left(tmp_path: Path, sample: Sample) -> None:
    assert sample.summary == "Very small"
    copy_sample(sample, tmp_path / "a" / "new")
    assert sorted(tree(tmp_path / "a")) == ["new/README.md", "new/jetsonx.toml", "new/src/main.cu"]


def test_a_copy_goes_into_a_directory_without_touching_what_is_there(tmp_path: Path, sample: Sample) -> None:
    place = tmp_path / "place"
    (place / ".git").mkdir(parents=True)
    inode = place.stat().st_ino
    copy_sample(sample, place, ("orin-nano@39.2",))
    assert place.stat().st_ino == inode
    assert sorted(path.name for path in place.iterdir()) == [".git", "README.md", "jetsonx.toml", "src"]
    assert load_project(place).target_names() == ("orin-nano@39.2",)


@pytest.mark.parametrize("present", ["README.md", "jetsonx.toml", "src"])
def test_a_copy_refuses_to_overwrite_and_copies_nothing(tmp_path: Path, sample: Sample, present: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / present).write_text("mine")
    with pytest.raises(ConfigError, match=f"already in .*: {present}; nothing was copied"):
        copy_sample(sample, place)
    assert tree(place) == {present: b"mine"}


def test_a_dangling_link_in_the_way_is_not_overwritten(tmp_path: Path, sample: Sample) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "README.md").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="already in"):
        copy_sample(sample, place)
    assert (place / "README.md").is_symlink()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_copy_that_fails_half_way_leaves_nothing(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    place = tmp_path / "place"
    if not is_new:
        place.mkdir()
    whole = Path.rename
    calls = iter(range(9))

    def fail_late(self: Path, target: Path) -> Path:
        if is_new or next(calls) == 2:
            raise OSError(28, "No space left on device")
        return whole(self, target)

    monkeypatch.setattr(Path, "rename", fail_late)
    with pytest.raises(HostError, match="No space left on device"):
        copy_sample(sample, place)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["samples"] + ["place"] * (not is_new))
    assert is_new or list(place.iterdir()) == []


def test_a_copy_of_a_sample_that_cannot_be_read_leaves_nothing(tmp_path: Path, sample: Sample) -> None:
    (sample.path / "src" / "dangling").symlink_to("nowhere")
    with pytest.raises(HostError, match="cannot copy the sample"):
        copy_sample(sample, tmp_path / "new")
    shutil.rmtree(sample.path.parent)
    assert list(tmp_path.iterdir()) == []
