"""The main job end to end, for someone who has just installed jetsonx."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from jetsonx.build.command import Request, build
from jetsonx.build.emulate import emulator_command
from jetsonx.build.show import summary_lines
from jetsonx.console import amount
from jetsonx.effects import Effects
from jetsonx.errors import HostError
from jetsonx.runner import Runner

SAMPLE = "vector-add"


def run_demo(directory: Path, targets: tuple[str, ...], effects: Effects) -> None:
    """Copy the sample to ``directory``, build it there and say what was done and what comes next."""
    project = directory / SAMPLE
    _copy_sample(project)
    console = effects.console
    console.say(f"1. the sample {SAMPLE} is in {project}")
    request = Request(directory=project, targets=targets)
    results = build(request, effects)
    for result in results:
        console.out(f"2. built for {result.names} in {result.out}")
        for line in result.why:
            console.out(f"     {line}")
        console.out("3. checked")
        for line in summary_lines(result):
            console.out(f"     {line}")
        size = result.summary["image_bytes"]
        held = f" ({amount(size)})" if isinstance(size, int) else ""
        console.out(f"4. packed as an OCI image{held} in {result.out / 'image'}")
        console.out(f"     into Docker:  tar -C {result.out / 'image'} -c . | docker load")
    console.out("5. started under QEMU user emulation (no GPU there)")
    for line in _try_it(results[0].out, effects.runner):
        console.out(f"     {line}")
    console.out("next:")
    console.out(f"     change {project / 'vector_add.cu'} and run: jetsonx build {project}")
    console.out("     bring it to a Jetson on JetPack 7.2:")
    console.out(f"     jetsonx deploy -C {project} jetson@192.168.55.1")


def _try_it(out: Path, runner: Runner) -> list[str]:
    try:
        call = emulator_command(Path(), out, None, ("--self-test",))
    except HostError as error:
        return [f"skipped: {error.message}"]
    done = runner.run(call)
    return [*done.tail.splitlines(), f"exit status {done.status}"]


def _copy_sample(directory: Path) -> None:
    """Lay the sample out, leaving files alone that the user has already changed."""
    source = resources.files("jetsonx.samples") / SAMPLE
    directory.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        place = directory / entry.name
        if entry.is_file() and not place.exists():
            place.write_bytes(entry.read_bytes())
