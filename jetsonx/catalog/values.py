"""The catalog's values: modules, L4T lines and releases, CUDA toolkits and suites, each as its TOML row says.

``confidence`` on a value is one of :data:`CONFIDENCES`; ``doubts`` pairs a field's name with a lower confidence of its
own; ``sources`` are ids explained in ``modules.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from jetsonx.catalog.filters import Filter
from jetsonx.catalog.versions import parse_version

Compiler = Literal["gcc", "clang"]
Pairs = tuple[tuple[str, str], ...]

CONFIDENCES = ("measured", "verified", "reported", "unverified")
"""From the surest to the least sure; what each means is said in ``modules.toml``."""


def worst_confidence(*confidences: str) -> str:
    """The least sure of several."""
    return max(confidences, key=CONFIDENCES.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFlag:
    """A compiler option; ``since`` is the first GCC major known to take it, None any."""

    flag: str
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Jetson module, with what it has from its SoC. ``sm`` is its machine code, e.g. 87.

    ``cpu_rank`` orders the SoCs so that code for one also runs on those of higher rank: our own inference from the
    architecture levels, see ``modules.toml``. ``first_l4t`` and ``last_l4t`` are None where no bound is known.
    """

    id: str
    name: str
    soc: str
    family: str
    gpu_arch: str
    sm: int
    cpu: str
    cpu_rank: int
    gcc_flags: tuple[CpuFlag, ...]
    portable_flag: str
    l4t_majors: tuple[int, ...]
    confidence: str
    sources: tuple[str, ...]
    sm_cuda12: int | None = None
    clang_flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    not_l4t_majors: tuple[int, ...] = ()
    earlier_l4t_majors: tuple[int, ...] = ()
    first_l4t: str | None = None
    last_l4t: str | None = None
    ram_gb: tuple[int, ...] = ()
    part_numbers: Pairs = ()
    detect_compatible: tuple[str, ...] = ()
    model_strings: tuple[str, ...] = ()
    midr_part: str | None = None
    doubts: Pairs = ()

    @property
    def compute_capability(self) -> str:
        """The GPU's compute capability in CUDA 13's numbering: ``"8.7"``."""
        return compute_capability(self.sm)

    def sm_for_cuda(self, cuda: str) -> int:
        """The SM number that the CUDA toolkit ``cuda`` (``"12.6"``) uses for this GPU."""
        return self.sm_cuda12 if self.sm_cuda12 is not None and parse_version(cuda) < (13,) else self.sm

    def cpu_flags(self, compiler: Compiler, major: int) -> tuple[str, ...]:
        """Options that tune for this CPU, best first; the last one is taken by every AArch64 compiler.

        The caller takes the first that its compiler really accepts: versions patched by a distribution differ.
        """
        if compiler == "clang":
            named = (*self.clang_flags, *(flag.flag for flag in self.gcc_flags))
        else:
            named = tuple(flag.flag for flag in self.gcc_flags if flag.since is None or flag.since <= major)
        return (*named, self.portable_flag)

    def supports(self, release: Release) -> bool:
        """True when this L4T release runs on the module."""
        version = parse_version(release.l4t)
        return (
            version[0] in self.l4t_majors
            and (self.first_l4t is None or parse_version(self.first_l4t) <= version)
            and (self.last_l4t is None or version <= parse_version(self.last_l4t))
            and (release.modules is None or self.id in release.modules)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A distribution release that a sysroot can be made of. ``gcc`` is its default GCC's major version."""

    distribution: str
    codename: str
    version: str
    glibc: str
    glibcxx: str
    gcc: int
    confidence: str
    sources: tuple[str, ...]
    gcc_version: str | None = None
    libstdcxx_from: str | None = None
    python: str | None = None
    doubts: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverCuda:
    """Which CUDA the driver of L4T ``l4t_min`` up to below ``l4t_below`` runs. None: not known.

    ``redist_cuda``: the CUDA to build with where the release's own has no redistributable archives; the device then
    needs the cuda-compat package of that version.
    """

    l4t_min: str
    l4t_below: str
    native_cuda: str
    max_cuda: str
    confidence: str
    sources: tuple[str, ...]
    max_cuda_with_compat: str | None = None
    redist_cuda: str | None = None
    compat: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interchangeable:
    """L4T releases from ``l4t_min`` up to below ``l4t_below`` run one another's container images."""

    l4t_min: str
    l4t_below: str
    confidence: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """The container image that a sysroot of ``releases`` is taken from.

    ``digest`` is that of its manifest for linux/arm64 (None: not read), ``has_cuda`` tells whether it holds CUDA's
    headers and libraries.
    """

    reference: str
    releases: tuple[str, ...]
    has_cuda: bool
    confidence: str
    sources: tuple[str, ...]
    digest: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One L4T release and the versions it ships; None where a version was not read.

    ``also`` are later revisions with the same contents, ``modules`` the modules it is limited to (None: by the line).
    ``image`` is None where no image is known to fit.
    """

    l4t: str
    line: str
    ubuntu: str
    jetpack: str
    kernel: str
    cuda: str
    confidence: str
    sources: tuple[str, ...]
    also: tuple[str, ...] = ()
    modules: tuple[str, ...] | None = None
    cuda_toolkit: str | None = None
    cudnn: str | None = None
    tensorrt: str | None = None
    vpi: str | None = None
    opencv: str | None = None
    container_toolkit: str | None = None
    docker_stack: tuple[str, ...] = ()
    driver_suffix: str | None = None
    cuda_compat: tuple[str, ...] = ()
    image: BaseImage | None = None
    note: str | None = None

    @property
    def cuda_version(self) -> str:
        """CUDA's major.minor: ``"13.2"``."""
        return ".".join(self.cuda.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An L4T line such as r36: what holds for all of its releases.

    ``driver_libraries`` are shell patterns for names in DT_NEEDED that the device provides at run time;
    ``tegra_library_dirs`` is where they lie there. ``packages`` hold ``{gcc}``: see :meth:`base_packages`.
    ``image_keep`` are the globs that a whole root file system is kept by beside those of ``filter``.
    """

    id: str
    suite: Suite
    cuda_target: str
    tegra_library_dirs: tuple[str, ...]
    driver_libraries: tuple[str, ...]
    packages: tuple[str, ...]
    filter: Filter
    image_keep: tuple[str, ...]
    drivers: tuple[DriverCuda, ...]
    releases: tuple[Release, ...]
    confidence: str
    sources: tuple[str, ...]
    doubts: Pairs = ()
    note: str | None = None

    @property
    def major(self) -> int:
        """36 for r36."""
        return int(self.id[1:])

    @property
    def ubuntu(self) -> str:
        """Codename of the Ubuntu release on the device."""
        return self.suite.codename

    @property
    def ubuntu_version(self) -> str:
        """``"22.04"``."""
        return self.suite.version

    @property
    def python(self) -> str | None:
        """Version of the device's own Python."""
        return self.suite.python

    @property
    def glibc(self) -> str:
        """The device's glibc, the newest that a program may ask for."""
        return self.suite.glibc

    @property
    def glibcxx(self) -> str:
        """The newest symbol version of the device's libstdc++."""
        return self.suite.glibcxx

    @property
    def image_filter(self) -> Filter:
        """Which files of an image, a device or a root file system's tarball belong into a sysroot."""
        return Filter(keep=(*self.filter.keep, *self.image_keep), drop=self.filter.drop)

    def base_packages(self, gcc: int) -> tuple[str, ...]:
        """Names of the packages under every sysroot made of a suite with this default GCC."""
        return tuple(name.format(gcc=gcc) for name in self.packages)

    def is_driver_library(self, soname: str) -> bool:
        """True when ``soname`` (``"libcuda.so.1"``) comes from the device at run time."""
        return any(fnmatchcase(soname, pattern) for pattern in self.driver_libraries)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaFacts:
    """A CUDA toolkit's limits. Compiler limits are majors; None where not known. ``sms`` is empty where not read.

    ``nvcc_wheels``: version of the x86-64 compiler's wheels to take in place of the release's own, which do not work.
    ``redist``: toolkit versions (``"12.6.3"``) known to have redistributable archives for Jetson, newest first.
    """

    version: str
    gcc_max: int
    clang_max: int
    jetson_sms: tuple[int, ...]
    cuda_target: str
    confidence: str
    sources: tuple[str, ...]
    gcc_min: int | None = None
    sms: tuple[int, ...] = ()
    zig: str | None = None
    zig_clang: str | None = None
    nvcc_on_index: bool = False
    nvcc_wheels: str | None = None
    redist: tuple[str, ...] = ()
    min_cmake: str | None = None
    ptx_isa: str | None = None
    note: str | None = None
    doubts: Pairs = ()

    @property
    def redist_platform(self) -> str:
        """The name of Jetson's libraries among the redistributable archives: Tegra's own until CUDA 12, then SBSA's."""
        return {"aarch64-linux": "linux-aarch64", "sbsa-linux": "linux-sbsa"}[self.cuda_target]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything known: ``modules`` and ``lines`` by id (oldest first), ``cuda`` by major.minor, ``sources`` by id;
    ``interchangeable``: which releases run one another's images.
    """

    modules: Mapping[str, Module]
    lines: Mapping[str, Line]
    cuda: Mapping[str, CudaFacts]
    suites: tuple[Suite, ...]
    sources: Mapping[str, str]
    interchangeable: tuple[Interchangeable, ...] = ()

    def runs_images_of(self, device_l4t: str, image_l4t: str) -> bool:
        """True when a device with the release ``device_l4t`` runs images made for ``image_l4t``."""
        older, newer = sorted((parse_version(device_l4t), parse_version(image_l4t)))
        return older == newer or any(
            parse_version(each.l4t_min) <= older and newer < parse_version(each.l4t_below)
            for each in self.interchangeable
        )

    @property
    def releases(self) -> tuple[Release, ...]:
        """All releases, oldest first."""
        return tuple(release for line in self.lines.values() for release in line.releases)

    def releases_for(self, module: Module) -> tuple[Release, ...]:
        """The releases that run on a module, oldest first."""
        return tuple(release for release in self.releases if module.supports(release))


def compute_capability(sm: int) -> str:
    """``"8.7"`` for 87, ``"11.0"`` for 110."""
    return f"{sm // 10}.{sm % 10}"
