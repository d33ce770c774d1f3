"""Facts about one ELF file, as the loader of the target will see it.

pyelftools knows the structures of every class and byte order; the walks over them are written here, because each has
to end, and stay inside the file, also when the file is damaged or hostile. Whatever is wrong with a file comes out as
:class:`UnreadableElfError`. Dynamic facts are read through the program headers, as the loader does: section headers may
have been stripped.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from io import BytesIO
from typing import IO, Any, cast

from jetsonx.elf.facts import ELF_MAGIC, ElfFacts, Section, UnreadableElfError, VersionNeed

_MAX_HEADERS = 200_000  # section or program headers; a -ffunction-sections object of a huge unit stays under this
_MAX_TAGS = 10_000  # dynamic tags, version entries
_MAX_SYMBOLS = 2_000_000
_MAX_NAME_BYTES = 4096
_NAMED_SYMBOLS = 8  # enough for a person to find the cause

_MACHINES = {"EM_AARCH64": "AArch64", "EM_X86_64": "x86-64", "EM_386": "x86", "EM_ARM": "ARM (32-bit)"}
_MACHINES |= {"EM_CUDA": "CUDA", "EM_RISCV": "RISC-V", "EM_PPC64": "PowerPC64"}
_TYPES = {"ET_REL": "relocatable", "ET_EXEC": "executable", "ET_DYN": "shared", "ET_CORE": "core"}


def no_need(need: VersionNeed) -> bool:  # noqa: ARG001 - the shape of a predicate
    """False: no need is to be explained."""
    return False


def parse_elf(data: bytes | mmap.mmap, *, explain: Callable[[VersionNeed], bool] = no_need) -> ElfFacts:
    """Facts of the ELF file whose bytes are ``data``; ``explain`` as in ``read_elf``. Raises UnreadableElfError."""
    try:
        return _Reader(data).facts(explain)
    except UnreadableElfError:
        raise
    except Exception as error:  # pyelftools meets damage with whatever comes: KeyError, AssertionError, construct's own
        raise UnreadableElfError(
            f"the ELF file is damaged or cut off ({str(error) or type(error).__name__})"
        ) from error


class _Reader:
    """One ELF file under pyelftools; every offset is checked before use, every loop is bounded."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        from elftools.common.utils import struct_parse  # imported late: 25 ms that most commands do not need
        from elftools.elf.elffile import ELFFile

        if data[:4] != ELF_MAGIC:
            raise UnreadableElfError("it does not begin as an ELF file does")
        if len(data) < 52:
            raise UnreadableElfError("the ELF file is cut off in its header")
        self._stream = cast("IO[bytes]", BytesIO(data) if isinstance(data, bytes) else data)  # mmap reads like a file
        self._data = data
        self._parse = struct_parse
        elf = ELFFile(self._stream)
        self._structs: Any = elf.structs
        self._header: Any = elf.header
        self.bits: int = elf.elfclass
        self.is_little = bool(elf.little_endian)
        self._segments = self._table("ph", int(elf.header.e_phnum), self._structs.Elf_Phdr, "program headers")

    def facts(self, explain: Callable[[VersionNeed], bool]) -> ElfFacts:
        header = self._header
        tags = self._dynamic_tags()
        strings = self._string_table(tags)
        stacks = [bool(s.p_flags & 1) for s in self._segments if s.p_type == "PT_GNU_STACK"]
        sections, is_stripped = self._sections()
        return ElfFacts(
            machine=_MACHINES.get(header.e_machine, str(header.e_machine).removeprefix("EM_")),
            bits=self.bits,
            endianness="little" if self.is_little else "big",
            type=_TYPES.get(header.e_type, str(header.e_type)),
            flags=header.e_flags,
            abi_version=header.e_ident.EI_ABIVERSION,
            interpreter=self._interpreter(),
            soname=next((strings(x) for x in tags.get("DT_SONAME", ())), None),
            needed=tuple(strings(x) for x in tags.get("DT_NEEDED", ())),
            rpath=next((strings(x) for x in tags.get("DT_RPATH", ())), None),
            runpath=next((strings(x) for x in tags.get("DT_RUNPATH", ())), None),
            version_needs=self._version_needs(tags, strings, explain),
            version_definitions=tuple(name for _, name in self._version_definitions(tags, strings)),
            has_dynamic=bool(tags),
            has_exec_stack=stacks[0] if stacks else None,
            is_stripped=is_stripped,
            sections=sections,
        )

    def _at(self, structure: Any, offset: int) -> Any:
        if not 0 <= offset <= len(self._data) - structure.sizeof():
            raise UnreadableElfError(
                f"the ELF file is cut off: something at 0x{offset:x}, but it has {len(self._data)} bytes"
            )
        return self._parse(structure, self._stream, stream_pos=offset)

    def _table(self, kind: str, n: int, structure: Any, what: str) -> list[Any]:
        start, step = int(self._header[f"e_{kind}off"]), int(self._header[f"e_{kind}entsize"])
        if n == 0 or start == 0:
            return []
        if n > _MAX_HEADERS or step < structure.sizeof() or start + n * step > len(self._data):
            raise UnreadableElfError(f"the ELF file is damaged or cut off: {n} {what} at 0x{start:x} do not fit in it")
        return [self._at(structure, start + i * step) for i in range(n)]

    def _name(self, offset: int) -> str:
        """The NUL-terminated string at a file offset."""
        if not 0 <= offset < len(self._data):
            raise UnreadableElfError(f"the ELF file is damaged: a name at 0x{offset:x} is outside of it")
        raw = self._data[offset : offset + _MAX_NAME_BYTES]
        return raw.partition(b"\0")[0].decode("utf-8", "backslashreplace")

    def _file_offset(self, address: int) -> int:
        for segment in self._segments:
            if segment.p_type == "PT_LOAD" and 0 <= address - segment.p_vaddr < segment.p_filesz:
                return int(address - segment.p_vaddr + segment.p_offset)
        raise UnreadableElfError(f"the ELF file is damaged: address 0x{address:x} is in no segment of the file")

    def _interpreter(self) -> str | None:
        return next((self._name(s.p_offset) for s in self._segments if s.p_type == "PT_INTERP"), None)

    def _dynamic_tags(self) -> dict[str, list[int]]:
        tags: dict[str, list[int]] = {}
        for segment in self._segments:
            if segment.p_type != "PT_DYNAMIC":
                continue
            step = self._structs.Elf_Dyn.sizeof()
            for i in range(min(segment.p_filesz // step, _MAX_TAGS)):
                entry = self._at(self._structs.Elf_Dyn, segment.p_offset + i * step)
                if entry.d_tag == "DT_NULL":
                    break
                tags.setdefault(str(entry.d_tag), []).append(int(entry.d_val))
        return tags

    def _string_table(self, tags: Mapping[str, list[int]]) -> Callable[[int], str]:
        start = self._file_offset(tags["DT_STRTAB"][0]) if "DT_STRTAB" in tags else len(self._data)
        return lambda offset: self._name(start + offset)

    def _version_needs(
        self, tags: Mapping[str, list[int]], strings: Callable[[int], str], explain: Callable[[VersionNeed], bool]
    ) -> tuple[VersionNeed, ...]:
        needs: list[tuple[int, VersionNeed]] = []
        for library, aux in self._versions(tags, "DT_VERNEED", self._structs.Elf_Verneed, self._structs.Elf_Vernaux):
            is_weak = bool(aux.vna_flags & 2)  # VER_FLG_WEAK
            need = VersionNeed(library=strings(library.vn_file), version=strings(aux.vna_name), is_weak=is_weak)
            needs.append((int(aux.vna_other), need))
        wanted = {index for index, need in needs if explain(need)}
        symbols = self._symbols_by_version(tags, strings, wanted) if wanted else {}
        return tuple(replace(need, symbols=tuple(symbols.get(index, ()))) for index, need in needs)

    def _version_definitions(
        self, tags: Mapping[str, list[int]], strings: Callable[[int], str]
    ) -> Iterator[tuple[int, str]]:
        seen: set[int] = set()
        for definition, aux in self._versions(tags, "DT_VERDEF", self._structs.Elf_Verdef, self._structs.Elf_Verdaux):
            if definition.vd_ndx not in seen:  # the first name is the version itself, later ones are its parents
                seen.add(definition.vd_ndx)
                yield int(definition.vd_ndx), strings(aux.vda_name)

    def _versions(self, tags: Mapping[str, list[int]], tag: str, outer: Any, inner: Any) -> Iterator[tuple[Any, Any]]:
        """Each (entry, auxiliary entry) of a version table: a chain of chains, linked by relative offsets."""
        if tag not in tags:
            return
        prefix = "vn" if tag == "DT_VERNEED" else "vd"
        left = _MAX_TAGS
        at = self._file_offset(tags[tag][0])
        for _ in range(min(tags.get(f"{tag}NUM", [0])[0], _MAX_TAGS)):
            entry = self._at(outer, at)
            aux_at = at + entry[f"{prefix}_aux"]
            for _ in range(entry[f"{prefix}_cnt"]):
                aux = self._at(inner, aux_at)
                yield entry, aux
                left -= 1
                if left <= 0:
                    raise UnreadableElfError("the ELF file is damaged: its version table does not end")
                if aux[f"{prefix}a_next"] == 0:
                    break
                aux_at += aux[f"{prefix}a_next"]
            if entry[f"{prefix}_next"] == 0:
                break
            at += entry[f"{prefix}_next"]

    def _symbols_by_version(
        self, tags: Mapping[str, list[int]], strings: Callable[[int], str], wanted: set[int]
    ) -> dict[int, list[str]]:
        """The first few symbols of each wanted version index. Section headers count them: without those, none."""
        if not {"DT_SYMTAB", "DT_VERSYM"} <= tags.keys():
            return {}
        table, versions = (self._file_offset(tags[tag][0]) for tag in ("DT_SYMTAB", "DT_VERSYM"))
        order, step = "little" if self.is_little else "big", self._structs.Elf_Sym.sizeof()
        found: dict[int, list[str]] = {}
        for i in range(min(self._symbol_count(), _MAX_SYMBOLS)):
            raw = self._data[versions + 2 * i : versions + 2 * i + 2]
            index = int.from_bytes(raw, order) & 0x7FFF  # type: ignore[arg-type]  # order is one of the two literals
            if index in wanted and len(found.setdefault(index, [])) < _NAMED_SYMBOLS:
                found[index].append(strings(self._at(self._structs.Elf_Sym, table + i * step).st_name))
        return found

    def _symbol_count(self) -> int:
        headers, _ = self._section_headers()
        sizes = (s.sh_size // s.sh_entsize for s in headers if s.sh_type == "SHT_DYNSYM" and s.sh_entsize)
        return int(next(sizes, 0))

    def _section_headers(self) -> tuple[list[Any], int]:
        """All section headers and which one holds their names; beyond 65,279 the first header holds both numbers."""
        count, names, start = (int(self._header[key]) for key in ("e_shnum", "e_shstrndx", "e_shoff"))
        if start and (count == 0 or names == 0xFFFF):  # SHN_XINDEX
            first = self._at(self._structs.Elf_Shdr, start)
            count, names = count or int(first.sh_size), int(first.sh_link) if names == 0xFFFF else names
        return self._table("sh", count, self._structs.Elf_Shdr, "section headers"), names

    def _sections(self) -> tuple[tuple[Section, ...], bool]:
        """Sections with bytes in the file, and whether the symbol table for debuggers is gone."""
        headers, names_index = self._section_headers()
        if not headers:
            return (), True
        if names_index >= len(headers):
            raise UnreadableElfError(
                f"the ELF file is damaged: section names in section {names_index} of {len(headers)}"
            )
        names = headers[names_index].sh_offset
        found = []
        for header in headers:
            if header.sh_type in {"SHT_NULL", "SHT_NOBITS"}:
                continue
            name = self._name(names + header.sh_name)
            if header.sh_offset + header.sh_size > len(self._data):
                raise UnreadableElfError(f"the ELF file is cut off: section {name} goes beyond its end")
            found.append(Section(name=name, offset=int(header.sh_offset), size_bytes=int(header.sh_size)))
        return tuple(found), not any(header.sh_type == "SHT_SYMTAB" for header in headers)
