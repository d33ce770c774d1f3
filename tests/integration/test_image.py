"""Images as others read them: ld.so under QEMU, skopeo, and a real Docker daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.image.app import read_app_file
from jetsonx.image.closure import needed_closure
from jetsonx.image.ldcache import find_in_cache, parse_cache, sort_key
from jetsonx.image.minimal import SYSTEM_DIRS, Deb
from jetsonx.image.oci import Image
from jetsonx.image.pack import plan_image, write_image
from jetsonx.packages.deb import read_control
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.sysroot.pull import Sysroot, fetch_debs
from tests.integration.conftest import Need

LIBRARY = 'const char *greeting(void) { return "hello from the image"; }'
PROGRAM = """
#include <stdio.h>
const char *greeting(void);
int main(int argc, char **argv) { return printf("%s %s\\n", greeting(), argc > 1 ? argv[1] : "") < 0; }
"""


@pytest.fixture(scope="module")
def target() -> Target:
    return resolve_target(load_catalog(), "orin-nano@39.2")


@pytest.fixture(scope="module")
def image(
    sysroot: Sysroot, store: Store, target: Target, need: Need, tmp_path_factory: pytest.TempPathFactory
) -> Image:
    """A C program with a library of its own, which lies where ld.so looks only because the cache says so."""
    work = tmp_path_factory.mktemp("image")
    compiler = need("aarch64-linux-gnu-gcc")
    (work / "lib").mkdir()
    (work / "greet.c").write_text(LIBRARY)
    (work / "main.c").write_text(PROGRAM)
    made = "lib/libgreet.so.1.2"
    for words in (
        ["-shared", "-fPIC", "-Wl,-soname,libgreet.so.1", "-o", made, "greet.c"],
        ["-o", "hello", "main.c", made, "-Wl,-rpath-link,lib"],
    ):
        subprocess.run([compiler, *words], cwd=work, check=True)
    outputs = ["hello", made]
    paths = fetch_debs(sysroot, target, Effects(store=store, runner=Runner(), console=Console(-1)))
    plan = plan_image(
        name="demo",
        reference="jetsonx-test-demo:0.1.0",
        files=[read_app_file(work / name, name) for name in outputs],
        closure=needed_closure(
            [work / name for name in outputs],
            sysroot.path,
            owners=sysroot.owners,
            packages={package.name for package in sysroot.packages},
            library_dirs=SYSTEM_DIRS,
            driver_libraries=target.line.driver_libraries,
        ),
        sysroot=sysroot.path,
        sysroot_digest=sysroot.digest,
        debs={
            each.name: Deb(name=each.name, version=each.version, sha256=each.sha256, path=paths[each.name])
            for each in sysroot.packages
        },
        origin=sysroot.suite or target.line.suite,
        driver_dirs=target.line.tegra_library_dirs,
        entrypoint=["hello"],
        labels={"jetsonx.target": target.name},
    )
    return write_image(plan, work / "out", cache_dir=work / "cache", read_control=read_control)


def unpack(image: Path, root: Path) -> Path:
    [described] = json.loads((image / "manifest.json").read_bytes())
    root.mkdir(exist_ok=True)
    for each in described["Layers"]:
        subprocess.run(["tar", "-xf", str(image / each), "-C", str(root)], check=True)
    return root


def test_a_program_starts_from_the_cache_alone(image: Image, need: Need, tmp_path: Path) -> None:
    qemu = need("qemu-aarch64-static", "qemu-aarch64")
    root = unpack(image.path, tmp_path / "root")
    command = [qemu, "-L", str(root), str(root / "opt/demo/hello"), "world"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}

    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "hello from the image world\n"), ran.stderr

    (root / "etc/ld.so.cache").unlink()
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "libgreet.so.1: cannot open shared object file" in ran.stderr


def test_every_library_in_the_cache_is_there(image: Image, tmp_path: Path) -> None:
    root = unpack(image.path, tmp_path / "root")
    entries = parse_cache((root / "etc/ld.so.cache").read_bytes())
    assert {"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libgreet.so.1"} <= {each.name for each in entries}
    for each in entries:
        assert (root / each.path.lstrip("/")).resolve().is_relative_to(root)
        assert (root / each.path.lstrip("/")).read_bytes().startswith(b"\x7fELF"), each
    assert (root / "lib/ld-linux-aarch64.so.1").exists()


def test_the_format_is_that_of_the_hosts_ldconfig(need: Need) -> None:
    ldconfig = need("ldconfig", "/sbin/ldconfig")
    listed = subprocess.run(
        [ldconfig, "-p"], env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"^\t(\S+) \(.*\) => (\S+)$", listed, re.MULTILINE)
    entries = parse_cache(Path("/etc/ld.so.cache").read_bytes())
    assert [(each.name, each.path) for each in entries] == names
    assert names
    keys = [sort_key(each.name) for each in entries]
    assert keys == sorted(keys, reverse=True)
    assert all(find_in_cache(entries, each.name) for each in entries)


def test_skopeo_reads_the_layout(image: Image, need: Need) -> None:
    skopeo = need("skopeo")
    for reference in (f"oci:{image.path}", f"oci:{image.path}:0.1.0"):
        read = subprocess.run([skopeo, "inspect", reference], capture_output=True, text=True, check=False)
        assert read.returncode == 0, read.stderr
        seen = json.loads(read.stdout)
        assert (seen["Digest"], seen["Architecture"], seen["Os"]) == (image.digest, "arm64", "linux")
        assert seen["Layers"] == [each.digest for each in image.layers]
        assert seen["Labels"] == {"jetsonx.target": "orin-nano@39.2.0"}


class Docker:
    """A daemon of the test's own, with its own data, reached through its own socket."""

    def __init__(self, client: str, socket: Path) -> None:
        self._command = [client, "-H", f"unix://{socket}"]

    def __call__(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run([*self._command, *words], input=stdin, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def answers(self) -> bool:
        return subprocess.run([*self._command, "version"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def docker(need: Need) -> Iterator[Docker]:
    daemon, client = need("dockerd"), need("docker")
    if os.geteuid() != 0:
        need("root, to start a Docker daemon")
    home = Path(tempfile.mkdtemp(prefix="jetsonx-docker-"))  # a socket's path must be short
    places = ("--data-root", home / "data", "--exec-root", home / "exec", "--pidfile", home / "pid")
    network = ("--iptables=false", "--ip6tables=false", "--bridge=none")
    with (home / "log").open("wb") as log:
        words = [daemon, "-H", f"unix://{home}/sock", *map(str, places), *network]
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        docker = Docker(client, home / "sock")
        deadline = time.monotonic() + 40
        while not docker.answers():
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        yield docker
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


def test_docker_loads_it_and_runs_it(image: Image, docker: Docker, need: Need) -> None:
    qemu = need("qemu-aarch64-static")
    tar = subprocess.run(["tar", "-C", str(image.path), "-c", "."], capture_output=True, check=True).stdout

    assert "jetsonx-test-demo:0.1.0" in docker("load", stdin=tar)

    [seen] = json.loads(docker("image", "inspect", "jetsonx-test-demo:0.1.0"))
    assert (seen["Id"], seen["Architecture"], seen["Os"]) == (image.id, "arm64", "linux")
    config: dict[str, Any] = seen["Config"]
    assert config["Labels"] == {"jetsonx.target": "orin-nano@39.2.0"}
    assert config["Entrypoint"] == ["/opt/demo/hello"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in config["Env"]
    # No binfmt_misc is needed when the emulator is the container's program.
    emulated = ("--entrypoint", "/qemu", "-v", f"{qemu}:/qemu:ro", "jetsonx-test-demo:0.1.0")
    ran = docker("run", "--rm", "--network", "none", "--platform", "linux/arm64", *emulated, "/opt/demo/hello", "there")
    assert ran == "hello from the image there\n"
