"""A small device: a real sshd and no Docker; by choice with something that stands for systemd."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.deploy.control import carry_out, make_request
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.request import Kind
from jetsonx.deploy.values import Health, Release
from jetsonx.device.link import Link, open_link
from jetsonx.rootfs.ssh import parse_machine_address
from jetsonx.runner import Runner
from tests.integration import fake_systemctl
from tests.integration.deploy_site import link_programs
from tests.integration.device_net import make_jetson
from tests.integration.sshd import SshHost, serve_ssh

PROGRAM = b"""#!/bin/sh
echo "up $(cat mode) $*"
trap 'exit 0' TERM
if [ "$(cat mode)" = bad ]; then exit 3; fi
while :; do sleep 0.05; done
"""


@dataclass(kw_only=True)
class FilesSite:
    host: SshHost
    home: Path
    env: Mapping[str, str]
    link: Link
    wrapper: Path  # a directory that is first in the device's PATH
    systemd: Path  # what stands for systemd keeps its files there
    count: int = 0

    def release(
        self, files: Mapping[str, bytes] | None = None, *, health: Health | None = None, **more: object
    ) -> Release:
        """One whose files lie in the device's staging directory."""
        self.count += 1
        payload = tar_of({"app": PROGRAM, "mode": b"good", "number": b"%d" % self.count, **(files or {})})
        digest = hashlib.sha256(payload).hexdigest()
        staging = self.state / "staging"
        staging.mkdir(parents=True, exist_ok=True)
        (staging / digest).write_bytes(payload)
        values = {
            "app": "demo",
            "id": f"{self.count:012x}",
            "image_id": f"sha256:{digest}",
            "reference": f"demo:{self.count:012x}",
            "command": ("./app",),
            "health": health or Health(kind="command", command=("test", "-e", "mode"), timeout_s=10),
            "stop_timeout_s": 3,
            "form": "files",
            **more,
        }
        return Release(**values)  # type: ignore[arg-type]

    def switch(self, release: Release) -> Outcome:
        return carry_out(self.link, make_request("switch", release.app, release=release), patience_s=30)

    def do(self, kind: Kind, *, expected: str = "") -> Outcome:
        return carry_out(self.link, make_request(kind, "demo", form="files", expected=expected), patience_s=30)

    @property
    def state(self) -> Path:
        return self.home / ".local/state/jetsonx"

    @property
    def app_dir(self) -> Path:
        return self.state / "apps/demo"

    @property
    def share(self) -> Path:
        return self.home / ".local/share/jetsonx/apps/demo"

    def slot(self, name: str) -> str:
        """The directory of the current or the previous release, "" for none."""
        link = self.share / name
        return link.readlink().name if link.is_symlink() else ""

    def history(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.app_dir / "history.jsonl").read_text().splitlines()]

    def unit(self) -> dict[str, object]:
        """What the unit is doing, by what stands for systemd."""
        place = self.systemd / "jetsonx-demo.service.json"
        return json.loads(place.read_text()) if place.exists() else {}

    def shim(self, name: str, text: str) -> None:
        (self.wrapper / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.wrapper / name).chmod(0o755)

    def kill_before(self, program: str, words: str, step: str) -> None:
        """Once, the script that holds the lock is gone, as by a power cut, when in ``step`` it calls ``program``."""
        kill = f"pid=$(sed -n s/^pid=//p {self.app_dir}/holder); kill -9 -$pid; kill -9 $pid; sleep 1; exit 1"
        self.do_before(program, words, step, kill)

    def do_before(self, program: str, words: str, step: str, action: str) -> None:
        """Once, ``action`` is done when in ``step`` the script calls ``program`` with ``words``, a pattern."""
        flag = self.wrapper.parent / "trap"
        flag.touch()
        real = f"{self.wrapper.parent}/programs/{program}"
        is_time = (
            f'grep -qx step={step} "{self.app_dir}/journal" 2>/dev/null && {self.wrapper.parent}/programs/rm {flag}'
        )
        done = f"if {is_time} 2>/dev/null; then\n{action}\nfi"
        self.shim(program, f'case "$*" in {words}) {done} ;; esac\nexec {real} "$@"')

    def clear(self) -> None:
        """Nothing is deployed, and the device has all its programs."""
        subprocess.run(["rm", "-rf", self.state, self.share.parent], check=True)
        for shim in self.wrapper.iterdir():
            shim.unlink()
        self.count = 0

    def check_tidy(self, *, current: Release, previous: Release | None) -> None:
        """Nothing lies there but what a rollback needs."""
        wanted = {each.id for each in (current, previous) if each}
        assert self.slot("current").partition(".")[0] == current.id
        assert self.slot("previous").partition(".")[0] == (previous.id if previous else "")
        assert {path.name.partition(".")[0] for path in (self.share / "releases").iterdir()} == wanted
        assert {path.name.partition(".")[0] for path in (self.app_dir / "releases").iterdir()} == wanted
        names = {path.name for path in self.app_dir.iterdir()}
        assert names <= {"files", "lock", "history.jsonl", "number", "releases", "failed", "unused"}, names
        assert not list(self.state.rglob("*.part"))


def tar_of(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


@contextlib.contextmanager
def serve_files_site(tmp: Path, *, has_units: bool = False, home: str = "home") -> Iterator[FilesSite]:
    place, wrapper, systemd = tmp / home, tmp / "bin", tmp / "systemd"
    for folder in (place, wrapper, systemd):
        folder.mkdir(parents=True)
    link_programs(tmp / "programs")
    for name in ("docker", "systemctl", "journalctl", "loginctl"):
        (tmp / "programs" / name).unlink(missing_ok=True)
    there = {
        "HOME": str(place),
        "PATH": f"{wrapper}:{tmp}/programs",
        "FAKE_SYSTEMD": str(systemd),
        "JETSONX_ROOT": str(make_jetson(tmp / "root")),
    }
    if has_units:
        for name in ("systemctl", "journalctl"):
            (wrapper / name).write_text(f'#!/bin/sh\nexec {sys.executable} {fake_systemctl.__file__} "$@"\n')
            (wrapper / name).chmod(0o755)
    with serve_ssh(tmp / "ssh", environ=there) as host:
        env = {
            "JETSONX_SSH_CONFIG": str(host.config),
            "JETSONX_CONFIG": str(tmp / "config/config.toml"),
            "JETSONX_STATE": str(tmp / "state"),
            "JETSONX_CACHE": str(tmp / "cache"),
        }
        address = parse_machine_address("jetson", what="a device")
        with open_link(address, runner=Runner(), environ={**os.environ, **env}) as link:
            site = FilesSite(host=host, home=place, env=env, link=link, wrapper=wrapper, systemd=systemd)
            try:
                yield site
            finally:
                for record in systemd.glob("*.json"):
                    _stop(record)


def _stop(record: Path) -> None:
    """End what was started there."""
    known = json.loads(record.read_text())
    for name in ("supervisor", "program"):
        if isinstance(pid := known.get(name), int):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
