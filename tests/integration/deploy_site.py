"""A device to deploy to: a real sshd before a real Docker engine, with an image of one static program."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from jetsonx.deploy.control import carry_out, make_request
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.request import Kind
from jetsonx.deploy.values import Health, Release
from jetsonx.device.link import Link, open_link
from jetsonx.rootfs.ssh import parse_machine_address
from jetsonx.runner import Runner
from tests.integration.docker_engine import Engine
from tests.integration.sshd import SshHost, serve_ssh

SERVE = ("sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
"""A program that stops at once."""


@dataclass(kw_only=True)
class Site:
    host: SshHost
    engine: Engine
    home: Path
    env: Mapping[str, str]
    link: Link
    image: str
    wrapper: Path  # a directory that is first in the device's PATH
    count: int = 0

    def release(
        self,
        *command: str,
        app: str = "demo",
        health: Health | None = None,
        options: tuple[str, ...] = (),
        secrets: Mapping[str, bytes] | None = None,
        **more: object,
    ) -> Release:
        self.count += 1
        release_id = f"{self.count:012x}"
        reference = f"jetsonx/{app}:{release_id}"
        self.engine.docker("tag", self.image, reference)
        values = {
            "app": app,
            "id": release_id,
            "image_id": self.image,
            "reference": reference,
            "options": options if "--network" in options else ("--network", "none", *options),
            "command": command or SERVE,
            "secrets": secrets or {},
            "health": health or Health(kind="command", command=("true",), timeout_s=15),
            "stop_timeout_s": 3,
            **more,
        }
        return Release(**values)  # type: ignore[arg-type]

    def switch(self, release: Release) -> Outcome:
        return self.do("switch", release.app, release=release)

    def do(self, kind: Kind, app: str = "demo", *, release: Release | None = None, expected: str = "") -> Outcome:
        request = make_request(kind, app, release=release, expected=expected)
        return carry_out(self.link, request, patience_s=60)

    def containers(self) -> dict[str, tuple[str, str]]:
        """Name -> release, state."""
        said = self.engine.docker(
            "ps",
            "-a",
            "--format",
            '{{.Names}} {{.Label "dev.jetsonx.release"}} {{.State}}',
            "--filter",
            "label=dev.jetsonx.app",
        ).out
        return {name: (release, state) for name, release, state in map(str.split, said.splitlines())}

    def inspect(self, name: str, template: str) -> str:
        return self.engine.docker("inspect", "-f", template, name).out.strip()

    @property
    def state(self) -> Path:
        return self.home / ".local/state/jetsonx"

    def app_dir(self, app: str = "demo") -> Path:
        return self.state / "apps" / app

    def history(self, app: str = "demo") -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.app_dir(app) / "history.jsonl").read_text().splitlines()]

    def modify(self, container: str) -> None:
        """Files were put into a container since it was deployed, as `jetsonx sync` notes it."""
        note = self.app_dir() / "contents" / container
        note.parent.mkdir(exist_ok=True)
        note.write_text("modified=just now\nfolder=/opt\n")

    def has_ended(self, op: str) -> bool:
        """An operation came to its end there, and told how."""
        return (self.state / "runs" / op / "result").exists()

    def shim(self, name: str, text: str) -> None:
        """A program of the device's that comes before the real one."""
        (self.wrapper / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.wrapper / name).chmod(0o755)

    def check_tidy(self, app: str = "demo", *, running: str, previous: str | None, also: str = "") -> None:
        """The app runs, and nothing lies there but what a rollback needs, and ``also``."""
        expected = {app: (running, "running")}
        if previous:
            expected[f"{app}.prev"] = (previous, "exited")
        found = {name: what for name, what in self.containers().items() if name.split(".")[0] == app}
        assert found == expected, (found, expected)
        assert self.inspect(app, "{{.HostConfig.RestartPolicy.Name}}") == "unless-stopped"
        names = {path.name for path in self.app_dir(app).iterdir()}
        assert names <= {"lock", "history.jsonl", "number", "releases", "failed", "unused", also}, names
        kept = {path.name.split(".")[0] for path in (self.app_dir(app) / "releases").iterdir()}
        assert kept == {release for release, _ in expected.values()}
        assert not list(self.state.rglob("*.part"))

    def hide(self, name: str) -> None:
        """A program that the device does not have: `command -v` finds nothing in a PATH of links to all others."""
        (self.wrapper.parent / "programs" / name).unlink(missing_ok=True)

    def trap(self, words: str, action: str, *, first: bool = False) -> None:
        """Let the device's docker do ``action`` (sh) once, after it did what begins with ``words``, or ``first``."""
        flag = self.wrapper.parent / "trap"
        flag.touch()
        done = "" if first else f'{self.docker} "$@"; status=$?'
        self.shim(
            "docker",
            f'case "$* " in "{words} "*) if rm {flag} 2>/dev/null; then\n{done}\n{action}\n'
            f'exit ${{status:-1}}; fi ;; esac\nexec {self.docker} "$@"',
        )

    @property
    def docker(self) -> str:
        """The real one, for a shim."""
        return str(shutil.which("docker", path=self.engine.env["PATH"]))

    @property
    def kill(self) -> str:
        """For a trap: the script that holds the lock is gone, as by a power cut."""
        return f"pid=$(sed -n s/^pid=//p {self.app_dir()}/holder); kill -9 -$pid; kill -9 $pid"

    def clear(self) -> None:
        """No containers, no state, no shims."""
        left = self.engine.docker("ps", "-aq").out.split()
        if left:
            self.engine.docker("rm", "-f", "-v", *left)
        names = self.engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").out.split()
        ours = [name for name in names if name.startswith("jetsonx/")]
        if ours:
            self.engine.docker("image", "rm", *ours)
        subprocess.run(["rm", "-rf", self.state], check=True)
        for shim in self.wrapper.iterdir():
            shim.unlink()
        link_programs(self.wrapper.parent / "programs")


def link_programs(folder: Path) -> None:
    """All programs of this machine, so that single ones can be taken away."""
    folder.mkdir(exist_ok=True)
    for place in ("/usr/sbin", "/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            with contextlib.suppress(FileExistsError):
                (folder / program.name).symlink_to(program)


def import_busybox(engine: Engine, busybox: str) -> str:
    """An image of a shell and a few programs; its ID."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "sleep", "cat", "echo", "true", "false", "httpd", "ls", "env"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    engine.docker("import", "-c", "ENV PATH=/bin", "-", "site/base", stdin=archive.getvalue())
    return engine.docker("image", "inspect", "-f", "{{.Id}}", "site/base").out.strip()


@contextlib.contextmanager
def serve_deploy_site(
    tmp: Path, engine: Engine, busybox: str, *, serve: Callable[..., AbstractContextManager[SshHost]] = serve_ssh
) -> Iterator[Site]:
    """A device in ``tmp``, until the block is left. ``serve`` is what starts its sshd."""
    home, wrapper = tmp / "home", tmp / "bin"
    home.mkdir(parents=True, exist_ok=True)
    wrapper.mkdir()
    link_programs(tmp / "programs")
    there = {
        "HOME": str(home),
        "DOCKER_HOST": f"unix://{engine.socket}",
        "PATH": f"{wrapper}:{engine.folder}/bin:{tmp}/programs",
    }
    with serve(tmp / "ssh", environ=there) as host:
        env = {
            "JETSONX_SSH_CONFIG": str(host.config),
            "JETSONX_CONFIG": str(tmp / "config/config.toml"),
            "JETSONX_STATE": str(tmp / "state"),
        }
        address = parse_machine_address("jetson", what="a device")
        with open_link(address, runner=Runner(), environ={**os.environ, **env}) as link:
            image = import_busybox(engine, busybox)
            yield Site(host=host, engine=engine, home=home, env=env, link=link, image=image, wrapper=wrapper)


def await_true(what: object, *, limit_s: float = 20.0) -> None:
    until = time.monotonic() + limit_s
    assert callable(what)
    while not what():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.01)


def journal_step(site: Site, app: str = "demo") -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^step=(.*)$", (site.app_dir(app) / "journal").read_text(), re.MULTILINE)
        return found[1] if found else ""
    return ""
