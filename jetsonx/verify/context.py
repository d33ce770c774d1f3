"""What every rule is given: the tree, the profile, the options, and what several rules want to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jetsonx.artifact.tree import Node, Tree
from jetsonx.elf.facts import ElfFacts, FileFacts
from jetsonx.verify.closure import Closure, Loader
from jetsonx.verify.finding import Finding, Severity
from jetsonx.verify.profile import Profile
from jetsonx.verify.rulebook import load_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is judged, and how strictly.

    ``allow_minor``: machine code for a lower SM of the same generation is only warned about (JX702). ``jit``: that the
    device compiles PTX at the first start is accepted, else it is an error (JX703). ``hardening``: judge JX402
    and JX502 to JX505 too. ``host_prefixes`` are directories of the build machine that no file may name. ``only`` and
    ``ignore`` hold ids of rules or names of families: judge only these (also those that are off by default), leave
    these out. ``warn_only``: ids of rules whose errors count as warnings. ``own_build``: the files are what a project
    of jetsonx just built, so that advice may name its settings.
    """

    allow_minor: bool = False
    jit: bool = True
    hardening: bool = False
    host_prefixes: tuple[str, ...] = ()
    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    warn_only: frozenset[str] = frozenset()
    own_build: bool = False

    def wants(self, rule: str) -> bool:
        """True when the rule of that id is to be judged."""
        row = load_rules()[rule]
        names = {rule, row.family}
        if names & self.ignore:
            return False
        if self.only:
            return bool(names & self.only)
        asked = (self.hardening and rule in _HARDENING) or (rule == "JX403" and bool(self.host_prefixes))
        return row.is_default or asked


_HARDENING = {"JX402", "JX502", "JX503", "JX504", "JX505"}


class Context:
    """One tree and one profile under judgement. ``sms`` are those of all targets together, for what to advise."""

    def __init__(self, tree: Tree, profile: Profile, options: Options, sms: tuple[int, ...] = ()) -> None:
        self.tree = tree
        self.profile = profile
        self.options = options
        self.sms = sms or (profile.sm,)
        self.loader = Loader(tree, profile)
        self.wanted: Mapping[str, bool] = {rule: options.wants(rule) for rule in load_rules()}

    @cached_property
    def files(self) -> tuple[tuple[Node, FileFacts], ...]:
        """Every node that facts are known of, sorted by path."""
        return tuple((node, node.facts) for node in self.tree.iter_files() if node.facts is not None)

    @cached_property
    def elves(self) -> tuple[tuple[Node, ElfFacts], ...]:
        """The 64-bit AArch64 files among them."""
        elves = ((node, facts.elf) for node, facts in self.files if facts.elf is not None)
        return tuple((node, elf) for node, elf in elves if elf.machine == "AArch64" and elf.bits == 64)

    @cached_property
    def linked(self) -> tuple[tuple[Node, ElfFacts], ...]:
        """Those that the loader loads: programs and shared libraries with a dynamic section."""
        return tuple((node, elf) for node, elf in self.elves if elf.has_dynamic and elf.type != "relocatable")

    @cached_property
    def programs(self) -> tuple[tuple[Node, ElfFacts], ...]:
        """Those of ``linked`` that can be started."""
        return tuple((node, elf) for node, elf in self.linked if is_program(elf))

    @cached_property
    def started(self) -> Mapping[str, tuple[str, ...]]:
        """The path of each file that a program loads when it starts, with the programs that do."""
        found: dict[str, list[str]] = {}
        for node, _ in self.programs:
            for each in self.closure(node).order:
                if each.real:
                    found.setdefault(each.real, []).append(node.path)
        return {path: tuple(names) for path, names in found.items()}

    def closure(self, node: Node) -> Closure:
        """What the file loads."""
        return self.loader.closure(node.path)

    @property
    def glibc(self) -> tuple[int, ...]:
        """Version of the C library that will be there."""
        return self.loader.glibc

    @cached_property
    def whose(self) -> str:
        """Whom a message blames for what is not there: "the image" or "the target"."""
        if not self.tree.is_root:
            return "the target"
        return "the image" if self.tree.kind in {"oci", "docker-archive", "docker"} else "the root file system"

    def find(
        self,
        rule: str,
        node: Node,
        message: str,
        *,
        severity: Severity | None = None,
        fix: str | None = None,
        detail: str = "",
        symbols: tuple[str, ...] = (),
        library: str = "",
    ) -> Finding:
        """A finding of ``rule`` about ``node``; severity and mend are the rule's own unless given."""
        row = load_rules()[rule]
        severity = severity or row.severity
        if severity == "error" and rule in self.options.warn_only:
            severity = "warning"
        layers = self.tree.layers
        return Finding(
            rule=rule,
            severity=severity,
            path=node.path,
            message=message,
            fix=row.mend if fix is None else fix,
            symbols=symbols,
            library=library,
            layer=layers[node.layer].digest if node.layer is not None and node.layer < len(layers) else "",
            detail=detail,
        )


def is_program(elf: ElfFacts) -> bool:
    """True for a file that can be started."""
    return elf.interpreter is not None or (elf.type == "executable" and elf.machine == "AArch64")
