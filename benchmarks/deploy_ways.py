"""The ways to bring a release to a device behind a cable, each measured the same way."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.deploy_images import REFERENCE, Version
from benchmarks.measure import status_kib
from tests.integration.deploy_image import DEMO_PROJECT
from tests.integration.device_net import NetDevice
from tests.integration.docker_engine import Engine

JETSONX = str(Path(sys.executable).with_name("jetsonx"))
_SAMPLE_S = 0.05
PROJECT = DEMO_PROJECT + 'health = { command = ["/opt/app/demo", "health"] }\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one delivery took. ``wire_bytes`` are counted on the cable, both ways, headers too; ``cpu_s`` on the host.

    ``loaded_s``: until the image was in the device's engine; ``peak_bytes`` and ``kept_bytes``: what the device's disk
    had more, at most and in the end; ``helper_kib`` and ``memory_kib``: peak resident memory of the device's helper
    and of the command here.
    """

    wire_bytes: int
    wall_s: float
    cpu_s: float
    loaded_s: float
    peak_bytes: int
    kept_bytes: int
    helper_kib: int = 0
    memory_kib: int = 0
    downtime_s: float | None = None


@dataclass(kw_only=True)
class Scene:
    """A workstation with an engine of its own, and a device with another; ``work`` is an empty directory."""

    work: Path
    device: NetDevice
    engine: Engine
    desk: Engine | None = None
    told: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.project = self.work / "project"
        self.project.mkdir(parents=True)
        (self.project / "jetsonx.toml").write_text(PROJECT)
        own = {"JETSONX_CACHE": str(self.work / "cache"), "JETSONX_STATE": str(self.work / "state")}
        self.env = {**os.environ, **self.device.env, **own}
        self.ssh = f"ssh -F {self.device.host.config}"

    # ---- what people type ----------------------------------------------------------------------------------------

    def piped(self, version: Version, packer: str) -> Cost:
        """The whole image through a compressor, by the workstation's engine and the device's."""
        return self._by_hand(version, f"docker save {REFERENCE} | {packer} | {self.ssh} jetson docker load -q")

    def thin(self, version: Version) -> Cost:
        """The new layer alone in an archive made by hand: what older engines take."""
        place = self._thin_archive(version)
        (place / "layer.tar").hardlink_to(version.tar)
        return self._by_hand(version, f"tar -cC {place} . | gzip | {self.ssh} jetson docker load -q")

    def rsync(self, old: Version, version: Version) -> Cost:
        """The layer's tar by rsync over the old one that lies on the device, then a thin archive of it."""
        place, there = self._thin_archive(version), self._old_there(old)
        send = f"rsync -z --no-whole-file -e {shlex.quote(self.ssh)} {version.tar} jetson:{there}/layer.tar"
        load = f"cd {there} && tar -x && tar -c manifest.json config.json layer.tar | docker load -q"
        return self._by_hand(version, f"{send} && tar -cC {place} . | {self.ssh} jetson {shlex.quote(load)}")

    def patched(self, old: Version, version: Version) -> Cost:
        """The difference of the layers' tars by zstd, applied to the old one on the device, then a thin archive."""
        place, there = self._thin_archive(version), self._old_there(old)
        make = f"zstd -q -3 --long=27 --patch-from={old.tar} {version.tar} -o {place}/patch"
        apply = (
            f"cd {there} && tar -x && zstd -q -d --long=27 --patch-from=layer.tar patch -o new.tar && "
            "mv new.tar layer.tar && tar -c manifest.json config.json layer.tar | docker load -q"
        )
        return self._by_hand(version, f"{make} && tar -cC {place} . | {self.ssh} jetson {shlex.quote(apply)}")

    def _by_hand(self, version: Version, script: str) -> Cost:
        environment = {**os.environ, **(self.desk.env if self.desk else {})}
        cost = self._watch(["bash", "-ec", f"set -o pipefail; {script}"], environment)
        found = self.engine.docker("image", "inspect", "-f", "{{.Id}}", REFERENCE).out.strip()
        assert found == version.id, f"{script} brought {found}, not {version.id}"
        self.engine.docker("rmi", REFERENCE)
        return cost

    def _thin_archive(self, version: Version) -> Path:
        """A directory with all of a thin archive but the layer."""
        place = self.work / "thin"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        config = (version.layout / "blobs" / version.id.replace(":", "/")).read_bytes()
        (place / "config.json").write_bytes(config)
        layers = ["base.tar", "layer.tar"]  # the first is not there: the engine has it
        described = [{"Config": "config.json", "RepoTags": [REFERENCE], "Layers": layers}]
        (place / "manifest.json").write_text(json.dumps(described))
        return place

    def _old_there(self, old: Version) -> Path:
        place = self.device.home / "by-hand"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        shutil.copy(old.tar, place / "layer.tar")
        return place

    # ---- ours ----------------------------------------------------------------------------------------------------

    def deploy(self, version: Version, *words: str) -> Cost:
        """The whole command, which also asks, checks, switches, and waits for the new release to be healthy."""
        argv = [JETSONX, "deploy", "--json", "--image", str(version.layout), "-C", str(self.project), *words]
        cost = self._watch(argv, self.env)
        [device] = self.told["devices"]
        assert device["status"] in ("deployed", "current"), self.told
        return cost

    # ---- the same for all ----------------------------------------------------------------------------------------

    def _watch(self, argv: list[str], environment: Mapping[str, str]) -> Cost:
        os.sync()
        before = self.device.sent_bytes() + self.device.received_bytes()
        with _Sampler(self.device, self.engine) as sampler:
            started = time.perf_counter()
            loaded_s = 0.0
            with subprocess.Popen(
                argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as process:
                sampler.pid = process.pid
                assert process.stdout is not None
                assert process.stderr is not None
                said = []
                for line in process.stderr:
                    said.append(line)
                    if not loaded_s and "loaded, the same image" in line:
                        loaded_s = time.perf_counter() - started
                answer = process.stdout.read()
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            wall_s = time.perf_counter() - started
        if process.returncode != 0:
            sys.exit(f"{argv} failed:\n{answer}{''.join(said)}")
        downtime_s = None
        if answer.startswith("{"):
            self.told = json.loads(answer)
            outcome = self.told["devices"][0]["outcome"]
            downtime_s = outcome["downtime_s"] if outcome else None
        return Cost(
            wire_bytes=self.device.sent_bytes() + self.device.received_bytes() - before,
            wall_s=wall_s,
            cpu_s=used.ru_utime + used.ru_stime,
            loaded_s=loaded_s or wall_s,
            peak_bytes=sampler.peak - sampler.first,
            kept_bytes=sampler.used() - sampler.first,
            helper_kib=sampler.helper_kib,
            memory_kib=sampler.memory_kib,
            downtime_s=downtime_s,
        )


class _Sampler:
    """Looks at the device's disk and its helper's memory, 20 times a second."""

    def __init__(self, device: NetDevice, engine: Engine) -> None:
        self._device = device
        self._engine = engine
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.helper_kib = self.memory_kib = self.pid = 0
        self.first = self.peak = self.used()

    def used(self) -> int:
        """Bytes of the engine's file system, and of what lies in the device's home directory."""
        found = os.statvfs(self._engine.folder)
        total = (found.f_blocks - found.f_bfree) * found.f_frsize
        for path in self._device.home.rglob("*"):
            with suppress(OSError):
                total += path.lstat().st_blocks * 512
        return total

    def __enter__(self) -> _Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._end.wait(_SAMPLE_S):
            self.peak = max(self.peak, self.used())
            self.memory_kib = max(self.memory_kib, _peak_kib(self.pid))
            for pid in _helpers(self._device.home):
                self.helper_kib = max(self.helper_kib, _peak_kib(pid))


def _peak_kib(pid: int) -> int:
    with suppress(OSError, StopIteration):  # it ended
        return status_kib(pid, "VmHWM")
    return 0


def _helpers(home: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes()
                if b"python3" in words.split(b"\0")[0] and os.fsencode(home) in (entry / "environ").read_bytes():
                    yield int(entry.name)
