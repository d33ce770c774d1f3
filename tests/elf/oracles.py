"""The facts of an ELF file as pyelftools and as LIEF tell them, in one shape with ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

from jetsonx.elf.facts import ElfFacts

Facts = dict[str, object]

_TYPES = {"ET_REL": "relocatable", "ET_EXEC": "executable", "ET_DYN": "shared"}
_BINDINGS = ("STB_GLOBAL", "STB_WEAK", "STB_LOOS")  # the last is GNU_UNIQUE


def ours(facts: ElfFacts) -> Facts:
    """What pyelftools is compared with."""
    return {
        "machine": facts.machine,
        "type": facts.type,
        "flags": facts.flags,
        "interpreter": facts.interpreter,
        "soname": facts.soname,
        "needed": facts.needed,
        "rpath": facts.rpath,
        "runpath": facts.runpath,
        "needs": [(x.library, x.version, x.is_weak) for x in facts.version_needs],
        "definitions": facts.version_definitions,
        "stack": facts.has_exec_stack,
        "relro": facts.relro,
        "textrel": facts.has_textrel,
        "relr": facts.has_relr,
        "static_tls": facts.has_static_tls,
        "tls": facts.tls_bytes,
        "loads": [tuple(x) for x in facts.loads],
        "sections": [tuple(x) for x in facts.sections],
        "stripped": facts.is_stripped,
        "features": (facts.has_bti, facts.has_pac),
        "imports": sorted(tuple(x) for x in facts.imports),
        "exports": facts.exports,
    }


def by_pyelftools(data: bytes) -> Facts:
    """Through section headers wherever pyelftools has them, where we go by program headers and hash tables."""
    from elftools.elf.elffile import ELFFile

    elf: Any = ELFFile(BytesIO(data))
    tags = _tags(elf)
    segments = list(elf.iter_segments())
    stacks = [bool(x["p_flags"] & 1) for x in segments if x["p_type"] == "PT_GNU_STACK"]
    flags, flags_1 = _value(tags, "DT_FLAGS"), _value(tags, "DT_FLAGS_1")
    is_now = "DT_BIND_NOW" in tags or flags & 8 or flags_1 & 1
    has_relro = tags and any(x["p_type"] == "PT_GNU_RELRO" for x in segments)
    sections = [x for x in elf.iter_sections() if x["sh_type"] not in ("SHT_NULL", "SHT_NOBITS")]
    return {
        "machine": {"EM_AARCH64": "AArch64", "EM_X86_64": "x86-64"}.get(elf["e_machine"], elf["e_machine"]),
        "type": _TYPES.get(elf["e_type"]),
        "flags": elf["e_flags"],
        "interpreter": next((x.get_interp_name() for x in segments if x["p_type"] == "PT_INTERP"), None),
        "soname": _text(tags, "DT_SONAME", "soname"),
        "needed": tuple(x.needed for x in tags.get("DT_NEEDED", ())),
        "rpath": _text(tags, "DT_RPATH", "rpath"),
        "runpath": _text(tags, "DT_RUNPATH", "runpath"),
        "needs": list(_needs(elf)),
        "definitions": tuple(_definitions(elf).values()),
        "stack": stacks[0] if stacks else None,
        "relro": ("full" if is_now else "partial") if has_relro else "none",
        "textrel": "DT_TEXTREL" in tags or bool(flags & 4),
        "relr": "DT_RELR" in tags,
        "static_tls": bool(flags & 16),
        "tls": sum(x["p_memsz"] for x in segments if x["p_type"] == "PT_TLS"),
        "loads": [
            (x["p_offset"], x["p_vaddr"], x["p_align"], x["p_flags"]) for x in segments if x["p_type"] == "PT_LOAD"
        ],
        "sections": [(x.name, x["sh_offset"], x["sh_size"]) for x in sections],
        "stripped": not any(x["sh_type"] == "SHT_SYMTAB" for x in sections),
        "features": _features(segments),
        **_symbols(elf),
    }


def _tags(elf: Any) -> dict[str, list[Any]]:
    from elftools.elf.dynamic import DynamicSegment

    found: dict[str, list[Any]] = {}
    for segment in elf.iter_segments():
        if isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                found.setdefault(str(tag.entry.d_tag), []).append(tag)
    found.pop("DT_NULL", None)
    return found


def _value(tags: dict[str, list[Any]], name: str) -> int:
    return int(tags[name][0].entry.d_val) if name in tags else 0


def _text(tags: dict[str, list[Any]], name: str, attribute: str) -> str | None:
    return getattr(tags[name][0], attribute) if name in tags else None


def _needs(elf: Any) -> Iterator[tuple[str, str, bool]]:
    section = elf.get_section_by_name(".gnu.version_r")
    for need, auxes in section.iter_versions() if section else ():
        for aux in auxes:
            yield need.name, aux.name, bool(aux["vna_flags"] & 2)


def _definitions(elf: Any) -> dict[int, str]:
    section = elf.get_section_by_name(".gnu.version_d")
    return {x["vd_ndx"]: next(auxes).name for x, auxes in section.iter_versions()} if section else {}


def _features(segments: Iterable[Any]) -> tuple[bool, bool]:
    bits: int = 0
    for segment in segments:
        if segment["p_type"] == "PT_NOTE":
            for note in segment.iter_notes():
                if note["n_type"] == "NT_GNU_PROPERTY_TYPE_0" and note["n_name"] == "GNU":
                    for each in note["n_desc"]:
                        if each.pr_type == "GNU_PROPERTY_AARCH64_FEATURE_1_AND" or each.pr_type == 0xC0000000:
                            bits = int(each.pr_data)
    return bool(bits & 1), bool(bits & 2)


def _symbols(elf: Any) -> Facts:
    table, versions = elf.get_section_by_name(".dynsym"), elf.get_section_by_name(".gnu.version")
    imports, exports = [], set()
    names: Any = _definitions(elf)
    needs: dict[int, tuple[str, str]] = {}
    section = elf.get_section_by_name(".gnu.version_r")
    for need, auxes in section.iter_versions() if section else ():
        needs |= {aux["vna_other"]: (aux.name, need.name) for aux in auxes}
    for i, symbol in enumerate(table.iter_symbols() if table else ()):
        binding = symbol["st_info"]["bind"]
        if not symbol.name or binding not in _BINDINGS:
            continue
        raw: Any = versions.get_symbol(i)["ndx"] if versions else 1
        index: Any = {"VER_NDX_LOCAL": 0, "VER_NDX_GLOBAL": 1}.get(raw, raw)
        number = index & 0x7FFF
        if symbol["st_shndx"] == "SHN_UNDEF":
            imports.append((symbol.name, *needs.get(number, ("", "")), binding == "STB_WEAK"))
        elif symbol["st_other"]["visibility"] in ("STV_DEFAULT", "STV_PROTECTED") and number:
            if number > 1:
                exports.add(f"{symbol.name}@{names[number] if number in names else needs[number][0]}")
            if not index & 0x8000:
                exports.add(symbol.name)
    return {"imports": sorted(imports), "exports": exports}


def ours_for_lief(facts: ElfFacts) -> Facts:
    """What LIEF is compared with: what it knows without a walk of the test's own."""
    return {
        "interpreter": facts.interpreter or "",
        "needed": facts.needed,
        "imports": {x.name for x in facts.imports},
        "exports": {x.partition("@")[0] for x in facts.exports},
        "needs": {(x.library, x.version) for x in facts.version_needs},
        "loads": [tuple(x) for x in facts.loads],
        "sections": {tuple(x) for x in facts.sections},
    }


def by_lief(data: bytes) -> Facts:
    import lief

    elf: Any = lief.ELF.parse(data)
    dynamic = [x for x in elf.dynamic_symbols if x.name and x.binding.name in ("GLOBAL", "WEAK", "GNU_UNIQUE")]
    visible = [x for x in dynamic if x.shndx and x.visibility.name in ("DEFAULT", "PROTECTED")]
    loads = [x for x in elf.segments if x.type == lief.ELF.Segment.TYPE.LOAD]
    hollow = (lief.ELF.Section.TYPE.SHT_NULL_, lief.ELF.Section.TYPE.NOBITS)
    return {
        "interpreter": elf.interpreter if elf.has_interpreter else "",
        "needed": tuple(elf.libraries),
        "imports": {x.name for x in dynamic if not x.shndx},
        "exports": {x.name for x in visible if not _is_local(x)},
        "needs": {(x.name, aux.name) for x in elf.symbols_version_requirement for aux in x.get_auxiliary_symbols()},
        "loads": [(x.file_offset, x.virtual_address, x.alignment, int(x.flags)) for x in loads],
        "sections": {(x.name, x.offset, x.size) for x in elf.sections if x.type not in hollow},
    }


def _is_local(symbol: Any) -> bool:
    return bool(symbol.has_version and symbol.symbol_version.value == 0)
