"""JX201 to JX203: symbol versions, against the library that will really be loaded."""

from __future__ import annotations

from collections.abc import Iterator

from jetsonx.artifact.tree import Node
from jetsonx.elf.facts import ElfFacts, VersionNeed
from jetsonx.verify.closure import Closure
from jetsonx.verify.context import Context
from jetsonx.verify.finding import Finding
from jetsonx.verify.versions import newest, numbers, version_number

_RELR = "GLIBC_ABI_DT_RELR"
_RELR_SINCE = (2, 36)
_PRIVATE = "GLIBC_PRIVATE"
_NAMED = 8  # symbols in a message
SYMBOLS_MAX = 100
"""Symbols that one finding lists: who mends it needs no more, and a hostile file may have millions."""


def judge_versions(context: Context) -> Iterator[Finding]:
    """Every version need of every linked file, packed relocations, and what the driver's libraries want."""
    for node, elf in context.linked:
        if elf.version_needs:
            yield from _judge_needs(context, node, elf)
        says_so = any(need.version == _RELR for need in elf.version_needs)
        if elf.has_relr and not says_so and context.glibc < _RELR_SINCE:
            glibc = ".".join(map(str, context.glibc))
            message = f"has packed relative relocations; {context.whose} has glibc {glibc}, which does not read them"
            yield context.find("JX202", node, message, detail="DT_RELR")
    for node, elf in context.programs:
        if elf.rpath or elf.runpath:
            yield from _judge_loaded(context, node)
    yield from _judge_driver(context)


def _judge_needs(context: Context, node: Node, elf: ElfFacts) -> Iterator[Finding]:
    """Against what the file finds by itself, unless every program that loads it brings something better."""
    closure = context.closure(node)
    for need in elf.version_needs:
        has = _what_is_there(context, need, closure)
        if not has:
            continue
        users = context.started.get(node.path, ())
        if not users or any(_what_is_there(context, need, context.loader.closure(user)) for user in users):
            yield _tell(context, node, elf, need, has)


def _judge_loaded(context: Context, program: Node) -> Iterator[Finding]:
    """A program with a run path may bring a library under whose name others expect the system's newer one."""
    closure = context.closure(program)
    for loaded in closure.order[1:]:
        node = context.tree.nodes.get(loaded.real)
        elf = node.facts.elf if node is not None and node.facts is not None else None
        if node is None or elf is None:
            continue
        for need in elf.version_needs:
            has = _what_is_there(context, need, closure)
            if has and not _what_is_there(context, need, context.closure(node)):
                yield _tell(context, node, elf, need, f"loaded by {program.path}, {has}")


def _tell(context: Context, node: Node, elf: ElfFacts, need: VersionNeed, has: str) -> Finding:
    symbols = need.symbols or _symbols(elf, need)
    named = f" ({', '.join(symbols[:_NAMED])}{', …' if len(symbols) > _NAMED else ''})" if symbols else ""
    private = need.version == _PRIVATE
    return context.find(
        "JX202" if need.version == _RELR else "JX201",
        node,
        f"needs {need.version} of {need.library}{named}; {has}",
        severity="note" if need.is_weak else "warning" if private else "error",
        detail=f"{need.library} {need.version}",
        symbols=symbols[:SYMBOLS_MAX],
        library=need.library,
    )


def _what_is_there(context: Context, need: VersionNeed, closure: Closure) -> str:
    """What there is in place of ``need``, in words; "" when it is met or cannot be told."""
    loaded = closure.by_name.get(need.library)
    if loaded is None or (loaded.where != "tree" and not loaded.versions):
        return _by_number(context, need)
    if not loaded.versions or need.version in loaded.versions:  # a library without versions answers to any
        return ""
    if need.version == _PRIVATE:
        return "that is glibc's own, and fits only the very glibc it was linked against"
    if need.version == _RELR:
        return f"{_glibc_of(context)}, which does not know it"
    where = f"{loaded.path} in {context.whose}" if loaded.where == "tree" and context.tree.is_root else context.whose
    family = next((name for name in ("GLIBC", "GLIBCXX") if version_number(need.version, name)), "")
    ceiling = newest(loaded.versions, family) if family else ""
    if (
        ceiling and loaded.where == "target"
    ):  # where a library has no symbol of the newest version, it is still that new
        ceiling = {"GLIBC": context.profile.glibc, "GLIBCXX": context.profile.glibcxx.removeprefix("GLIBCXX_")}[family]
    if ceiling:
        return f"{where} has {family}_{ceiling}"
    return f"{loaded.source if loaded.where == 'target' else where} does not define it"


def _by_number(context: Context, need: VersionNeed) -> str:
    """The same for a library whose versions are not known: what the catalog says of the target."""
    if context.tree.is_root and need.library not in {"libc.so.6", "libstdc++.so.6", "libm.so.6"}:
        return ""
    if need.version == _RELR:
        return f"{_glibc_of(context)}, which does not know it" if context.glibc < _RELR_SINCE else ""
    if need.version == _PRIVATE:
        return "that is glibc's own, and fits only the very glibc it was linked against"
    profile = context.profile
    for family, ceiling in (("GLIBC", profile.glibc), ("GLIBCXX", profile.glibcxx.removeprefix("GLIBCXX_"))):
        number = version_number(need.version, family)
        if number is not None and number > numbers(ceiling):
            return f"the target has {family}_{ceiling}"
    return ""


def _glibc_of(context: Context) -> str:
    return f"{context.whose} has glibc {'.'.join(map(str, context.glibc))}"


def _symbols(elf: ElfFacts, need: VersionNeed) -> tuple[str, ...]:
    return tuple(x.name for x in elf.imports if x.version == need.version and x.library in {need.library, ""})


# -- the driver's libraries --------------------------------------------------------------------------------------------


def _judge_driver(context: Context) -> Iterator[Finding]:
    """An image older than the device's own system, into which the driver's libraries are mounted."""
    if not context.tree.is_root or not context.wanted["JX203"]:
        return
    user = next((node for node, elf in context.linked if _uses_driver(context, node, elf)), None)
    if user is None:
        return
    profile = context.profile
    for name, family, ceiling in (
        ("libstdc++.so.6", "GLIBCXX", profile.glibcxx.removeprefix("GLIBCXX_")),
        ("libc.so.6", "GLIBC", profile.glibc),
    ):
        systems = context.loader.find_in_system(name)
        loaded = context.closure(user).by_name.get(name) or systems
        if loaded is None or loaded.where != "tree":
            continue
        has = newest(loaded.versions, family)
        if has and family == "GLIBC" and systems is not None and loaded.real == systems.real:
            has = ".".join(map(str, context.glibc))  # not every glibc adds symbols to libc.so.6: 2.31 does not
        yield from _judge_mounted(context, loaded.real, family, has, ceiling)


def _uses_driver(context: Context, node: Node, elf: ElfFacts) -> bool:
    facts = node.facts
    return any(map(context.profile.is_driver_library, elf.needed)) or bool(facts and facts.device_code)


def _judge_mounted(context: Context, path: str, family: str, has: str, ceiling: str) -> Iterator[Finding]:
    if not has:
        return
    node = context.tree.nodes[path]
    known = [
        need
        for need in context.profile.driver_needs
        if (number := version_number(need.version, family)) is not None and number > numbers(has)
    ]
    if known:
        asker, version, sources = known[0].asker, known[0].version, ", ".join(known[0].sources)
        message = f"has {family}_{has}, but {asker}, which is mounted from the device, needs {version} ({sources})"
        yield context.find("JX203", node, message, detail=f"{asker} {version}")
    elif numbers(has) < numbers(ceiling):
        message = (
            f"has {family}_{has}; the driver's libraries, which are mounted from the device, come from a system with "
            f"{family}_{ceiling} and may need it"
        )
        yield context.find("JX203", node, message, severity="warning", detail=f"{family}_{has}")
