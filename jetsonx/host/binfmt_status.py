"""What `jetsonx binfmt status` tells: what serves AArch64, what is known against it, and whether it works."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.catalog.versions import parse_version
from jetsonx.host.ask import Ask, find_version
from jetsonx.host.binfmt import MOUNT, Binfmt, probe_binfmt, prove
from jetsonx.host.facts import Docker
from jetsonx.host.judge_machine import KERNEL_MIN
from jetsonx.host.judge_running import doubts_about_qemu
from jetsonx.host.probe_docker import probe_docker
from jetsonx.packages.mirrors import load_host
from jetsonx.runner import Runner
from jetsonx.toolchain.search import which_host

BINFMT_SUPPORT_MIN = (2, 1, 7)
"""The first binfmt-support that can register with the flag F."""
MOUNT_CALL = ("mount", "-t", "binfmt_misc", "binfmt_misc", f"/{MOUNT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BinfmtStatus:
    """``works``: an AArch64 program was started. ``version``: the interpreter's, ``support``: that of Debian's
    binfmt-support; "" where unknown. ``docker`` is only asked when containers may not be served, None otherwise.
    """

    found: Binfmt
    works: bool
    kernel: str
    distribution: str = ""
    version: str = ""
    support: str = ""
    docker: Docker | None = None

    @property
    def serves_containers(self) -> bool:
        """True when AArch64 programs start in the containers of this kernel too."""
        return self.works and (self.found.name is None or "F" in self.found.flags)

    @property
    def has_flag_f(self) -> bool:
        """False when the kernel is too old for the flag."""
        try:
            return parse_version(self.kernel) >= KERNEL_MIN
        except ValueError:
            return True

    @property
    def is_desktop(self) -> bool:
        """True when Docker Desktop was recognised."""
        return self.docker is not None and self.docker.is_desktop


def probe_status(runner: Runner, environ: Mapping[str, str], root: Path = Path("/")) -> BinfmtStatus:
    """Look at the kernel's entries, start the interpreter for its version, and an AArch64 program for the proof.

    Raises HostError when no program can be started from the directory for temporary files.
    """
    ask = Ask(runner)
    found = probe_binfmt(root)
    update = which_host("update-binfmts")
    status = BinfmtStatus(
        found=found,
        works=prove(runner),
        kernel=platform.release(),
        distribution=load_host(root).distribution,
        version=find_version(ask(found.interpreter, "--version")) if found.interpreter else "",
        support=find_version(ask(update, "--version")) if update else "",
    )
    return status if status.serves_containers else replace(status, docker=probe_docker(ask, environ))


def render_status(status: BinfmtStatus) -> Iterator[str]:
    """The lines of the text, the proof last."""
    found = status.found
    if not found.mounted:
        yield f"binfmt_misc is not mounted; to mount it: {shlex.join(MOUNT_CALL)}"
    elif found.name is None:
        yield "no interpreter is registered for AArch64"
    else:
        version = f" ({status.version})" if status.version else " (version unknown)"
        yield f"{found.name}: AArch64 programs go to {found.interpreter}{version}"
        yield f"flags {found.flags or 'none'}: {_explain_flag_f(found.flags)}"
        if found.is_on and not found.enabled:
            yield f"{found.name} is disabled; to enable it: echo 1 > /{MOUNT}/{found.name}"
    if not found.is_on:
        yield f"binfmt_misc is switched off as a whole; to switch it on: echo 1 > /{MOUNT}/status"
    yield from (f"note: {note}" for note in find_notes(status))
    yield "an AArch64 program was started" if status.works else "an AArch64 program does not start"


def _explain_flag_f(flags: str) -> str:
    if "F" in flags:
        return "F (fix binary) is set: the kernel holds the interpreter open, so that containers are served too"
    return "F (fix binary) is not set: the interpreter is looked for anew, so that containers that do not hold it fail"


def find_notes(status: BinfmtStatus) -> tuple[str, ...]:
    """What is to be known beside the entry itself."""
    notes = []
    if not status.has_flag_f:
        notes.append(f"Linux {status.kernel} has no flag F, which came with 4.8: emulated containers need it")
    elif status.found.name is not None and "F" not in status.found.flags and _is_old(status.support):
        notes.append(f"binfmt-support {status.support} registers without F, which it knows from 2.1.7 on")
    if status.found.name is not None:
        notes += doubts_about_qemu(status.version, kernel=status.kernel, distribution=status.distribution)
    if status.is_desktop:
        notes.append("Docker Desktop brings QEMU for its containers: for them there is nothing to do")
    return tuple(notes)


def _is_old(support: str) -> bool:
    return bool(support) and parse_version(support) < BINFMT_SUPPORT_MIN


def status_json(status: BinfmtStatus) -> dict[str, object]:
    """The document of ``--json``."""
    found = status.found
    return {
        "schema": 1,
        "mounted": found.mounted,
        "is_on": found.is_on,
        "name": found.name,
        "interpreter": found.interpreter,
        "version": status.version or None,
        "flags": found.flags,
        "enabled": found.enabled,
        "works": status.works,
        "docker_desktop": status.is_desktop,
        "notes": list(find_notes(status)),
    }
