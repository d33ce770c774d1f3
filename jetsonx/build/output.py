"""The output directory: everything below it is jetsonx's to replace, so it must be jetsonx's own."""

from __future__ import annotations

from pathlib import Path

from jetsonx.errors import ConfigError, HostError

_MARK = "# Written by jetsonx: everything in this directory is made by `jetsonx build` and may be replaced by it.\n"
_IGNORE = f"{_MARK}*\n"


def claim_output(out: Path) -> None:
    """Make ``out``, or make sure that an earlier build made it.

    The mark is a .gitignore, so that version control passes the directory by too.

    Raises ConfigError for a directory with somebody else's files in it, HostError when it cannot be made.
    """
    mark = out / ".gitignore"
    try:
        if mark.is_file() and mark.read_text().startswith(_MARK):
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(
                f"the output directory {out} holds files that jetsonx did not make, and a build would replace them",
                hint="name an empty or new directory with -o",
            )
        out.mkdir(parents=True, exist_ok=True)
        mark.write_text(_IGNORE)
    except OSError as error:
        raise HostError(
            f"the output directory {out} cannot be written: {error.strerror}", hint="name another one with -o"
        ) from error
