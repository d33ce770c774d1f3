"""What a Dockerfile will say, as values: which images, which packages, which names. Nothing here reads or writes."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jetsonx import __version__
from jetsonx.catalog import Target, common_cpu
from jetsonx.catalog.versions import parse_version
from jetsonx.dockerfile.images import ToolchainImage, mirrored, pinned
from jetsonx.dockerfile.machine import JETSON, WORKSTATION, AllMajor, Machine
from jetsonx.dockerfile.pins import NO_PINS, AptPins
from jetsonx.errors import ConfigError
from jetsonx.net.mirrors import Mirrors
from jetsonx.packages.dpkg import scripts_stanzas
from jetsonx.project import Project
from jetsonx.project.lock import Lock
from jetsonx.registry.reference import parse_reference
from jetsonx.toolchain.sdk import DeviceCode

Strategy = Literal["cross", "emulate", "native"]
Words = tuple[str, ...]

_GLOB = frozenset("*?[")
_FIRST_WITH_ALL_MAJOR = (11, 5)
_BUILD_PACKAGES = {
    "cuda": (),
    "cmake": ("cmake", "ninja-build", "pkg-config"),
    "make": ("make", "pkg-config"),
    "meson": ("meson", "ninja-build", "pkg-config"),
    "command": ("make", "pkg-config"),
}
_ENV = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}
# Ubuntus whose CMake does not know CMAKE_CUDA_ARCHITECTURES (3.18), or "all-major" in it (3.23).
_OLD_CMAKE = {JETSON.platform: ("focal",), WORKSTATION.platform: ("focal", "jammy")}
_NO_MIRRORS = Mirrors()
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """The values a template is rendered with.

    ``l4t_image``: the release's own image, with CUDA's headers and libraries; ``toolchain_image``: the x86-64 one, only
    with "cross"; ``base_image``: what the result is built on, None for ``minimal``. ``context``: the sysroot is a named
    build context and no stage. ``build_packages``: Debian packages that the build needs on the machine it runs on;
    ``target_packages`` and ``image_packages``: those that the project asks for of the target and in the image, as apt
    takes them; ``scripts_status``: dpkg's record of what is
    taken as there when packages are unpacked, since only maintainer scripts need it. ``old_cmake``: the distribution's
    CMake does not know CUDA architectures. ``stand_ins``: registries and what is asked in their place, by the user's
    mirror setting. ``machine``: what the image is for; on a workstation everything is native to NVIDIA's x86-64 image.
    ``build_cache``: CMake's build directory outlives the build under this name; "" when each build has a new one.
    """

    project: Project
    targets: tuple[Target, ...]
    strategy: Strategy
    l4t_image: str
    toolchain_image: str | None
    base_image: str | None
    context: bool
    device_code: DeviceCode | AllMajor
    cpu_flag: str
    build_packages: Words
    target_packages: Words
    image_packages: Words
    old_cmake: bool
    scripts_status: str
    entrypoint: Words
    test: Words
    health: Words
    env: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    stand_ins: tuple[tuple[str, str], ...] = ()
    machine: Machine = JETSON
    build_cache: str = ""

    @property
    def is_for_workstation(self) -> bool:
        """True when the image is for an x86-64 machine with a GPU."""
        return self.machine is WORKSTATION

    @property
    def cuda_target(self) -> str:
        """The directory below ``targets`` in the toolkit with what programs are linked with."""
        return "x86_64-linux" if self.is_for_workstation else self.target.cuda_target

    @property
    def target(self) -> Target:
        """Any of the targets, for what those of one release share."""
        return self.targets[0]

    @property
    def unpacks(self) -> bool:
        """True when the image gets packages without their maintainer scripts."""
        return bool(self.project.image.packages) and not self.project.image.scripts

    @property
    def unpinned(self) -> Words:
        """What goes into the result and may be another tomorrow: images without a digest, packages of any version."""
        takes_l4t = not self.context or (self.base_image is None and self.unpacks)
        images = (self.l4t_image if takes_l4t else None, self.base_image)
        named = [f"the image {image}" for image in images if image and "@" not in image]
        packages = [f"sysroot.packages {name}" for name in self.target_packages if "=" not in name]
        packages = [] if self.context else packages
        return (*named, *packages, *(f"image.packages {name}" for name in self.image_packages if "=" not in name))

    @property
    def source(self) -> str:
        """The source directory in the build stage, where the build context is mounted at ``/project``."""
        return posixpath.normpath(posixpath.join("/project", self.project.build.source))

    @property
    def outputs(self) -> Words:
        """Names or globs in the build directory."""
        return self.project.build.outputs or (self.project.name,)

    @property
    def include_dirs(self) -> Words:
        """``build.include``, where an absolute one is in the target's file system."""
        root = "/sysroot" if self.strategy == "cross" else ""
        return tuple(root + each if each.startswith("/") else each for each in self.project.build.include)

    @property
    def names_build_type(self) -> bool:
        """True when the project's own arguments say CMake's build type."""
        return any(word.startswith("-DCMAKE_BUILD_TYPE") for word in self.project.build.args)

    @property
    def library_dirs(self) -> Words:
        """Where a program of the target finds its libraries, as absolute paths there."""
        cuda = f"/{self.target.cuda_dir}/targets/{self.cuda_target}/lib"
        triple = self.machine.triple
        return (f"/usr/lib/{triple}", f"/lib/{triple}", "/usr/lib", cuda, *self.driver_dirs)

    @property
    def driver_dirs(self) -> Words:
        """Where the nvidia runtime mounts the device's driver libraries, beside where all libraries are."""
        if self.is_for_workstation:
            return ()
        return tuple(f"/{directory}" for directory in self.target.line.tegra_library_dirs)


def resolve_strategy(asked: str) -> Strategy:
    """The strategy of that name; "auto" is cross, the fastest, which needs no emulator and no other machine.

    Raises ConfigError for any other word.
    """
    if asked in ("auto", "cross"):
        return "cross"
    if asked == "emulate":
        return "emulate"
    if asked == "native":
        return "native"
    raise ConfigError(f"unknown strategy {asked!r}", hint="auto, cross, emulate or native")


def plan_dockerfile(
    project: Project,
    targets: Sequence[Target],
    *,
    strategy: Strategy,
    toolchains: Sequence[ToolchainImage],
    lock: Lock | None = None,
    pins: AptPins = NO_PINS,
    context: bool = False,
    mirrors: Mirrors = _NO_MIRRORS,
    machine: Machine = JETSON,
    build_cache: str = "",
) -> Dockerfile:
    """The Dockerfile for ``targets``, which are of one L4T release; images are named where ``mirrors`` has them.

    With ``machine`` WORKSTATION it makes the same program for x86-64 machines with a GPU, with the CUDA of that
    release; ``strategy`` has to be "native" then. ``pins`` are for the package sources of the release's image: another
    base's, or maintainer scripts, know nothing of them. ``build_cache`` names a build directory to keep for the next
    build, for CMake alone; it has to be another for each directory of sources, since ninja believes their times.

    Raises ConfigError when there is no image to build on, or for a project that a Dockerfile cannot hold.
    """
    target = targets[0]
    _refuse(project, target, strategy, context=context)
    base = project.image.base
    is_for_workstation = machine is WORKSTATION
    l4t_image = _workstation_image(target, toolchains) if is_for_workstation else _l4t_image(target, lock)
    sms = tuple(sorted({each.sm for each in targets}))
    program = _program(project)
    health = project.deploy.health.command if project.deploy.health else ()
    minimal = base == "minimal"
    old_cmake = project.build.system == "cmake" and target.line.ubuntu in _OLD_CMAKE[machine.platform]
    planned = Dockerfile(
        project=project,
        targets=tuple(targets),
        strategy=strategy,
        l4t_image=l4t_image,
        toolchain_image=_toolchain_image(target, toolchains) if strategy == "cross" else None,
        base_image=None if minimal else pinned(base, _known_digest(base, target, lock)),
        context=context,
        device_code=AllMajor() if is_for_workstation else DeviceCode(sms=sms),
        cpu_flag=common_cpu(targets).portable_flag,
        build_packages=_build_packages(project, old_cmake=old_cmake),
        target_packages=project.sysroot.packages if pins.target is None else pins.target,
        image_packages=project.image.packages if pins.image is None or not minimal else pins.image,
        old_cmake=old_cmake,
        scripts_status="\n".join(scripts_stanzas(project.image.packages)),
        test=_in_image(project, project.image.test),
        entrypoint=_in_image(project, project.image.entrypoint or (program,)),
        health=_in_image(project, health),
        env=tuple({**_ENV, **({"SSL_CERT_FILE": _CERTIFICATES} if minimal else {}), **dict(project.image.env)}.items()),
        labels=tuple({**_labels(project, targets, sms, machine), **dict(project.image.labels)}.items()),
        machine=machine,
        build_cache=build_cache if project.build.system == "cmake" else "",
    )
    return _through(mirrors, planned)


def _through(mirrors: Mirrors, planned: Dockerfile) -> Dockerfile:
    """``planned`` with its images named where ``mirrors`` has them."""
    named = (planned.l4t_image, planned.toolchain_image, planned.base_image)
    l4t, toolchain, base = (name and mirrored(name, mirrors) for name in named)
    pairs = {
        (parse_reference(before).registry, parse_reference(after).registry)
        for before, after in zip(named, (l4t, toolchain, base), strict=True)
        if before and after and before != after
    }
    return replace(
        planned,
        l4t_image=l4t or planned.l4t_image,
        toolchain_image=toolchain,
        base_image=base,
        stand_ins=tuple(sorted(pairs)),
    )


def _refuse(project: Project, target: Target, strategy: Strategy, *, context: bool) -> None:
    """Raise ConfigError for what a Dockerfile cannot do."""
    release, where = target.release, project.path
    if project.target.cuda is not None:
        raise ConfigError(
            f"{where}: target.cuda: the images of L4T {release.l4t} hold CUDA {target.release.cuda_version} only",
            hint="leave [target] cuda out, or build with `jetsonx build`, which fetches other CUDA versions",
        )
    if project.build.override_arch:
        raise ConfigError(
            f"{where}: build.override_arch: a Dockerfile has no compiler in between that could replace -arch",
            hint="leave it out, or build with `jetsonx build`",
        )
    if project.image.scripts and project.image.base == "minimal":
        raise ConfigError(
            f'{where}: image.scripts: the base "minimal" has no apt-get, and no shell for maintainer scripts',
            hint="set [image] base to an image that has apt, or leave scripts out: packages are unpacked then",
        )
    if context and strategy != "cross":
        raise ConfigError(
            f"--context: the {strategy} strategy builds on the L4T image itself and has no sysroot",
            hint="leave --context out, or: --strategy cross",
        )
    if release.image is None or not release.image.has_cuda:
        known = f"there is only {release.image.reference}, without them" if release.image else "none is known"
        raise ConfigError(
            f"{target.name}: a Dockerfile needs an image with CUDA's headers and libraries, and for L4T {release.l4t} "
            f"{known}",
            hint="build with `jetsonx build`, or for a newer release (jetsonx targets)",
        )


def _l4t_image(target: Target, lock: Lock | None) -> str:
    image = target.release.image
    assert image is not None  # noqa: S101 - _refuse has seen to it
    return pinned(image.reference, _known_digest(image.reference, target, lock))


def _known_digest(reference: str, target: Target, lock: Lock | None) -> str | None:
    """The digest of an image: jetsonx.lock's when a sysroot was made of it, else the catalog's."""
    entry = lock.sysroot_of(target.release.l4t) if lock else None
    if entry is not None and entry.manifest and entry.origin == reference:
        return entry.manifest
    image = target.release.image
    return image.digest if image is not None and image.reference == reference else None


def find_toolchain(target: Target, toolchains: Sequence[ToolchainImage]) -> ToolchainImage | None:
    """The x86-64 image that a cross build for ``target`` starts from; None when none is known."""
    wanted = (target.cuda_version, target.line.ubuntu)
    return next((image for image in toolchains if (image.cuda, image.suite) == wanted), None)


def _toolchain_image(target: Target, toolchains: Sequence[ToolchainImage]) -> str:
    image = find_toolchain(target, toolchains)
    if image is not None:
        return pinned(image.reference, image.digest)
    raise ConfigError(
        f"{target.name}: no x86-64 image with CUDA {target.cuda_version} on Ubuntu {target.line.ubuntu} is known",
        hint="--strategy emulate builds on the release's own image",
    )


def _workstation_image(target: Target, toolchains: Sequence[ToolchainImage]) -> str:
    if parse_version(target.cuda_version) < _FIRST_WITH_ALL_MAJOR:
        raise ConfigError(
            f"{target.name}: nvcc of CUDA {target.cuda_version} cannot make code for every GPU of a workstation",
            hint="choose a newer release with -t, or leave linux/amd64 out",
        )
    return _toolchain_image(target, toolchains)


def _build_packages(project: Project, *, old_cmake: bool) -> Words:
    wanted = [*_BUILD_PACKAGES[project.build.system], "ccache"]
    if old_cmake:
        wanted = ["python3-pip", *(name for name in wanted if name != "cmake")]
    return tuple(sorted(wanted))


def _program(project: Project) -> str:
    first = (project.build.outputs or (project.name,))[0]
    if not project.image.entrypoint and _GLOB & set(first):
        raise ConfigError(
            f"{project.path}: image.entrypoint: missing: which of {first!r} the image is to start cannot be known "
            "before it is built",
            hint=f'add [image] entrypoint = ["{project.name}"]',
        )
    return first


def _in_image(project: Project, words: Words) -> Words:
    """``words`` with the program as a path in the image; one that is no output is left to the image's PATH."""
    if not words:
        return ()
    program, *arguments = words
    outputs = [name for name in project.build.outputs or (project.name,) if not _GLOB & set(name)]
    named = [name for name in outputs if program in (name, posixpath.basename(name))]
    if named:
        program = f"/opt/{project.name}/{posixpath.normpath(named[0])}"
    elif not program.startswith("/"):
        program = f"/opt/{project.name}/{posixpath.normpath(program)}"
    return (program, *arguments)


def _labels(project: Project, targets: Sequence[Target], sms: Sequence[int], machine: Machine) -> dict[str, str]:
    common = {
        "jetsonx.version": __version__,
        "jetsonx.cuda": targets[0].cuda_version,
        "org.opencontainers.image.title": project.name,
        "org.opencontainers.image.version": project.version,
    }
    if machine is WORKSTATION:
        return common
    return {
        "jetsonx.version": __version__,
        "jetsonx.target": ",".join(target.name for target in targets),
        "jetsonx.l4t": targets[0].release.l4t,
        "jetsonx.cuda": targets[0].cuda_version,
        "jetsonx.sms": ",".join(map(str, sms)),
        **common,
    }
