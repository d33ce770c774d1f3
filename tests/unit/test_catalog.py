from __future__ import annotations

import re

import pytest

from jetsonx.catalog import (
    Filter,
    Target,
    common_cpu,
    find_module,
    load_catalog,
    rank_runtime_suites,
    rank_suites,
    resolve_target,
)
from jetsonx.catalog.values import worst_confidence
from jetsonx.catalog.versions import parse_version, short_l4t
from jetsonx.errors import ConfigError

CATALOG = load_catalog()


def target(text: str) -> Target:
    return resolve_target(CATALOG, text)


def refused(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        target(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("orin-nano@39.2.0", "orin-nano@39.2.0"),
        ("orin-nano@39.2", "orin-nano@39.2.0"),  # 39.2.1 is unverified: only by its full name
        ("orin-nano@r39", "orin-nano@39.2.0"),
        ("orin-nano@39.2.1", "orin-nano@39.2.1"),
        ("orin-nano@36.2", "orin-nano@36.2.0"),  # unverified, yet all there is
        ("orin-nano@r36.4.3", "orin-nano@36.4.3"),
        ("orin-nano@36.4", "orin-nano@36.4.4"),
        ("orin-nano@36", "orin-nano@36.5.0"),
        ("orin-nano@36.4.7", "orin-nano@36.4.4"),  # a revision with the same contents
        ("orin-nano@L4T-R36.4.3", "orin-nano@36.4.3"),
        (" Orin_Nano @ R36.4.3 ", "orin-nano@36.4.3"),
        ("NVIDIA Jetson Orin NX@36.3", "orin-nx@36.3.0"),
        ("jetson-orin-nx@36.3", "orin-nx@36.3.0"),
        ("xavier-nx@35", "xavier-nx@35.6.4"),
        ("nano@32", "nano@32.7.6"),
        ("jetson-nano@32", "nano@32.7.6"),
        ("agx-thor@39.2", "thor-t5000@39.2.0"),
        ("thor-t4000@38", "thor-t4000@38.4.0"),
        ("orin-nano@jetpack-6.1", "orin-nano@36.4.0"),
        ("orin-nano@jp6.1", "orin-nano@36.4.0"),
        ("orin-nano@JetPack 6.2", "orin-nano@36.4.3"),  # that very JetPack, not 6.2.2
        ("orin-nano@jetpack-6.2.1", "orin-nano@36.4.4"),
        ("orin-nano@jetpack-6", "orin-nano@36.5.0"),
        ("orin-nano@jetpack-6.0", "orin-nano@36.3.0"),
        ("orin-nano@jetpack-6.0-dp", "orin-nano@36.2.0"),
        ("agx-orin@jetpack-5.0", "agx-orin@35.1.0"),  # 5.0.2, the first that was no preview
        ("agx-orin@jetpack-5.0.1", "agx-orin@34.1.1"),  # there was only a preview of it
        ("agx-thor@jetpack-7.0", "thor-t5000@38.2.1"),
        ("orin-nano@jetpack-7", "orin-nano@39.2.0"),
    ],
)
def test_spellings(text: str, name: str) -> None:
    assert target(text).name == name


def test_every_full_name_resolves_to_itself() -> None:
    for module in CATALOG.modules.values():
        for release in CATALOG.releases_for(module):
            found = target(f"{module.id}@{release.l4t}")
            assert (found.module, found.release, found.line.id) == (module, release, release.line)
            assert target(found.name) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("orin-nano@38.4", "L4T r38 does not support Orin (Thor only); r39.2 does"),
        ("orin-nano@jetpack-7.1", "L4T r38 does not support Orin (Thor only); r39.2 does"),
        ("agx-thor@36.4", "L4T r36 does not support Thor (Orin only); r38.2 does"),
        ("nano@36.4.3", "L4T r36 does not support Nano/TX1 (Orin only); r32.7.6 does"),
        ("agx-xavier@36", "L4T r36 does not support Xavier (Orin only); r35.6.4 does"),
        ("tx2@35.1", "L4T r35 does not support TX2 (Xavier and Orin only); r32.7.6 does"),
        ("thor-t4000@38.2", "L4T r38.2.1 does not support Jetson T4000; r38.4 does"),
        ("orin-nano@35.1", "L4T r35.1 does not support Jetson Orin Nano; r35.3.1 does"),
        ("xavier-nx@32.3.1", "L4T r32.3.1 does not support Jetson Xavier NX; r32.4.2 does"),
    ],
)
def test_impossible_pairs_are_refused_with_the_reason(text: str, reason: str) -> None:
    error = refused(text)
    assert error.message == f"{text}: {reason}"
    assert error.hint is not None
    suggestion = re.search(r"write (\S+);", error.hint)
    assert suggestion is not None
    assert target(suggestion[1]).module == find_module(CATALOG, text.partition("@")[0])


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("orin-nan@39.2", "orin-nano"),
        ("orin@39.2", "orin-nano, orin-nx or agx-orin"),
        ("xavier@35", "xavier-nx or agx-xavier"),
        ("jetson-agx-thro@39.2", "agx-thor"),
        ("raspberry-pi@39.2", "known: nano, tx1"),
    ],
)
def test_unknown_module_names_the_nearest(text: str, nearest: str) -> None:
    error = refused(text)
    assert error.message == f"unknown module {text.partition('@')[0]!r}"
    assert error.hint is not None
    assert nearest in error.hint
    assert "jetsonx targets" in error.hint


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("orin-nano@36.9", "orin-nano@36.5.0"),
        ("orin-nano@6.1", "orin-nano@jetpack-6.1 (L4T r36.4)"),
        ("orin-nano@jetpack-9", "orin-nano runs L4T 35.3.1"),
        ("orin-nano@36.4.3.1", "orin-nano@36.4.3"),
        ("orin-nano@latest", "write orin-nano@39.2.0"),
        ("orin-nano@@36", "write orin-nano@39.2.0"),
        ("orin-nano@36.4.3; rm -rf /", "orin-nano@36.4.3"),
        ("orin-nano@" + "9" * 5000, "write orin-nano@39.2.0"),
        ("orin-nano@\N{ARABIC-INDIC DIGIT THREE}\N{ARABIC-INDIC DIGIT SIX}", "write orin-nano@39.2.0"),
    ],
)
def test_unknown_release_names_the_nearest(text: str, nearest: str) -> None:
    error = refused(text)
    assert error.message.startswith("unknown L4T release")
    assert error.hint is not None
    assert nearest in error.hint


def test_a_line_before_the_catalog_is_said_to_be_too_old() -> None:
    assert "older than what jetsonx covers" in refused("tx1@28.3").message
    assert "older" not in refused("orin-nano@28.3").message


@pytest.mark.parametrize("text", ["orin-nano", "orin-nano@", "orin-nano@  "])
def test_without_a_release_the_modules_releases_are_listed(text: str) -> None:
    error = refused(text)
    assert error.message == f"target {text.strip()!r} names no L4T release"
    assert error.hint is not None
    assert "35.3.1" in error.hint
    assert "39.2.0" in error.hint
    assert "38.4.0" not in error.hint


@pytest.mark.parametrize("text", ["", "@", "@39.2", "  ", "jetson-@39.2"])
def test_without_a_module(text: str) -> None:
    hint = refused(text).hint
    assert hint is not None
    assert "known: nano" in hint


def test_target_derives_every_spelling() -> None:
    orin = target("orin-nano@39.2")
    assert (orin.triple, orin.debian_arch, orin.platform) == ("aarch64-linux-gnu", "arm64", "linux/arm64")
    assert orin.interpreter == "/lib/ld-linux-aarch64.so.1"
    assert (orin.sm, orin.compute_capability) == (87, "8.7")
    assert (orin.cuda_version, orin.cuda_dir) == ("13.2", "usr/local/cuda-13.2")
    assert orin.cuda_target == "sbsa-linux"
    assert (orin.glibc, orin.glibcxx) == ("2.39", "GLIBCXX_3.4.33")
    assert orin.confidence == "verified"
    assert orin.cuda is not None
    assert (orin.cuda.gcc_max, orin.cuda.clang_max, orin.cuda.zig, orin.cuda.zig_clang) == (15, 21, "0.16.0", "21.1.0")
    assert orin.driver is not None
    assert orin.driver.max_cuda == "13.2"


def test_target_of_an_old_line() -> None:
    nano = target("nano@32.1")
    assert nano.cuda is None
    assert (nano.cuda_version, nano.cuda_target, nano.sm) == ("10.0", "aarch64-linux", 53)
    assert nano.confidence == "reported"
    assert target("orin-nano@36.2").confidence == "unverified"


def test_compat_reaches_beyond_the_native_cuda() -> None:
    driver = target("orin-nano@36.3").driver
    assert driver is not None
    assert (driver.max_cuda, driver.max_cuda_with_compat) == ("12.2", "12.9")
    newer = target("orin-nano@36.4").driver
    assert newer is not None
    assert newer.max_cuda == "12.6"


@pytest.mark.parametrize(("cuda", "sm"), [("12.8", 101), ("12.9.1", 101), ("13.0.48", 110), ("13.2", 110)])
def test_thor_changed_its_sm_number(cuda: str, sm: int) -> None:
    assert CATALOG.modules["thor-t5000"].sm_for_cuda(cuda) == sm
    assert CATALOG.modules["orin-nx"].sm_for_cuda(cuda) == 87


@pytest.mark.parametrize(
    ("module", "compiler", "major", "flags"),
    [
        ("nano", "gcc", 7, ["-mcpu=cortex-a57", "-march=armv8-a+crc"]),
        ("nano", "clang", 18, ["-mcpu=cortex-a57", "-march=armv8-a+crc"]),
        ("xavier-nx", "gcc", 12, ["-march=armv8.2-a+crypto+fp16", "-march=armv8-a+crc"]),
        ("xavier-nx", "clang", 16, ["-mcpu=carmel", "-march=armv8.2-a+crypto+fp16", "-march=armv8-a+crc"]),
        ("orin-nx", "gcc", 8, ["-march=armv8-a+crc"]),
        ("orin-nx", "gcc", 10, ["-march=armv8.2-a+crypto+fp16+dotprod+rcpc", "-march=armv8-a+crc"]),
        (
            "orin-nx", "gcc", 11,
            ["-mcpu=cortex-a78ae", "-march=armv8.2-a+crypto+fp16+dotprod+rcpc", "-march=armv8-a+crc"],
        ),
        (
            "orin-nx", "clang", 16,
            ["-mcpu=cortex-a78ae", "-march=armv8.2-a+crypto+fp16+dotprod+rcpc", "-march=armv8-a+crc"],
        ),
        (
            "thor-t5000", "gcc", 12,
            ["-march=armv9-a", "-march=armv8.2-a+crypto+fp16+dotprod+rcpc", "-march=armv8-a"],
        ),
        (
            "thor-t5000", "gcc", 15,
            [
                "-mcpu=neoverse-v3ae", "-mcpu=neoverse-v2", "-march=armv9-a",
                "-march=armv8.2-a+crypto+fp16+dotprod+rcpc", "-march=armv8-a",
            ],
        ),
    ],
)  # fmt: skip
def test_cpu_flags_best_first(module: str, compiler: str, major: int, flags: list[str]) -> None:
    assert compiler in ("gcc", "clang")
    assert list(CATALOG.modules[module].cpu_flags("gcc" if compiler == "gcc" else "clang", major)) == flags


def test_common_cpu_is_the_oldest_core() -> None:
    both = [target("agx-thor@39.2"), target("orin-nano@39.2")]
    assert common_cpu(both).id == "orin-nano"
    assert common_cpu([target("agx-orin@35.4"), target("agx-xavier@35.4")]).id == "agx-xavier"
    with pytest.raises(ValueError, match="empty"):
        common_cpu([])


@pytest.mark.parametrize(
    ("line", "debian", "ubuntu"),
    [
        ("r32", [], ["bionic"]),
        ("r35", ["bullseye"], ["focal", "bionic"]),
        ("r36", ["bullseye"], ["jammy", "focal", "bionic"]),
        ("r38", ["bookworm", "bullseye"], ["noble", "jammy", "focal", "bionic"]),
        ("r39", ["bookworm", "bullseye"], ["noble", "jammy", "focal", "bionic"]),
    ],
)
def test_suites_never_newer_than_the_target_closest_first(line: str, debian: list[str], ubuntu: list[str]) -> None:
    chosen = CATALOG.lines[line]
    for distribution, expected in (("debian", debian), ("ubuntu", ubuntu)):
        ranked = rank_suites(CATALOG.suites, chosen.glibc, chosen.glibcxx, distribution)
        assert [suite.codename for suite in ranked] == expected


def test_both_ceilings_count() -> None:
    trixie = rank_suites(CATALOG.suites, "2.41", "GLIBCXX_3.4.33", "debian")
    assert trixie[0].codename == "trixie"
    assert rank_suites(CATALOG.suites, "2.41", "GLIBCXX_3.4.30", "debian")[0].codename == "bookworm"
    assert rank_suites(CATALOG.suites, "2.36", "GLIBCXX_3.4.28", "debian")[0].codename == "bullseye"
    assert rank_suites(CATALOG.suites, "2.4", "GLIBCXX_3.4.33", "debian") == ()  # 2.4 is older than 2.31
    assert rank_suites(CATALOG.suites, "2.41", "GLIBCXX_3.4.33", "alpine") == ()


@pytest.mark.parametrize(
    ("line", "debian", "ubuntu"),
    [
        ("r32", ["bullseye", "bookworm", "trixie"], ["bionic", "focal", "jammy", "noble"]),
        ("r34", ["bullseye", "bookworm", "trixie"], ["focal", "jammy", "noble"]),
        ("r35", ["bullseye", "bookworm", "trixie"], ["focal", "jammy", "noble"]),
        ("r36", ["bookworm", "trixie"], ["jammy", "noble"]),
        ("r38", ["trixie"], ["noble"]),
        ("r39", ["trixie"], ["noble"]),
    ],
)
def test_suites_for_images_never_older_than_the_target_oldest_first(
    line: str, debian: list[str], ubuntu: list[str]
) -> None:
    chosen = CATALOG.lines[line]
    for distribution, expected in (("debian", debian), ("ubuntu", ubuntu)):
        ranked = rank_runtime_suites(CATALOG.suites, chosen.glibc, chosen.glibcxx, distribution)
        assert [suite.codename for suite in ranked] == expected


def test_both_floors_count() -> None:
    libstdcxx = rank_runtime_suites(CATALOG.suites, "2.31", "GLIBCXX_3.4.29", "debian")
    assert [x.codename for x in libstdcxx] == ["bookworm", "trixie"]
    assert [x.codename for x in rank_runtime_suites(CATALOG.suites, "2.37", "GLIBCXX_3.4.28", "debian")] == ["trixie"]
    assert rank_runtime_suites(CATALOG.suites, "2.42", "GLIBCXX_3.4.33") == ()


def test_base_packages_take_the_suites_gcc() -> None:
    line = CATALOG.lines["r39"]
    assert line.base_packages(12) == ("libc6-dev", "libstdc++-12-dev", "linux-libc-dev", "ca-certificates")


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("usr/include/stdio.h", True),
        ("usr/include/c++/12/vector", True),
        ("usr/lib/aarch64-linux-gnu/crt1.o", True),
        ("usr/lib/aarch64-linux-gnu/libc.so", True),
        ("usr/lib/aarch64-linux-gnu/libc_nonshared.a", True),
        ("usr/lib/aarch64-linux-gnu/libopencv_core.so.406", True),
        ("usr/lib/aarch64-linux-gnu/pkgconfig/zlib.pc", True),
        ("usr/lib/aarch64-linux-gnu/cmake/opencv4/OpenCVConfig.cmake", True),
        ("usr/lib/aarch64-linux-gnu/glib-2.0/include/glibconfig.h", True),
        ("usr/lib/aarch64-linux-gnu/pulseaudio/libpulsecommon-15.0.so", True),
        ("usr/lib/gcc/aarch64-linux-gnu/12/libgcc.a", True),
        ("usr/lib/gcc/aarch64-linux-gnu/12/include/arm_neon.h", True),
        ("usr/lib/gcc/aarch64-linux-gnu/12/libgomp.spec", True),
        ("usr/share/pkgconfig/eigen3.pc", True),
        ("usr/share/eigen3/cmake/Eigen3Config.cmake", True),
        ("lib/ld-linux-aarch64.so.1", True),
        ("lib/aarch64-linux-gnu/libm.so.6", True),
        ("lib/aarch64-linux-gnu/libpthread-2.31.so", True),
        ("usr/bin/gcc", False),
        ("usr/lib/gcc/aarch64-linux-gnu/12/cc1", False),
        ("usr/lib/gcc/aarch64-linux-gnu/12/plugin/include/tree.h", False),
        ("usr/lib/gcc/aarch64-linux-gnu/12/liblto_plugin.so", False),
        ("usr/lib/gcc/aarch64-linux-gnu/12/liblto_plugin.so.0.0.0", False),
        ("usr/lib/bfd-plugins/liblto_plugin.so", False),
        ("usr/lib/aarch64-linux-gnu/gconv/UTF-16.so", False),
        ("usr/lib/aarch64-linux-gnu/perl/5.36/CORE/perl.h", False),
        ("usr/lib/python3/dist-packages/numpy/core/_umath.so", False),
        ("usr/lib/python3.11/config-3.11-aarch64-linux-gnu/libpython3.11.a", False),
        ("usr/lib/aarch64-linux-gnu/gio/modules/libdconfsettings.so", False),
        ("usr/lib/aarch64-linux-gnu/dri/iris_dri.so", False),
        ("usr/lib/debug/.build-id/00/lib.so", False),
        ("usr/share/cmake-3.25/Modules/FindCUDA.cmake", False),
        ("usr/share/doc/zlib1g/copyright", False),
        ("usr/share/man/man3/zlib.3.gz", False),
        ("etc/passwd", False),
        ("", False),
    ],
)
def test_the_filter_keeps_what_a_compiler_and_linker_need(path: str, kept: bool) -> None:
    assert CATALOG.lines["r39"].filter.keeps(path) is kept


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("a/*.h", "a/x.h", True),
        ("a/*.h", "a/b/x.h", False),
        ("a/**/x.h", "a/x.h", True),
        ("a/**/x.h", "a/b/c/x.h", True),
        ("a/**", "ab/x", False),
        ("a.{so,a}", "a.so", True),
        ("a.{so,a}", "axso", False),
        ("a.{so,a}", "a.so\n", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("lib[0-9]", "lib7", True),
        ("lib[0-9]", "libx", False),
        ("c++/a,b", "c++/a,b", True),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    assert Filter(keep=(glob,)).keeps(path) is matches


@pytest.mark.parametrize("glob", ["a{b", "a}b"])
def test_an_unbalanced_brace_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="unbalanced brace"):
        Filter(keep=(glob,)).keeps("a")


def test_versions() -> None:
    assert parse_version("GLIBCXX_3.4.30") == (3, 4, 30)
    assert parse_version("36.10") > parse_version("36.4.3")
    assert parse_version("5.0 DP") == (5, 0)
    with pytest.raises(ValueError, match="no version"):
        parse_version("latest")
    assert (short_l4t("39.2.0"), short_l4t("36.4.3")) == ("r39.2", "r36.4.3")
    assert worst_confidence("verified", "measured", "reported") == "reported"


def test_a_target_with_another_cuda_is_the_same_device() -> None:
    own = target("orin-nano@36.4.3")
    other = own.with_cuda(CATALOG.cuda["12.8"], "12.8.1")
    assert (other.name, other.driver, other.line, other.module) == (own.name, own.driver, own.line, own.module)
    assert (other.cuda_version, other.cuda_dir, other.sm) == ("12.8", "usr/local/cuda-12.8", 87)
    assert (other.release.cuda, other.release.cuda_toolkit, other.release.cudnn) == (
        "12.8.1",
        "12.8.1",
        own.release.cudnn,
    )
    assert other.cuda is CATALOG.cuda["12.8"]
    assert own.with_cuda(CATALOG.cuda["12.8"]).release.cuda_toolkit is None
    with pytest.raises(ConfigError, match="built for sbsa-linux"):
        own.with_cuda(CATALOG.cuda["13.0"])
