"""The command line: one thin file per command. Parse, call, print; the one error boundary is :func:`main`."""

from __future__ import annotations

import errno
import importlib
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from jetsonx import __version__

if TYPE_CHECKING:
    from jetsonx.errors import JetsonxError

# Command -> module of this package. Modules are imported when their command is used: start-up time counts.
_COMMANDS = {
    "demo": "demo",
    "init": "init",
    "targets": "targets",
    "sysroot": "sysroot",
    "env": "env",
    "build": "build",
    "dockerfile": "dockerfile",
    "run": "run",
    "verify": "verify",
    "diff": "diff",
    "doctor": "doctor",
    "binfmt": "binfmt",
    "builder": "builder",
    "device": "device",
    "deploy": "deploy",
    "vm": "vm",
    "status": "status",
    "logs": "logs",
    "history": "history",
    "rollback": "rollback",
    "stop": "stop",
    "shell": "shell",
    "sync": "sync",
    "debug": "debug",
    "explain": "explain",
}
_HELP = {
    "demo": "The main job end to end, in a scratch directory.",
    "init": "Write a jetsonx.toml, or copy a sample.",
    "targets": "List modules and releases, or everything known about one target.",
    "sysroot": "Fetch, list, check and remove sysroots.",
    "env": "Print the cross tools for people who drive the compiler themselves.",
    "build": "Build the project, check the result and pack the image.",
    "dockerfile": "Print a Dockerfile that builds the project, for docker buildx build.",
    "run": "Start the built program under QEMU user emulation.",
    "verify": "Say whether a file, directory, package or image will run on a Jetson.",
    "diff": "Say what changed between two of them.",
    "binfmt": "Let this kernel start AArch64 programs: status, install, remove.",
    "builder": "Build on ARM machines: add, list and remove builder nodes.",
    "vm": "Virtual Jetsons under QEMU, machines in containers, and engines behind a VM's wall.",
    "device": "Jetsons by name: add, list, probe, tidy up and remove them.",
    "deploy": "Bring the built image to devices, start it, and go back by itself if it fails.",
    "status": "Say which release of an app runs on a device, and how well.",
    "logs": "Print what an app on a device says.",
    "history": "List what was deployed to a device.",
    "rollback": "Go back to the release before, which still lies on the device.",
    "stop": "Stop an app on a device.",
    "shell": "Open a shell in an app's container on a device.",
    "sync": "Put what was built anew into an app's running container.",
    "debug": "Start an app's program on a device under gdbserver, for gdb here.",
    "doctor": "Say what this host can do, what it lacks, and what mends it.",
    "explain": "Say what is known about the failures in a log.",
}
_INTERRUPTED = 130
_FAULTS_OF_THE_HOST = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO}


class _Commands(click.Group):
    """Knows the commands by name without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"jetsonx.cli.{_COMMANDS[cmd_name]}").command
        if not isinstance(command, click.Command):  # pragma: no cover - a mistake of ours, caught by the tests
            raise TypeError(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _COMMANDS, n=1)
            ctx.fail(f"no such command '{args[0]}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP[name]) for name in _COMMANDS])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
