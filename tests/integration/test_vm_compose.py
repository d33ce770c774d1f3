"""Machines in containers: what Compose makes of the file, and how a container is really started from it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shlex
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from jetsonx.console import Console
from jetsonx.errors import ConfigError
from jetsonx.runner import Runner
from jetsonx.vm.boot import read_content
from jetsonx.vm.boot_convert import convert_image
from tests.integration.conftest import Need, Run
from tests.integration.debs import unpack_aside
from tests.integration.docker_engine import Engine

COMPOSE = "usr/libexec/docker/cli-plugins/docker-compose"
# In the place of qemux/qemu: says how it was started, then waits as a machine would.
RECORD = """#!/bin/sh
env
grep CapEff /proc/self/status
for node in /dev/kvm /dev/net/tun; do [ -c "$node" ] && echo "node $node"; done
for file in /boot.*; do [ -f "$file" ] && echo "file $file $(head -c 4 "$file")"; done
touch /storage/disk && echo "storage written"
echo recorded
trap 'exit 0' TERM
while :; do sleep 1; done
"""


@pytest.fixture(scope="module")
def stand_in(engine_26: Engine) -> str:
    """An image in the place of qemux/qemu that records how it was started."""
    busybox = unpack_aside("bookworm", ("busybox-static",)) / "bin/busybox"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(busybox, "bin/busybox")
        for name in ("sh", "env", "grep", "head", "touch", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        script = tarfile.TarInfo("run")
        script.mode, script.size = 0o755, len(RECORD)
        tar.addfile(script, io.BytesIO(RECORD.encode()))
    engine_26.docker("import", "--change", 'ENTRYPOINT ["/run"]', "-", "stand-in", stdin=packed.getvalue())
    return "stand-in"


@pytest.fixture
def compose(engine_26: Engine) -> None:
    """The compose plugin of Debian trixie in the engine's own configuration."""
    plugin = Path(engine_26.env["DOCKER_CONFIG"], "cli-plugins/docker-compose")
    if not plugin.exists():
        plugin.symlink_to(unpack_aside("trixie", ("docker-compose",)) / COMPOSE)


def recorded(engine: Engine, name: str) -> str:
    done = subprocess.run(
        ["timeout", "20", "sh", "-c", f"until docker logs {name} 2>&1 | grep recorded; do sleep 0.2; done"],
        env={**engine.env},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, engine.docker("logs", name, check=False)
    return engine.docker("logs", name).out


@pytest.fixture
def disk(need: Need, tmp_path: Path) -> Path:
    path = tmp_path / "small.qcow2"
    subprocess.run([need("qemu-img"), "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    return path


def test_compose_starts_it_as_asked(
    engine_26: Engine, stand_in: str, compose: None, jetsonx: Run, disk: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "it's $HOME: #1"
    (folder / "storage").mkdir(parents=True)
    boot = disk.rename(folder / 'no suffix, "but" a comma')
    file = folder / "compose.yaml"
    ran = jetsonx(
        *(
            "vm",
            "compose",
            "jxlab",
            "--boot",
            boot,
            "--image",
            stand_in,
            "--kvm",
            "on",
            "--storage",
            folder / "storage",
        ),
        *("--port", "18006", "--publish", "12222:22", "--memory", "3G", "--io", "threads", "-o", file),
        env=engine_26.env,
    )
    assert ran.status == 0, ran.err
    shown = json.loads(engine_26.docker("compose", "-f", file, "config", "--format", "json").out)
    sources = [each["source"].replace("$$", "$") for each in shown["services"]["jxlab"]["volumes"]]  # as it prints them
    assert sources == [str(folder / "storage"), str(boot)]
    try:
        engine_26.docker("compose", "-f", file, "up", "--detach")
        said = recorded(engine_26, "jxlab")
        container = json.loads(engine_26.docker("inspect", "jxlab").out)[0]
        assert {"RAM_SIZE=3G", "CPU_CORES=2", "DISK_IO=threads", "KVM=Y", "TIMEOUT=110"} <= set(said.splitlines())
        assert "BOOT=" not in said
        assert "node /dev/net/tun" in said
        assert ("node /dev/kvm" in said) is Path("/dev/kvm").exists()
        assert "file /boot.qcow2 QFI" in said
        assert "storage written" in said
        assert (folder / "storage/disk").exists()
        effective = int(said.partition("CapEff:")[2].split()[0], 16)
        assert effective & 1 << 12, "NET_ADMIN is capability 12"
        assert not effective & 1 << 21, "and SYS_ADMIN, 21, is not given"
        ports = container["HostConfig"]["PortBindings"]
        assert ports["8006/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "18006"}]
        assert ports["22/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "12222"}]
        assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert container["HostConfig"]["Privileged"] is False
        assert container["Config"]["StopTimeout"] in (None, 120)
    finally:
        engine_26.docker("compose", "-f", file, "down", "--volumes", "--timeout", "2", check=False)


def test_docker_run_starts_the_same(engine_26: Engine, stand_in: str, jetsonx: Run, disk: Path, tmp_path: Path) -> None:
    boot = disk.rename(tmp_path / 'a b, "c": $d.img')
    ran = jetsonx(
        *("vm", "compose", "jxrun", "--format", "run", "--boot", boot, "--image", stand_in, "--kvm", "off"),
        *(
            "--port",
            "18007",
        ),
        env=engine_26.env,
    )
    assert ran.status == 0, ran.err
    try:
        words = shlex.split(ran.out)
        assert words[:2] == ["docker", "run"]
        engine_26.docker(*words[1:])
        said = recorded(engine_26, "jxrun")
        assert "file /boot.qcow2 QFI" in said
        assert "KVM=N" in said
        assert "node /dev/kvm" not in said
        container = json.loads(engine_26.docker("inspect", "jxrun").out)[0]
        assert container["Config"]["StopTimeout"] == 120
        assert container["HostConfig"]["CapAdd"] in (["NET_ADMIN"], ["CAP_NET_ADMIN"])
        assert [each["Name"] for each in container["Mounts"] if each["Type"] == "volume"] == ["jxrun"]
    finally:
        engine_26.docker("rm", "--force", "--volumes", "jxrun", check=False)
        engine_26.docker("volume", "rm", "jxrun", check=False)


FORMATS = {"vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi", "raw": "raw", "qcow2": "qcow2"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_told_by_content_and_converted(name: str, need: Need, tmp_path: Path) -> None:
    """Each written by qemu-img, under a name that lies; what comes out holds the same bytes."""
    qemu_img = need("qemu-img")
    whole = tmp_path / "whole"
    whole.write_bytes((b"\xfa" * 510 + b"\x55\xaa").ljust(1 << 20, b"\x5a"))
    source = tmp_path / "download.iso"
    subprocess.run([qemu_img, "convert", "-f", "raw", "-O", FORMATS[name], whole, source], check=True)
    assert read_content(source).format == name
    made, found = convert_image(source, tmp_path, Runner(), Console(-1))
    ready = name in ("raw", "qcow2")
    assert made == (source if ready else tmp_path / "download.boot.qcow2")
    back = tmp_path / "back"
    subprocess.run([qemu_img, "convert", "-f", found, "-O", "raw", made, back], check=True)
    assert back.read_bytes()[: 1 << 20] == whole.read_bytes()
    assert not list(tmp_path.glob(".jetsonx-*"))


@pytest.mark.parametrize("packing", ["gz", "xz", "zst", "bz2", "zip", "7z"])
def test_every_packing_is_told_by_content_and_unpacked(packing: str, need: Need, tmp_path: Path) -> None:
    whole = b"\0" * 0x8001 + b"CD001" + b"content" * 1000
    (tmp_path / "inside.iso").write_bytes(whole)
    source = tmp_path / "download"
    if packing == "zip":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("readme.txt", "no disk")
            archive.write(tmp_path / "inside.iso", "deep/inside.iso")
    elif packing == "7z":
        subprocess.run([need("7z"), "a", "-bso0", tmp_path / "a.7z", tmp_path / "inside.iso"], check=True)
        (tmp_path / "a.7z").rename(source)
    else:
        pack: dict[str, Callable[[bytes], bytes]] = {
            "gz": gzip.compress,
            "xz": lzma.compress,
            "bz2": bz2.compress,
            "zst": zstandard.ZstdCompressor().compress,
        }
        source.write_bytes(pack[packing](whole))
    assert read_content(source).packing == packing
    made, found = convert_image(source, tmp_path, Runner(), Console(-1))
    assert (made, found) == (tmp_path / "download.boot.iso", "iso")
    assert made.read_bytes() == whole
    made.unlink()
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(ConfigError, match="download cannot be unpacked"):
        convert_image(source, tmp_path, Runner(), Console(-1))
    assert not [*tmp_path.glob("*.boot.*"), *tmp_path.glob(".jetsonx-*")]


def test_a_file_that_cannot_boot_as_it_is_needs_convert(need: Need, jetsonx: Run, tmp_path: Path) -> None:
    disk = tmp_path / "disk.vmdk"
    subprocess.run([need("qemu-img"), "create", "-q", "-f", "vmdk", disk, "1M"], check=True)
    words = ("vm", "compose", "--kvm", "off", "--boot", disk)
    plain = jetsonx(*words, cwd=tmp_path)
    assert plain.status == 2
    assert "hint: --convert makes such a file of it" in plain.err
    ran = jetsonx(*words, "--convert", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert f'source: "{tmp_path}/disk.boot.qcow2"' in ran.out


def test_a_host_without_docker_is_told_before_anything_starts(jetsonx: Run, tmp_path: Path) -> None:
    ran = jetsonx(
        *("vm", "compose", "--kvm", "off", "--boot", "alpine", "--memory", "9999T"),
        env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"},
    )
    assert ran.status == 0
    assert "does not answer" in ran.err
    assert "the guest is given 9999T" in ran.err
