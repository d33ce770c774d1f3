"""JX707 to JX711: what made the device code, and what of it is of no use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts, Fatbin, FileFacts
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding, Severity
from jetsonx.verify.profile import Version

_CUDART = re.compile(r"libcudart\.so\.(\d+)(?:\.(\d+))?")
_COMPAT = re.compile(r"(?:.*/)?usr/local/cuda[^/]*/compat[^/]*/libcuda\.so.*")
_SERVER = re.compile(r"(?:.*/)?(?:targets/sbsa-linux/lib/|nvidia_[a-z_]+_cu1[12]-[^/]*\.dist-info/WHEEL$)")
_SMALL = 64 << 10  # bytes of useless code in a file that are not worth a word


def judge_toolkits(context: Context) -> Iterator[Finding]:
    """Toolkits newer than the driver, code that never runs, code for other GPUs, libraries for servers."""
    compat = any("/compat" in path and _COMPAT.fullmatch(path) for path in context.tree.nodes)
    for node, facts in context.files:
        if facts.elf is not None or facts.fatbins:
            yield from _judge_driver(context, node, facts, has_compat=compat)
        if facts.fatbins:
            yield from _judge_outside(context, node, facts)
            yield from _judge_leftovers(context, node, facts)
            yield from _judge_useless(context, node, facts)
    yield from _judge_servers(context)


# -- the driver --------------------------------------------------------------------------------------------------------


def _judge_driver(context: Context, node: Node, facts: FileFacts, *, has_compat: bool) -> Iterator[Finding]:
    driver = context.profile.driver_cuda
    found = _newest_toolkit(context, facts)
    if driver is None or found is None:
        return
    version, what = found
    number = version[: len(driver)]
    if number <= driver[: len(number)]:
        return
    reach = context.profile.driver_cuda_with_compat
    covered = reach is not None and number <= reach[: len(number)]
    if covered and has_compat:
        return
    is_minor = number[0] == driver[0]
    message = f"{what}; the driver of {context.profile.name} has CUDA {_dotted(driver)}"
    if covered:
        message += " and needs cuda-compat for it"
    elif is_minor:
        message += ": minor version compatibility, which NVIDIA describes for desktops"
    severity: Severity = "warning" if covered or is_minor else "error"
    yield context.find("JX707", node, message, severity=severity, detail=_dotted(version))


def _newest_toolkit(context: Context, facts: FileFacts) -> tuple[Version, str] | None:
    """The newest CUDA that the file was made with or asks for, and how that shows.

    Only machine code that the target would load counts; the names of other CUDA libraries tell nothing
    (libcusparse.so.12 is CUDA 13's).
    """
    sm = context.profile.sm
    made = {x.toolkit for fatbin in facts.device_code for x in fatbin.entries if x.toolkit is not None and x.sm == sm}
    found: list[tuple[Version, str]] = [(x, f"holds machine code made by CUDA {_dotted(x)}") for x in made]
    for name in facts.elf.needed if facts.elf is not None else ():
        match = _CUDART.fullmatch(name)
        if match:
            version = (int(match[1]), int(match[2])) if match[2] else (int(match[1]),)
            found.append((version, f"needs {name} of CUDA {_dotted(version)}"))
    return max(found, default=None)


# -- what is of no use -------------------------------------------------------------------------------------------------


def _judge_outside(context: Context, node: Node, facts: FileFacts) -> Iterator[Finding]:
    outside = [fatbin for fatbin in facts.fatbins if fatbin.is_outside]
    if outside:
        size, names = _sizes(outside), sorted({entry.name for fatbin in outside for entry in fatbin.entries})
        message = f"holds {len(outside)} fat binaries outside of the known sections ({_mb(size)}: {', '.join(names)})"
        yield context.find("JX708", node, message)


def _judge_leftovers(context: Context, node: Node, facts: FileFacts) -> Iterator[Finding]:
    elf = facts.elf
    if elf is None or not _is_linked(elf):
        return
    relocatable = [fatbin for fatbin in facts.fatbins if fatbin.is_relocatable]
    lto = sum(x.size_bytes for f in facts.fatbins if not f.is_relocatable for x in f.entries if x.kind == "ltoir")
    if relocatable and (size := _sizes(relocatable)):
        message = f"holds {_mb(size)} of relocatable device code, which is for the device link only"
        yield context.find("JX709", node, message, detail="relocatable")
    if lto:
        message = f"holds {_mb(lto)} of LTO code, which is for the device link only"
        yield context.find("JX709", node, message, detail="lto")


def _judge_useless(context: Context, node: Node, facts: FileFacts) -> Iterator[Finding]:
    """Machine code for GPUs of no target, and PTX for higher ones: what a build for the targets would not hold."""
    if facts.elf is None or not _is_linked(facts.elf):
        return
    sizes: Counter[str] = Counter()
    for fatbin in facts.device_code:
        for entry in fatbin.entries:
            other_cubin = entry.kind == "cubin" and entry.sm not in context.sms
            if other_cubin or (entry.kind == "ptx" and entry.sm > max(context.sms)):
                sizes[entry.name] += entry.size_bytes
    total = sum(sizes.values())
    if total >= _SMALL:
        names = ", ".join(name for name, _ in sizes.most_common())
        yield context.find("JX710", node, f"holds {_mb(total)} of device code for other GPUs ({names})")


def _judge_servers(context: Context) -> Iterator[Finding]:
    if context.profile.cuda_target != "aarch64-linux" or not context.wanted["JX711"]:
        return
    for path, node in context.tree.nodes.items():
        if ("sbsa-linux" in path or "_cu1" in path) and _SERVER.match(path):
            message = f"is of NVIDIA's build for Arm servers; {context.profile.name} has the one for Jetson"
            yield context.find("JX711", node, message)
            return


def _is_linked(elf: ElfFacts) -> bool:
    return elf.machine == "AArch64" and elf.type in {"executable", "shared"}


def _sizes(fatbins: list[Fatbin]) -> int:
    return sum(entry.size_bytes for fatbin in fatbins for entry in fatbin.entries)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
