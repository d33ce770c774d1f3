"""jetsonx.toml: what it becomes, and how every way of getting it wrong is answered."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.errors import ConfigError
from jetsonx.project import Project, load_project, parse_project
from jetsonx.project.document import toml_text
from jetsonx.toml import load_toml

FILE = Path("dir/jetsonx.toml")

WHOLE = """
[project]
name = "saxpy"
version = "1.2.3"

[target]
modules = ["orin-nano", "agx-thor"]
l4t = "39.2"
jit = true

[build]
system = "cmake"
source = "../saxpy"
args = ["-DCMAKE_BUILD_TYPE=Release"]
targets = ["saxpy"]
outputs = ["bin/saxpy", "lib*.so*"]
env = { ZED = "1", ALPHA = "2" }
jobs = 3
strategy = "cross"
compiler = "zig"
strip = false
override_arch = true

[sysroot]
packages = ["libopencv-dev", "zlib1g-dev=1:1.2.13.dfsg-1"]
wheels = ["nvidia-cublas", "nvidia-cudnn-cu13>=9"]
full = true

[image]
base = "ubuntu:24.04@sha256:abc"
entrypoint = ["saxpy"]
cmd = ["--help"]
env = { A = "b" }
labels = { "com.example.team" = "vision" }
workdir = "/data"
user = "1000:1000"
files = ["models/**"]
expose = [8080, "53/udp"]

[deploy]
devices = ["jetson@192.168.55.1"]
restart = "no"
network = "host"
volumes = ["/data:/data:ro"]
ports = ["8080:80"]
env = { CAMERA = "/dev/video0" }
health = { command = ["saxpy", "--self-test"], timeout_s = 10 }
"""

SHORT = '[project]\nname = "x"\n[build]\nsystem = "cuda"\n'


def project(text: str) -> Project:
    return parse_project(text, FILE)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        project(text)
    assert caught.value.hint
    return caught.value.message


def with_line(section: str, line: str) -> str:
    """The short file with one more line in a section."""
    header = f"[{section}]\n"
    return SHORT.replace(header, f"{header}{line}\n") if header in SHORT else f"{SHORT}{header}{line}\n"


def test_every_key_arrives() -> None:
    got = project(WHOLE)
    assert (got.name, got.version) == ("saxpy", "1.2.3")
    assert got.target.modules == ("orin-nano", "agx-thor")
    assert got.target.jit
    assert got.build.source == "../saxpy"
    assert got.build.outputs == ("bin/saxpy", "lib*.so*")
    assert got.build.env == (("ALPHA", "2"), ("ZED", "1"))
    assert (got.build.jobs, got.build.strategy, got.build.compiler) == (3, "cross", "zig")
    assert (got.build.strip, got.build.override_arch) == (False, True)
    assert got.sysroot.packages == ("libopencv-dev", "zlib1g-dev=1:1.2.13.dfsg-1")
    assert got.image.expose == ("8080/tcp", "53/udp")
    assert got.image.labels == (("com.example.team", "vision"),)
    assert got.deploy.volumes == ("/data:/data:ro",)
    assert got.deploy.health is not None
    assert got.deploy.health.command == ("saxpy", "--self-test")
    assert (got.path, got.root) == (FILE, Path("dir"))


def test_a_project_is_frozen_and_can_be_a_key() -> None:
    got = project(WHOLE)
    assert hash(got) == hash(project(WHOLE))
    with pytest.raises(FrozenInstanceError):
        got.build.jobs = 4  # type: ignore[misc]


def test_plain_cuda_needs_two_lines_and_is_named_after_the_project() -> None:
    got = project(SHORT)
    assert got.build.outputs == ("x",)
    assert "*.cu" in got.build.sources
    assert (got.version, got.image.base, got.build.strategy) == ("0.1.0", "minimal", "auto")


def test_targets_come_from_modules_and_release_or_from_targets_or_from_the_command_line() -> None:
    assert project(WHOLE).target_names() == ("orin-nano@39.2", "agx-thor@39.2")
    several = project(with_line("target", 'targets = ["orin-nano@39.2", "orin-nano@jetpack-6.1"]'))
    assert several.target_names() == ("orin-nano@39.2", "orin-nano@jetpack-6.1")
    other = project(WHOLE).with_targets(("nano@32.7",))
    assert other.target_names() == ("nano@32.7",)
    assert other.target.jit
    assert other.with_targets(()) is other


def test_a_project_without_targets_says_so_only_when_asked_for_them() -> None:
    with pytest.raises(ConfigError, match=r"dir/jetsonx\.toml: target\.modules: missing") as caught:
        project(SHORT).target_names()
    assert "-t orin-nano@39.2" in str(caught.value.hint)


def test_all_problems_are_reported_together_with_file_and_key() -> None:
    lines = refusal(
        'nam = "x"\n[project]\nname = "X y"\n[build]\nsystem = "Cmake"\njobs = "4"\nsourcs = []\n[imag]\n'
    ).splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["dir/jetsonx.toml", key]
        for key in ("nam", "project.name", "build.system", "build.jobs", "build.sourcs", "imag")
    ]
    assert 'did you mean "x-y"?' in lines[1]
    assert 'did you mean "cmake"?' in lines[2]
    assert lines[4].endswith("unknown key; did you mean sources?")
    assert lines[5].endswith("unknown key; did you mean image?")


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        # unknown keys
        ("build", "Override-Arch = true", "build.Override-Arch: unknown key; did you mean override_arch?"),
        ("build", 'entrypoint = ["x"]', "build.entrypoint: unknown key; it belongs in [image]"),
        ("project", "env = {}", "project.env: unknown key; it belongs in [build] or [image] or [deploy]"),
        ("sysroot", "zzz = 1", "sysroot.zzz: unknown key; known here: source, packages, wheels, cuda, full"),
        ("build", '"a\\nb" = 1', r'build."a\nb": unknown key'),
        ("deploy", 'health = { comand = ["x"] }', "deploy.health.comand: unknown key; did you mean command?"),
        # types
        ("target", 'modules = ["orin-nano"]\nl4t = 39.2', "target.l4t: expected an L4T release"),
        ("target", 'modules = ["orin-nano"]\nl4t = 39.2', "found the number 39.2; write it in quotes"),
        ("build", 'strip = "true"', 'expected true or false, found the string "true"; write it without quotes'),
        ("build", "jobs = true", "build.jobs: expected a whole number from 1 to 1024, found true"),
        ("build", "jobs = 0", "found the number 0"),
        ("build", "jobs = 9999999999999999999999", "found the number 1e+22"),
        ("build", "jobs = 2.0", "found the number 2"),
        ("build", 'flags = "-O3"', 'expected a list of strings, found the string "-O3"; write ["-O3"]'),
        ("build", "env = []", "build.env: expected a table of strings, found an empty list"),
        ("build", "env = { A = 1 }", "build.env.A: expected a string, found the number 1; write it in quotes"),
        ("build", "source = 1979-05-27", "found a date or time"),
        ("image", "user = 1000", "image.user: expected a user or user:group"),
        ("image", "expose = [true, 0, 65536, '1/icmp', \"\\u0661\"]", "image.expose[4]"),
        ("deploy", "health = 3", "deploy.health: expected a table, found the number 3"),
        # values
        ("project", 'version = "1 2"', "project.version: expected letters, digits"),
        ("build", 'sources = ["a.cu", "../b.cu"]', "build.sources[1]: expected a path or glob such as"),
        ("build", 'outputs = ["/etc/passwd"]', 'found the string "/etc/passwd"'),
        ("build", 'sources = ["**.cu"]', "build.sources[0]"),
        ("build", 'outputs = ["./"]', "build.outputs[0]"),
        ("build", 'outputs = ["a/../../b"]', "build.outputs[0]"),
        ("build", "outputs = []", "build.outputs: expected a list of paths or globs, at least 1, found an empty list"),
        ("image", 'files = ["../../.ssh/**"]', "image.files[0]"),
        ("build", 'source = "/home/me/src"', "build.source: expected a directory relative to this file"),
        ("build", 'link = ["cublas"]', 'build.link[0]: expected a linker flag such as "-lcublas"'),
        ("build", 'env = { "A B" = "x" }', 'build.env."A B": expected the name of an environment variable'),
        ("build", 'env = { A = "a\\u0000b" }', r'build.env.A: expected a string, found the string "a\u0000b"'),
        ("build", 'strategy = "emulated"', 'did you mean "emulate"?'),
        ("sysroot", 'packages = ["-oAPT::Get=1"]', "sysroot.packages[0]: expected a Debian package"),
        ("sysroot", 'packages = ["libfoo-dev=--x"]', "sysroot.packages[0]"),
        ("sysroot", 'packages = ["a1", "b1", "a1"]', 'sysroot.packages[2]: the string "a1" stands in the list twice'),
        ("sysroot", 'wheels = ["--index-url=http://x"]', "sysroot.wheels[0]: expected a requirement"),
        ("image", 'base = "--privileged"', "image.base: expected"),
        ("image", 'workdir = "data"', "image.workdir: expected an absolute path in the image"),
        ("deploy", 'devices = ["-oProxyCommand=x"]', "deploy.devices[0]: expected an SSH address"),
        ("deploy", 'restart = "allways"', 'did you mean "always"?'),
        ("image", 'packages = ["-oAPT::Get=1"]', "image.packages[0]: expected a Debian package"),
        ("image", 'test = ["app", ""]', "image.test[1]: expected a string that is not empty"),
        ("image", 'test = ["app"]\ntest_timeout_s = 0', "image.test_timeout_s: expected a whole number from 1 to"),
        # keys that go together
        ("image", "scripts = true", 'image.scripts: means nothing without packages; for example packages = ["ca-'),
        ("image", "packages = []\nscripts = true", "image.scripts: means nothing without packages"),
        ("image", "test_timeout_s = 3", "image.test_timeout_s: means nothing without test"),
        ("target", 'l4t = "39.2"', "target.modules: missing: l4t goes with it; expected modules and l4t, or targets"),
        ("target", 'modules = ["nano"]', "target.l4t: missing: modules goes with it"),
        ("target", 'l4t = "39"\ntargets = ["nano@32"]', "target: expected either modules and l4t, or targets"),
        ("target", 'targets = ["orin-nano"]', "target.targets[0]: expected module@release"),
        ("target", 'modules = ["nano@32.7"]\nl4t = "32"', "target.modules[0]: expected a module without a release"),
        ("deploy", "health = {}", "deploy.health: expected either command, or http, or stays_s; one is needed"),
        ("deploy", 'health = { command = ["x"], http = "http://x" }', "not both"),
        ("deploy", 'secrets = { "a/b" = "x" }', "deploy.secrets.\"a/b\": expected the name of a file"),
        ("deploy", 'device_nodes = ["/etc/passwd"]', "deploy.device_nodes[0]: expected a device node"),
        ("deploy", 'cap_add = ["sys_nice"]', "deploy.cap_add[0]: expected a capability"),
        ("deploy", 'gpu = "all"', "deploy.gpu: expected"),
        ("build", "args = []", 'build.args: not used with system = "cuda"; keys of its own: sources, include, flags'),
    ],
)  # fmt: skip
def test_each_mistake_has_its_answer(section: str, line: str, expected: str) -> None:
    assert expected in refusal(with_line(section, line))


@pytest.mark.parametrize("system", ["cmake", "make", "meson", "command"])
def test_every_system_but_cuda_must_be_told_its_outputs(system: str) -> None:
    message = refusal(f'[project]\nname = "x"\n[build]\nsystem = "{system}"\n')
    assert f'build.outputs: missing: system = "{system}" needs it; for example outputs = ["saxpy"]' in message
    assert ("build.command: missing" in message) == (system == "command")


def test_missing_tables_and_keys_are_named() -> None:
    assert refusal("") == (
        "dir/jetsonx.toml: project: missing: expected a table\ndir/jetsonx.toml: build: missing: expected a table"
    )
    assert "project.name: missing: expected lower-case letters and digits" in refusal(
        "[project]\n[build]\nsystem='cuda'"
    )
    assert 'build.system: missing: expected "cuda", "cmake", "make", "meson" or "command"' in refusal("[build]\n")


def test_a_section_of_the_wrong_shape_says_how_it_is_written() -> None:
    assert "build: expected a table, found a list; write [build] once" in refusal("[[build]]\nsystem = 'cuda'\n")
    assert "project: expected a table, found the number 3" in refusal("project = 3\n")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[project\n", "line 1"),
        ("[project]\nname = \n", "line 2, column 8"),
        ('[project]\nname = "x', "line 2, column 10, the end"),
        ("[a]\n[a]\n", "line 2"),
        ("<xml/>", "line 1, column 1"),
        ("x = " + "9" * 10_000, "not TOML"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("\x00", "line 1, column 1"),
    ],
)
def test_what_is_not_toml_says_line_and_column(text: str, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project(text)
    assert caught.value.message.startswith("dir/jetsonx.toml: not TOML")
    assert where in caught.value.message


def test_load_takes_the_directory_or_the_file(tmp_path: Path) -> None:
    file = tmp_path / "jetsonx.toml"
    file.write_bytes(b"\xef\xbb\xbf" + SHORT.replace("\n", "\r\n").encode())
    assert load_project(tmp_path) == load_project(file)
    assert load_project(tmp_path).path == file
    other = tmp_path / "other.toml"
    file.rename(other)
    assert load_project(other).root == tmp_path


def test_load_without_a_file_says_how_to_get_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "jetsonx.toml"):
        with pytest.raises(ConfigError, match=r"jetsonx\.toml is not there") as caught:
            load_project(path)
        assert caught.value.hint == f"write one: jetsonx init {tmp_path}"


def test_load_refuses_what_is_not_text(tmp_path: Path) -> None:
    file = tmp_path / "jetsonx.toml"
    file.write_bytes(b'[project]\nname = "\xff"\n')
    with pytest.raises(ConfigError, match=r"jetsonx\.toml: line 2: not UTF-8"):
        load_project(tmp_path)
    (tmp_path / "d" / "jetsonx.toml").mkdir(parents=True)
    with pytest.raises(ConfigError, match="Is a directory"):
        load_project(tmp_path / "d")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def without_none(value: object) -> object:
    if isinstance(value, list):
        return [without_none(item) for item in value if item is not None]
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    return value


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_values_survive_the_way_through_toml(tables: dict[str, object]) -> None:
    tables = {name: without_none(value) for name, value in tables.items() if value is not None}
    assert load_toml(f"x = {toml_text(tables)}") == {"x": tables}


def outcome(text: str) -> set[str]:
    """How the lines of the refusal begin; nothing when the text is a project."""
    try:
        project(text)
    except ConfigError as error:
        return {line[:18] for line in error.message.splitlines()}
    return set()


KEYS = st.sampled_from(
    ["project", "target", "build", "sysroot", "image", "deploy", "name", "system", "outputs", "env", "health", "l4t"]
)


@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES), max_size=6))
def test_any_tables_give_a_project_or_a_config_error(tables: dict[str, object]) -> None:
    lines = (f"{name} = {toml_text(without_none(value))}" for name, value in tables.items() if value is not None)
    assert outcome("\n".join(lines)) <= {"dir/jetsonx.toml: "}


@given(st.text())
def test_any_text_gives_a_project_or_a_config_error(text: str) -> None:
    assert outcome(text) <= {"dir/jetsonx.toml: "}


def test_what_cannot_be_toml_is_our_mistake() -> None:
    with pytest.raises(TypeError):
        toml_text(None)
