"""Device code against GPUs and drivers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetsonx.elf.facts import Entry, FileFacts
from jetsonx.verify.profile import Profile
from tests.unit.verify_values import (
    LIBRARY,
    OBJECT,
    OLD,
    ORIN,
    PROGRAM,
    THOR,
    THOR_CUDA12,
    check,
    cuda,
    entry,
    fatbin,
    make_profile,
    make_root,
    make_tree,
    only,
    program,
    rules,
)

DRIVER_11 = make_profile(
    driver_cuda=(11, 4), driver_cuda_with_compat=(12, 2), ptx_isa=(7, 4), ptx_isa_with_compat=(8, 2)
)


@pytest.mark.parametrize(
    ("code", "target"),
    [
        (["sm_87"], ORIN),
        (["sm_75", "sm_87", "compute_87"], ORIN),
        (["sm_110"], THOR),
        (["sm_110a"], THOR),
        (["sm_110f"], THOR),
        (["sm_101"], THOR_CUDA12),
    ],
)
def test_exact_machine_code_passes(code: list[str], target: Profile) -> None:
    assert check(cuda(fatbin(*code)), target) == ()


@pytest.mark.parametrize(
    ("code", "target", "rule"),
    [
        (["sm_75", "compute_75"], ORIN, "JX703"),
        (["compute_87"], ORIN, "JX703"),
        (["sm_80", "compute_80"], ORIN, "JX703"),
        (["compute_110f"], THOR, "JX703"),
        (["sm_80"], ORIN, "JX702"),
        (["sm_80", "sm_86", "sm_110"], ORIN, "JX702"),
        (["sm_75"], ORIN, "JX701"),
        (["sm_89", "compute_89"], ORIN, "JX701"),
        (["compute_90a"], THOR, "JX705"),
        (["sm_100f"], THOR, "JX701"),
        (["sm_101"], THOR, "JX706"),
        (["sm_101", "compute_101"], THOR, "JX706"),
        (["sm_110"], THOR_CUDA12, "JX706"),
        (["sm_80a"], ORIN, "JX705"),
        (["lto_87"], ORIN, "JX701"),
        ([], ORIN, "JX701"),
    ],
)
def test_device_code_that_does_not_fit(code: list[str], target: Profile, rule: str) -> None:
    (finding,) = [each for each in check(cuda(fatbin(*code)), target) if each.severity == "error"]
    assert finding.rule == rule
    assert f"not sm_{target.sm}" in finding.message
    assert all(name in finding.message for name in code)
    assert "override_arch = true" in finding.fix


def test_the_message_says_what_was_found() -> None:
    finding = only(check(cuda(fatbin("sm_75", "compute_75"))))
    assert finding.message.startswith("holds sm_75 machine code and compute_75 PTX, not sm_87: ")
    assert "-DCMAKE_CUDA_ARCHITECTURES='87'" in finding.fix
    assert "jit = true" in finding.fix


def test_files_of_others_are_not_told_about_jetsonx_toml() -> None:
    fix = only(check(cuda(fatbin("sm_75")), own_build=False)).fix
    assert "jetsonx.toml" not in fix
    assert "-DCMAKE_CUDA_ARCHITECTURES='87'" in fix


def test_with_jit_ptx_is_a_note_but_the_rest_stays_an_error() -> None:
    assert only(check(cuda(fatbin("compute_75")), jit=True)).severity == "note"
    assert only(check(cuda(fatbin("sm_80")), jit=True)).severity == "error"
    assert only(check(cuda(fatbin("compute_110")), jit=True)).rule == "JX701"


def test_a_lower_minor_is_a_warning_when_it_is_allowed_and_says_that_reports_differ() -> None:
    refused, allowed = (only(check(cuda(fatbin("sm_86")), allow_minor=x)) for x in (False, True))
    assert (refused.severity, allowed.severity) == ("error", "warning")
    assert "reports differ" in refused.message
    assert "--allow-minor" in refused.message
    assert "reports differ" in allowed.message


def test_shells_without_kernels_are_not_judged() -> None:
    assert check(cuda(fatbin("sm_75", has_kernels=False), fatbin("sm_87"))) == ()


def test_each_fat_binary_is_judged_by_itself() -> None:
    finding = only(check(cuda(fatbin("sm_87"), fatbin("sm_75"), fatbin("sm_75"))))
    assert "in 2 of its 3 fat binaries" in finding.message


@pytest.mark.parametrize(
    ("codes", "rule"),
    [
        ([["sm_87"], ["sm_120"], ["sm_75"], ["sm_90a"]], None),
        ([["sm_80"], ["sm_120"], ["sm_75"], ["sm_75"]], "JX702"),
        ([["sm_80"], ["compute_75"]], "JX703"),
        ([["sm_75"], ["sm_75"], ["sm_120"]], "JX701"),
    ],
)
def test_libraries_that_choose_by_gpu_are_judged_by_what_is_closest_to_running(
    codes: list[list[str]], rule: str | None
) -> None:
    fatbins = [fatbin(*code) for code in codes]
    found = check(cuda(*fatbins, elf=LIBRARY, path="lib/libcublasLt.so.13"))
    assert rules(found) == ([rule] if rule else [])
    assert set(rules(found)) < set(rules(check(cuda(*fatbins, elf=LIBRARY, path="lib/libmine.so")))) or rule == "JX701"


def test_fat_binaries_with_one_fault_are_one_finding() -> None:
    finding = only(check(cuda(fatbin("sm_80"), fatbin("sm_86"), fatbin("sm_80", "sm_86"))))
    assert finding.message.startswith("holds sm_80, sm_86 machine code in 3 of its 3 fat binaries, not sm_87: ")


def test_relocatable_code_counts_in_objects_only() -> None:
    code = fatbin("sm_75", is_relocatable=True)
    assert rules(check(cuda(code, fatbin("sm_87")))) == ["JX709"]
    assert only(check(cuda(code, elf=OBJECT))).rule == "JX701"
    assert only(check(make_tree({"lib.a": FileFacts(path="lib.a", kind="archive", fatbins=(code,))}))).rule == "JX701"


@pytest.mark.parametrize("name", ["lto_87", "lto_80"])
def test_lto_code_becomes_machine_code_in_the_device_link(name: str) -> None:
    code = fatbin(name, is_relocatable=True)
    assert check(make_tree({"lib.a": FileFacts(path="lib.a", kind="archive", fatbins=(code,))})) == ()


def test_a_bare_cubin_is_no_wrong_machine() -> None:
    elf = replace(PROGRAM, machine="CUDA", interpreter=None, type="executable", has_dynamic=False, loads=())
    assert check(cuda(fatbin("sm_87"), elf=elf)) == ()
    assert only(check(cuda(fatbin("sm_75"), elf=elf))).rule == "JX701"


def test_every_target_has_to_be_satisfied() -> None:
    finding = only(check(cuda(fatbin("sm_87", "compute_87")), ORIN, THOR))
    assert finding.targets == ("agx-thor@39.2.0",)
    assert "-DCMAKE_CUDA_ARCHITECTURES='87;110'" in finding.fix
    assert check(cuda(fatbin("sm_87", "sm_110")), ORIN, THOR) == ()


# -- PTX and the driver ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("isa", "severity"), [((7, 4), "note"), ((7, 5), "warning"), ((8, 2), "warning"), ((8, 3), "error")]
)
def test_ptx_newer_than_the_driver(isa: tuple[int, int], severity: str) -> None:
    finding = only(check(cuda(fatbin(entry("compute_87", isa=isa))), DRIVER_11, jit=True))
    assert (finding.rule, finding.severity) == ("JX703" if severity == "note" else "JX704", severity)


def test_the_message_names_the_cuda_release_of_the_ptx() -> None:
    finding = only(check(cuda(fatbin(entry("compute_87", isa=(8, 5)))), DRIVER_11, jit=True))
    assert "PTX 8.5 (CUDA 12.5) is newer than 7.4" in finding.message


def test_new_ptx_does_not_matter_beside_machine_code_or_older_ptx() -> None:
    new = entry("compute_87", isa=(9, 9))
    assert check(cuda(fatbin("sm_87", new)), DRIVER_11) == ()
    older = entry("compute_80", isa=(7, 0))
    assert only(check(cuda(fatbin(new, older)), DRIVER_11, jit=True)).rule == "JX703"


def test_nothing_is_said_of_ptx_when_the_driver_is_not_known() -> None:
    unknown = make_profile(driver_cuda=None, ptx_isa=None)
    assert only(check(cuda(fatbin(entry("compute_87", isa=(99, 0)))), unknown, jit=True)).rule == "JX703"


# -- toolkits ----------------------------------------------------------------------------------------------------------


def made_by(*toolkit: int) -> Entry:
    return entry("sm_87", toolkit=toolkit)


@pytest.mark.parametrize(
    ("toolkit", "severity"),
    [((11, 4), ""), ((10, 2), ""), ((11, 8), "warning"), ((12, 2), "warning"), ((12, 6), "error"), ((13, 0), "error")],
)
def test_machine_code_of_a_newer_toolkit(toolkit: tuple[int, int], severity: str) -> None:
    found = check(cuda(fatbin(made_by(*toolkit))), DRIVER_11)
    assert [(each.rule, each.severity) for each in found] == ([("JX707", severity)] if severity else [])


def test_within_a_major_release_and_without_a_package_it_is_a_warning() -> None:
    finding = only(check(cuda(fatbin(made_by(13, 5)))))
    assert (finding.rule, finding.severity) == ("JX707", "warning")
    assert "minor version compatibility" in finding.message


@pytest.mark.parametrize(("name", "severity"), [("libcudart.so.13", "error"), ("libcudart.so.12", "warning")])
def test_the_runtime_library_tells_its_toolkit(name: str, severity: str) -> None:
    profile = replace(DRIVER_11, libraries=make_profile(more=(name,)).libraries)
    finding = only(check(make_tree({"app": program(name)}), profile))
    assert (finding.rule, finding.severity) == ("JX707", severity)


def test_a_compatibility_package_in_the_image_makes_up_for_it() -> None:
    code = FileFacts(path="app", kind="elf", elf=program("libc.so.6"), fatbins=(fatbin(made_by(12, 2)),))
    image = {"app": code, "usr/local/cuda-12.2/compat/libcuda.so.1": None}
    profile = replace(DRIVER_11, glibc="2.31", glibcxx="GLIBCXX_3.4.28")
    assert "JX707" in rules(check(make_root({"app": code}), profile))
    assert "JX707" not in rules(check(make_root(image), profile))


def test_code_outside_the_sections_is_counted_and_not_judged() -> None:
    finding = only(check(cuda(fatbin("sm_87"), fatbin("sm_75", is_outside=True), fatbin("sm_80", is_outside=True))))
    assert (finding.rule, finding.severity) == ("JX708", "note")
    assert "2 fat binaries" in finding.message


def test_lto_code_in_a_program_is_told() -> None:
    finding = only(check(cuda(fatbin("sm_87", "lto_87"))))
    assert (finding.rule, finding.severity) == ("JX709", "note")


def test_code_for_other_gpus_is_weighed() -> None:
    big = [entry(name, size_bytes=1_500_000) for name in ("sm_75", "sm_110", "sm_87", "compute_87", "compute_120")]
    finding = only(check(cuda(fatbin(*big))))
    assert (finding.rule, finding.severity) == ("JX710", "note")
    assert "4.5 MB" in finding.message
    assert "sm_87" not in finding.message
    assert "3.0 MB" in only(check(cuda(fatbin(*big)), ORIN, THOR)).message


@pytest.mark.parametrize(
    "path", ["usr/local/cuda-12.6/targets/sbsa-linux/lib/libcublas.so.12", "x/nvidia_cublas_cu12-12.6.dist-info/WHEEL"]
)
def test_libraries_for_servers_before_cuda_13(path: str) -> None:
    tree = make_tree({path: FileFacts(path=path, kind="other")})
    assert rules(check(tree, replace(OLD, cuda_target="aarch64-linux"))) == ["JX711"]
    assert check(tree, ORIN) == ()
