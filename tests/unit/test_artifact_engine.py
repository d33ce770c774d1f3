"""An image of the engine, read while it is saved; the engine is a stand-in here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

import pytest

from jetsonx.artifact.load import Options, load_artifact
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, HostError, JetsonxError
from jetsonx.runner import Command, Completed, Runner
from jetsonx.store.store import Store
from tests.elf.synthetic import make_elf
from tests.images.archive import saved, saved_as_layout, tar

LAYER = tar({"usr/lib/libx.so": make_elf()})


class Engine(Runner):
    """Says ``output`` and ends with ``status``."""

    def __init__(self, output: bytes, status: int = 0, words: str = "") -> None:
        super().__init__()
        self.output, self.status, self.words = output, status, words
        self.rest = b""

    def run(self, command: Command, **options: Any) -> Completed:
        assert command.argv == ("docker", "save", "app:1")
        stream: IO[bytes] = io.BytesIO(self.output)
        options["stdout"](stream)
        self.rest = stream.read()
        return Completed(command=command, status=self.status, stdout="", tail=self.words)


def load(tmp_path: Path, engine: Runner) -> dict[str, object]:
    console = Console(-1)
    effects = Effects(store=Store(tmp_path, console), runner=engine, console=console)
    tree = load_artifact("docker:app:1", Options(), effects)
    return {"kind": tree.kind, "name": tree.name, "paths": [node.path for node in tree.iter_files()]}


@pytest.mark.parametrize("save", [saved, saved_as_layout])
def test_what_the_engine_saves_is_read(tmp_path: Path, save: Any) -> None:
    found = load(tmp_path, Engine(tar(save((LAYER,)))))
    assert found == {"kind": "docker", "name": "docker:app:1", "paths": ["usr/lib/libx.so"]}


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Error response from daemon: No such image: app:1", ConfigError),
        ("Error response from daemon: reference does not exist: not found", ConfigError),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", HostError),
    ],
)
def test_the_engines_own_words_count_more_than_an_empty_stream(
    tmp_path: Path, words: str, kind: type[JetsonxError]
) -> None:
    with pytest.raises(kind) as caught:
        load(tmp_path, Engine(b"", status=1, words=words))
    assert caught.value.hint


def test_a_damaged_stream_is_read_to_its_end_and_told(tmp_path: Path) -> None:
    engine = Engine(b"no tar at all" + bytes(3 << 20))
    with pytest.raises(ConfigError):
        load(tmp_path, engine)
    assert engine.rest == b"", "a pipe that nobody reads stops the engine"
