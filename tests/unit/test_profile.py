"""What is known of the targets, and whether the shipped lists are what they claim to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.verify.libraries import load_suite
from jetsonx.verify.profile import DeviceFacts, cuda_of_ptx, load_data, profile_of, profile_of_device, ptx_isa_of
from tests.elf.synthetic import ElfSpec, make_elf
from tests.unit.verify_values import make_profile

GLIBC = ("libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libresolv.so.2", "libutil.so.1")
TARGETS = [
    f"{module.id}@{release.l4t}"
    for module in load_catalog().modules.values()
    for release in load_catalog().releases_for(module)
]


def target(name: str) -> Target:
    return resolve_target(load_catalog(), name)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_profile(name: str) -> None:
    profile = profile_of(target(name))
    libc = profile.libraries.get("libc.so.6")
    assert libc is not None
    assert f"GLIBC_{profile.glibc}" in libc.versions or profile.glibc == "2.31"  # 2.31 brought symbols to libm only
    assert libc.exports is not None
    assert {"puts", "puts@GLIBC_2.17"} <= libc.exports
    stdcxx = profile.libraries.get("libstdc++.so.6")
    assert stdcxx is not None
    assert profile.glibcxx in stdcxx.versions
    assert profile.cpu_features is not None
    assert profile.driver_cuda is not None
    assert profile.ptx_isa is not None
    assert profile.is_driver_library("libcuda.so.1")
    assert not profile.is_driver_library("libc.so.6")


def test_nothing_newer_than_the_target_is_in_its_list() -> None:
    libraries = load_suite("trixie", glibc="2.39", glibcxx="GLIBCXX_3.4.32")
    libc, stdcxx = libraries.get("libc.so.6"), libraries.get("libstdc++.so.6")
    assert libc is not None
    assert stdcxx is not None
    assert "GLIBC_2.38" in libc.versions
    assert not {"GLIBC_2.40", "GLIBC_2.41", "GLIBC_PRIVATE"} & libc.versions
    assert "strlcpy@GLIBC_2.38" in (libc.exports or ())
    assert "GLIBCXX_3.4.33" not in stdcxx.versions
    assert libraries.get("libgone.so") is None


@pytest.mark.parametrize("name", [*GLIBC, "libstdc++.so.6"])
def test_a_newer_suite_cut_at_an_older_glibc_is_the_older_suite(name: str) -> None:
    """This is what makes the lists right for Ubuntu's releases between Debian's."""
    cut = load_suite("trixie", glibc="2.36", glibcxx="GLIBCXX_3.4.30").get(name)
    own = load_suite("bookworm", glibc="2.36", glibcxx="GLIBCXX_3.4.30").get(name)
    assert cut is not None
    assert own is not None
    gcc = {x for x in cut.versions if x.startswith("CXXABI_")} - own.versions  # no target says how new its CXXABI is
    same = {x for x in cut.exports or () if x.partition("@")[2] not in gcc and "@" in x}
    assert same == {x for x in own.exports or () if "@" in x}
    assert own.versions == cut.versions - gcc


@pytest.mark.parametrize("name", GLIBC[:-2])
def test_a_name_without_a_version_means_the_default_of_that_time(name: str) -> None:
    cut = load_suite("trixie", glibc="2.36", glibcxx="GLIBCXX_3.4.30").get(name)
    own = load_suite("bookworm", glibc="2.36", glibcxx="GLIBCXX_3.4.30").get(name)
    assert cut is not None
    assert own is not None
    retired = (own.exports or frozenset()) - (cut.exports or frozenset())  # for old programs only, since then
    assert retired <= {"_dl_mcount_wrapper", "__ivaliduser"}
    assert cut.exports == (own.exports or frozenset()) - retired


def test_the_driver_of_a_release_and_its_compatibility_packages() -> None:
    orin = profile_of(target("agx-orin@36.4.3"))
    assert (orin.driver_cuda, orin.driver_cuda_with_compat) == ((12, 6), (12, 9))
    assert (orin.ptx_isa, orin.ptx_isa_with_compat) == ((8, 5), (8, 8))
    assert profile_of(target("nano@32.7.6")).ptx_isa == (6, 5)


def test_ptx_versions() -> None:
    assert ptx_isa_of((12, 6)) == (8, 5)
    assert ptx_isa_of((13, 2)) == (9, 2)
    assert ptx_isa_of((9, 0)) is None
    assert ptx_isa_of(None) is None
    assert (cuda_of_ptx((8, 5)), cuda_of_ptx((99, 0))) == ("12.5", "")


def test_cuda_is_mounted_from_the_device_on_r32_only() -> None:
    assert profile_of(target("nano@32.7.6")).is_driver_library("libcudart.so.10.2")
    assert not profile_of(target("agx-orin@35.4.1")).is_driver_library("libcudart.so.11.0")


def test_a_sysroot_of_packages_adds_to_the_list_and_one_of_a_device_replaces_it(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/aarch64-linux-gnu"
    folder.mkdir(parents=True)
    old = make_elf(ElfSpec(interpreter=None, soname="libc.so.6", version_definitions=("GLIBC_2.17",)))
    for name in ("libc.so.6", "libown.so.1"):
        (folder / name).write_bytes(old)

    def versions(name: str) -> int:
        library = profile_of(target("orin-nano@39.2"), tmp_path).libraries.get(name)
        return len(library.versions) if library is not None else -1

    assert versions("libc.so.6") > 10
    assert versions("libown.so.1") == 1
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=ubuntu\n")
    assert versions("libc.so.6") == 1
    assert versions("libstdc++.so.6") > 10


def test_the_source_is_said() -> None:
    profile = profile_of(target("orin-nano@39.2"), Path("/store/x"))
    assert profile.source == "the sysroot /store/x, the symbol list of Debian trixie, cut at glibc 2.39"


def test_a_device_says_more_of_itself() -> None:
    flags = ("fp", "asimd", "atomics", "sve", "paca")
    facts = DeviceFacts(glibc="2.35", cpu_flags=flags, driver_cuda=(12, 8), sonames=("libown.so.1",), page_bytes=65536)
    profile = profile_of_device(target("agx-orin@36.4.3"), facts)
    assert profile.cpu_features == frozenset({"lse", "sve", "pac"})
    assert (profile.driver_cuda, profile.ptx_isa, profile.page_bytes) == ((12, 8), (8, 7), 65536)
    assert profile.libraries.get("libown.so.1") is not None
    assert profile.libraries.get("libstdc++.so.6") is not None
    assert profile.libraries.get("libgone.so.1") is None
    nothing = profile_of_device(target("agx-orin@36.4.3"), DeviceFacts())
    assert nothing.cpu_features == profile_of(target("agx-orin@36.4.3")).cpu_features


def test_no_globs_match_nothing() -> None:
    assert not make_profile(driver_globs=()).is_driver_library("")


def test_the_data_names_only_what_the_catalog_has() -> None:
    data, catalog = load_data(), load_catalog()
    assert set(data["line"]) == set(catalog.lines)
    assert set(data["cpu"]) == {module.soc for module in catalog.modules.values()}
