"""Start a built program under QEMU's user emulation: with the libraries it was built against, or in its image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx.errors import ConfigError, HostError
from jetsonx.project import Project, load_project
from jetsonx.runner import Command
from jetsonx.toolchain.resolve import QEMU_NAMES, Host

if TYPE_CHECKING:
    from jetsonx.verify.report import Report

RECORD = "run.json"
"""What `jetsonx build` leaves in the output directory for this command."""


def emulator_command(directory: Path, output: Path | None, program: str | None, arguments: tuple[str, ...]) -> Command:
    """The call that starts an output of the project's last build.

    Raises ConfigError when nothing was built or there is no such program, HostError when QEMU is not on this host.
    """
    out = output if output is not None else load_project(directory).root / "out"
    record = _load_record(out)
    chosen = _choose(program, record["programs"], out)
    if "container" in record:  # built in Docker: the libraries are in the image, and the kernel starts the emulator
        return Command(argv=(*record["container"], f"{record['folder'][0]}/{chosen}", *record["image"], *arguments))
    emulator = Host(environ=os.environ).emulator
    if emulator is None:
        raise HostError(
            f"no QEMU user emulation on this host (looked for {' and '.join(QEMU_NAMES)})",
            hint="apt-get install qemu-user-static, or start the program on the device: it lies in "
            + str(out / "files"),
        )
    libraries = {str((out / "files" / name).parent) for name in record["files"] if ".so" in name}
    search = os.pathsep.join([*sorted(libraries), *record["library_dirs"]])
    argv = (emulator, "-L", *record["sysroot"], "-E", f"LD_LIBRARY_PATH={search}", str(out / "files" / chosen))
    return Command(argv=(*argv, *arguments))


def order_programs(project: Project, report: Report) -> list[str]:
    """The programs among the checked outputs, the image's entrypoint first."""
    first = project.image.entrypoint[:1]
    programs = [file.path for file in report.files if file.elf is not None and file.elf.interpreter]
    return sorted(programs, key=lambda name: (Path(name).name not in first and name not in first, name))


def _load_record(out: Path) -> dict[str, list[str]]:
    try:
        record = json.loads((out / RECORD).read_text())
    except (OSError, ValueError):
        built = sorted(path.parent.name for path in out.glob(f"*/{RECORD}"))
        raise ConfigError(
            f"nothing was built in {out}",
            hint=f"name one of its builds: -o {out / built[0]}" if built else "run `jetsonx build` first",
        ) from None
    return {name: list(value) for name, value in record.items()}


def _choose(program: str | None, programs: list[str], out: Path) -> str:
    if not programs:
        raise ConfigError(
            f"the build in {out} has no program to start",
            hint="run starts executables; libraries and archives are only checked",
        )
    if program is None:
        return programs[0]
    for name in programs:
        if program in (name, Path(name).name):
            return name
    raise ConfigError(f"--program: the build in {out} has no {program!r}", hint=f"it has {', '.join(programs)}")
