"""Programs of this host, as distinct from the shims that bear the same names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

SHIM_MARK = "share/common.sh"
"""Lies beside ``bin`` in every SDK directory."""


def which_host(name: str) -> str | None:
    """Like :func:`shutil.which`, but blind to SDK directories: people put them on PATH with ``jetsonx env``.

    A shim taken for the host's own program would call itself for ever.
    """
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(each for each in directories if not _is_shim_directory(each)))


def _is_shim_directory(directory: str) -> bool:
    return os.access(Path(directory).parent / SHIM_MARK, os.F_OK)  # False, not an error, where we may not look
