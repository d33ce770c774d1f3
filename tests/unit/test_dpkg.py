"""dpkg's status file as values."""

from __future__ import annotations

from jetsonx.packages.dpkg import held_stanza, is_installed, parse_stanza, parse_status, scripts_stanzas, with_installed

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: arm64
Version: 2.35-0ubuntu3.8
Provides: libc6-lse, glibc-abi (= 2)
Description: GNU C Library
 Contains the standard libraries.
 .
 More.

Package: libold
Status: deinstall ok config-files
Version: 1


Package: zlib1g
Status: install ok installed
Version: 1:1.2.11
"""
CONTROL = "Package: zlib1g\nVersion: 1:1.3\nArchitecture: arm64\nDescription: compression\n folded\n"


def test_only_installed_packages_count() -> None:
    assert parse_status(STATUS) == {
        "libc6": "2.35-0ubuntu3.8",
        "zlib1g": "1:1.2.11",
        "libc6-lse": "",
        "glibc-abi": "",
    }


def test_folded_fields_stay_whole() -> None:
    assert parse_stanza(STATUS.split("\n\n")[0])["description"].splitlines()[-1] == "More."


def test_a_new_version_takes_the_place_of_the_old_one() -> None:
    text = with_installed(STATUS, [CONTROL])
    assert parse_status(text)["zlib1g"] == "1:1.3"
    assert text.count("Package: zlib1g") == 1
    assert parse_status(text)["libc6"] == "2.35-0ubuntu3.8"
    assert " Contains the standard libraries.\n .\n" in text


def test_an_empty_status_file_takes_a_package() -> None:
    assert parse_status(with_installed("", [CONTROL])) == {"zlib1g": "1:1.3"}


def test_damaged_text_gives_nothing() -> None:
    assert parse_status("garbage\n\n: :\n\nStatus: install ok installed\n") == {}


def test_a_package_that_is_held_needs_nothing() -> None:
    control = (
        "Package: libc6\nArchitecture: arm64\nVersion: 2.36\nDepends: libgcc-s1\nProvides: a, b (= 2)\nEssential: yes\n"
    )
    text = held_stanza(control)
    assert text.splitlines()[:2] == ["Package: libc6", "Status: install ok installed"]
    assert parse_status(text) == {"libc6": "2.36", "a": "", "b": ""}
    assert "libgcc-s1" not in text


def test_what_only_scripts_need_is_taken_as_there_unless_asked_for() -> None:
    known = parse_status("\n".join(scripts_stanzas(())))
    assert set(known) == {"dpkg", "debconf", "debconf-2.0"}
    assert "dpkg" not in parse_status("\n".join(scripts_stanzas(("dpkg=1.21", "x"))))


def test_a_version_that_is_asked_for_has_to_be_the_one() -> None:
    assert is_installed("a", {"a": "1"})
    assert is_installed("a=1", {"a": "1"})
    assert not is_installed("a=2", {"a": "1"})
