"""Facts of a tree of files against what each target has. Pure; everything was read elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from jetsonx.artifact.tree import Tree
from jetsonx.verify.context import Context, Options
from jetsonx.verify.finding import Finding, Rule, sort_findings
from jetsonx.verify.profile import Profile
from jetsonx.verify.rulebook import load_rules
from jetsonx.verify.rules.architecture import judge_architecture
from jetsonx.verify.rules.closures import judge_libraries
from jetsonx.verify.rules.cpu import judge_cpu
from jetsonx.verify.rules.device import judge_device
from jetsonx.verify.rules.files import judge_files
from jetsonx.verify.rules.hardening import judge_hardening
from jetsonx.verify.rules.loader import judge_loader
from jetsonx.verify.rules.run_paths import judge_run_paths
from jetsonx.verify.rules.symbol_versions import judge_versions
from jetsonx.verify.rules.toolkit import judge_toolkits

FAMILIES: tuple[Callable[[Context], Iterator[Finding]], ...] = (
    judge_architecture,
    judge_loader,
    judge_versions,
    judge_libraries,
    judge_run_paths,
    judge_hardening,
    judge_cpu,
    judge_device,
    judge_toolkits,
    judge_files,
)

UNCHECKED = (
    "libraries that are opened by names made up while the program runs",
    "device code that is made at run time (NVRTC, other just-in-time compilers)",
    "TensorRT engines, which fit one GPU and one TensorRT release",
    "Python code and other scripts beyond the interpreter they name",
    "whether the driver's user-space libraries fit the running kernel",
)
"""What no reading of files can tell; reports say so."""


def judge(tree: Tree, profiles: Sequence[Profile], options: Options) -> tuple[Finding, ...]:
    """Judge every file against every target, worst first: each target has to be satisfied.

    A finding that says the same for several targets is one; with a single target all of them name it.
    """
    sms = tuple(sorted({profile.sm for profile in profiles}))
    findings: list[Finding] = []
    for profile in profiles:
        context = Context(tree, profile, options, sms)
        for family in FAMILIES:
            found = (finding for finding in family(context) if context.wanted[finding.rule])
            findings += (replace(finding, targets=(profile.name,)) for finding in found)
    return sort_findings(_merge(findings))


def applied_rules(options: Options) -> tuple[Rule, ...]:
    """The rules that ``options`` ask for, in the order of their ids."""
    return tuple(rule for name, rule in load_rules().items() if options.wants(name))


def _merge(findings: Iterable[Finding]) -> Iterator[Finding]:
    """One finding for several targets when it says the same for each."""
    targets: dict[Finding, dict[str, None]] = {}
    for finding in findings:
        targets.setdefault(replace(finding, targets=()), {}).update(dict.fromkeys(finding.targets))
    return (replace(finding, targets=tuple(names)) for finding, names in targets.items())
