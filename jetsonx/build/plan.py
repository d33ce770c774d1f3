"""What a build will do, as values; nothing here runs, reads or writes.

One function per build system turns a project and an SDK into files to write and commands to run. ``jetsonx build
--dry-run`` prints the result; :mod:`jetsonx.build.local` carries it out.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.build.source import Redirect
from jetsonx.project import Project
from jetsonx.runner import Command
from jetsonx.toolchain.sdk import PROBES, Sdk

# What a shell of the workstation may hold that would pull its own files into the target's build.
_UNSET = (
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "LD_RUN_PATH",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "PKG_CONFIG_PATH",
    "CMAKE_PREFIX_PATH",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Words that start the build programs of this host. Only those that the build system needs are given."""

    ninja: str = "ninja"
    cmake: str = "cmake"
    meson: tuple[str, ...] = ("meson",)
    ccache: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The project's source directory, and the build directory that takes everything a build writes."""

    source: Path
    build: Path

    @property
    def copy(self) -> Path:
        """Where the source is copied for build systems that write beside their sources."""
        return self.build / "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command and what to call it. ``once``: skipped while its key in the build directory's state is the same."""

    say: str
    command: Command
    once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """A build, ready to run.

    ``files``: to write into the build directory first, by relative name. ``copy_source``: build in a copy of the
    source, with ``redirect`` applied to its makefiles. ``products``: the directory in which ``outputs`` (names or
    globs) are looked for. ``compdb``: where the build system leaves compile_commands.json, if it does.
    """

    places: Places
    files: Mapping[str, str]
    steps: tuple[Step, ...]
    copy_source: bool
    products: Path
    outputs: tuple[str, ...]
    compdb: Path | None
    redirect: Redirect | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a plan is made from.

    ``sources``: the files of a "cuda" project. ``cores``: parallel jobs unless the project says. ``epoch``:
    SOURCE_DATE_EPOCH in seconds, for compilers that write a date.
    """

    project: Project
    sdk: Sdk
    places: Places
    programs: Programs
    sources: tuple[Path, ...] = ()
    cores: int = 1
    epoch: int = 0

    @property
    def jobs(self) -> str:
        """How many commands run at once."""
        return str(self.project.build.jobs or self.cores)


def plan_build(inputs: Inputs) -> BuildPlan:
    """The plan for one L4T release."""
    return _SYSTEMS[inputs.project.build.system](inputs)


def build_environment(inputs: Inputs) -> dict[str, str | None]:
    """The environment of every build command: the SDK's, what the shims read, then the project's own."""
    build, places, sdk = inputs.project.build, inputs.places, inputs.sdk
    unaware = build.system in {"make", "command"}  # of the difference between this workstation and the target
    source = places.copy if unaware else places.source
    environment: dict[str, str | None] = dict.fromkeys(_UNSET)
    environment |= sdk.environment()
    if unaware:
        environment["PATH"] = os.pathsep.join([str(sdk.path / PROBES), str(environment["PATH"])])
    environment |= {
        "JETSONX_SOURCE_DIR": str(source),
        "JETSONX_BUILD_DIR": str(places.build),
        "JETSONX_NOTES": str(places.build / "notes.txt"),
        "JETSONX_STRIP": "1" if build.strip else "0",
        # Nothing is installed from here; see the compiler shim.
        "JETSONX_TRIM_RPATH": "1" if build.system == "cmake" else "0",
        "JETSONX_OVERRIDE_ARCH": "1" if build.override_arch else "0",
        "SOURCE_DATE_EPOCH": str(inputs.epoch),
    }
    if inputs.sources and int(inputs.jobs) > len(inputs.sources):
        environment["JETSONX_NVCC_THREADS"] = str(int(inputs.jobs) // len(inputs.sources))
    if inputs.programs.ccache:
        # The compilers are scripts: what they make depends on the SDK and on what they are told by the environment,
        # which ccache does not see, and not on their size and time, which it would look at.
        identity = f"{sdk.path.name}-override{environment['JETSONX_OVERRIDE_ARCH']}"
        environment |= {"CCACHE_COMPILERCHECK": f"string:{identity}", "CCACHE_BASEDIR": str(places.source)}
    return environment | dict(build.env)


def _plan_cuda(inputs: Inputs) -> BuildPlan:
    project, places, programs = inputs.project, inputs.places, inputs.programs
    return BuildPlan(
        places=places,
        files={"build.ninja": render_ninja(inputs)},
        steps=(
            Step(
                say="compile and link",
                command=Command(
                    argv=(programs.ninja, "-C", str(places.build), "-j", inputs.jobs), env=build_environment(inputs)
                ),
            ),
        ),
        copy_source=False,
        products=places.build,
        outputs=project.build.outputs or (project.name,),
        compdb=places.build / "compile_commands.json",
    )


def render_ninja(inputs: Inputs) -> str:
    """The text of a build.ninja that compiles the sources with nvcc and links them into one program."""
    project, sdk, places, programs = inputs.project, inputs.sdk, inputs.places, inputs.programs
    build = project.build
    includes = [f"-I{places.source / directory}" for directory in build.include]  # an absolute one stays as it is
    flags = shlex.join(["-O3", *includes, *build.flags])
    nvcc = shlex.join([*([programs.ccache] if programs.ccache else []), str(sdk.cuda / "bin/nvcc")])
    objects = []
    lines = [
        f"# Written by jetsonx for {project.name}; rewritten on every build.",
        "ninja_required_version = 1.5",
        f"nvcc = {_escape(nvcc)}",
        f"flags = {_escape(flags)}",
        f"libraries = {_escape(shlex.join(build.link))}",
        "",
        "rule compile",
        "  command = $nvcc $flags -MD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = nvcc $name",
        "",
        "rule link",
        "  command = $nvcc $in -o $out $libraries",
        "  description = link $out",
        "",
    ]
    for source in inputs.sources:
        name = str(source.relative_to(places.source))
        target = f"obj/{name}.o"
        objects.append(target)
        lines += [f"build {_path(target)}: compile {_path(str(source))}", f"  name = {_escape(name)}"]
    program = (build.outputs or (project.name,))[0]
    lines += [
        "",
        f"build {_path(program)}: link {' '.join(_path(name) for name in objects)}",
        f"default {_path(program)}",
    ]
    return "\n".join(lines) + "\n"


def _plan_cmake(inputs: Inputs) -> BuildPlan:
    project, sdk, places, programs = inputs.project, inputs.sdk, inputs.places, inputs.programs
    launcher = [f"-DCMAKE_{each}_COMPILER_LAUNCHER={programs.ccache}" for each in ("C", "CXX", "CUDA")]
    defaults = {
        "CMAKE_TOOLCHAIN_FILE": str(sdk.path / "toolchain.cmake"),
        "CMAKE_MAKE_PROGRAM": programs.ninja,
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        # A toolchain file alone comes too late for projects that test this before project().
        "CMAKE_CUDA_ARCHITECTURES": sdk.device_code.cmake,
        "CUDAToolkit_ROOT": str(sdk.cuda),
        # For FindCUDA, which projects from before CMake 3.9 use.
        "CUDA_TOOLKIT_ROOT_DIR": str(sdk.cuda),
        "CUDA_HOST_COMPILER": str(sdk.cxx),
        # CMake 4 refuses the minimum versions that old projects name.
        "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
    }
    given = {word.removeprefix("-D").partition("=")[0].partition(":")[0] for word in project.build.args}
    configure = (
        programs.cmake,
        "-S",
        str(places.source),
        "-B",
        str(places.build),
        "-G",
        "Ninja",
        *(f"-D{name}={value}" for name, value in defaults.items() if name not in given),
        *(launcher if programs.ccache else ()),
        "--no-warn-unused-cli",
        *project.build.args,
    )
    build = (programs.ninja, "-C", str(places.build), "-j", inputs.jobs, *project.build.targets)
    return BuildPlan(
        places=places,
        files={},
        steps=(
            Step(say="configure", command=Command(argv=configure, env=build_environment(inputs)), once=True),
            Step(say="compile and link", command=Command(argv=build, env=build_environment(inputs))),
        ),
        copy_source=False,
        products=places.build,
        outputs=project.build.outputs,
        compdb=places.build / "compile_commands.json",
    )


def _plan_make(inputs: Inputs) -> BuildPlan:
    project, places = inputs.project, inputs.places
    argv = ("make", "-C", str(places.copy), f"-j{inputs.jobs}", *project.build.args, *project.build.targets)
    return BuildPlan(
        places=places,
        files={},
        steps=(Step(say="make", command=Command(argv=argv, env=build_environment(inputs))),),
        copy_source=True,
        products=places.copy,
        outputs=project.build.outputs,
        compdb=None,
        redirect=_redirect(inputs.sdk),
    )


def _plan_meson(inputs: Inputs) -> BuildPlan:
    project, sdk, places, programs = inputs.project, inputs.sdk, inputs.places, inputs.programs
    setup = (
        *programs.meson,
        "setup",
        "--reconfigure",
        f"--cross-file={sdk.path / 'meson.ini'}",
        "--buildtype=release",
        f"-Dcuda_args={' '.join(sdk.device_code.gencode)}",
        *project.build.args,
        str(places.build),
        str(places.source),
    )
    # For a cross build, Meson takes the variables below as the build machine's, which is this workstation.
    inner: dict[str, str | None] = {
        **build_environment(inputs),
        "CC": None,
        "CXX": None,
        "AR": None,
        "PKG_CONFIG": None,
        "NINJA": programs.ninja,
    }
    build = (programs.ninja, "-C", str(places.build), "-j", inputs.jobs, *project.build.targets)
    return BuildPlan(
        places=places,
        files={},
        steps=(
            Step(say="configure", command=Command(argv=setup, env=inner), once=True),
            Step(say="compile and link", command=Command(argv=build, env=inner)),
        ),
        copy_source=False,
        products=places.build,
        outputs=project.build.outputs,
        compdb=places.build / "compile_commands.json",
    )


def _plan_command(inputs: Inputs) -> BuildPlan:
    project, places = inputs.project, inputs.places
    return BuildPlan(
        places=places,
        files={},
        steps=tuple(
            Step(say=line, command=Command(argv=("sh", "-ec", line), cwd=places.copy, env=build_environment(inputs)))
            for line in project.build.command
        ),
        copy_source=True,
        products=places.copy,
        outputs=project.build.outputs,
        compdb=None,
        redirect=_redirect(inputs.sdk),
    )


def _redirect(sdk: Sdk) -> Redirect:
    return Redirect(toolkit=sdk.cuda, programs=sdk.path / "bin")


_SYSTEMS: Mapping[str, Callable[[Inputs], BuildPlan]] = {
    "cuda": _plan_cuda,
    "cmake": _plan_cmake,
    "make": _plan_make,
    "meson": _plan_meson,
    "command": _plan_command,
}


def _escape(text: str) -> str:
    return text.replace("$", "$$")


def _path(text: str) -> str:
    """A path as ninja's build lines want it."""
    return text.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
