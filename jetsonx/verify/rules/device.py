"""JX701 to JX706: which GPU runs which device code, and what to say when none of it fits.

The rules are NVIDIA's for Tegra (CUDA C++ Programming Guide: "Binary compatibility is supported only for the desktop.
It is not supported for Tegra."): machine code runs on exactly the SM it was made for; PTX is compiled on the device for
the same SM or any higher one; with the suffix ``a`` or ``f`` neither moves, as no two Jetson GPUs share a family.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import Entry, Fatbin, FileFacts
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding, Severity
from jetsonx.verify.profile import cuda_of_ptx

_THOR_NAMES = {101, 110}
"""One GPU, two numbers: CUDA 12.8 and 12.9 call it sm_101, CUDA 13 renamed it to sm_110; neither takes the other's."""


_CHOOSES_BY_GPU = re.compile(
    r"lib(cublas|cudnn|cufft|curand|cusolver|cusparse|cutensor|nccl|npp|nvinfer|nvjpeg|nvonnxparser)\w*\.so"
)
"""NVIDIA's libraries, which hold fat binaries for single GPUs and choose (measured: of the 1,686 in libcublasLt.so.13
of CUDA 13.2, 208 have code for sm_110)."""

_CLOSENESS = ("JX703", "JX704", "JX702", "JX706", "JX705", "JX701")


class _Verdict(NamedTuple):
    rule: str
    severity: Severity
    why: str


def judge_device(context: Context) -> Iterator[Finding]:
    """Each fat binary is judged by itself, since each is loaded by itself.

    Those without kernels are left out, so is relocatable code in a linked file, and what lies outside of the known
    sections.
    """
    for node, facts in context.files:
        if facts.fatbins:
            yield from _judge_file(context, node, facts)


def _judge_file(context: Context, node: Node, facts: FileFacts) -> Iterator[Finding]:
    code = [fatbin for fatbin in facts.device_code if not fatbin.is_outside]
    groups: dict[_Verdict | None, list[Fatbin]] = {}
    verdicts: dict[tuple[object, ...], _Verdict | None] = {}
    for fatbin in code:
        key = (fatbin.is_relocatable, *((x.kind, x.sm, x.variant, x.isa) for x in fatbin.entries))
        if key not in verdicts:  # a library may hold thousands, and most of them are alike
            verdicts[key] = _judge_fatbin(context, fatbin)
        groups.setdefault(verdicts[key], []).append(fatbin)
    if _CHOOSES_BY_GPU.match(posixpath.basename(node.path)):
        groups = _best(groups, len(code))
    for verdict, fatbins in groups.items():
        if verdict is None:
            continue
        held = _held(fatbins)
        part = f" in {len(fatbins)} of its {len(code)} fat binaries" if len(code) > 1 else ""
        yield context.find(
            verdict.rule,
            node,
            f"holds {held}{part}, not sm_{context.profile.sm}: {verdict.why}",
            severity=verdict.severity,
            fix=_fix(context, verdict),
            detail=held,
        )


def _best(groups: dict[_Verdict | None, list[Fatbin]], total: int) -> dict[_Verdict | None, list[Fatbin]]:
    """What is closest to running in a library that has code of its own for single GPUs, and knows which to load.

    A twentieth of its fat binaries has to be so; nothing is wrong when that much of it runs.
    """
    many = {verdict: fatbins for verdict, fatbins in groups.items() if 20 * len(fatbins) >= total}
    failed = {verdict: fatbins for verdict, fatbins in many.items() if verdict is not None}
    if not failed or len(failed) < len(many):
        return {}
    best = min(failed, key=lambda verdict: _CLOSENESS.index(verdict.rule))
    return {best: failed[best]}


def _judge_fatbin(context: Context, fatbin: Fatbin) -> _Verdict | None:
    entries, sm = fatbin.entries, context.profile.sm
    if any(_runs(entry, sm, fatbin.is_relocatable) for entry in entries):
        return None
    texts = [entry for entry in entries if _compiles(entry, sm)]
    if texts:
        return _judge_text(context, texts)
    if sm in _THOR_NAMES and any(entry.sm in _THOR_NAMES for entry in entries):
        return _Verdict(
            "JX706", "error", "Thor is sm_101 in CUDA 12.8 and 12.9, sm_110 from CUDA 13 on; they do not mix"
        )
    if any(entry.variant and _lower(entry, sm) for entry in entries):
        return _Verdict("JX705", "error", "code with the suffix a or f does not run on another architecture")
    if any(entry.kind == "cubin" and _lower(entry, sm) for entry in entries):
        why = "NVIDIA supports machine code for a lower SM of the same generation on desktops, not on Tegra"
        if context.options.allow_minor:
            return _Verdict("JX702", "warning", f"{why}; reports differ")
        return _Verdict("JX702", "error", f"{why}; reports differ, --allow-minor makes this a warning")
    return _Verdict("JX701", "error", "the GPU can run none of it")


def _judge_text(context: Context, texts: list[Entry]) -> _Verdict | None:
    """What to say of PTX that the device will compile; any one version that the driver reads will do."""
    profile = context.profile
    oldest = min((entry.isa for entry in texts if entry.isa is not None), default=None)
    if oldest is not None and profile.ptx_isa is not None and oldest > profile.ptx_isa:
        since = cuda_of_ptx(oldest)
        brought = f" (CUDA {since})" if since else ""
        why = f"PTX {_dotted(oldest)}{brought} is newer than {_dotted(profile.ptx_isa)}, which the driver reads"
        if profile.ptx_isa_with_compat is not None and oldest <= profile.ptx_isa_with_compat:
            return _Verdict("JX704", "warning", f"{why} unless cuda-compat is installed")
        return _Verdict("JX704", "error", why)
    if context.options.jit:
        return _Verdict("JX703", "note", "the device compiles the PTX at the first start, which takes time")
    return _Verdict(
        "JX703", "error", "it would be compiled on the device at the first start, but machine code was asked for"
    )


def _runs(entry: Entry, sm: int, is_relocatable: bool) -> bool:
    if entry.kind == "ltoir" and is_relocatable:  # becomes machine code in the device link, for this SM or a higher one
        return entry.sm == sm or (not entry.variant and entry.sm < sm)
    return entry.kind == "cubin" and entry.sm == sm


def _compiles(entry: Entry, sm: int) -> bool:
    if entry.kind != "ptx" or {entry.sm, sm} == _THOR_NAMES:
        return False
    return entry.sm == sm or (not entry.variant and entry.sm < sm)


def _lower(entry: Entry, sm: int) -> bool:
    """A lower SM that a desktop GPU would take: the same major number for machine code, any for PTX."""
    return entry.sm < sm and (entry.kind == "ptx" or entry.sm // 10 == sm // 10)


def _held(fatbins: Sequence[Fatbin]) -> str:
    """ "sm_75 machine code and compute_75 PTX"."""
    words = {"cubin": "machine code", "ptx": "PTX", "ltoir": "LTO code", "other": "code of an unknown kind"}
    entries = {(x.sm, x.name, x.kind) for fatbin in fatbins for x in fatbin.entries}
    parts = []
    for kind, word in words.items():
        names = [name for _, name, its_kind in sorted(entries) if its_kind == kind]
        if names:
            parts.append(f"{', '.join(names)} {word}")
    return " and ".join(parts) or "nothing"


def _fix(context: Context, verdict: _Verdict) -> str:
    if verdict.severity == "note":
        return ""
    listed = ";".join(map(str, context.sms))
    gencode = " ".join(f"-gencode arch=compute_{sm},code=sm_{sm}" for sm in context.sms)
    if not context.options.own_build:
        return (
            f"compile it with -DCMAKE_CUDA_ARCHITECTURES='{listed}' (CMake) or `{gencode}` (nvcc); for a library of "
            "others take its build for this Jetson"
        )
    text = (
        f"the project's own files choose the architecture: give them -DCMAKE_CUDA_ARCHITECTURES='{listed}' (CMake) or "
        f"`{gencode}` (nvcc), or write `override_arch = true` under [build] in jetsonx.toml"
    )
    return f"{text}; `jit = true` under [target] accepts PTX" if verdict.rule == "JX703" else text


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
