"""Generated Dockerfiles: what stands in them for each line and build system, and how odd names are spelled."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.cli import cli
from jetsonx.dockerfile import (
    WORKSTATION,
    Dockerfile,
    Strategy,
    load_toolchain_images,
    plan_dockerfile,
    render_dockerfile,
)
from jetsonx.dockerfile.images import ToolchainImage, pinned
from jetsonx.dockerfile.plan import resolve_strategy
from jetsonx.dockerfile.quote import docker_word, json_words, shell_glob, shell_lines, shell_word
from jetsonx.errors import ConfigError
from jetsonx.net.mirrors import Mirrors
from jetsonx.project import Project, parse_project
from jetsonx.project.lock import EMPTY_LOCK, Lock, LockedSysroot
from tests.unit.golden import check_golden

CMAKE = 'system = "cmake"\noutputs = ["saxpy", "libsaxpy.so*"]'
LINES = {"r35": "orin-nano@35.6.1", "r36": "orin-nano@36.4.3", "r38": "agx-thor@38.2", "r39": "orin-nano@39.2"}
STRATEGIES: tuple[Strategy, ...] = ("cross", "emulate", "native")
DIGEST = f"sha256:{'ab' * 32}"


def project(build: str = CMAKE, rest: str = '[image]\nentrypoint = ["saxpy"]') -> Project:
    return parse_project(f'[project]\nname = "saxpy"\n[build]\n{build}\n{rest}\n', Path("/home/me/saxpy/jetsonx.toml"))


def plan(
    of: Project,
    *targets: str,
    strategy: Strategy = "cross",
    lock: Lock | None = None,
    toolchains: tuple[ToolchainImage, ...] | None = None,
    context: bool = False,
    mirrors: Mirrors = Mirrors(),  # noqa: B008 - a frozen value
) -> Dockerfile:
    found = [resolve_target(load_catalog(), name) for name in targets or ("orin-nano@39.2",)]
    images = load_toolchain_images() if toolchains is None else toolchains
    return plan_dockerfile(of, found, strategy=strategy, toolchains=images, lock=lock, context=context, mirrors=mirrors)


def text(of: Project, *targets: str, strategy: Strategy = "cross", context: bool = False) -> str:
    return render_dockerfile(plan(of, *targets, strategy=strategy, context=context))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("line", LINES)
def test_every_line_by_every_strategy(line: str, strategy: Strategy) -> None:
    check_golden(f"dockerfile/{line}-{strategy}.txt", text(project(), LINES[line], strategy=strategy))


@pytest.mark.parametrize(
    ("name", "build"),
    [
        (
            "cuda",
            'system = "cuda"\nsources = ["src/**/*.cu"]\ninclude = ["inc", "/usr/include/x"]\nlink = ["-lcublas"]',
        ),
        ("make", 'system = "make"\nargs = ["V=1"]\ntargets = ["all"]\noutputs = ["saxpy"]\njobs = 3'),
        ("meson", 'system = "meson"\nargs = ["-Dgui=false"]\noutputs = ["saxpy"]'),
        ("command", 'system = "command"\ncommand = ["./configure", "make\\nmake check"]\noutputs = ["saxpy"]'),
    ],
)
def test_every_build_system(name: str, build: str) -> None:
    made = text(project(build), "orin-nano@39.2", "agx-thor@39.2")
    assert "compute_110,code=[sm_110,compute_110]" in made
    check_golden(f"dockerfile/system-{name}.txt", made)


def test_everything_an_image_can_say() -> None:
    image = """
    base = "nvcr.io/nvidia/l4t-jetpack:r36.4.0"
    entrypoint = ["saxpy", "--serve"]
    cmd = ["a b"]
    env = { MODE = "fast" }
    labels = { "com.example.team" = "vision" }
    workdir = "/data"
    user = "1000:1000"
    files = ["models/**"]
    expose = [8080]
    """
    rest = f'[image]\n{image}\n[deploy]\nhealth = {{ command = ["saxpy", "--self-test"], timeout_s = 7 }}'
    check_golden("dockerfile/image.txt", text(project(CMAKE, rest), "orin-nano@36.4"))


def test_named_context_takes_the_place_of_the_image() -> None:
    made = text(project(), context=True)
    check_golden("dockerfile/context.txt", made)
    assert "AS l4t" not in made
    assert "from=sysroot,target=/sysroot" in made


def test_packages_of_the_target_are_unpacked_in_a_cross_build_and_installed_in_an_emulated_one() -> None:
    of = project(CMAKE, '[image]\nentrypoint = ["saxpy"]\n[sysroot]\npackages = ["libopencv-dev"]')
    assert "--download-only libopencv-dev" in text(of)
    assert "pkg-config libopencv-dev \\\n" in text(of, strategy="emulate")


def test_the_same_project_gives_the_same_bytes() -> None:
    assert text(project(), "agx-thor@39.2", "orin-nano@39.2") == text(project(), "agx-thor@39.2", "orin-nano@39.2")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_left_open(strategy: Strategy) -> None:
    made = text(project(), strategy=strategy)
    assert "{{" not in made
    assert "{%" not in made
    assert "\n\n\n" not in made
    assert made.endswith("\n")
    assert not [line for line in made.splitlines() if line != line.rstrip()]


def test_images_are_pinned_where_a_digest_is_known() -> None:
    assert "l4t-jetpack:r36.4.0@sha256:34ccf0f3" in plan(project(), "orin-nano@36.4").l4t_image
    assert "@" not in plan(project(), "orin-nano@36.3").l4t_image
    pinned_image = ToolchainImage(
        cuda="12.2", suite="jammy", reference="r/cuda:1", confidence="reported", sources=(), digest=DIGEST
    )
    assert plan(project(), "orin-nano@36.3", toolchains=(pinned_image,)).toolchain_image == f"r/cuda:1@{DIGEST}"
    assert pinned(f"x@{DIGEST}", "sha256:cd") == f"x@{DIGEST}"


def test_the_lock_pins_the_image_that_a_sysroot_was_made_of() -> None:
    reference = "nvcr.io/nvidia/l4t-jetpack:r36.3.0"
    entry = LockedSysroot(release="36.3.0", key="k", source="image", origin=reference, manifest=DIGEST)
    locked = plan(project(), "orin-nano@36.3", lock=EMPTY_LOCK.with_sysroot(entry))
    assert locked.l4t_image == f"{reference}@{DIGEST}"
    other = replace(entry, origin="example.com/mine:1")
    assert plan(project(), "orin-nano@36.3", lock=EMPTY_LOCK.with_sysroot(other)).l4t_image == reference


def test_images_are_named_where_the_mirrors_have_them() -> None:
    of = project(CMAKE, '[image]\nbase = "debian:12"\nentrypoint = ["saxpy"]')
    table = (("docker.io", "https://harbor.example/v2/hub"), ("nvcr.io", "http://127.0.0.1:5000"))
    made = plan(of, "orin-nano@36.4", mirrors=Mirrors(table=table))
    assert made.l4t_image.startswith("127.0.0.1:5000/nvidia/l4t-jetpack:r36.4.0@sha256:34ccf0f3")
    assert made.toolchain_image == "127.0.0.1:5000/nvidia/cuda:12.6.3-devel-ubuntu22.04"
    assert made.base_image == "harbor.example/hub/library/debian:12"
    told = [line for line in render_dockerfile(made).splitlines() if "mirror" in line]
    assert [line.split(",")[0] for line in told] == [
        "# Images of docker.io are asked of harbor.example",
        "# Images of nvcr.io are asked of 127.0.0.1:5000",
    ]


def test_mirrors_of_other_registries_change_nothing() -> None:
    other = plan(project(), mirrors=Mirrors(table=(("example.com", "http://127.0.0.1:5000"),)))
    assert other == plan(project())


def test_a_mirror_that_an_image_name_cannot_say_is_refused() -> None:
    with pytest.raises(ConfigError, match="no path before /v2"):
        plan(project(), mirrors=Mirrors(table=(("nvcr.io", "https://cache.example/nvcr"),)))


@pytest.mark.parametrize("release", ["nano@32.7.1", "xavier-nx@34.1.1"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lines_whose_images_hold_no_cuda_are_refused(release: str, strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match="image with CUDA's headers"):
        plan(project(), release, strategy=strategy)


def test_what_a_dockerfile_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"build\.override_arch"):
        plan(project(f"{CMAKE}\noverride_arch = true"))
    with pytest.raises(ConfigError, match="has no sysroot"):
        plan(project(), strategy="emulate", context=True)
    with pytest.raises(ConfigError, match="no x86-64 image with CUDA 13"):
        plan(project(), toolchains=())
    with pytest.raises(ConfigError, match=r"image\.entrypoint: missing"):
        plan(project('system = "make"\noutputs = ["bin/*"]', ""))
    with pytest.raises(ConfigError, match=r"target\.cuda"):
        plan(project(CMAKE, '[target]\nmodules = ["orin-nano"]\nl4t = "36.4"\ncuda = "12.4"'))


@pytest.mark.parametrize(
    ("outputs", "entrypoint", "expected"),
    [
        ('["saxpy"]', "", ("/opt/saxpy/saxpy",)),
        ('["bin/tool"]', '["tool", "-v"]', ("/opt/saxpy/bin/tool", "-v")),
        ('["dist"]', '["dist/app"]', ("/opt/saxpy/dist/app",)),
        ('["./a b"]', '["./a b"]', ("/opt/saxpy/a b",)),
        ('["lib*.so"]', '["/usr/bin/python3"]', ("/usr/bin/python3",)),
    ],
)
def test_the_entrypoint_is_a_path_in_the_image(outputs: str, entrypoint: str, expected: tuple[str, ...]) -> None:
    rest = f"[image]\nentrypoint = {entrypoint}" if entrypoint else ""
    assert plan(project(f'system = "make"\noutputs = {outputs}', rest)).entrypoint == expected


@pytest.mark.parametrize("word", ["", "a b", "it's", '"', "$HOME", "a\\", "#x", "\\n", "ü", "`id`", "<<EOF", "!x"])
def test_words_survive_their_readers(word: str) -> None:
    assert shlex.split(shell_word(word)) == [word]
    inner = docker_word(word)[1:-1]
    assert inner.replace('\\"', '"').replace("\\$", "$").replace("\\\\", "\\") == word
    assert json_words([word]).count("\n") == 0


def test_quotes_are_as_each_reader_wants_them() -> None:
    assert docker_word('say "$HOME" \\') == r'"say \"\$HOME\" \\"'
    assert shell_glob("a b/*.so") == "'a b/*.so'"
    assert shell_glob("x\\*") == r"'x[\\]*'"
    assert json_words(["ü", "line\nbreak", '"']) == r'["ü", "line\nbreak", "\""]'
    assert shell_lines("a\n\n it's") == "a \\\n      '' \\\n      ' it'\"'\"'s'"


@pytest.mark.parametrize("quote", [shell_word, shell_glob, docker_word])
@pytest.mark.parametrize("word", ["a\nRUN rm -rf /", "a\r\nb", "\n"])
def test_no_value_begins_an_instruction_of_its_own(quote: object, word: str) -> None:
    assert callable(quote)
    with pytest.raises(ConfigError, match="line break"):
        quote(word)


def test_hostile_values_stay_values() -> None:
    rest = '[image]\nentrypoint = ["x"]\nworkdir = "/a b$"\nlabels = { a = "\\"\\\\" }\ncmd = ["\\nRUN id"]'
    made = text(project('system = "make"\nargs = ["A=`id`", "# no"]\nenv = { E = "$(id)" }\noutputs = ["x"]', rest))
    assert "'A=`id`' '# no'" in made
    assert 'ENV E="\\$(id)"\n' in made
    assert 'WORKDIR "/a b\\$"\n' in made
    assert not [line for line in made.splitlines() if line.startswith("RUN id")]


def test_strategies_by_name() -> None:
    assert [resolve_strategy(name) for name in ("auto", "cross", "emulate", "native")] == ["cross", *STRATEGIES]
    with pytest.raises(ConfigError, match="unknown strategy"):
        resolve_strategy("cloud")


def test_every_release_with_cuda_in_its_image_has_a_toolchain_image() -> None:
    catalog = load_catalog()
    known = {(image.cuda, image.suite) for image in load_toolchain_images()}
    for release in catalog.releases:
        if release.image is not None and release.image.has_cuda:
            assert (release.cuda_version, catalog.lines[release.line].ubuntu) in known
    for image in load_toolchain_images():
        assert set(image.sources) <= set(catalog.sources)


def run(tmp_path: Path, *words: str) -> tuple[int, str]:
    (tmp_path / "jetsonx.toml").write_text(
        '[project]\nname = "app"\n[target]\ntargets = ["orin-nano@39.2"]\n[build]\nsystem = "cuda"\n'
    )
    done = CliRunner().invoke(cli, ["dockerfile", str(tmp_path), *words])
    if isinstance(done.exception, ConfigError):
        return done.exception.exit_code, done.exception.message
    return done.exit_code, done.output


def test_command_prints_or_writes(tmp_path: Path) -> None:
    status, printed = run(tmp_path)
    assert status == 0
    assert printed.startswith("# app 0.1.0 for orin-nano@39.2.0: ")
    assert run(tmp_path, "-o", str(tmp_path / "Dockerfile"))[0] == 0
    assert (tmp_path / "Dockerfile").read_text() == printed


def test_command_is_for_one_release(tmp_path: Path) -> None:
    status, message = run(tmp_path, "-t", "orin-nano@36.4", "-t", "orin-nano@39.2")
    assert status == 2
    assert "one L4T release" in message


def test_command_names_the_mirror_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run(tmp_path)
    monkeypatch.setenv("JETSONX_MIRRORS", "nvcr.io=http://127.0.0.1:5000")
    assert run(tmp_path) == plain
    status, printed = run(tmp_path, "--mirrored")
    assert status == 0
    assert "nvcr.io/" not in printed
    assert "FROM 127.0.0.1:5000/nvidia/cuda:13.2.1-devel-ubuntu24.04 AS l4t" in printed


PACKAGES = 'entrypoint = ["saxpy"]\npackages = ["ca-certificates", "python3-minimal"]'
TEST = 'test = ["saxpy", "it\'s $HOME", "say \\"x\\"", "<<EOF", "two\\nlines"]\ntest_timeout_s = 60'
BASE = 'base = "nvcr.io/nvidia/l4t-base:r36.2.0"'


@pytest.mark.parametrize(
    ("name", "image", "strategy"),
    [
        ("packages-minimal", f"{PACKAGES}\n{TEST}", "cross"),
        ("packages-minimal-emulate", f"{PACKAGES}\n{TEST}", "emulate"),
        ("packages-base", f"{PACKAGES}\n{TEST}\n{BASE}", "cross"),
        ("packages-scripts", f'{PACKAGES}\n{TEST}\n{BASE}\nscripts = true\nuser = "1000"', "cross"),
        ("packages-untested", f"{PACKAGES}\n{BASE}", "cross"),
    ],
)
def test_packages_and_test_of_the_image(name: str, image: str, strategy: Strategy) -> None:
    made = text(project(CMAKE, f"[image]\n{image}"), "orin-nano@36.4", strategy=strategy)
    assert "\n\n\n" not in made
    assert not [line for line in made.splitlines() if line != line.rstrip()]
    check_golden(f"dockerfile/{name}.txt", made)


def test_the_image_takes_its_files_from_a_stage_that_needs_the_test() -> None:
    made = text(project(CMAKE, f"[image]\n{PACKAGES}\n{TEST}"))
    assert made.endswith("FROM settings\nCOPY --from=tested /rootfs/ /\n")
    tested = made[made.index("AS tested") :]
    assert "RUN --mount=type=bind,from=test,target=/tested true" in tested
    [words] = [line for line in made.splitlines() if line.startswith('    ["/jetsonx-limit"')]
    assert json.loads(words)[1:] == ["60", "/opt/saxpy/saxpy", "it's $HOME", 'say "x"', "<<EOF", "two\nlines"]


def test_a_named_context_has_no_package_sources_of_its_own() -> None:
    made = text(project(CMAKE, f"[image]\n{PACKAGES}"), context=True)
    assert "AS l4t\n" in made
    assert "from=l4t,target=/l4t,rw" in made


def test_packages_that_are_asked_for_are_not_taken_as_there() -> None:
    made = text(project(CMAKE, '[image]\nentrypoint = ["saxpy"]\npackages = ["dpkg"]'))
    assert "'Package: debconf'" in made
    assert "'Package: dpkg'" not in made


def test_scripts_need_a_base_with_apt() -> None:
    with pytest.raises(ConfigError, match=r"image\.scripts: the base \"minimal\" has no apt-get"):
        text(project(CMAKE, f"[image]\n{PACKAGES}\nscripts = true"))


@pytest.mark.parametrize("system", ["cuda", "cmake", "make"])
def test_the_same_project_for_a_workstation(system: str) -> None:
    builds = {"cuda": 'system = "cuda"', "cmake": CMAKE, "make": 'system = "make"\noutputs = ["saxpy"]'}
    made = render_dockerfile(workstation(project(builds[system])))
    check_golden(f"dockerfile/workstation-{system}.txt", made)
    assert not {"aarch64", "arm64", "sbsa", "QEMU"} & set(re.findall(r"\w+", made))


def test_a_build_directory_can_outlive_the_build() -> None:
    found = [resolve_target(load_catalog(), "orin-nano@39.2")]
    images = load_toolchain_images()
    made = render_dockerfile(
        plan_dockerfile(project(), found, strategy="cross", toolchains=images, build_cache="app-1")
    )
    check_golden("dockerfile/build-cache.txt", made)
    [step] = [each for each in made.split("\nRUN ") if "target=/build,sharing=locked" in each]
    assert "ninja -C /build" in step
    assert "/outputs" in step  # the outputs leave it in the same step
    other = project('system = "make"\noutputs = ["saxpy"]')
    plain = plan_dockerfile(other, found, strategy="cross", toolchains=images, build_cache="app-1")
    assert "jetsonx-build" not in render_dockerfile(plain)


def test_cuda_11_4_has_no_word_for_all_gpus() -> None:
    with pytest.raises(ConfigError, match=r"CUDA 11\.4 cannot make code for every GPU"):
        workstation(project(), "orin-nano@35.6.1")


def test_jammys_cmake_is_too_old_for_that_word() -> None:
    assert "'cmake==3.31.*'" in render_dockerfile(workstation(project(), "orin-nano@36.4"))
    assert "'cmake==3.31.*'" not in text(project(), "orin-nano@36.4")


def workstation(of: Project, target: str = "orin-nano@39.2") -> Dockerfile:
    found = [resolve_target(load_catalog(), target)]
    images = load_toolchain_images()
    return plan_dockerfile(of, found, strategy="native", toolchains=images, machine=WORKSTATION)


@pytest.mark.parametrize("line", LINES)
def test_native_and_emulated_builds_run_the_same_instructions(line: str) -> None:
    """Who executes them is the only difference, so that what was seen of one holds for the other."""

    def instructions(strategy: Strategy) -> list[str]:
        lines = text(project(), LINES[line], strategy=strategy).splitlines()
        return [each.replace(f"ccache-{strategy}", "ccache") for each in lines if not each.startswith("#")]

    assert instructions("native") == instructions("emulate")
