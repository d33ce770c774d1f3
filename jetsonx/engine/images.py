"""Images in an engine, by docker-py: looked at, saved, loaded. It knows no BuildKit; builds go by buildx."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsonx.engine.client import Engine
from jetsonx.errors import HostError
from jetsonx.runner import Runner

_SAVED_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineImage:
    """An image as the engine describes it; ``id`` names its content: two images of one ID are the same."""

    id: str
    architecture: str
    os: str


class Images:
    """The images of one engine. Every call raises HostError when the engine does not do it."""

    def __init__(self, engine: Engine, runner: Runner) -> None:
        self._engine = engine
        self._runner = runner

    def find(self, reference: str) -> EngineImage | None:
        """The image of that name, or None."""
        from docker.errors import ImageNotFound

        with self._client(f"look at {reference}") as client:
            try:
                facts: dict[str, Any] = client.images.get(reference).attrs
            except ImageNotFound:
                return None
        return EngineImage(
            id=str(facts["Id"]), architecture=str(facts.get("Architecture") or ""), os=str(facts.get("Os") or "")
        )

    def save(self, reference: str) -> Iterator[bytes]:
        """What `docker save` writes, in pieces."""
        with self._client(f"save {reference}") as client:
            yield from client.images.get(reference).save(chunk_size=_SAVED_CHUNK, named=reference)

    def load(self, layout: Path) -> None:
        """Put an image layout into the engine, under the names that it has in its ``manifest.json``."""
        read, write = os.pipe()
        with self._client(f"load {layout}") as client, ThreadPoolExecutor(1) as pool:
            packing = pool.submit(_pack, layout, write)
            with os.fdopen(read, "rb") as stream:  # closed early, it ends the thread too
                client.images.load(stream)
            packing.result()

    @contextmanager
    def _client(self, what: str) -> Iterator[Any]:
        """A connection for one errand; what goes wrong in it is said with the errand's name."""
        import docker
        from docker.errors import DockerException

        try:
            with ExitStack() as stack:
                client = self._connect(docker, stack)
                stack.callback(client.close)
                yield client
        except (DockerException, OSError) as error:  # requests' errors are OSErrors
            said = getattr(error, "explanation", None) or error
            raise HostError(f"{self._engine.name} did not {what}: {said}", hint="jetsonx doctor") from error

    def _connect(self, docker: Any, stack: ExitStack) -> Any:
        facts, url = self._engine.facts, self._engine.url
        if url.startswith("ssh://"):
            # docker-py's own way wants paramiko and does not read the ports and keys of ~/.ssh/config.
            dial = self._engine.endpoint.command("system", "dial-stdio")
            path = stack.enter_context(self._runner.relay(dial))
            return docker.DockerClient(base_url=f"unix://{path}", timeout=600)
        if facts.is_named_by_environment and not self._engine.endpoint.context:
            return docker.from_env(timeout=600)
        tls = None
        if url.startswith("tcp://"):
            known = docker.ContextAPI.get_context(self._engine.endpoint.context or facts.context)
            tls = known.TLSConfig if known else None
        return docker.DockerClient(base_url=url, tls=tls or False, timeout=600)


def _pack(layout: Path, descriptor: int) -> None:
    """Write a directory as a tar file to a pipe, which is closed at the end."""
    with os.fdopen(descriptor, "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as tar:
        tar.add(layout, arcname=".")
