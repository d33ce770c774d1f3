"""dpkg's status file (deb-status(5)) as text and values: what is installed, and how to say that more is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

PATH = "var/lib/dpkg/status"


def split_stanzas(text: str) -> Iterator[str]:
    """The stanzas of a control file, without the blank lines between them."""
    yield from (stanza.strip("\n") for stanza in re.split(r"\n[ \t]*\n", text) if stanza.strip())


def parse_stanza(stanza: str) -> Mapping[str, str]:
    """Its fields by name in lower case; the lines of a folded one joined by newlines."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line[:1] in " \t" and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def parse_status(text: str) -> Mapping[str, str]:
    """The installed packages: version by name. What they provide counts too, with the version ``""``."""
    found: dict[str, str] = {}
    provided: dict[str, str] = {}
    for fields in map(parse_stanza, split_stanzas(text)):
        if fields.get("status", "").split()[2:] == ["installed"] and "package" in fields:
            found[fields["package"]] = fields.get("version", "")
            names = (word.partition("(")[0].strip() for word in fields.get("provides", "").split(","))
            provided |= {name: "" for name in names if name}
    return {**provided, **found}


def installed_stanza(control: str) -> str:
    """A package's control file as dpkg keeps it of an installed package."""
    first, _, rest = control.strip().partition("\n")
    return f"{first}\nStatus: install ok installed\n{rest}\n"


def is_installed(wanted: str, installed: Mapping[str, str]) -> bool:
    """True when ``wanted`` (``name`` or ``name=version``) is among the packages of :func:`parse_status`."""
    name, _, version = wanted.partition("=")
    return name in installed and version in ("", installed[name])


_HELD_FIELDS = ("Package", "Version", "Architecture", "Multi-Arch", "Provides")


def held_stanza(control: str) -> str:
    """A package's control file as an installed package that needs nothing: its files are there, and no more of it."""
    fields = parse_stanza(control)
    lines = [f"{name}: {fields[name.lower()]}" for name in _HELD_FIELDS if name.lower() in fields]
    return "\n".join([lines[0], "Status: install ok installed", *lines[1:]]) + "\n"


# Only maintainer scripts call these, so where none is run they need not come; debconf would bring Perl.
_FOR_SCRIPTS = {"debconf": "Provides: debconf-2.0\n", "dpkg": ""}


def scripts_stanzas(asked: Iterable[str]) -> tuple[str, ...]:
    """Stanzas of the packages that only maintainer scripts need, as if installed, but for those ``asked`` by name.

    Their version satisfies every lower bound.
    """
    common = "Version: 9999\nArchitecture: all\nMulti-Arch: foreign\n"
    names = _FOR_SCRIPTS.keys() - {each.partition("=")[0] for each in asked}
    return tuple(held_stanza(f"Package: {name}\n{common}{_FOR_SCRIPTS[name]}") for name in sorted(names))


def with_installed(status: str, controls: Iterable[str]) -> str:
    """The status file with the packages of these control files in it, in place of other versions of them."""
    new = {parse_stanza(control).get("package", ""): installed_stanza(control).strip("\n") for control in controls}
    kept = (stanza for stanza in split_stanzas(status) if parse_stanza(stanza).get("package") not in new)
    return "\n\n".join((*kept, *new.values())) + "\n"
