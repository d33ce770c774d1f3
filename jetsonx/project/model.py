"""The values of jetsonx.toml. Each key is declared once: its type, what it may hold, what it means and an example."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from jetsonx.errors import ConfigError
from jetsonx.project import values
from jetsonx.project.kinds import Choice, Many, Pairs, Port, Whole
from jetsonx.project.record import Key, Record

FILE_NAME = "jetsonx.toml"

System = Literal["cuda", "cmake", "make", "meson", "command"]
Strategy = Literal["auto", "cross", "emulate", "native"]
Compiler = Literal["auto", "gcc", "clang", "zig"]
Restart = Literal["no", "on-failure", "unless-stopped", "always"]
DeployKind = Literal["container", "files"]
Gpu = Literal["auto", "runtime", "cdi", "none"]
Texts = tuple[str, ...]


_ARGS_FOR = ("cmake", "make", "meson")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectInfo:
    """What the program is called."""

    name: Annotated[str, Key(values.NAME, "Names the image, and the program when nothing else is said.", '"{name}"')]
    version: Annotated[str, Key(values.VERSION, "Becomes the image's tag.", '"0.1.0"')] = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSection:
    """Which Jetsons to build for: ``modules`` with ``l4t``, or ``targets``, or nothing when ``-t`` says it."""

    modules: Annotated[
        Texts,
        Key(
            Many(values.MODULE, "modules", unique=True, at_least=1),
            "Jetson modules, all with the L4T release below; one program holds machine code for each of them.",
            '["orin-nano", "agx-thor"]',
        ),
    ] = ()
    l4t: Annotated[str | None, Key(values.L4T, "The L4T release on them, or its JetPack.", '"39.2"')] = None
    targets: Annotated[
        Texts,
        Key(
            Many(values.TARGET, "targets", unique=True, at_least=1),
            "Several releases at once, in place of modules and l4t; one build for each release.",
            '["orin-nano@39.2", "orin-nano@36.4"]',
        ),
    ] = ()
    cuda: Annotated[
        str | None,
        Key(
            values.CUDA,
            "Another CUDA than the release's own; the device then needs NVIDIA's cuda-compat package of that version.",
            '"12.4.1"',
        ),
    ] = None
    jit: Annotated[
        bool,
        Key(
            values.FLAG,
            "Accept PTX, which the driver compiles at first start, where machine code for a module is missing.",
            "true",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSection:
    """How the program is built."""

    system: Annotated[
        System,
        Key(
            Choice(get_args(System)),
            "What builds it: cuda (nvcc over the sources), cmake, make, meson, or command (commands of your own).",
            '"cuda"',
        ),
    ]
    source: Annotated[str, Key(values.RELATIVE, "Where the sources are, relative to this file.", '"src"')] = "."
    sources: Annotated[
        Texts,
        Key(
            values.PATHS,
            "What to compile: paths or globs in the source directory; ** also goes into the directories below.",
            '["*.cu", "lib/**/*.cpp"]',
            only_for=("cuda",),
        ),
    ] = ("*.cu", "*.cpp", "*.cc", "*.cxx", "*.c")
    include: Annotated[
        Texts,
        Key(
            values.WORDS,
            "Directories with headers, relative to the source directory; one with a leading / is in the sysroot.",
            '["include", "/usr/include/opencv4"]',
            only_for=("cuda",),
        ),
    ] = ()
    flags: Annotated[
        Texts, Key(values.WORDS, "More flags for nvcc.", '["-std=c++17", "--use_fast_math"]', only_for=("cuda",))
    ] = ()
    link: Annotated[
        Texts,
        Key(Many(values.LINK, "libraries or linker flags"), "Libraries to link.", '["-lcublas"]', only_for=("cuda",)),
    ] = ()
    args: Annotated[
        Texts,
        Key(
            values.WORDS,
            "Arguments for cmake, make or meson setup.",
            '["-DCMAKE_BUILD_TYPE=Release"]',
            only_for=_ARGS_FOR,
        ),
    ] = ()
    targets: Annotated[
        Texts,
        Key(
            values.WORDS,
            "What make or ninja is to build.",
            '["{name}"]',
            default="what they build when told nothing",
            only_for=_ARGS_FOR,
        ),
    ] = ()
    command: Annotated[
        Texts,
        Key(
            Many(values.WORD, "shell commands", at_least=1),
            "Commands to run one after the other in a copy of the source directory, each by `sh -e`; the first that "
            "fails ends the build.",
            '["./configure", "make"]',
            only_for=("command",),
            needed_for=("command",),
        ),
    ] = ()
    outputs: Annotated[
        Texts,
        Key(
            Many(values.PATH, "paths or globs", at_least=1),
            "What the build leaves that goes to the device: paths or globs in the build directory, which for make and "
            "command is a copy of the source directory.",
            '["{name}"]',
            default="with cuda the project's name",
            needed_for=("cmake", "make", "meson", "command"),
        ),
    ] = ()
    env: Annotated[Pairs, Key(values.ENV, "Environment variables for the build.", '{ CXXFLAGS = "-O3" }')] = ()
    jobs: Annotated[
        int | None, Key(Whole(1, 1024), "How many compilers run at once.", "4", default="one for each core")
    ] = None
    strategy: Annotated[
        Strategy,
        Key(
            Choice(get_args(Strategy)),
            "cross (compilers of this workstation), emulate (the target's own under QEMU), native (on an ARM machine).",
            '"cross"',
        ),
    ] = "auto"
    compiler: Annotated[
        Compiler,
        Key(
            Choice(get_args(Compiler)),
            "The C and C++ compiler; auto takes one found here that this CUDA accepts, or fetches zig's clang.",
            '"gcc"',
        ),
    ] = "auto"
    strip: Annotated[bool, Key(values.FLAG, "Leave out debug information and symbol tables.", "false")] = True
    override_arch: Annotated[
        bool,
        Key(
            values.FLAG, "Replace -arch and -gencode that the project's own files give to nvcc by the targets'.", "true"
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SysrootSection:
    """The target's headers and libraries: where they come from, and what they hold beside libc, libstdc++ and CUDA."""

    source: Annotated[
        str,
        Key(
            values.SOURCE,
            "Where they come from: apt (a distribution's packages), image (the release's container image, or "
            "image:REFERENCE), device:ADDRESS, tarball:FILE or dir:PATH; auto is what `jetsonx sysroot pull` last took "
            "for the release, else apt.",
            '"image"',
        ),
    ] = "auto"
    packages: Annotated[
        Texts,
        Key(
            Many(values.PACKAGE, "Debian packages", unique=True),
            "-dev packages for the target; what they depend on comes along.",
            '["libopencv-dev"]',
        ),
    ] = ()
    wheels: Annotated[
        Texts,
        Key(Many(values.WHEEL, "requirements", unique=True), "NVIDIA libraries for the target.", '["nvidia-cublas"]'),
    ] = ()
    cuda: Annotated[
        Texts,
        Key(
            Many(values.CUDA_LIBRARY, "CUDA libraries", unique=True),
            "CUDA libraries for the target by NVIDIA's names: from its redistributable archives, and from CUDA 13 on "
            "from its wheels.",
            '["libcublas", "cudnn"]',
        ),
    ] = ()
    full: Annotated[
        bool, Key(values.FLAG, "Keep all that is in the packages, not only what compilers and linkers need.", "true")
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSection:
    """The container image."""

    base: Annotated[
        str,
        Key(values.IMAGE, "minimal (only the libraries that the program needs) or any image reference.", '"minimal"'),
    ] = "minimal"
    entrypoint: Annotated[
        Texts, Key(values.WORDS, "The program and its fixed arguments.", '["{name}"]', default="the first output")
    ] = ()
    cmd: Annotated[Texts, Key(values.WORDS, "Arguments when `docker run` gives none.", '["--help"]')] = ()
    env: Annotated[Pairs, Key(values.ENV, "Environment variables.", '{ LOG_LEVEL = "info" }')] = ()
    labels: Annotated[
        Pairs, Key(values.LABELS, "Labels beside those that jetsonx writes.", '{ "com.example.team" = "vision" }')
    ] = ()
    workdir: Annotated[
        str | None, Key(values.ABSOLUTE, "The working directory.", '"/data"', default="where the outputs lie")
    ] = None
    user: Annotated[str | None, Key(values.USER, "Who the program runs as.", '"1000:1000"', default="root")] = None
    files: Annotated[
        Texts, Key(values.PATHS, "Files beside the outputs: paths or globs relative to this file.", '["models/**"]')
    ] = ()
    expose: Annotated[Texts, Key(Many(Port(), "ports"), "Ports the program listens on.", "[8080]")] = ()
    packages: Annotated[
        Texts,
        Key(
            Many(values.PACKAGE, "Debian packages", unique=True),
            "Packages in the image, with what they depend on and it does not hold yet; unpacked, not installed: their "
            "maintainer scripts are not run.",
            '["ca-certificates", "python3-minimal"]',
        ),
    ] = ()
    scripts: Annotated[
        bool,
        Key(
            values.FLAG,
            "Install the packages with their maintainer scripts, by apt-get in the image under QEMU: in a Dockerfile "
            "only, on a base that has apt.",
            "true",
            goes_with="packages",
        ),
    ] = False
    test: Annotated[
        Texts,
        Key(
            values.WORDS,
            "A command that has to succeed in the finished image, under QEMU and without a GPU, or the build fails.",
            '["{name}", "--self-test"]',
        ),
    ] = ()
    test_timeout_s: Annotated[
        int, Key(Whole(1, 86400), "How long it may take, in seconds.", "60", goes_with="test")
    ] = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """How to tell that the program works on the device: ``command`` succeeds, ``http`` answers, or it ``stays``."""

    command: Annotated[
        Texts,
        Key(
            Many(values.WORD, at_least=1),
            "A command in the container, or in the release's directory; status 0 says that all is well.",
        ),
    ] = ()
    http: Annotated[
        str | None, Key(values.URL, "In place of command: an address on the device that answers with status 200.")
    ] = None
    stays_s: Annotated[
        int,
        Key(
            Whole(1, 3600),
            "In place of both: it is well when it ran so many seconds without being started again.",
        ),
    ] = 5
    timeout_s: Annotated[int, Key(Whole(1, 3600), "How long to wait for it, in seconds.")] = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySection:
    """How the program runs on devices."""

    kind: Annotated[
        DeployKind,
        Key(
            Choice(get_args(DeployKind)),
            "container (the image, by Docker) or files (the outputs and image.files in a directory, for devices "
            "without Docker: docs/files.md).",
            '"files"',
        ),
    ] = "container"
    unit: Annotated[
        bool,
        Key(
            values.FLAG,
            "Of files: have the user's systemd there run the program; false: others start what is put there.",
            "false",
        ),
    ] = True
    devices: Annotated[
        Texts,
        Key(
            Many(values.DEVICE, "devices", unique=True),
            "Where to, when the command line names none: SSH addresses, or names and tags of `jetsonx device add`.",
            '["jetson@192.168.55.1"]',
        ),
    ] = ()
    restart: Annotated[
        Restart, Key(Choice(get_args(Restart)), "When Docker, or systemd, starts it again.", '"always"')
    ] = "unless-stopped"
    gpu: Annotated[
        Gpu,
        Key(
            Choice(get_args(Gpu)),
            "How it comes to the GPU: the runtime nvidia, a CDI device, or not at all; auto takes the runtime where "
            "the device has it, else CDI.",
            '"runtime"',
        ),
    ] = "auto"
    network: Annotated[
        str | None, Key(values.NETWORK, "The container's network.", '"host"', default="Docker's own")
    ] = None
    ipc: Annotated[
        str | None,
        Key(Choice(("private", "shareable", "host")), "Its shared memory.", '"host"', default="Docker's own"),
    ] = None
    shm_size: Annotated[
        str | None, Key(values.SIZE, "How large /dev/shm is in it.", '"512m"', default="Docker's own, 64 MB")
    ] = None
    volumes: Annotated[
        Texts, Key(Many(values.VOLUME, "volumes"), "Directories of the device in the container.", '["/data:/data:ro"]')
    ] = ()
    ports: Annotated[
        Texts, Key(Many(values.PUBLISH, "ports"), "Ports of the device that lead into the container.", '["8080:80"]')
    ] = ()
    env: Annotated[Pairs, Key(values.ENV, "Environment variables on the device.", '{ CAMERA = "/dev/video0" }')] = ()
    secrets: Annotated[
        Pairs,
        Key(
            values.SECRETS,
            "Files, relative to this one, whose contents it reads in /run/secrets/NAME (kind files: in the directory "
            "that JETSONX_SECRETS names); they are in no image, label, command line or log.",
            '{ token = "secrets/token.txt" }',
        ),
    ] = ()
    device_nodes: Annotated[
        Texts,
        Key(Many(values.DEVICE_NODE, "device nodes", unique=True), "Cameras and the like.", '["/dev/video0"]'),
    ] = ()
    groups: Annotated[
        Texts,
        Key(
            Many(values.GROUP, "groups", unique=True),
            "Groups it belongs to beside video and render, which it is in for the GPU: numbers of the device's groups, "
            "or names that the image knows.",
            '["20"]',
        ),
    ] = ()
    cap_add: Annotated[
        Texts,
        Key(Many(values.CAPABILITY, "capabilities", unique=True), "More that its root may do.", '["SYS_NICE"]'),
    ] = ()
    privileged: Annotated[
        bool, Key(values.FLAG, "All of the device is open to it: nothing else that stands here needs that.", "true")
    ] = False
    stop_timeout_s: Annotated[
        int, Key(Whole(0, 3600), "Seconds that it has to end by itself when it is stopped.", "30")
    ] = 10
    health: Annotated[
        HealthCheck | None,
        Key(
            Record(HealthCheck, alternatives=(("command",), ("http",), ("stays_s",)), needs_one=True),
            "How to tell that a new release works; one that does not is taken back.",
            '{ command = ["{name}", "--self-test"], timeout_s = 30 }',
            other_examples=('{ http = "http://127.0.0.1:8080/health" }', "{ stays_s = 20 }"),
            default="the image's HEALTHCHECK, else it runs for 5 seconds",
        ),
    ] = None
    blue_green: Annotated[
        bool,
        Key(
            values.FLAG,
            "Start a new release beside the old one, and stop that when the new one is well: there has to be room for "
            "two on the GPU, and no port, camera or host network that only one can have.",
            "true",
        ),
    ] = False
    keep: Annotated[
        int, Key(Whole(1, 50), "How many earlier releases stay on the device for `jetsonx rollback`.", "3")
    ] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A checked jetsonx.toml. ``path`` is the file; what is relative in it is relative to ``root``."""

    project: Annotated[ProjectInfo, Key(Record(ProjectInfo), "What the program is called.")]
    target: Annotated[
        TargetSection,
        Key(
            Record(TargetSection, alternatives=(("modules", "l4t"), ("targets",))),
            "Which Jetsons to build for, when -t does not say it. `jetsonx targets` lists them.",
        ),
    ] = TargetSection()
    build: Annotated[BuildSection, Key(Record(BuildSection, decided_by="system"), "How the program is built.")]
    sysroot: Annotated[
        SysrootSection,
        Key(Record(SysrootSection), "What to build against beside libc, libstdc++ and the CUDA runtime."),
    ] = SysrootSection()
    image: Annotated[ImageSection, Key(Record(ImageSection), "The container image.")] = ImageSection()
    deploy: Annotated[DeploySection, Key(Record(DeploySection), "How the program runs on devices.")] = DeploySection()
    path: Path = Path(FILE_NAME)

    @property
    def root(self) -> Path:
        """The directory of the file."""
        return self.path.parent

    @property
    def name(self) -> str:
        """``project.name``."""
        return self.project.name

    @property
    def version(self) -> str:
        """``project.version``."""
        return self.project.version

    def target_names(self) -> tuple[str, ...]:
        """The targets as ``module@release``, in the order of the file.

        Raises ConfigError when the file names none.
        """
        if self.target.targets:
            return self.target.targets
        if not self.target.modules:
            raise ConfigError(
                f"{self.path}: target.modules: missing: nothing says which Jetson to build for",
                hint="add [target] with modules and l4t, or type -t orin-nano@39.2; all of them: jetsonx targets",
            )
        return tuple(f"{module}@{self.target.l4t}" for module in self.target.modules)

    def with_targets(self, names: tuple[str, ...]) -> Project:
        """The project for other targets, as ``-t`` gives them; the same project when ``names`` is empty."""
        return replace(self, target=TargetSection(targets=names, jit=self.target.jit)) if names else self
