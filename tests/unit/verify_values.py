"""Trees, profiles and ELF facts made by hand, for the tests of the rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jetsonx.artifact.tree import Config, Node, Tree
from jetsonx.elf.facts import ElfFacts, Entry, Fatbin, FileFacts, Import, Load, VersionNeed
from jetsonx.verify.context import Options
from jetsonx.verify.finding import Finding
from jetsonx.verify.judge import judge
from jetsonx.verify.profile import Library, Profile

LOADER = "/lib/ld-linux-aarch64.so.1"
MULTIARCH = "usr/lib/aarch64-linux-gnu"
LIBRARY = ElfFacts(
    machine="AArch64",
    bits=64,
    endianness="little",
    type="shared",
    has_dynamic=True,
    has_exec_stack=False,
    relro="full",
    loads=(Load(0, 0, 0x10000, 5), Load(0x1000, 0x11000, 0x10000, 6)),
)
PROGRAM = replace(LIBRARY, interpreter=LOADER, is_pie=True)
OBJECT = replace(LIBRARY, type="relocatable", has_dynamic=False, loads=(), has_exec_stack=None)


def glibc_versions(newest: str) -> frozenset[str]:
    """GLIBC_2.17, with which AArch64 began, to ``newest`` ("2.35")."""
    return frozenset(f"GLIBC_2.{minor}" for minor in range(17, int(newest.split(".")[1]) + 1))


def make_profile(name: str = "orin-nano@39.2.0", glibc: str = "2.39", **changes: object) -> Profile:
    """A target with a libc, a libm and a libstdc++; the sonames of ``more`` are there too, without known symbols."""
    libc = Library(
        soname="libc.so.6",
        versions=glibc_versions(glibc),
        exports=frozenset({"puts", "puts@GLIBC_2.17", "getauxval", "getauxval@GLIBC_2.17"}),
        source="a list",
    )
    stdcxx = Library(
        soname="libstdc++.so.6",
        versions=frozenset({"GLIBCXX_3.4", "CXXABI_1.3", "CXXABI_1.3.9", *(f"GLIBCXX_3.4.{n}" for n in range(29))}),
        exports=frozenset({"_Znwm", "_Znwm@GLIBCXX_3.4"}),
        source="a list",
    )
    more = changes.pop("more", ())
    assert isinstance(more, tuple)
    profile = Profile(
        name=name,
        glibc=glibc,
        glibcxx="GLIBCXX_3.4.28",
        sm=87,
        libraries={each.soname: each for each in (libc, stdcxx, *(Library(soname=x) for x in more))},
        driver_globs=("libcuda.so*", "libnvrm*.so*"),
        driver_dirs=("usr/lib/aarch64-linux-gnu/nvidia",),
        cpu="Cortex",
        cpu_features=frozenset({"lse", "fp16", "dotprod", "lrcpc"}),
        driver_cuda=(13, 2),
        ptx_isa=(9, 2),
        cuda_target="sbsa-linux",
        kernel="6.8.12",
    )
    return replace(profile, **changes)  # type: ignore[arg-type]


ORIN = make_profile()
THOR = make_profile("agx-thor@39.2.0", sm=110)
THOR_CUDA12 = make_profile("agx-thor@38.0.0", sm=101)
OLD = make_profile("agx-orin@35.4.1", "2.31")
NANO = make_profile("nano@32.7.6", "2.27", sm=53, cpu="4x Cortex-A57", cpu_features=frozenset())


def node_of(path: str, content: object, mode: int | None = None) -> Node:
    """A string is a link's target, None a directory, facts are a file's."""
    if isinstance(content, str):
        return Node(path=path, kind="symlink", mode=0o777, target=content)
    if content is None:
        return Node(path=path, kind="dir", mode=mode or 0o755)
    facts = FileFacts(path=path, kind="elf", elf=content) if isinstance(content, ElfFacts) else content
    assert isinstance(facts, FileFacts)
    return Node(path=path, kind="file", mode=mode or 0o755, facts=facts)


def make_tree(
    files: Mapping[str, object], *, is_root: bool = False, env: Mapping[str, str] | None = None, kind: str = ""
) -> Tree:
    """A tree of these files with the directories above them; see :func:`node_of`."""
    nodes: dict[str, Node] = {}
    for path, content in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            above = "/".join(parts[:depth])
            nodes.setdefault(above, node_of(above, None))
        nodes[path] = content if isinstance(content, Node) else node_of(path, content)
    return Tree(
        name="made",
        kind=kind or ("oci" if is_root else "directory"),  # type: ignore[arg-type]
        nodes=nodes,
        is_root=is_root,
        config=Config(env=env) if env is not None else None,
    )


def make_root(files: Mapping[str, object], glibc: str = "2.36", **changes: object) -> Tree:
    """A root file system with a C library and its loader, and these files."""
    libc = replace(
        LIBRARY,
        soname="libc.so.6",
        version_definitions=tuple(sorted(glibc_versions(glibc))),
        exports=frozenset({"puts", "puts@GLIBC_2.17", "getauxval", "getauxval@GLIBC_2.17"}),
    )
    base: dict[str, object] = {
        "lib": "usr/lib",
        "usr/lib/ld-linux-aarch64.so.1": "aarch64-linux-gnu/ld-linux-aarch64.so.1",
        f"{MULTIARCH}/ld-linux-aarch64.so.1": replace(LIBRARY, soname="ld-linux-aarch64.so.1"),
        f"{MULTIARCH}/libc.so.6": libc,
    }
    return make_tree(base | dict(files), is_root=True, **changes)  # type: ignore[arg-type]


def library(*needed: str, **changes: object) -> ElfFacts:
    return replace(LIBRARY, needed=needed, **changes)  # type: ignore[arg-type]


def program(*needed: str, **changes: object) -> ElfFacts:
    return replace(PROGRAM, needed=needed, **changes)  # type: ignore[arg-type]


def need(version: str, library: str = "libc.so.6", *, is_weak: bool = False) -> VersionNeed:
    return VersionNeed(library=library, version=version, is_weak=is_weak)


def wants(name: str, version: str = "", library: str = "", *, is_weak: bool = False) -> Import:
    return Import(name, version, library, is_weak)


def check(tree: Tree, *profiles: Profile, **options: object) -> tuple[Finding, ...]:
    """What the rules say; JX703 counts as in a build unless ``jit`` is given."""
    given = {"jit": False, "own_build": True, **options}
    return judge(tree, profiles or (ORIN,), Options(**given))  # type: ignore[arg-type]


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


def entry(name: str, **changes: object) -> Entry:
    """``sm_87``, ``compute_110f`` or ``lto_87`` as an entry of a fat binary."""
    prefix, _, number = name.partition("_")
    kind = {"sm": "cubin", "compute": "ptx", "lto": "ltoir"}[prefix]
    isa = (9, 2) if kind == "ptx" else None
    made = Entry(kind=kind, sm=int(number.rstrip("af")), variant=number.lstrip("0123456789"), size_bytes=64, isa=isa)
    return made._replace(**changes)  # type: ignore[arg-type]


def fatbin(*entries: str | Entry, **changes: object) -> Fatbin:
    made = tuple(entry(each) if isinstance(each, str) else each for each in entries)
    return replace(Fatbin(offset=0, entries=made, has_kernels=True), **changes)  # type: ignore[arg-type]


def cuda(*fatbins: Fatbin, elf: ElfFacts = PROGRAM, path: str = "app") -> Tree:
    """A file with device code, alone."""
    return make_tree({path: FileFacts(path=path, kind="elf", elf=elf, fatbins=fatbins)})
