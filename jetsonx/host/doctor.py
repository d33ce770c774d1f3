"""What this host can do and what it lacks: a table of checks, each a pure function of the facts that `probe` read.

Facts first, judgement second, the verdict last: an ability is there when every check it needs is ok or only warns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jetsonx.host import judge_docker, judge_machine, judge_running, judge_tools
from jetsonx.host.facts import HostFacts
from jetsonx.host.mend import Finding, Mend


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the answer. ``purpose``: what it is for. ``follows``: the check whose mend brings this along."""

    name: str
    purpose: str
    judge: Callable[[HostFacts], Finding]
    follows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """Something a host can do, and the checks that must not fail for it."""

    name: str
    purpose: str
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """What is looked at together: checks in groups with their titles, and abilities.

    ``essential``: the ability without which the host is no good for it.
    """

    checks: tuple[tuple[str, tuple[Check, ...]], ...]
    abilities: tuple[Ability, ...]
    essential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A check and what it found."""

    check: Check
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An ability, and the lines that stand in its way; none when the host has it."""

    ability: Ability
    missing: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Every check's line, under its group's title, and what follows from them."""

    groups: tuple[tuple[str, tuple[Line, ...]], ...]
    verdicts: tuple[Verdict, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """All lines, in order."""
        return tuple(line for _, lines in self.groups for line in lines)

    def can(self, ability: str) -> bool:
        """True when this host has the ability of that name."""
        return any(not verdict.missing for verdict in self.verdicts if verdict.ability.name == ability)

    @property
    def mends(self) -> tuple[Mend, ...]:
        """What jetsonx may run itself after asking, each once, in the order of the lines."""
        found = [line.finding.mend for line in self.lines if line.finding.status != "ok"]
        return tuple(dict.fromkeys(mend for mend in found if mend is not None and mend.calls))


CHECKS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    (
        "This machine",
        (
            Check(name="kernel", purpose="everything", judge=judge_machine.judge_kernel),
            Check(name="libc", purpose="NVIDIA's compilers", judge=judge_machine.judge_libc),
            Check(name="memory", purpose="compilers at work side by side", judge=judge_machine.judge_memory),
            Check(name="cache", purpose="sysroots and compilers", judge=judge_machine.judge_cache),
            Check(name="python", purpose="jetsonx itself", judge=judge_machine.judge_python),
            Check(name="pip", purpose="fetching compilers and CUDA as wheels", judge=judge_machine.judge_pip),
            Check(name="apt", purpose="sysroots from packages", judge=judge_machine.judge_apt),
        ),
    ),
    (
        "Compilers and tools (what is missing or does not fit is fetched, except make and ccache)",
        (
            Check(name="nvcc", purpose="CUDA code", judge=judge_tools.judge_nvcc),
            Check(name="compiler", purpose="C and C++ for AArch64", judge=judge_tools.judge_compiler),
            Check(name="cmake", purpose="CMake projects", judge=judge_tools.judge_cmake),
            Check(name="ninja", purpose="CMake and Meson projects", judge=judge_tools.judge_ninja),
            Check(name="make", purpose="projects with a makefile", judge=judge_tools.judge_make),
            Check(name="ccache", purpose="not compiling the same file twice", judge=judge_tools.judge_ccache),
        ),
    ),
    (
        "Docker (only for builds in Docker)",
        (
            Check(name="docker", purpose="builds in Docker", judge=judge_docker.judge_client),
            Check(name="daemon", purpose="builds in Docker", judge=judge_docker.judge_daemon, follows="docker"),
            Check(name="buildx", purpose="builds in Docker", judge=judge_docker.judge_buildx),
            Check(
                name="buildkit",
                purpose="what a Dockerfile may use",
                judge=judge_docker.judge_buildkit,
                follows="daemon",
            ),
            Check(
                name="storage",
                purpose="Docker's images and build cache",
                judge=judge_docker.judge_root,
                follows="daemon",
            ),
            Check(name="builder", purpose="builds on a native ARM node", judge=judge_docker.judge_builder),
            Check(name="nvidia", purpose="x86-64 CUDA images on this machine", judge=judge_docker.judge_nvidia),
        ),
    ),
    (
        "Running and devices",
        (
            Check(name="qemu", purpose="jetsonx run", judge=judge_running.judge_qemu),
            Check(name="binfmt", purpose="arm64 containers and emulated builds", judge=judge_running.judge_binfmt),
            Check(name="kvm", purpose="fast x86-64 guests; arm64 ones run without", judge=judge_running.judge_kvm),
            Check(name="ssh", purpose="devices and remote builders", judge=judge_tools.judge_ssh),
        ),
    ),
)
_DOCKER = ("docker", "daemon", "buildx", "storage")
ABILITIES = (
    Ability(name="embedded", purpose="build without Docker or root", needs=("kernel", "libc", "cache", "pip")),
    Ability(name="cross", purpose="build in Docker, cross-compiling", needs=_DOCKER),
    Ability(name="emulate", purpose="build in Docker under QEMU", needs=(*_DOCKER, "binfmt")),
    Ability(name="native", purpose="build on a native ARM node", needs=("docker", "buildx", "builder")),
    Ability(name="run", purpose="start built programs here", needs=("qemu",)),
    Ability(name="deploy", purpose="put them on a device", needs=("ssh",)),
)


BUILDING = Topic(checks=CHECKS, abilities=ABILITIES, essential="embedded")
"""What `doctor` is about when nothing else is asked for."""


def diagnose(facts: HostFacts, topic: Topic = BUILDING) -> Diagnosis:
    """Judge everything that the topic is about."""
    groups = tuple(
        (title, tuple(Line(check=check, finding=check.judge(facts)) for check in checks))
        for title, checks in topic.checks
    )
    blocked = {
        line.check.name: line for _, lines in groups for line in lines if line.finding.status in ("fail", "absent")
    }
    verdicts = tuple(Verdict(ability=each, missing=tuple(_missing(each, blocked))) for each in topic.abilities)
    return Diagnosis(groups=groups, verdicts=verdicts)


def _missing(ability: Ability, blocked: Mapping[str, Line]) -> Iterator[Line]:
    """What has to be mended, without what then follows by itself."""
    for name in ability.needs:
        if name in blocked and blocked[name].check.follows not in blocked:
            yield blocked[name]


def render_diagnosis(diagnosis: Diagnosis) -> Iterator[str]:
    """The answer for a person."""
    for title, lines in diagnosis.groups:
        yield title
        for line in lines:
            finding = line.finding
            yield f"  {finding.status:<6}  {line.check.name:<8}  {finding.found}  [{line.check.purpose}]"
            yield from (f"{'':20}{note}" for note in finding.notes)
            if finding.mend is not None:
                yield f"{'':20}mend: {finding.mend.text}"
        yield ""
    yield "This host can"
    for verdict in diagnosis.verdicts:
        answer = "no " if verdict.missing else "yes"
        missing = ", ".join(f"{line.check.name} ({line.finding.status})" for line in verdict.missing)
        why = f"; missing: {missing}" if missing else ""
        yield f"  {answer}     {verdict.ability.name:<8}  {verdict.ability.purpose}{why}"
    if diagnosis.mends:
        yield ""
        yield f"`jetsonx doctor --fix` runs {len(diagnosis.mends)} of these mends, asking before each"


def diagnosis_json(diagnosis: Diagnosis) -> dict[str, object]:
    """The answer for a program: docs/json.md."""
    return {
        "schema": 1,
        "checks": [
            {
                "name": line.check.name,
                "status": line.finding.status,
                "found": line.finding.found,
                "purpose": line.check.purpose,
                "notes": list(line.finding.notes),
                "mend": line.finding.mend.text if line.finding.mend else None,
                "fixable": bool(line.finding.mend and line.finding.mend.calls),
            }
            for line in diagnosis.lines
        ],
        "abilities": [
            {
                "name": verdict.ability.name,
                "possible": not verdict.missing,
                "purpose": verdict.ability.purpose,
                "missing": [line.check.name for line in verdict.missing],
            }
            for verdict in diagnosis.verdicts
        ],
    }
