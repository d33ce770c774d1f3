"""Who may import what. A module that computes must not be able to start a process or open a connection."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "jetsonx"
MODULES = sorted(ROOT.rglob("*.py"))

# Library -> the modules (paths below jetsonx/, a trailing slash for a package) that may import it.
ALLOWED = {
    "subprocess": {"runner.py", "deploy/helper/"},
    "socket": {"runner.py", "vm/wire.py"},
    "requests": {"net/"},
    "urllib3": {"net/"},
    "docker": {"engine/images.py"},
    "urllib.request": set[str](),
    "http.client": set[str](),
    "click": {"cli/"},
    "tqdm": {"console.py"},
    "elftools": {"elf/opinion.py"},
    "numpy": {"deploy/matching.py", "elf/instructions.py"},
    "lief": {"elf/hardening.py"},
    "filelock": {"store/cachedir.py"},
    "platformdirs": {"net/mirrors.py", "store/cachedir.py"},
}
# Packages of ours, lowest first: each may import itself and those before it.
LAYERS = (
    "errors",
    "toml",
    "console",
    "runner",
    "net",
    "registry",
    "catalog",
    "project",
    "store",
    "effects",
    "packages",
    "rootfs",
    "elf",
    "artifact",
    "sysroot",
    "toolchain",
    "dockerfile",
    "verify",
    "image",
    "host",
    "vm",
    "engine",
    "device",
    "build",
    "deploy",
    "cli",
)
# Modules in which everything is computed: they read no file, no environment and no clock.
PURE = {
    "artifact/tree.py",
    "build/plan.py",
    "build/lockfile.py",
    "catalog/target.py",
    "catalog/suites.py",
    "deploy/fleet.py",
    "deploy/helper/frames.py",
    "deploy/hybrid.py",
    "deploy/matching.py",
    "deploy/oldtree.py",
    "deploy/options.py",
    "deploy/outcome.py",
    "deploy/pace.py",
    "deploy/plan.py",
    "deploy/preflight.py",
    "deploy/recipe.py",
    "deploy/report.py",
    "deploy/request.py",
    "deploy/roots.py",
    "deploy/state.py",
    "deploy/summary.py",
    "deploy/transfer.py",
    "deploy/values.py",
    "device/answer.py",
    "device/identify.py",
    "device/judge.py",
    "device/render.py",
    "device/values.py",
    "dockerfile/pins.py",
    "dockerfile/plan.py",
    "elf/archive.py",
    "elf/cubin.py",
    "elf/dynamic.py",
    "elf/facts.py",
    "elf/fatbin.py",
    "elf/instructions.py",
    "elf/notes.py",
    "elf/reader.py",
    "elf/symbols.py",
    "elf/unpack.py",
    "elf/versions.py",
    "engine/buildx.py",
    "engine/progress.py",
    "dockerfile/quote.py",
    "registry/manifest.py",
    "registry/reference.py",
    "rootfs/gather.py",
    "rootfs/identity.py",
    "engine/builder_list.py",
    "engine/builder_mirrors.py",
    "engine/node_plan.py",
    "host/doctor.py",
    "host/facts.py",
    "host/judge_docker.py",
    "host/judge_machine.py",
    "host/judge_running.py",
    "host/judge_tools.py",
    "host/mend.py",
    "packages/links.py",
    "rootfs/overlay.py",
    "sysroot/stub.py",
    "rootfs/tar.py",
    "toolchain/crossfiles.py",
    "host/doctor_vm.py",
    "host/judge_vm.py",
    "vm/compose_host.py",
    "vm/compose_render.py",
    "vm/initrd.py",
    "vm/qemu.py",
    "vm/render.py",
    "vm/values.py",
    "verify/closure.py",
    "verify/context.py",
    "verify/judge.py",
    "verify/rules/architecture.py",
    "verify/rules/closures.py",
    "verify/rules/cpu.py",
    "verify/rules/device.py",
    "verify/rules/files.py",
    "verify/rules/hardening.py",
    "verify/rules/loader.py",
    "verify/rules/run_paths.py",
    "verify/rules/symbol_versions.py",
    "verify/rules/toolkit.py",
    "verify/versions.py",
    "verify/baseline.py",
    "verify/diff.py",
    "verify/finding.py",
    "verify/inputs.py",
    "verify/report.py",
    "verify/formats/difference.py",
    "verify/formats/document.py",
    "verify/formats/junit.py",
    "verify/formats/markdown.py",
    "verify/formats/page.py",
    "verify/formats/picture.py",
    "verify/formats/render.py",
    "verify/formats/sarif.py",
    "verify/formats/text.py",
    "verify/formats/words.py",
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_effects_stay_in_their_modules(path: Path) -> None:
    for library in imported(path):
        for restricted, allowed in ALLOWED.items():
            if library == restricted or library.startswith(f"{restricted}."):
                here = name(path)
                assert here in allowed or any(here.startswith(each) for each in allowed if each.endswith("/")), (
                    f"{here} imports {library}"
                )


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_packages_import_only_what_is_below_them(path: Path) -> None:
    own = name(path).partition("/")[0].removesuffix(".py")
    if own not in LAYERS:
        return
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "jetsonx" and len(parts) > 1 and parts[1] in LAYERS:
            assert LAYERS.index(parts[1]) <= LAYERS.index(own), f"{name(path)} imports {module}"


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_touch_nothing(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    calls = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    forbidden = {"read_text", "write_text", "read_bytes", "write_bytes", "environ", "unlink", "mkdir", "monotonic"}
    assert not calls & forbidden, f"{module} uses {calls & forbidden}"
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert "open" not in names, f"{module} opens files"


def test_every_restricted_module_exists() -> None:
    for allowed in ALLOWED.values():
        for each in allowed:
            assert (ROOT / each).exists(), each
