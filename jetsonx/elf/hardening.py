"""How a file is hardened, by lief: for the rules that have to be asked for, so that nobody else waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jetsonx.elf.facts import ElfFacts
from jetsonx.elf.source import Buffer


def with_hardening(elf: ElfFacts, data: Buffer) -> ElfFacts:
    """``elf`` with RELRO, PIE, text relocations and branch protection as lief sees them in ``data``.

    A file that lief does not take keeps what our own reader found.
    """
    import lief

    lief.logging.disable()  # it tells the terminal of every odd file
    binary = lief.ELF.parse(bytes(data))
    if binary is None:
        return elf
    features = _features(binary)
    return replace(
        elf,
        relro=_relro(binary),
        is_pie=elf.interpreter is not None and binary.is_pie,
        has_textrel=binary.has(lief.ELF.DynamicEntry.TAG.TEXTREL) or _has_flag(binary, "FLAGS", "TEXTREL"),
        has_bti="BTI" in features,
        has_pac="PAC" in features,
    )


def _relro(binary: Any) -> str:
    import lief

    if not binary.has(lief.ELF.Segment.TYPE.GNU_RELRO):
        return "none"
    is_now = binary.has(lief.ELF.DynamicEntry.TAG.BIND_NOW) or _has_flag(binary, "FLAGS", "BIND_NOW")
    return "full" if is_now or _has_flag(binary, "FLAGS_1", "NOW") else "partial"


def _has_flag(binary: Any, tag: str, flag: str) -> bool:
    import lief

    entry = binary.get(getattr(lief.ELF.DynamicEntry.TAG, tag))
    return entry is not None and bool(entry.has(getattr(lief.ELF.DynamicEntryFlags.FLAG, flag)))


def _features(binary: Any) -> set[str]:
    """Names of the AArch64 features in the GNU property notes."""
    found = (
        feature
        for note in binary.notes
        for each in getattr(note, "properties", ())
        for feature in getattr(each, "features", ())
    )
    return {str(feature).rpartition(".")[2] for feature in found}
