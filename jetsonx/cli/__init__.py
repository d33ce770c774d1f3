"""The command line: one thin file per command. Parse, call, print; the one error boundary is :func:`main`."""

from __future__ import annotations

import errno
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from jetsonx import __version__
from jetsonx.cli.late import Late, LateGroup

if TYPE_CHECKING:
    from jetsonx.errors import JetsonxError

COMMANDS = {
    "demo": Late("The main job end to end, in a scratch directory.", "demo"),
    "init": Late("Write a jetsonx.toml, or copy a sample.", "init"),
    "targets": Late("List modules and releases, or everything known about one target.", "targets"),
    "sysroot": Late("Fetch, list, check and remove sysroots.", "sysroot"),
    "env": Late("Print the cross tools for people who drive the compiler themselves.", "env"),
    "build": Late("Build the project, check the result and pack the image.", "build"),
    "dockerfile": Late("Print a Dockerfile that builds the project, for docker buildx build.", "dockerfile"),
    "run": Late("Start the built program under QEMU user emulation.", "run"),
    "verify": Late("Say whether a file, directory, package or image will run on a Jetson.", "verify"),
    "diff": Late("Say what changed between two of them.", "diff"),
    "doctor": Late("Say what this host can do, what it lacks, and what mends it.", "doctor"),
    "binfmt": Late("Let this kernel start AArch64 programs: status, install, remove.", "binfmt"),
    "builder": Late("Build on ARM machines: add, list and remove builder nodes.", "builder"),
    "device": Late("Jetsons by name: add, list, probe, tidy up and remove them.", "device"),
    "deploy": Late("Bring the built image to devices, start it, and go back by itself if it fails.", "deploy"),
    "vm": Late("Virtual Jetsons under QEMU, machines in containers, and engines behind a VM's wall.", "vm"),
    "status": Late("Say which release of an app runs on a device, and how well.", "status"),
    "logs": Late("Print what an app on a device says.", "logs"),
    "history": Late("List what was deployed to a device.", "history"),
    "rollback": Late("Go back to the release before, which still lies on the device.", "rollback"),
    "stop": Late("Stop an app on a device.", "stop"),
    "shell": Late("Open a shell in an app's container on a device.", "shell"),
    "sync": Late("Put what was built anew into an app's running container.", "sync"),
    "debug": Late("Start an app's program on a device under gdbserver, for gdb here.", "debug"),
    "explain": Late("Say what is known about the failures in a log.", "explain"),
}
_INTERRUPTED = 130
_FAULTS_OF_THE_HOST = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO}


@click.group(
    cls=LateGroup, late=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="jetsonx", message="%(prog)s %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Show every command that is run, and what it prints.")
@click.option("-q", "--quiet", is_flag=True, help="Only answers, warnings and errors.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool, quiet: bool) -> None:
    """Build CUDA software for any NVIDIA Jetson on an x86-64 workstation.

    A TARGET is MODULE@RELEASE: orin-nano@36.4.3, agx-thor@39.2, agx-orin@jetpack-6.1. `jetsonx targets` lists them.

    Exit status: 0 ok, 1 findings, 2 usage or configuration, 3 something missing on this host, 4 download,
    5 build, 6 device, 7 rolled back on the device, 70 a bug in jetsonx.
    """
    from jetsonx.cli.context import Context

    ctx.obj = Context(verbosity=1 if verbose else -1 if quiet else 0)


def main() -> NoReturn:
    """Run the command line and exit with its status. Every error becomes words and a number here."""
    from jetsonx.errors import JetsonxError

    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = cli.main(prog_name="jetsonx", standalone_mode=False)
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except JetsonxError as error:
        _show(error)
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted; what was complete is kept, the rest was taken back", err=True)
        status = _INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone; say nothing more
        status = 0
    except Exception as error:
        status = _show_unexpected(error)
    sys.exit(status if isinstance(status, int) else 0)


def _show(error: JetsonxError) -> None:
    """The other program's own words, the message, what to type next, and what is known about such failures."""
    if error.details:
        click.echo(error.details.rstrip(), err=True)
    click.echo(f"Error: {error.message}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)
    if log := error.log or error.details:
        from jetsonx.host.explain import explain, render_matches

        if lines := render_matches(explain(log), numbered=False):
            click.echo("\n".join(["", *lines]), err=True)


def _show_unexpected(error: Exception) -> int:
    """A full disk or a forbidden directory is the host's fault and said as such; anything else is a bug of ours."""
    from jetsonx.errors import HostError, JetsonxError

    if isinstance(error, OSError) and error.errno in _FAULTS_OF_THE_HOST:
        where = f"{error.filename}: " if error.filename else ""
        _show(
            HostError(f"{where}{error.strerror}", hint="check the disk and the permissions of the directories in use")
        )
        return HostError.exit_code
    import traceback

    traceback.print_exception(error)
    click.echo(f"Error: this is a bug in jetsonx {__version__}; please report the lines above", err=True)
    return JetsonxError.exit_code


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signal module's signature
    raise KeyboardInterrupt
