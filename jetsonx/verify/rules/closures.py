"""JX301 to JX304: libraries and symbols, as the loader will look for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts, Import
from jetsonx.verify.closure import Closure, Loaded
from jetsonx.verify.context import Context, is_program
from jetsonx.verify.finding import Finding, Severity
from jetsonx.verify.rules.symbol_versions import SYMBOLS_MAX

_NAMED = 8  # symbols in a message
_FROM_HOST = re.compile(r"_?Py|PL_|Perl_|perl_|boot_|ps_|rb_|lua|napi_|R_|Rf_")
"""What interpreters and debuggers give to the modules they load, which therefore name no library for it."""

_PLUG_IN = re.compile(r"(usr/)?lib/(aarch64-linux-gnu/)?(?!aarch64-linux-gnu/|python)[^/]+/")
"""Below the system's library directories, where distributions put plug-ins with libraries that are only recommended."""

_CUDA_NAMES = re.compile(
    r"(lib(?:cudart|cublas|cublasLt|cufft|cufftw|curand|cusolver|cusolverMg|cusparse|nvrtc|nvJitLink|nvjpeg|npp\w+"
    r"|cudnn\w*|cupti|nvinfer\w*|nvonnxparser|nccl))\.so\.(\d[\d.]*)"
)


def judge_libraries(context: Context) -> Iterator[Finding]:
    """Missing libraries and symbols, libraries for dlopen, and CUDA libraries that are there twice."""
    for node, elf in context.linked:
        if elf.needed or elf.imports:
            closure = context.closure(node)
            yield from _judge_needed(context, node, closure)
            yield from _judge_symbols(context, node, elf, closure)
            yield from _judge_twice(context, node, closure)
        if elf.dlopen_notes:
            yield from _judge_dlopen(context, node, elf)


def _judge_needed(context: Context, node: Node, closure: Closure) -> Iterator[Finding]:
    """Each library that is missing is told once, with the library that asks for it.

    In a root file system every library is judged by itself, so that only what a file itself asks for is told.
    """
    for name, asker in closure.missing.items():
        if context.tree.is_root and (asker or not _is_missing_anywhere(context, node, name)):
            continue
        through = f" (for {asker})" if asker else ""
        is_plug_in = context.tree.is_root and _PLUG_IN.match(node.path) and node.path not in context.started
        fix = None
        if "/" in name:
            fix = f"that library has no name of its own: link it with -Wl,-soname,{PurePosixPath(name).name}"
        elif not context.tree.is_root:
            fix = f"add {name} to what is shipped (`outputs`), or the package that holds it to the sysroot"
        places = "in " + context.whose if context.tree.is_root else "among the files, in the sysroot or on the target"
        yield context.find(
            "JX301",
            node,
            f"needs {name}{through}, which is not {places}, nor brought by the driver",
            severity="note" if is_plug_in else "warning" if _is_elsewhere(context, name) else "error",
            fix=fix,
            detail=f"{name}{through}",
            library=name,
        )


def _is_elsewhere(context: Context, name: str) -> bool:
    """True when what a package depends on may bring it: any other package, or one of NVIDIA's wheels."""
    return context.tree.kind == "deb" or (context.tree.kind == "wheel" and _CUDA_NAMES.fullmatch(name) is not None)


def _is_missing_anywhere(context: Context, node: Node, name: str) -> bool:
    """False when every program that loads the library brings what it does not find by itself, by an RPATH."""
    users = context.started.get(node.path, ())
    return not users or any(name in context.loader.closure(user).missing for user in users)


# -- symbols -----------------------------------------------------------------------------------------------------------


def _judge_symbols(context: Context, node: Node, elf: ElfFacts, closure: Closure) -> Iterator[Finding]:
    if not context.wanted["JX302"] or not elf.imports:
        return
    lost = _lost(elf, closure)
    if not lost:
        return
    severity: Severity = "error" if is_program(elf) else "warning"
    if not is_program(elf):
        users = context.started.get(node.path, ())
        lost = _lost_everywhere(context, lost, users)
        if not users or all(_FROM_HOST.match(each.name) for each in lost):
            severity = "note"
    if lost:
        names = tuple(f"{x.name}@{x.version}" if x.version else x.name for x in lost)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        plug_in = "; whoever loads it has to bring them" if severity == "note" else ""
        message = f"uses symbols that no library it loads defines: {', '.join(names[:_NAMED])}{more}{plug_in}"
        yield context.find("JX302", node, message, severity=severity, detail=names[0], symbols=names[:SYMBOLS_MAX])


def _lost(elf: ElfFacts, closure: Closure) -> list[Import]:
    """The strong imports that nothing in ``closure`` defines; none where that cannot be told."""
    is_known = closure.is_known
    lost = []
    for each in elf.imports:
        if each.is_weak:
            continue
        name, version, library, _ = each
        if version:
            loaded = closure.by_name.get(library)
            if loaded is not None and loaded.exports is not None:
                if f"{name}@{version}" in loaded.exports:
                    continue
                if loaded.versions and version not in loaded.versions:
                    continue  # JX201 says so
        if is_known and not _is_defined(closure.order, name, version):
            lost.append(each)
    return lost


def _is_defined(order: tuple[Loaded, ...], name: str, version: str) -> bool:
    """Any library of the scope will do, also another than the import names; one without versions answers to all."""
    full = f"{name}@{version}"
    for loaded in order:
        exports = loaded.exports or ()
        if (full in exports or (name in exports and not loaded.versions)) if version else name in exports:
            return True
    return False


def _lost_everywhere(context: Context, lost: list[Import], users: tuple[str, ...]) -> list[Import]:
    """Those that also a program which loads the library does not bring."""
    if not users:
        return lost
    scopes = [context.loader.closure(user) for user in users]
    return [
        each
        for each in lost
        if any(scope.is_known and not _is_defined(scope.order, each.name, each.version) for scope in scopes)
    ]


# -- dlopen and CUDA ---------------------------------------------------------------------------------------------------


def _judge_dlopen(context: Context, node: Node, elf: ElfFacts) -> Iterator[Finding]:
    for note in elf.dlopen_notes:
        if any(context.loader.find_from(node.path, name) is not None for name in note.sonames):
            continue
        what = f" ({note.description})" if note.description else ""
        yield context.find(
            "JX303",
            node,
            f"opens {' or '.join(note.sonames)} at run time{what}, which is not there",
            severity="warning" if note.priority == "required" else "note",
            detail=note.sonames[0] if note.sonames else "",
            library=note.sonames[0] if note.sonames else "",
        )


def _judge_twice(context: Context, node: Node, closure: Closure) -> Iterator[Finding]:
    """Told where the two come together, not again for all that load that file."""
    for names in _doubles(closure):
        below = (context.loader.closure(x.real) for x in closure.order[1:] if x.real)
        if any(set(names) <= set(each.by_name) for each in below):
            continue
        message = f"loads {' and '.join(names)}: two versions of one library"
        yield context.find("JX304", node, message, detail=" ".join(names), library=names[0])


def _doubles(closure: Closure) -> Iterator[tuple[str, ...]]:
    stems: dict[str, set[str]] = {}
    for name in closure.by_name:
        match = _CUDA_NAMES.fullmatch(name) if name.startswith("lib") else None
        if match:
            stems.setdefault(match[1], set()).add(name)
    for names in stems.values():
        objects = {id(closure.by_name[name]) for name in names}
        if len(objects) > 1:
            yield tuple(sorted(names))
