"""Where this host gets its packages from, read from its own apt configuration (sources.list(5)); pure except `load_`.

No mirror is written into jetsonx: a host behind a company mirror, a proxy or a snapshot keeps using it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.errors import DownloadError

# Suites that name a release by its role; which codename that is changes, so they only count as "the host's own".
_ROLES = ("stable", "oldstable", "testing", "unstable", "devel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One apt source: ``signed_by`` is a path, a fingerprint or a whole key, as the host's file has it."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""
    trusted: bool = False
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """This host's distribution and apt sources. ``ports_uri`` is Ubuntu's archive for arm64, when it is known."""

    distribution: str
    codename: str
    sources: tuple[Source, ...]
    ports_uri: str = ""


def parse_sources(text: str) -> tuple[Source, ...]:
    """The enabled binary sources of a deb822 ``.sources`` file. Stanzas that apt would refuse are passed over."""
    found = []
    for stanza in _stanzas(text):
        types = stanza.get("types", "").split()
        uris, suites = stanza.get("uris", "").split(), stanza.get("suites", "").split()
        if "deb" in types and uris and suites and _is_on(stanza.get("enabled", "yes")):
            found.append(
                Source(
                    uris=tuple(uris),
                    suites=tuple(suites),
                    components=tuple(stanza.get("components", "").split()),
                    signed_by=stanza.get("signed-by", ""),
                    trusted=_is_on(stanza.get("trusted", "no")),
                    architectures=tuple(stanza.get("architectures", "").split()),
                )
            )
    return tuple(found)


def parse_list(text: str) -> tuple[Source, ...]:
    """The binary sources of a one-line ``.list`` file: ``deb [signed-by=… arch=…] URI suite component…``."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?([^#]+)", line)
        words = match[2].split() if match else []
        if match is None or len(words) < 2:
            continue
        options = dict(option.split("=", 1) for option in (match[1] or "").split() if "=" in option)
        found.append(
            Source(
                uris=(words[0],),
                suites=(words[1],),
                components=tuple(words[2:]),
                signed_by=options.get("signed-by", ""),
                trusted=_is_on(options.get("trusted", "no")),
                architectures=tuple(filter(None, options.get("arch", "").split(","))),
            )
        )
    return tuple(found)


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t" and field:
            stanza[field] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            field = name.strip().lower()
            stanza[field] = value.strip()


def _is_on(word: str) -> bool:
    return word.strip().lower() in ("yes", "true", "1", "on", "with", "enable")


def parse_os_release(text: str) -> tuple[str, str]:
    """(distribution, codename) of an os-release(5) file: a derivative counts as the Debian or Ubuntu it is made of."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values[name.strip()] = "".join(shlex.split(value)[:1])
    if "UBUNTU_CODENAME" in values:
        return "ubuntu", values["UBUNTU_CODENAME"]
    kin = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    distribution = next((name for name in kin if name in ("debian", "ubuntu")), "")
    return distribution, values.get("DEBIAN_CODENAME", values.get("VERSION_CODENAME", ""))


def parse_ports_uri(text: str) -> str:
    """Ubuntu's archive for the other architectures, from python-apt's ``Ubuntu.info`` (its plain ``BaseURI``)."""
    match = re.search(r"^BaseURI:\s*(\S+)", text, re.MULTILINE)
    return match[1] if match else ""


def resolve_sources(host: Host, codename: str, override_uri: str = "") -> tuple[Source, ...]:
    """The sources that should hold the suite ``codename`` for arm64, by what the host uses for its own release.

    Only the release itself, no -updates and no -security: these drop what they replace, so a lock file would name
    packages that no longer exist. ``override_uri`` (JETSONX_APT_MIRROR) takes the place of the host's URIs.
    """
    own = _own_sources(host)
    if override_uri:
        base = own[0] if own else Source(uris=(), suites=(), components=("main",))
        return (replace(base, uris=(override_uri,), suites=(codename,), architectures=()),)
    if not own:
        raise DownloadError(
            f"no source of the {host.distribution or 'host'} release {host.codename or '(unknown)'} was found in the "
            "apt configuration of this host",
            hint="set JETSONX_APT_MIRROR to a Debian or Ubuntu archive that has arm64",
        )
    # Ubuntu keeps arm64 in an archive of its own; a source that names arm64 is already the right one.
    ports = host.distribution == "ubuntu" and host.ports_uri and "arm64" not in own[0].architectures
    return tuple(
        replace(source, uris=(host.ports_uri,) if ports else source.uris, suites=(codename,), architectures=())
        for source in (own[:1] if ports else own)
    )


def _own_sources(host: Host) -> tuple[Source, ...]:
    named = [source for source in host.sources if host.codename and host.codename in source.suites]
    own = named or [source for source in host.sources if set(source.suites) & set(_ROLES)]
    own = [source for source in own if "main" in source.components]
    # A vendor's repository may name its suite after the release too: the distribution's own key tells them apart.
    archive = f"{host.distribution}-archive"
    own = [source for source in own if not source.signed_by or archive in source.signed_by] or own
    own = [source for source in own if "arm64" in source.architectures] or own
    merged: dict[tuple[str, ...], Source] = {}
    for source in own:
        before = merged[source.uris].components if source.uris in merged else ()
        components = dict.fromkeys((*before, *(name for name in source.components if name in ("main", "universe"))))
        merged[source.uris] = replace(source, components=tuple(components))
    return tuple(merged.values())


def render_sources(sources: Iterable[Source]) -> str:
    """A deb822 ``.sources`` file for apt."""
    stanzas = []
    for source in sources:
        fields: Mapping[str, Sequence[str] | str] = {
            "Types": "deb",
            "URIs": source.uris,
            "Suites": source.suites,
            "Components": source.components,
        }
        lines = [f"{name}: {value if isinstance(value, str) else ' '.join(value)}" for name, value in fields.items()]
        if source.signed_by:
            lines.append("Signed-By: " + source.signed_by.replace("\n", "\n "))
        if source.trusted:
            lines.append("Trusted: yes")
        stanzas.append("\n".join(lines) + "\n")
    return "\n".join(stanzas)


def load_host(root: Path = Path("/")) -> Host:
    """Read the host's release and apt sources; files that cannot be read are passed over, as apt does."""
    distribution, codename = parse_os_release(_text(root / "etc/os-release") or _text(root / "usr/lib/os-release"))
    parts = sorted((root / "etc/apt/sources.list.d").glob("*"))
    sources = [source for path in parts if path.suffix == ".sources" for source in parse_sources(_text(path))]
    lists = [root / "etc/apt/sources.list", *(path for path in parts if path.suffix == ".list")]
    sources += [source for path in lists for source in parse_list(_text(path))]
    ports = parse_ports_uri(_text(root / "usr/share/python-apt/templates/Ubuntu.info"))
    return Host(distribution=distribution, codename=codename, sources=tuple(sources), ports_uri=ports)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
