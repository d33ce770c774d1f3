"""Engines on Fedora CoreOS, as far as they can be seen without it: on a stand-in that boots and is set up as it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.host.probe_vm import find_firmware
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.vm.disk import fetch_base
from jetsonx.vm.hardware import ARM64
from jetsonx.vm.tools import find_tools
from tests.integration.conftest import Need, Run
from tests.integration.coreos import make_coreos
from tests.integration.desk import docker, serve_desk
from tests.integration.libvirtd import serve_libvirt
from tests.integration.sshd import serve_ssh

LIMIT_S = 900
_WORDS = ("--arch", "arm64", "--memory", "1536", "--disk", "20", "--yes", "--timeout", str(LIMIT_S))


@pytest.fixture(scope="module")
def coreos(need: Need, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in's image."""
    for program in ("sfdisk", "mformat", "busybox", "qemu-img"):
        need(program)
    if not find_firmware(ARM64.uname):
        need("UEFI firmware for arm64 (qemu-efi-aarch64)")
    effects = Effects(store=store, runner=Runner(), console=Console(-1))
    return make_coreos(tmp_path_factory.mktemp("coreos"), fetch_base(ARM64, find_tools(), effects), effects)


@pytest.fixture
def desk(need: Need, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A workstation whose cache is its own: what is kept of an image goes with it."""
    with serve_desk(need) as env:
        yield {**env, "JETSONX_CACHE": str(tmp_path / "cache")}


def _use(desk: Mapping[str, str], name: str) -> None:
    """It is what Ignition was told to make, and its Docker is used through the context."""
    home = Path(desk["HOME"])
    inside = docker(desk, "--context", name, "info", "--format", "{{.Name}} {{.Architecture}}")
    assert inside.out == f"{name} aarch64\n", inside.err
    assert docker(desk, "--context", name, "import", "/dev/null", "empty").status == 0
    words = [
        "ssh",
        f"jetsonx-engine-{name}",
        "id -un; id -Gn; systemctl is-enabled docker.service; sudo -n passwd -S core",
    ]
    said = subprocess.run(words, env={**os.environ, **desk}, capture_output=True, text=True, check=True).stdout
    user, groups, enabled, password = said.splitlines()
    assert (user, enabled, password.split()[1]) == ("core", "enabled", "L"), "there is no password"
    assert {"docker", "wheel"} <= set(groups.split())
    known = next(home.glob(f"vms/**/{name}/known_hosts"))
    assert known.read_text().startswith(f"vm:{name} ssh-ed25519 "), "its key is the one that was made here"


def test_fedora_coreos_becomes_an_engine_and_goes_without_a_trace(
    coreos: Path, desk: Mapping[str, str], jetsonx: Run
) -> None:
    made = jetsonx("vm", "engine", "create", "fedora", "--coreos", coreos, *_WORDS, env=desk, timeout_s=LIMIT_S * 2)
    assert made.status == 0, made.err
    assert "Ignition applies its first-boot configuration" in made.err
    _use(desk, "fedora")
    listed = jetsonx("vm", "engine", "list", env=desk)
    assert listed.out == "fedora  arm64  qemu  runs\n"
    gone = jetsonx("vm", "engine", "remove", "fedora", "--yes", env=desk)
    assert gone.status == 0, gone.err
    assert not list(Path(desk["JETSONX_VMS"]).glob("[!.]*"))
    assert not Path(desk["HOME"], ".ssh/config").exists()
    assert "fedora" not in docker(desk, "context", "ls", "--format", "{{.Name}}").out


@pytest.mark.usefixtures("root_rights")
def test_a_libvirt_behind_ssh_runs_it(
    coreos: Path, desk: Mapping[str, str], need: Need, jetsonx: Run, tmp_path: Path
) -> None:
    """qemu+ssh:// for real: volumes, the configuration by libvirt's fwcfg, UEFI, ssh by way of the hypervisor."""
    need("virsh")
    need("nc.openbsd")
    libvirtd = need("libvirtd", "/usr/sbin/libvirtd")
    with serve_libvirt(libvirtd) as libvirt, serve_ssh(tmp_path / "sshd", "hypervisor") as host:
        config = Path(desk["HOME"], ".ssh/config")
        config.parent.mkdir(mode=0o700)
        config.write_text(host.config.read_text())
        # Root, who logs in there, has no session: the socket is named, which libvirt's own helper cannot.
        uri = f"qemu+ssh://hypervisor/session?proxy=netcat&socket={libvirt.folder}/run/libvirt/libvirt-sock"
        words = ("--coreos", coreos, "--connect", uri, *_WORDS)
        made = jetsonx("vm", "engine", "create", "far", *words, env=desk, timeout_s=LIMIT_S * 2)
        assert made.status == 0, made.err
        assert "jetsonx-far-config.ign" in libvirt.virsh("vol-list", "default")
        assert "libvirt has no KVM for arm64 machines there" in made.err
        _use(desk, "far")
        assert jetsonx("vm", "engine", "list", env=desk).out == f"far  arm64  {uri}  runs\n"
        gone = jetsonx("vm", "engine", "remove", "far", "--yes", env=desk)
        assert gone.status == 0, gone.err
        assert not libvirt.virsh("list", "--all", "--name")
        assert not libvirt.virsh("vol-list", "default")
        assert config.read_text() == host.config.read_text(), "the line is gone, and the rest is as it was"
