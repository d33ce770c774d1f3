"""Mirrors and suites out of apt configurations of made-up hosts, and apt's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.errors import DownloadError
from jetsonx.packages.apt import parse_uris, render_conf
from jetsonx.packages.mirrors import (
    Host,
    Source,
    load_host,
    parse_list,
    parse_os_release,
    parse_ports_uri,
    parse_sources,
    render_sources,
    resolve_sources,
)

DEBIAN = """\
# the mirror of our house
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://vendor.example/apt
Suites: bookworm
Components: main
Signed-By: /etc/apt/keyrings/vendor.gpg

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no
"""

UBUNTU = """\
Types: deb
URIs: http://archive.example/ubuntu
Suites: noble noble-updates
Components: main universe restricted
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
"""


def debian(*sources: Source) -> Host:
    return Host(distribution="debian", codename="bookworm", sources=sources)


def test_the_hosts_own_mirror_with_the_wanted_suite() -> None:
    [source] = resolve_sources(debian(*parse_sources(DEBIAN)), "bullseye")
    assert source.uris == ("http://mirror.example/debian",)
    assert source.suites == ("bullseye",)
    assert source.components == ("main",)
    assert source.signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_one_line_sources() -> None:
    text = """
    # deb http://commented.example/debian bookworm main
    deb [signed-by=/k.gpg arch=amd64,arm64] http://mirror.example/debian bookworm main contrib # ours
    deb-src http://mirror.example/debian bookworm main
    deb [ trusted=yes ] file:/srv/debian bookworm main
    deb http://broken.example
    """
    first, second = parse_list(text)
    assert first == Source(
        uris=("http://mirror.example/debian",),
        suites=("bookworm",),
        components=("main", "contrib"),
        signed_by="/k.gpg",
        architectures=("amd64", "arm64"),
    )
    assert (second.trusted, second.uris) == (True, ("file:/srv/debian",))


def test_sources_by_role() -> None:
    source = Source(uris=("http://mirror.example/debian",), suites=("stable",), components=("main",))
    assert resolve_sources(debian(source), "bullseye")[0].uris == source.uris


def test_the_override_takes_the_place_of_the_mirror() -> None:
    [source] = resolve_sources(debian(*parse_sources(DEBIAN)), "bullseye", "http://other.example/d")
    assert (source.uris, source.suites) == (("http://other.example/d",), ("bullseye",))
    assert source.signed_by.endswith("debian-archive-keyring.gpg")
    assert resolve_sources(debian(), "noble", "http://other.example/d")[0].components == ("main",)


def test_a_host_without_sources() -> None:
    with pytest.raises(DownloadError, match="no source of the debian release bookworm") as caught:
        resolve_sources(debian(), "bullseye")
    assert "JETSONX_APT_MIRROR" in (caught.value.hint or "")


def test_ubuntu_takes_arm64_from_its_ports_archive() -> None:
    host = Host(
        distribution="ubuntu", codename="noble", sources=parse_sources(UBUNTU), ports_uri="http://ports.example/u"
    )
    [source] = resolve_sources(host, "jammy")
    assert source.uris == ("http://ports.example/u",)
    assert source.components == ("main", "universe")


def test_ubuntu_with_an_arm64_source_of_its_own_uses_that() -> None:
    arm = "Types: deb\nURIs: http://arm.example/u\nSuites: noble\nComponents: main\nArchitectures: arm64\n"
    sources = (*parse_sources(UBUNTU), *parse_sources(arm))
    host = Host(distribution="ubuntu", codename="noble", sources=sources, ports_uri="http://ports.example/u")
    assert resolve_sources(host, "jammy")[0].uris == ("http://arm.example/u",)


def test_a_key_inside_the_stanza_survives() -> None:
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    [source] = parse_sources(f"Types: deb\nURIs: http://mirror.example/d\nSuites: x\nComponents: main\n{key}")
    assert parse_sources(render_sources([source])) == (source,)


@pytest.mark.parametrize(
    "text", ["", "Types: deb\n", "nonsense\n:\n\n\n continued", "Types: rpm\nURIs: a\nSuites: b\n"]
)
def test_stanzas_that_apt_would_refuse_are_passed_over(text: str) -> None:
    assert parse_sources(text) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=debian\nVERSION_CODENAME=bookworm\nNAME="Debian"\n', ("debian", "bookworm")),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nUBUNTU_CODENAME=noble\n", ("ubuntu", "noble")),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\nVERSION_CODENAME=zara\nUBUNTU_CODENAME=noble\n', ("ubuntu", "noble")),
        ("ID=raspbian\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n", ("debian", "bookworm")),
        ("ID=fedora\n", ("", "")),
        ("", ("", "")),
    ],
)
def test_os_release(text: str, expected: tuple[str, str]) -> None:
    assert parse_os_release(text) == expected


def test_ports_uri() -> None:
    text = "Suite: devel\nBaseURI: http://ports.example/u/\nBaseURI-amd64: http://archive.example/u\n"
    assert parse_ports_uri(text) == "http://ports.example/u/"
    assert parse_ports_uri("BaseURI-amd64: http://archive.example/u\n") == ""


def test_load_host(tmp_path: Path) -> None:
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    (tmp_path / "etc/apt/sources.list").write_text("deb http://a.example/d bookworm main\n")
    (tmp_path / "etc/apt/sources.list.d/x.sources").write_text(DEBIAN)
    (tmp_path / "etc/apt/sources.list.d/x.sources.bak").write_text(DEBIAN.replace("mirror", "old"))
    host = load_host(tmp_path)
    assert [source.uris[0] for source in host.sources] == [
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
        "https://vendor.example/apt",
        "http://a.example/d",
    ]
    assert load_host(tmp_path / "nothing") == Host(distribution="", codename="", sources=())


def test_parse_uris() -> None:
    text = f"""\
Reading package lists...
'http://mirror.example/pool/libcrypt1_4.4.18-4_arm64.deb' libcrypt1_1%3a4.4.18-4_arm64.deb 89676 SHA256:{"ab" * 32}
'http://mirror.example/pool/a_1%2b2_all.deb' a_1+2_all.deb 10 SHA256:{"cd" * 32}
'http://mirror.example/pool/weak_1_arm64.deb' weak_1_arm64.deb 10 MD5Sum:{"ef" * 16}
"""
    first, second = parse_uris(text)
    assert (first.name, first.version, first.size_bytes) == ("a", "1+2", 10)
    assert (second.version, second.filename) == ("1:4.4.18-4", "libcrypt1_1%3a4.4.18-4_arm64.deb")
    assert second.sha256 == "ab" * 32


def test_the_private_apt_leaves_the_host_alone() -> None:
    conf = render_conf(Path("/there"), "arm64")
    folders = [line for line in conf.splitlines() if line.startswith("Dir::")]
    relative = [line for line in folders if '"/there/' not in line and '"/dev/null"' not in line]
    assert all(line.startswith("Dir::Cache::") and '"/' not in line for line in relative)
    assert "#clear APT::Architectures;" in conf
    assert "#clear DPkg::Post-Invoke;" in conf
