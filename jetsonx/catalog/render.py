"""The catalog and targets as text for people and as JSON for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

from jetsonx.catalog.target import Target
from jetsonx.catalog.values import Catalog, CpuFlag, CudaFacts, DriverCuda, Module, Release
from jetsonx.catalog.versions import short_l4t

SCHEMA = 1

_COLUMNS = 100

_MODULE_KEYS = ("id", "name", "aliases", "soc", "gpu_arch", "cpu", "ram_gb", "confidence")
_RELEASE_KEYS = (
    "l4t", "also", "line", "jetpack", "kernel", "ubuntu", "cuda", "cuda_toolkit", "cudnn", "tensorrt", "vpi", "opencv",
    "container_toolkit", "note", "confidence",
)  # fmt: skip
_IMAGE_KEYS = ("reference", "digest", "has_cuda", "note", "confidence")
_CUDA_KEYS = (
    "gcc_min", "gcc_max", "clang_max", "sms", "zig", "nvcc_on_index", "redist", "min_cmake", "ptx_isa", "note",
    "confidence",
)  # fmt: skip
_DRIVER_KEYS = ("max_cuda", "max_cuda_with_compat", "compat", "note", "confidence")

_FOOTER = """\
A target is module@release: orin-nano@39.2, agx-thor@jetpack-7.1 (agx-thor is thor-t5000).
Everything known about one: jetsonx targets orin-nano@36.4.3"""


def render_table(catalog: Catalog) -> str:
    """The modules, one a line, with what runs on them; fits 100 columns."""
    rows = [("MODULE", "NAME", "SM", "L4T", "JETPACK", "CUDA")]
    for module in catalog.modules.values():
        releases = catalog.releases_for(module)
        rows.append(
            (
                module.id,
                module.name,
                str(module.sm),
                _spans(catalog.lines, [release.line for release in releases]),
                _spans(_jetpacks(catalog.releases), _jetpacks(releases)),
                " ".join(dict.fromkeys(release.cuda_version for release in releases)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join([*lines, "", _FOOTER])


def render_target(target: Target) -> str:
    """Everything derived for a target, one fact a line."""
    module, release, line, cuda, driver = target.module, target.release, target.line, target.cuda, target.driver
    facts: list[tuple[str, object]] = [
        ("module", f"{module.name}: {module.gpu_arch} GPU, {module.cpu}, {_list(module.ram_gb, ' or ')} GB"),
        ("also called", _list(module.aliases)),
        ("SoC", module.soc),
        ("machine code", f"sm_{target.sm} (compute capability {target.compute_capability})"),
        ("CPU flags, GCC", _list(_gcc_flags(module), ", else ")),
        ("CPU flags, clang", _list(module.cpu_flags("clang", 0), ", else ")),
        ("L4T", f"{short_l4t(release.l4t)}, JetPack {release.jetpack}, kernel {release.kernel}"),
        ("image", release.image and release.image.reference),
        ("same contents", _list(short_l4t(l4t) for l4t in release.also)),
        ("Ubuntu", f"{line.ubuntu_version} ({line.ubuntu}), Python {line.python}"),
        ("ceilings", f"glibc {target.glibc}, {target.glibcxx}"),
        ("CUDA", release.cuda + (f" (toolkit {release.cuda_toolkit})" if release.cuda_toolkit else "")),
        ("CUDA directory", f"{target.cuda_dir}/targets/{target.cuda_target}"),
        ("nvcc takes", _compilers(cuda) if cuda else "unknown: the catalog has no limits for this CUDA"),
        ("driver runs", driver and _driver_text(driver)),
        ("cuDNN", release.cudnn),
        ("TensorRT", release.tensorrt),
        ("VPI", release.vpi),
        ("OpenCV", release.opencv),
        ("architecture", f"{target.triple}, {target.debian_arch}, {target.platform}"),
        ("driver's own", f"{len(line.driver_libraries)} library patterns, in /{line.tegra_library_dirs[0]}"),
        ("confidence", _confidence(target)),
        ("note", _list(filter(None, (release.note, driver and driver.note, cuda and cuda.note)), " ")),
    ]
    width = max(len(name) for name, _ in facts)
    wrapper = textwrap.TextWrapper(_COLUMNS, subsequent_indent=" " * (width + 4), break_on_hyphens=False)
    lines = [wrapper.fill(f"  {name.ljust(width)}  {value}") for name, value in facts if value]
    return "\n".join([target.name, *lines])


def catalog_json(catalog: Catalog) -> dict[str, Any]:
    """The table as JSON. Keys:

    ``schema`` 1; ``modules`` [{``id``, ``name``, ``aliases``, ``sm``, ``l4t`` (all releases that run on it),
    ``cuda`` (their major.minor), ``confidence``}]; ``releases`` [{``l4t``, ``also``, ``jetpack``, ``cuda``,
    ``ubuntu``, ``confidence``}].
    """
    return {
        "schema": SCHEMA,
        "modules": [
            {
                **_pick(module, ("id", "name", "aliases", "sm", "confidence")),
                "l4t": [release.l4t for release in catalog.releases_for(module)],
                "cuda": list(dict.fromkeys(release.cuda_version for release in catalog.releases_for(module))),
            }
            for module in catalog.modules.values()
        ],
        "releases": [
            _pick(release, ("l4t", "also", "jetpack", "cuda", "ubuntu", "confidence")) for release in catalog.releases
        ],
    }


def target_json(target: Target) -> dict[str, Any]:
    """Everything derived for a target as JSON; null where something is not known. Keys:

    ``schema`` 1, ``target`` (its full name), ``confidence`` (of the pair);
    ``module``: ``id``, ``name``, ``aliases``, ``soc``, ``gpu_arch``, ``cpu``, ``ram_gb``, ``part_numbers``
    {number: what}, ``confidence``, ``doubts`` {field: confidence};
    ``release``: ``l4t``, ``also``, ``line``, ``jetpack``, ``kernel``, ``ubuntu``, ``ubuntu_version``, ``python``,
    ``cuda``, ``cuda_toolkit``, ``cudnn``, ``tensorrt``, ``vpi``, ``opencv``, ``container_toolkit``, ``note``,
    ``confidence``, ``image`` (null: none known to fit): ``reference``, ``digest``, ``has_cuda``, ``note``,
    ``confidence``;
    ``arch``: ``triple``, ``debian``, ``platform``, ``interpreter``;
    ``gpu``: ``sm``, ``compute_capability``;
    ``cpu_flags``: ``gcc`` [{``flag``, ``since`` (first GCC major, null: any)}] and ``clang`` [flag], best first;
    ``ceilings``: ``glibc``, ``glibcxx``;
    ``cuda``: ``version``, ``dir``, ``target_dir`` and ``limits`` (null: not known): ``gcc_min``, ``gcc_max``,
    ``clang_max``, ``sms``, ``zig``, ``nvcc_on_index``, ``redist``, ``min_cmake``, ``ptx_isa``, ``note``,
    ``confidence``, ``doubts``;
    ``driver``: ``max_cuda``, ``max_cuda_with_compat``, ``compat``, ``note``, ``confidence``, ``libraries`` (shell
    patterns), ``library_dirs``.
    """
    module, release, line = target.module, target.release, target.line
    return {
        "schema": SCHEMA,
        "target": target.name,
        "confidence": target.confidence,
        "module": {
            **_pick(module, _MODULE_KEYS),
            "part_numbers": dict(module.part_numbers),
            "doubts": dict(module.doubts),
        },
        "release": {
            **_pick(release, _RELEASE_KEYS),
            **_pick(line, ("ubuntu_version", "python")),
            "image": release.image and _pick(release.image, _IMAGE_KEYS),
        },
        "arch": {
            "triple": target.triple,
            "debian": target.debian_arch,
            "platform": target.platform,
            "interpreter": target.interpreter,
        },
        "gpu": _pick(target, ("sm", "compute_capability")),
        "cpu_flags": {
            "gcc": [_pick(flag, ("flag", "since")) for flag in (*module.gcc_flags, CpuFlag(flag=module.portable_flag))],
            "clang": list(module.cpu_flags("clang", 0)),
        },
        "ceilings": _pick(target, ("glibc", "glibcxx")),
        "cuda": {
            "version": target.cuda_version,
            "dir": target.cuda_dir,
            "target_dir": target.cuda_target,
            "limits": target.cuda and {**_pick(target.cuda, _CUDA_KEYS), "doubts": dict(target.cuda.doubts)},
        },
        "driver": {
            **(_pick(target.driver, _DRIVER_KEYS) if target.driver else dict.fromkeys(_DRIVER_KEYS)),
            "libraries": list(line.driver_libraries),
            "library_dirs": list(line.tegra_library_dirs),
        },
    }


def _pick(value: object, names: Iterable[str]) -> dict[str, Any]:
    picked = {name: getattr(value, name) for name in names}
    return {name: list(it) if isinstance(it, tuple) else it for name, it in picked.items()}


def _spans(every: Iterable[str], chosen: Iterable[str]) -> str:
    """``chosen`` with unbroken runs of ``every`` drawn together: ``"r34-r36 r39"``."""
    wanted = set(chosen)
    runs: list[list[str]] = [[]]
    for name in every:
        if name in wanted:
            runs[-1].append(name)
        else:
            runs.append([])
    return " ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if run)


def _jetpacks(releases: Iterable[Release]) -> list[str]:
    return [release.jetpack.removesuffix(" DP") for release in releases]


def _list(items: Iterable[object], separator: str = ", ") -> str:
    return separator.join(map(str, items))


def _gcc_flags(module: Module) -> list[str]:
    sinces = [f"{flag.flag} (GCC {flag.since})" if flag.since else flag.flag for flag in module.gcc_flags]
    return [*sinces, module.portable_flag]


def _compilers(cuda: CudaFacts) -> str:
    gcc = f"GCC {cuda.gcc_min} to {cuda.gcc_max}" if cuda.gcc_min else f"GCC up to {cuda.gcc_max}"
    zig = f" (zig {cuda.zig})" if cuda.zig else ""
    cmake = f"; CMake {cuda.min_cmake} or newer finds it" if cuda.min_cmake else ""
    return f"{gcc}, clang up to {cuda.clang_max}{zig}{cmake}"


def _driver_text(driver: DriverCuda) -> str:
    if driver.max_cuda_with_compat in (None, driver.max_cuda):
        return f"CUDA {driver.max_cuda}"
    return f"CUDA {driver.max_cuda}, up to {driver.max_cuda_with_compat} with cuda-compat"


def _confidence(target: Target) -> str:
    doubts = [f"{field.replace('_', ' ')} {confidence}" for field, confidence in target.module.doubts]
    return _list([target.confidence, *doubts])
