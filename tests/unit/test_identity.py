"""Which release and processor a root file system is for."""

from __future__ import annotations

import pytest

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.errors import ConfigError
from jetsonx.rootfs.identity import check_identity, check_l4t, check_machine, identity_paths, parse_l4t

R36_4_3 = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)


@pytest.mark.parametrize(
    ("text", "l4t"),
    [(R36_4_3, "36.4.3"), ("# R39 (release), REVISION: 2.0", "39.2.0"), ("# R32 (release), REVISION: 7.1,", "32.7.1")],
)
def test_the_release_file(text: str, l4t: str) -> None:
    assert parse_l4t(text) == l4t


@pytest.mark.parametrize("text", ["", "R36", "# R36 (release), REVISION: ?"])
def test_a_file_without_a_release(text: str) -> None:
    assert parse_l4t(text) is None


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("orin-nano@36.4.3", R36_4_3),
        ("orin-nano@36.4.4", "# R36 (release), REVISION: 4.7, GCID: 42132812"),  # 36.4.7 holds what 36.4.4 does
        ("agx-orin@39.2", "# R39 (release), REVISION: 2.0, GCID: 1"),
        ("agx-orin@39.2", ""),
    ],
)
def test_what_fits(target: str, text: str) -> None:
    check_l4t(text, resolve_target(load_catalog(), target), what="jetson@host")


def test_another_release_is_named_with_its_target() -> None:
    with pytest.raises(ConfigError) as error:
        check_l4t(R36_4_3, resolve_target(load_catalog(), "orin-nano@39.2"), what="jetson@host")
    assert str(error.value) == "jetson@host runs L4T 36.4.3, but orin-nano@39.2.0 was asked for"
    assert error.value.hint == "take it for what it is: orin-nano@36.4.3"


def test_a_release_that_nobody_knows() -> None:
    with pytest.raises(ConfigError) as error:
        check_l4t(
            "# R99 (release), REVISION: 1.0, X", resolve_target(load_catalog(), "orin-nano@39.2"), what="jetson@host"
        )
    assert "L4T 99.1.0" in str(error.value)
    assert "jetsonx targets" in (error.value.hint or "")


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little")


def test_what_tells() -> None:
    there = [
        "etc/nv_tegra_release",
        "lib/aarch64-linux-gnu/libc-2.31.so",
        "lib64/libc.so.6",
        "usr/lib/aarch64-linux-gnu/libc.so.6",
        "usr/lib/libc.so.6",
    ]
    others = ["usr/lib/aarch64-linux-gnu/libc.so", "usr/lib/a/b/libc.so.6", "opt/lib/libc.so.6", "usr/lib/libcap.so.2"]
    assert identity_paths([*others, *there]) == there


def test_one_library_for_the_right_processor_is_enough() -> None:
    check_machine({"lib/x86_64-linux-gnu/libc.so.6": elf(62), "usr/lib/libc.so.6": elf(183)}, what="/mnt")


@pytest.mark.parametrize(
    ("libraries", "says"),
    [
        ({}, "/mnt holds no root file system"),
        ({"lib/libc.so.6": elf(62)}, "its lib/libc.so.6 is x86-64, not AArch64"),
        ({"lib/libc.so.6": elf(40)}, "32-bit ARM"),
        ({"lib/libc.so.6": elf(9999)}, "ELF machine 9999"),
        ({"lib/libc.so.6": b"\x7fELF"}, "no C library"),
        ({"lib/libc.so.6": b""}, "no C library"),
    ],
)
def test_what_is_refused(libraries: dict[str, bytes], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_machine(libraries, what="/mnt")
    assert says in str(error.value)
    assert "expected" in (error.value.hint or "")


def test_a_root_without_a_release_file_is_taken_at_its_word() -> None:
    files = {"usr/lib/libc.so.6": elf(183) + bytes(1000), "usr/include/x.h": b""}
    check_identity(files, files.__getitem__, resolve_target(load_catalog(), "agx-orin@39.2"), what="/mnt")
    files["etc/nv_tegra_release"] = R36_4_3.encode()
    with pytest.raises(ConfigError, match=r"36\.4\.3"):
        check_identity(files, files.__getitem__, resolve_target(load_catalog(), "agx-orin@39.2"), what="/mnt")
