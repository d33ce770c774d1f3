"""`jetsonx device` over a real sshd, with files of a Jetson and real Docker engines on the other side."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jetsonx.device import probe
from jetsonx.rootfs import script
from tests.integration.conftest import CLI, Need, Ran, Run
from tests.integration.device_net import make_jetson
from tests.integration.docker_engine import Engine
from tests.integration.sshd import SshHost, find_sshd, serve_ssh

# What the script calls; a device without Docker and python3 has no more of it.
PROGRAMS = [
    "sh",
    "env",
    "uname",
    "sed",
    "date",
    "tr",
    "head",
    "tail",
    "dpkg-query",
    "getconf",
    "id",
    "getent",
    "cut",
    "df",
]
PROGRAMS += ["awk", "ls", "timeout", "true"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A workstation with a configuration of its own, and the device that its ssh calls jetson."""

    host: SshHost
    env: Mapping[str, str]
    run: Run
    home: Path

    def __call__(self, *words: object) -> Ran:
        return self.run("device", *words, env=self.env)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.host)


def fingerprint(host: SshHost) -> str:
    key = host.known_hosts.with_name("host_key.pub")
    return subprocess.run(["ssh-keygen", "-lf", key], capture_output=True, text=True, check=True).stdout.split()[1]


@contextlib.contextmanager
def serve_site(tmp: Path, run: Run, environ: Mapping[str, str]) -> Iterator[Site]:
    home = tmp / "home"
    home.mkdir(parents=True)
    there = {"JETSONX_ROOT": str(make_jetson(tmp / "root")), "HOME": str(home), **environ}
    with serve_ssh(tmp / "ssh", environ=there) as host:
        env = {"JETSONX_SSH_CONFIG": str(host.config), "JETSONX_CONFIG": str(tmp / "config/config.toml")}
        yield Site(host=host, env=env, run=run, home=home)


@pytest.fixture
def site(need: Need, jetsonx: Run, tmp_path: Path) -> Iterator[Site]:
    """The device has neither Docker nor python3."""
    need("ssh")
    if find_sshd() is None:
        need("sshd")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(need(name))
    with serve_site(tmp_path, jetsonx, {"PATH": str(programs)}) as served:
        yield served


def test_the_scripts_are_plain_sh(need: Need) -> None:
    here = Path(probe.__file__).parent
    scripts = [here / "probe.sh", here / "askpass.sh", Path(script.__file__).with_suffix(".sh")]
    subprocess.run([need("shellcheck"), "--shell=sh", *scripts], check=True)


def test_a_device_is_added_probed_listed_and_removed(site: Site) -> None:
    ran = site("add", "orin", "jetson")
    assert (ran.status, ran.out) == (0, "added orin: jetson, orin-nano@36.4.3\n"), ran.err
    assert "warning: docker: no docker command" in ran.err
    ran = site("probe", "orin", "--json")
    assert ran.status == 1
    found = json.loads(ran.out)
    facts = found["facts"]
    assert (found["target"], found["sms"], found["ready"]) == ("orin-nano@36.4.3", [87], False)
    assert (facts["system"], facts["cuda"], facts["python"]) == ("Ubuntu 22.04.5 LTS", "12.6.68", None)
    assert (facts["home"], facts["docker"]["client"]) == (str(site.home), None)
    assert abs(facts["clock_offset_s"]) < 60
    assert "apt-get install -y docker.io" in site("probe", "jetson").out
    (listed,) = json.loads(site("list", "--json").out)["devices"]
    assert (listed["name"], listed["address"], listed["known"]["module"]) == ("orin", "jetson", "orin-nano")
    assert list(site.home.iterdir()) == []  # nothing is left there
    assert site("remove", "orin").out == "removed orin: jetson\n"
    assert site("list").out == "no devices; jetsonx device add NAME USER@HOST adds one\n"


def test_verify_judges_against_what_the_device_says(site: Site, need: Need, tmp_path: Path) -> None:
    assert site("add", "orin", "jetson").status == 0
    program = tmp_path / "hello"
    source = b"int main(void) { return 0; }"
    argv = [need("aarch64-linux-gnu-gcc"), "-x", "c", "-", "-o", str(program)]
    subprocess.run(argv, input=source, check=True)
    ran = site.run("verify", program, "--device", "orin", "--format", "json", env=site.env)
    assert ran.status == 0, ran.err
    report = json.loads(ran.out)
    assert report["targets"] == ["orin-nano@36.4.3"]
    assert "what the device said" in ran.out
    nobody = site.run("verify", program, "--device", "nobody@127.0.0.1:1", env=site.env)
    assert nobody.status == 2
    assert "127.0.0.1" in nobody.err


SUDO = """\
[ "$1" = -n ] && shift
BY_ROOT=yes exec "$@"
"""
DOCKER = """\
if [ -z "$BY_ROOT" ]; then
  case $1 in context) echo unix:///var/run/docker.sock; exit ;; info) echo '{"ServerVersion":"","Driver":""}' ;; esac
  echo 'permission denied while trying to connect to the Docker daemon socket' >&2
  exit 1
fi
case $1 in info) echo '{"ServerVersion":"20.10.7","Driver":"overlay2","DockerRootDir":"/no/such/place"}' ;; esac
case $1 in version) echo 1.41 ;; esac
"""
ID = """\
case $1 in -u) echo 1000 ;; -un) echo jetson ;; -nG) echo jetson sudo ;; esac
"""
DPKG_QUERY = """\
printf 'ii  nvidia-l4t-core 35.4.1-20230801124926|ii  cuda-compat-12-2 12.2.34086590-1|un  nvidia-jetpack |'
"""


def test_a_user_outside_of_docker_s_group_gets_through_by_sudo(site: Site, tmp_path: Path) -> None:
    for name, text in {"sudo": SUDO, "docker": DOCKER, "id": ID, "dpkg-query": DPKG_QUERY}.items():
        (tmp_path / "bin" / name).unlink(missing_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "root/etc/nv_tegra_release").unlink()
    found = json.loads(site("probe", "jetson", "--json").out)
    docker = found["facts"]["docker"]
    assert (docker["by"], docker["engine"], docker["api"], docker["store"]) == ("sudo", "20.10.7", "1.41", "overlay2")
    assert docker["trouble"].startswith("permission denied")
    assert docker["free_bytes"] > 0  # of the nearest directory that is there
    assert (found["facts"]["l4t"], found["facts"]["l4t_source"]) == ("35.4.1", "nvidia-l4t-core")
    assert found["facts"]["cuda_compat"] == {"cuda-compat-12-2": "12.2.34086590-1"}
    assert "sudo usermod -aG docker jetson" in found["tasks"]


def test_what_is_no_jetson_is_probed_all_the_same(need: Need, jetsonx: Run, tmp_path: Path) -> None:
    need("ssh")
    with serve_site(tmp_path, jetsonx, {"JETSONX_ROOT": str(tmp_path)}) as site:
        found = json.loads(site("probe", "jetson", "--json").out)
    assert (found["module"], found["target"], found["facts"]["l4t"]) == (None, None, None)
    assert next(line for line in found["checks"] if line["name"] == "release")["found"].startswith("no Jetson: ")


@pytest.mark.parametrize(("generation", "store"), [("engine_26", "overlay2"), ("engine_26_containerd", "containerd")])
def test_the_image_store_is_told_by_the_engine(
    generation: str, store: str, request: pytest.FixtureRequest, jetsonx: Run, tmp_path: Path
) -> None:
    engine: Engine = request.getfixturevalue(generation)
    there = {"DOCKER_HOST": f"unix://{engine.socket}", "PATH": f"{engine.env['PATH']}:/usr/bin:/bin"}
    with serve_site(tmp_path, jetsonx, there) as site:
        docker = json.loads(site("probe", "jetson", "--json").out)["facts"]["docker"]
    assert docker["engine"].startswith("26.1")
    assert docker["store"] in (store, "vfs")  # vfs: what Docker's own store is where overlays cannot be nested
    assert (docker["has_containerd_store"], docker["by"]) == (store == "containerd", "user")
    assert docker["root"] == str(engine.folder / "data")
    assert docker["free_bytes"] > 0
    assert "runc" in docker["runtimes"]


def test_an_unknown_key_is_shown_and_refused_until_it_is_accepted(site: Site) -> None:
    known = site.host.known_hosts.read_text()
    site.host.known_hosts.write_text("")
    for words in ((), ("--accept-host-key", "SHA256:another")):
        ran = site("add", "orin", "jetson", *words)
        assert ran.status == 6
        assert f"ED25519 {site.fingerprint}" in ran.err
        assert f"--accept-host-key {site.fingerprint}" in ran.err
        assert site.host.known_hosts.read_text() == ""
        assert site("list", "--json").out == '{\n  "schema": 1,\n  "devices": []\n}\n'
    assert site("probe", "jetson").status == 6
    ran = site("add", "orin", "jetson", "--accept-host-key", site.fingerprint)
    assert ran.status == 0, ran.err
    assert site.host.known_hosts.read_text() == known


@pytest.mark.parametrize(("typed", "status"), [(b"n\n", 6), (b"y\n", 0)])
def test_on_a_terminal_it_is_asked_about(site: Site, typed: bytes, status: int) -> None:
    site.host.known_hosts.write_text("")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed)
        done = subprocess.run(
            [*CLI, "device", "add", "orin", "jetson"],
            env={**os.environ, **site.env},
            stdin=theirs,
            capture_output=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == status, done.stderr
    assert f"is not known: ED25519 {site.fingerprint}".encode() in done.stderr
    assert bool(site.host.known_hosts.read_text()) is (status == 0)


def test_the_keys_of_a_jump_host_are_asked_about_too(site: Site, tmp_path: Path) -> None:
    with serve_ssh(tmp_path / "jump", "jump") as jump:
        config = site.host.config
        config.write_text(f"{jump.config.read_text()}\n{config.read_text()}  ProxyJump jump\n")
        site.host.known_hosts.write_text("")
        jump.known_hosts.write_text("")
        ran = site("add", "orin", "jetson", "--accept-host-key", site.fingerprint)
        assert ran.status == 6
        assert fingerprint(jump) in ran.err
        words = ("--accept-host-key", site.fingerprint, "--accept-host-key", fingerprint(jump))
        ran = site("add", "orin", "jetson", *words)
        assert (ran.status, ran.out) == (0, "added orin: jetson, orin-nano@36.4.3\n"), ran.err


@pytest.mark.parametrize(
    ("asked", "accepted", "status", "said"),
    [
        (
            "ED25519 key fingerprint is SHA256:abc.\nAre you sure you want to continue connecting?",
            "SHA256:abc",
            0,
            "yes\n",
        ),
        (
            "ED25519 key fingerprint is SHA256:abcd.\nAre you sure you want to continue connecting?",
            "SHA256:abc",
            0,
            "no\n",
        ),
        ("ED25519 key fingerprint is SHA256:abc.\nAre you sure you want to continue connecting?", "*", 0, "no\n"),
        ("ED25519 key fingerprint is SHA256:abc.\nAre you sure you want to continue connecting?", "", 0, "no\n"),
        ("me@host's password: ", "SHA256:abc", 1, ""),
        ("Enter passphrase for key '/home/me/.ssh/id': ", "SHA256:abc", 1, ""),
    ],
)
def test_ssh_gets_a_yes_for_the_accepted_key_alone(
    asked: str, accepted: str, status: int, said: str, tmp_path: Path
) -> None:
    program = Path(probe.__file__).with_name("askpass.sh")
    env = {**os.environ, "JETSONX_FINGERPRINT": accepted, "JETSONX_QUESTION": str(tmp_path / "question")}
    done = subprocess.run(["sh", program, asked], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, said)


def test_a_changed_key_is_refused_whatever_is_accepted(site: Site, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    algorithm, public, *_ = (tmp_path / "other.pub").read_text().split()
    site.host.known_hosts.write_text(f"[127.0.0.1]:{site.host.port} {algorithm} {public}\n")
    ran = site("add", "orin", "jetson", "--accept-host-key", site.fingerprint)
    assert ran.status == 6
    assert "refused: it may be another machine" in ran.err
    forget = ran.err.partition("forget its old key: ")[2].splitlines()[0]
    subprocess.run(forget, shell=True, check=True, capture_output=True)
    assert site("add", "orin", "jetson", "--accept-host-key", site.fingerprint).status == 0


def test_a_device_that_asks_for_a_password_is_said_with_ssh_copy_id(site: Site) -> None:
    site.host.config.write_text(site.host.config.read_text().replace(str(site.host.user_key), "/dev/null"))
    ran = site("add", "orin", "jetson")
    assert ran.status == 6
    assert "ssh-copy-id jetson" in ran.err
    assert site("add", "orin", "jetson", "--no-probe").out == "added orin: jetson, not asked yet\n"
    assert site("list").out.splitlines()[1].split()[-1] == "never"


def test_a_device_that_is_silent_keeps_nobody_waiting(site: Site) -> None:
    config = site.host.config
    config.write_text(f"Host silent\n  ProxyCommand sleep 60\n{config.read_text()}")
    site("add", "off", "silent", "--no-probe")
    assert site("add", "orin", "jetson").status == 0
    started = time.monotonic()
    ran = site("list", "--probe", "--json", "--timeout", "4")
    assert time.monotonic() - started < 30
    off, orin = json.loads(ran.out)["devices"]
    assert (off["answered"], off["known"]) == (False, None)
    assert "did not answer within 4 s" in off["trouble"]
    assert (orin["answered"], orin["known"]["target"]) == (True, "orin-nano@36.4.3")


def test_a_banner_and_a_chatty_profile_do_no_harm(site: Site, tmp_path: Path) -> None:
    real = shutil.which("sh")
    (tmp_path / "bin/env").unlink()
    (tmp_path / "bin/env").write_text(f"#!{real}\necho Welcome; echo 'machine=z80'\nexec /usr/bin/env \"$@\"\n")
    (tmp_path / "bin/env").chmod(0o755)
    assert site("add", "orin", "jetson").out == "added orin: jetson, orin-nano@36.4.3\n"


def test_a_device_without_a_shell_is_said(site: Site, tmp_path: Path) -> None:
    (tmp_path / "bin/sh").unlink()
    (tmp_path / "bin/sh").symlink_to(shutil.which("true") or sys.executable)
    ran = site("add", "orin", "jetson")
    assert ran.status == 6
    assert "answers ssh, but runs no POSIX shell" in ran.err
