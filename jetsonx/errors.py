"""Every way jetsonx says no.

JetsonxError              70  our own bug, if it is ever raised bare
├── ConfigError            2  the user's input: a flag, a target, jetsonx.toml, a named file that is not there
├── HostError              3  something missing on this host: a tool, a permission, disk space
├── DownloadError          4  a package, wheel or blob could not be had (also: offline and not in the cache)
├── BuildError             5  a compiler, linker or build system failed
└── DeviceError            6  a device did not answer or a deployment failed
    └── RolledBackError    7  a release did not work on a device, and the one before runs there

A failed check is not an exception: it is a Report, and the command line maps it to exit status 1.
The core raises; only the command line prints and exits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


class JetsonxError(Exception):
    """What went wrong and where (``message``), and what to type next (``hint``).

    ``details`` holds another program's own last words, shown between the two; ``log`` more of them, when the cause may
    lie further back: known failures are looked for in it.
    """

    exit_code = 70

    def __init__(
        self, message: str, *, hint: str | None = None, details: str | None = None, log: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details
        self.log = log


class ConfigError(JetsonxError):
    """The user's input cannot be used as it stands."""

    exit_code = 2


class HostError(JetsonxError):
    """This host lacks something the work needs."""

    exit_code = 3


class DownloadError(JetsonxError):
    """Something that had to be fetched could not be had, or was not what it should be."""

    exit_code = 4


class BuildError(JetsonxError):
    """A compiler, linker or build system failed."""

    exit_code = 5


class DeviceError(JetsonxError):
    """A device did not answer, or a deployment failed."""

    exit_code = 6


class RolledBackError(DeviceError):
    """A release did not work on a device, and the one before runs there."""

    exit_code = 7


@contextlib.contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` when the block is left by an exception, Ctrl-C too; its own failure does not hide the first."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(HostError):
            undo()
        raise
