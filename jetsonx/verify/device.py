"""Which GPU runs which device code, and what to say when none of it fits.

The rules are NVIDIA's for Tegra (CUDA C++ Programming Guide: "Binary compatibility is supported only for the desktop.
It is not supported for Tegra."): machine code runs on exactly the SM it was made for; PTX is compiled on the device for
the same SM or any higher one; with the suffix ``a`` or ``f`` neither moves, as no two Jetson GPUs share a family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jetsonx.elf.facts import Entry, Fatbin, FileFacts
from jetsonx.verify.finding import Finding, Severity

_THOR_NAMES = {101, 110}
"""One GPU, two numbers: CUDA 12.8 and 12.9 call it sm_101, CUDA 13 renamed it to sm_110; neither takes the other's."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    rule: str
    severity: Severity
    why: str


def judge_device(file: FileFacts, sm: int, *, sms: Sequence[int], jit: bool) -> Iterator[Finding]:
    """Findings for the device code of one file on a GPU of ``sm``; ``sms`` are all that the build is for (for the fix).

    Each fat binary is judged by itself, since each is loaded by itself; those without kernels are left out, and so is
    relocatable code in a linked file. ``jit``: the user accepts that the device compiles PTX at the first start.
    """
    groups: dict[tuple[_Verdict, str], int] = {}
    for fatbin in file.device_code:
        verdict = _judge_fatbin(fatbin, sm, jit)
        if verdict is not None:
            key = (verdict, _held(fatbin))
            groups[key] = groups.get(key, 0) + 1
    for (verdict, held), count in groups.items():
        part = f" in {count} of its {len(file.device_code)} fat binaries" if len(file.device_code) > 1 else ""
        yield Finding(
            rule=verdict.rule,
            severity=verdict.severity,
            path=file.path,
            message=f"holds {held}{part}, not sm_{sm}: {verdict.why}",
            fix=_fix(verdict, sms),
        )


def _judge_fatbin(fatbin: Fatbin, sm: int, jit: bool) -> _Verdict | None:
    entries = fatbin.entries
    if any(_runs(entry, sm, fatbin.is_relocatable) for entry in entries):
        return None
    if any(_compiles(entry, sm) for entry in entries):
        if jit:
            return _Verdict("JX703", "note", "the device compiles the PTX at the first start, which takes time")
        return _Verdict(
            "JX703", "error", "it would be compiled on the device at the first start, but machine code was asked for"
        )
    if sm in _THOR_NAMES and any(entry.sm in _THOR_NAMES for entry in entries):
        return _Verdict(
            "JX706", "error", "Thor is sm_101 in CUDA 12.8 and 12.9, sm_110 from CUDA 13 on; they do not mix"
        )
    if any(entry.variant and _lower(entry, sm) for entry in entries):
        return _Verdict("JX705", "error", "code with the suffix a or f does not run on another architecture")
    if any(entry.kind == "cubin" and _lower(entry, sm) for entry in entries):
        return _Verdict(
            "JX702", "error", "on Tegra, machine code for a lower SM of the same generation is not supported"
        )
    return _Verdict("JX701", "error", "the GPU can run none of it")


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


def _held(fatbin: Fatbin) -> str:
    """ "sm_75 machine code and compute_75 PTX"."""
    words = {"cubin": "machine code", "ptx": "PTX", "ltoir": "LTO code", "other": "code of an unknown kind"}
    parts = []
    for kind, word in words.items():
        names = dict.fromkeys(x.name for x in sorted(fatbin.entries, key=lambda x: x.sm) if x.kind == kind)
        if names:
            parts.append(f"{', '.join(names)} {word}")
    return " and ".join(parts)


def _fix(verdict: _Verdict, sms: Sequence[int]) -> str:
    if verdict.severity == "note":
        return ""
    listed = ";".join(map(str, sms))
    gencode = " ".join(f"-gencode arch=compute_{sm},code=sm_{sm}" for sm in sms)
    text = (
        f"the project's own files choose the architecture: give them -DCMAKE_CUDA_ARCHITECTURES='{listed}' (CMake) or "
        f"`{gencode}` (nvcc), or write `override_arch = true` under [build] in jetsonx.toml"
    )
    return f"{text}; `jit = true` under [target] accepts PTX" if verdict.rule == "JX703" else text
