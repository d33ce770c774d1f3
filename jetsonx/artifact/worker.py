"""A process that reads one layer of an image: ``python -m jetsonx.artifact.worker DIRECTORY NUMBER``.

The other side of :mod:`jetsonx.artifact.workers`. What it finds it leaves in the store; whatever goes wrong ends it
without a word, since the parent then reads the layer itself and says what is wrong with it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from pathlib import Path

from jetsonx.artifact.layers import LayerReader
from jetsonx.artifact.workers import load_jobs
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import JetsonxError
from jetsonx.runner import Runner
from jetsonx.store.store import Store


class _StoppedError(Exception):
    pass


def main(argv: list[str]) -> None:
    """Read the layer of that number in the jobs of that directory."""
    gc.disable()  # as `jetsonx verify` does
    folder, number = Path(argv[0]), int(argv[1])
    root, options, layers = load_jobs(folder)
    layer, parent, console = layers[number], os.getppid(), Console()
    effects = Effects(store=Store(root, console), runner=Runner(), console=console)
    with contextlib.suppress(JetsonxError, OSError, _StoppedError), effects.store.scratch() as scratch:
        reader = LayerReader(options=options, effects=effects, scratch=scratch)
        with layer.path.open("rb") as file:

            def read(count: int) -> bytes:
                if os.getppid() != parent or not folder.exists():
                    raise _StoppedError
                return file.read(count)

            reader.read(read, layer.size_bytes, name=layer.digest, expected=layer.digest)


if __name__ == "__main__":
    main(sys.argv[1:])
