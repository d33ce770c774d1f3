"""Build plans are values: what would be run, with which words and variables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.build.plan import BuildPlan, Inputs, Places, Programs, build_environment, plan_build, render_ninja
from jetsonx.project import Project, parse_project
from tests.unit.golden import check_golden
from tests.unit.toolchain_values import SDK

SOURCE, BUILD = Path("/home/me/saxpy"), Path("/home/me/saxpy/out/build")


def _project(build: str) -> Project:
    text = f'[project]\nname = "saxpy"\n[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n[build]\n{build}\n'
    return parse_project(text, SOURCE / "jetsonx.toml")


def _inputs(build: str, **programs: str) -> Inputs:
    sources = (SOURCE / "main.cu", SOURCE / "src/a b$.cpp") if 'system = "cuda"' in build else ()
    return Inputs(
        project=_project(build),
        sdk=SDK,
        places=Places(source=SOURCE, build=BUILD),
        programs=Programs(**{"ninja": "/usr/bin/ninja", "cmake": "/opt/cmake", **programs}),  # type: ignore[arg-type]
        sources=sources,
        cores=4,
        epoch=315_532_800,
    )


def _argvs(plan: BuildPlan) -> list[tuple[str, ...]]:
    return [step.command.argv for step in plan.steps]


def test_ninja_file() -> None:
    inputs = _inputs(
        'system = "cuda"\ninclude = ["include", "/usr/include/opencv4"]\nflags = ["-DA=b c", "-DD=$x"]\n'
        'link = ["-lcublas"]'
    )
    check_golden("ninja-cuda.txt", render_ninja(inputs))


def test_ninja_file_puts_ccache_before_nvcc() -> None:
    text = render_ninja(_inputs('system = "cuda"', ccache="/usr/bin/ccache"))
    assert "nvcc = /usr/bin/ccache /cache/sdk/0123/sysroot/usr/local/cuda-13.2/bin/nvcc\n" in text


def test_cuda_plan_writes_its_ninja_file_and_names_the_program_by_the_project() -> None:
    plan = plan_build(_inputs('system = "cuda"'))
    assert _argvs(plan) == [("/usr/bin/ninja", "-C", str(BUILD), "-j", "4")]
    assert list(plan.files) == ["build.ninja"]
    assert plan.outputs == ("saxpy",)
    assert not plan.copy_source


def test_cmake_command_lines() -> None:
    plan = plan_build(_inputs('system = "cmake"\noutputs = ["saxpy"]\ntargets = ["saxpy"]\njobs = 2'))
    check_golden("cmake-arguments.txt", "\n".join(" ".join(argv) for argv in _argvs(plan)) + "\n")
    assert [step.once for step in plan.steps] == [True, False]


@pytest.mark.parametrize("word", ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_BUILD_TYPE:STRING=Debug"])
def test_the_projects_own_cmake_definition_takes_the_place_of_ours(word: str) -> None:
    argv = _argvs(plan_build(_inputs(f'system = "cmake"\noutputs = ["saxpy"]\nargs = ["{word}"]')))[0]
    assert [each for each in argv if each.startswith("-DCMAKE_BUILD_TYPE")] == [word]


def test_cmake_uses_ccache_for_all_languages() -> None:
    argv = _argvs(plan_build(_inputs('system = "cmake"\noutputs = ["x"]', ccache="/usr/bin/ccache")))[0]
    assert {f"-DCMAKE_{each}_COMPILER_LAUNCHER=/usr/bin/ccache" for each in ("C", "CXX", "CUDA")} < set(argv)


def test_make_runs_in_a_copy_whose_makefiles_lead_to_the_sdk() -> None:
    plan = plan_build(_inputs('system = "make"\nargs = ["GPU=1"]\ntargets = ["all"]\noutputs = ["saxpy"]'))
    assert _argvs(plan) == [("make", "-C", str(BUILD / "src"), "-j4", "GPU=1", "all")]
    assert plan.copy_source
    assert plan.products == BUILD / "src"
    assert plan.redirect is not None
    assert plan.redirect.toolkit == SDK.cuda
    assert plan.redirect.programs == SDK.path / "bin"


def test_commands_run_one_after_the_other_by_a_shell_that_stops_at_errors() -> None:
    plan = plan_build(_inputs('system = "command"\ncommand = ["./configure", "make -j2"]\noutputs = ["saxpy"]'))
    assert _argvs(plan) == [("sh", "-ec", "./configure"), ("sh", "-ec", "make -j2")]
    assert {step.command.cwd for step in plan.steps} == {BUILD / "src"}


def test_meson_is_told_of_the_target_by_its_cross_file_alone() -> None:
    plan = plan_build(_inputs('system = "meson"\nargs = ["-Dcuda=true"]\noutputs = ["saxpy"]'))
    setup, build = _argvs(plan)
    assert setup[:2] == ("meson", "setup")
    assert f"--cross-file={SDK.path / 'meson.ini'}" in setup
    assert setup[-3:] == ("-Dcuda=true", str(BUILD), str(SOURCE))
    assert build == ("/usr/bin/ninja", "-C", str(BUILD), "-j", "4")
    for step in plan.steps:  # Meson would take them as the workstation's own compilers
        assert {name: step.command.env[name] for name in ("CC", "CXX", "AR", "PKG_CONFIG")} == dict.fromkeys(
            ("CC", "CXX", "AR", "PKG_CONFIG")
        )


def test_environment_names_the_tools_and_hides_the_workstations_own() -> None:
    environment = build_environment(_inputs('system = "make"\noutputs = ["x"]'))
    assert environment["CXX"] == "/cache/sdk/0123/bin/g++"
    assert environment["CUDA_PATH"] == "/cache/sdk/0123/sysroot/usr/local/cuda-13.2"
    assert (environment["PATH"] or "").startswith("/cache/sdk/0123/share/probes:/cache/sdk/0123/bin:")
    assert environment["CPATH"] is None
    assert environment["LD_LIBRARY_PATH"] is None
    assert environment["JETSONX_SOURCE_DIR"] == str(BUILD / "src")
    assert environment["JETSONX_STRIP"] == "1"
    assert environment["JETSONX_OVERRIDE_ARCH"] == "0"
    assert environment["SOURCE_DATE_EPOCH"] == "315532800"
    assert "CCACHE_BASEDIR" not in environment


@pytest.mark.parametrize("system", ["cmake", "meson"])
def test_build_systems_that_know_cross_builds_ask_the_workstation_itself(system: str) -> None:
    environment = build_environment(_inputs(f'system = "{system}"\noutputs = ["x"]'))
    assert (environment["PATH"] or "").startswith("/cache/sdk/0123/bin:")


def test_the_projects_environment_wins() -> None:
    inputs = _inputs(
        'system = "make"\noutputs = ["x"]\nstrip = false\noverride_arch = true\nenv = { CXXFLAGS = "-O1" }'
    )
    environment = build_environment(inputs)
    assert environment["CXXFLAGS"] == "-O1"
    assert environment["JETSONX_STRIP"] == "0"
    assert environment["JETSONX_OVERRIDE_ARCH"] == "1"


@pytest.mark.parametrize(("cores", "threads"), [(1, None), (2, None), (4, "2"), (5, "2"), (8, "4")])
def test_cores_that_no_file_needs_go_to_the_architectures(cores: int, threads: str | None) -> None:
    inputs = replace(_inputs('system = "cuda"'), cores=cores)  # two files
    assert build_environment(inputs).get("JETSONX_NVCC_THREADS") == threads


def test_ccache_knows_the_compilers_by_their_sdk() -> None:
    inputs = _inputs('system = "cmake"\noutputs = ["x"]', ccache="/usr/bin/ccache")
    first = build_environment(inputs)["CCACHE_COMPILERCHECK"]
    other = build_environment(replace(inputs, sdk=replace(SDK, path=Path("/cache/sdk/4567"))))["CCACHE_COMPILERCHECK"]
    assert first == "string:0123-override0"
    assert other != first
