"""One root file system over ssh, from a tar file and from its directory: the same tree each time.

The device is a real sshd on loopback with GNU tar; its root is a directory made here.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jetsonx.catalog import Filter, Target, load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DeviceError, HostError
from jetsonx.rootfs.device import add_device
from jetsonx.rootfs.directory import add_directory
from jetsonx.rootfs.tarball import add_tarball
from jetsonx.runner import Runner
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import TreeWriter

from .sshd import SshHost, find_sshd, serve_ssh

LIB = "usr/lib/aarch64-linux-gnu"
CUDA = "usr/local/cuda-12.6/targets/aarch64-linux"
RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
BIG_BYTES = 3 << 20


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine.to_bytes(2, "little") + bytes(40)


def make_root(root: Path, *, machine: int = 183, release: str = RELEASE) -> Path:
    """A small root file system with what makes real ones hard: links of all kinds, names of all kinds."""
    content = random.Random(1)
    files = {
        f"{LIB}/libc.so.6": elf(machine),
        f"{LIB}/libbig.so.1": content.randbytes(BIG_BYTES),
        f"{LIB}/libbig.a": content.randbytes(BIG_BYTES),
        f"{LIB}/blas/libblas.so.3": b"blas",
        f"{CUDA}/include/cuda.h": b"cuda",
        "usr/include/stdio.h": b"stdio",
        'usr/include/a -> b "c" \\ é.h': b"odd",
        "usr/include/new\nline.h": b"unusable",
        "usr/share/doc/x/copyright": b"not wanted",
        "usr/lib/os-release": b'ID=ubuntu\nVERSION_CODENAME=jammy\nVERSION_ID="22.04"\n',
        "opt/nvidia/vpi/include/vpi.h": b"vpi",
        "var/lib/dpkg/status": b"Package: libc6\n",
        "var/lib/docker/huge": b"not wanted",
        "home/me/.ssh/id": b"not wanted",
    }
    if release:
        files["etc/nv_tegra_release"] = release.encode()
    links = {
        "lib": "usr/lib",
        f"{LIB}/libbig.so": "libbig.so.1",
        f"{LIB}/libblas.so.3": "/etc/alternatives/libblas.so.3",
        "etc/alternatives/libblas.so.3": f"/{LIB}/blas/libblas.so.3",
        f"{LIB}/libnowhere.so": "/gone/libnowhere.so.1",
        "usr/local/cuda": "/etc/alternatives/cuda",
        "etc/alternatives/cuda": "/usr/local/cuda-12.6",
        "usr/local/cuda-12.6/include": "targets/aarch64-linux/include",
        "usr/include/vpi.h": "/opt/nvidia/vpi/include/vpi.h",
        "etc/os-release": "../usr/lib/os-release",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)
    os.link(root / "usr/include/stdio.h", root / "usr/include/stdio-too.h")
    os.mkfifo(root / "usr/lib/pipe")
    return root


@pytest.fixture(scope="module")
def target() -> Target:
    return resolve_target(load_catalog(), "orin-nano@36.4.3")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    if find_sshd() is None:
        pytest.skip("sshd is not on this host; `make test` as root installs it")
    with serve_ssh(tmp_path_factory.mktemp("sshd")) as served:
        yield served


@pytest.fixture
def config(host: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the ssh configuration, in use, that a test may spoil."""
    copy = tmp_path / "ssh_config"
    shutil.copy(host.config, copy)
    monkeypatch.setenv("JETSONX_SSH_CONFIG", str(copy))
    return copy


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def effects(tmp_path: Path, said: list[str]) -> Effects:
    class Heard(Console):
        def err(self, text: str) -> None:
            said.append(text)

    console = Heard()
    return Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)


Add = Callable[[TreeWriter, Filter | None], object]


def pull(add: Add, target: Target, effects: Effects, *, full: bool = False) -> Tree:
    def fill(writer: TreeWriter) -> None:
        add(writer, None if full else target.line.image_filter)

    return effects.store.create("sysroot", os.urandom(8).hex(), fill, info={})


def pull_device(place: str, target: Target, effects: Effects, *, full: bool = False) -> Tree:
    return pull(lambda w, f: add_device(place, w, f, target=target, effects=effects), target, effects, full=full)


def pull_directory(path: Path, target: Target, effects: Effects, *, full: bool = False) -> Tree:
    return pull(lambda w, f: add_directory(path, w, f, target=target, effects=effects), target, effects, full=full)


def pull_tarball(path: Path, target: Target, effects: Effects, *, full: bool = False) -> Tree:
    return pull(lambda w, f: add_tarball(path, w, f, target=target, effects=effects), target, effects, full=full)


def check_tree(tree: Tree) -> None:
    path = tree.path
    assert (path / "lib").readlink() == Path("usr/lib")
    assert (path / LIB / "libbig.so").read_bytes() == (path / LIB / "libbig.so.1").read_bytes()
    assert (path / LIB / "libblas.so.3").read_bytes() == b"blas"
    assert (path / "usr/local/cuda/include/cuda.h").read_bytes() == b"cuda"
    assert (path / "usr/include/vpi.h").read_bytes() == b"vpi"
    assert (path / 'usr/include/a -> b "c" \\ é.h').read_bytes() == b"odd"
    assert (path / "usr/include/stdio-too.h").read_bytes() == b"stdio"
    assert (path / "etc/os-release").read_text().startswith("ID=ubuntu")
    assert (path / "var/lib/dpkg/status").exists()
    assert not (path / LIB / "libnowhere.so").is_symlink()
    for unwanted in ("home", "usr/share/doc", "var/lib/docker", "usr/lib/pipe"):
        assert not (path / unwanted).exists(), unwanted


def test_the_same_root_gives_the_same_tree_whatever_way_it_comes(
    root: Path, target: Target, effects: Effects, config: Path, host: SshHost, tmp_path: Path
) -> None:
    tree = pull_device(f"{host.name}:{root}", target, effects)
    check_tree(tree)
    assert pull_directory(root, target, effects).digest == tree.digest
    for name, mode, place in (
        ("plain.tar", "w", "."),
        ("slash.tar.gz", "w:gz", "./"),
        ("sub.tar.xz", "w:xz", "rootfs"),
        ("Tegra_Linux_Sample-Root-Filesystem_R36.4.3_aarch64.tbz2", "w:bz2", "Linux_for_Tegra/rootfs"),
    ):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(root, arcname=place, filter=lambda info: None if "\n" in info.name else info)
        assert pull_tarball(tmp_path / name, target, effects).digest == tree.digest, name


def test_a_second_pull_fetches_only_what_changed(
    target: Target, effects: Effects, config: Path, host: SshHost, tmp_path: Path, said: list[str]
) -> None:
    root = make_root(tmp_path / "device")
    first = pull_device(f"{host.name}:{root}", target, effects)
    said.clear()
    assert pull_device(f"{host.name}:{root}", target, effects).digest == first.digest
    assert not [line for line in said if "files from" in line]
    (root / "usr/include/stdio.h").write_bytes(b"STDIO")  # of the same size
    second = pull_device(f"{host.name}:{root}", target, effects)
    assert (second.path / "usr/include/stdio.h").read_bytes() == b"STDIO"
    assert (second.path / "usr/include/stdio-too.h").read_bytes() == b"STDIO"
    assert next(line for line in said if "files from" in line) == f"1 files from {host.name}:{root}: 5 B"


def cut_after(config: Path, host: SshHost, size: int) -> None:
    """Let the connection die once ``size`` bytes have come, as a cable that is pulled."""
    relay = config.with_name("relay.py")
    relay.write_text(RELAY)
    config.write_text(f"Host *\n  ProxyCommand {sys.executable} {relay} {host.port} {size}\n" + host.config.read_text())


RELAY = """
import os, socket, sys, threading
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
left = int(sys.argv[2])

def up():
    while data := os.read(0, 65536):
        link.sendall(data)

threading.Thread(target=up, daemon=True).start()
while left > 0 and (data := link.recv(min(left, 65536))):
    os.write(1, data)
    left -= len(data)
os._exit(0)
"""


def test_what_came_before_the_link_broke_is_not_fetched_again(
    root: Path, target: Target, effects: Effects, config: Path, host: SshHost, said: list[str]
) -> None:
    place = f"{host.name}:{root}"
    cut_after(config, host, 2 * BIG_BYTES - (1 << 16))  # ssh drops up to 2 MB that it had not handed on yet
    with pytest.raises(DeviceError, match=r"broke after 3\.1 MB of") as error:
        pull_device(place, target, effects)
    assert "run the same command again" in (error.value.hint or "")
    shutil.copy(host.config, config)
    said.clear()
    check_tree(pull_device(place, target, effects))
    [line] = [line for line in said if "files from" in line and "done" not in line]
    assert line.endswith(": 3.1 MB")


PULL = """
import os, sys
from pathlib import Path
from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.runner import Runner
from jetsonx.rootfs.device import add_device
from jetsonx.effects import Effects
from jetsonx.store.store import Store
console = Console()
target = resolve_target(load_catalog(), "orin-nano@36.4.3")
effects = Effects(store=Store(Path(sys.argv[1]), console), runner=Runner(), console=console)
fill = lambda writer: add_device(sys.argv[2], writer, target.line.image_filter, target=target, effects=effects)
effects.store.create("sysroot", "x", fill, info={})
"""


def test_a_killed_client_leaves_what_came(
    target: Target, effects: Effects, config: Path, host: SshHost, tmp_path: Path, said: list[str]
) -> None:
    root = make_root(tmp_path / "device")
    slow = tmp_path / "bin"
    slow.mkdir()
    fast = RELAY.replace("    os.write(1, data)", "    os.write(1, data); import time; time.sleep(0.05)")
    (slow / "relay.py").write_text(fast)  # about a megabyte a second
    config.write_text(
        f"Host *\n  ProxyCommand {sys.executable} {slow}/relay.py {host.port} 99999999\n" + host.config.read_text()
    )
    place = f"{host.name}:{root}"
    with subprocess.Popen([sys.executable, "-c", PULL, effects.store.root, place]) as client:
        deadline = time.monotonic() + 60
        while "libbig.a" not in (effects.store.recall("device", place) or "") and time.monotonic() < deadline:
            time.sleep(0.05)
        client.kill()
    shutil.copy(host.config, config)
    check_tree(pull_device(place, target, effects))
    [line] = [line for line in said if "files from" in line and "done" not in line]
    assert line.endswith(": 3.1 MB")


def test_another_release_or_processor_is_refused_before_it_is_fetched(
    target: Target, effects: Effects, config: Path, host: SshHost, tmp_path: Path, said: list[str]
) -> None:
    older = make_root(tmp_path / "older", release="# R35 (release), REVISION: 4.1, GCID: 1\n")
    with pytest.raises(ConfigError, match=r"runs L4T 35\.4\.1, but orin-nano@36\.4\.3 was asked for") as error:
        pull_device(f"{host.name}:{older}", target, effects)
    assert error.value.hint == "take it for what it is: orin-nano@35.4.1"
    with pytest.raises(ConfigError, match=r"runs L4T 35\.4\.1"):
        pull_directory(older, target, effects)
    workstation = make_root(tmp_path / "pc", machine=62)
    with pytest.raises(ConfigError, match="x86-64, not AArch64"):
        pull_device(f"{host.name}:{workstation}", target, effects)
    with pytest.raises(ConfigError, match="x86-64, not AArch64"):
        pull_directory(workstation, target, effects)
    assert all("MB" not in line for line in said)


def test_what_is_no_root_file_system(
    target: Target, effects: Effects, config: Path, host: SshHost, tmp_path: Path
) -> None:
    (tmp_path / "project/usr").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no C library"):
        pull_directory(tmp_path / "project", target, effects)
    with pytest.raises(ConfigError, match="is not there"):
        pull_directory(tmp_path / "nothing", target, effects)
    with pytest.raises(ConfigError, match="no C library"):
        pull_device(f"{host.name}:{tmp_path}/project", target, effects)
    with pytest.raises(DeviceError, match="could not list") as error:
        pull_device(f"{host.name}:{tmp_path}/nothing", target, effects)
    assert "No such file" in (error.value.details or "")


def test_nvidias_own_layout_as_a_directory(root: Path, target: Target, effects: Effects, tmp_path: Path) -> None:
    (tmp_path / "Linux_for_Tegra").mkdir()
    shutil.copytree(root, tmp_path / "Linux_for_Tegra/rootfs", symlinks=True, ignore=shutil.ignore_patterns("pipe"))
    tree = pull_directory(root, target, effects)
    assert pull_directory(tmp_path, target, effects).digest == tree.digest
    assert pull_directory(tmp_path / "Linux_for_Tegra", target, effects).digest == tree.digest


def test_everything(root: Path, target: Target, effects: Effects, config: Path, host: SshHost) -> None:
    tree = pull_device(f"{host.name}:{root}", target, effects, full=True)
    assert (tree.path / "home/me/.ssh/id").exists()
    assert pull_directory(root, target, effects, full=True).digest == tree.digest


def test_an_unknown_host_key(root: Path, target: Target, effects: Effects, config: Path, host: SshHost) -> None:
    text = config.read_text().replace(str(host.known_hosts), str(config.with_name("empty")))
    config.write_text(text)
    with pytest.raises(DeviceError, match=f"cannot reach {host.name} with ssh") as error:
        pull_device(f"{host.name}:{root}", target, effects)
    assert "Host key verification failed" in (error.value.details or "")
    assert error.value.hint == f"look at its key and accept it once: ssh -F {config} {host.name}"


def test_a_key_that_the_device_does_not_know(
    root: Path, target: Target, effects: Effects, config: Path, host: SshHost
) -> None:
    config.write_text(config.read_text().replace(str(host.user_key), "/dev/null"))
    with pytest.raises(DeviceError) as error:
        pull_device(f"{host.name}:{root}", target, effects)
    assert error.value.hint is not None
    assert "ssh-copy-id" in error.value.hint


def test_nothing_answers(root: Path, target: Target, effects: Effects, config: Path, host: SshHost) -> None:
    config.write_text(config.read_text().replace(f"Port {host.port}", "Port 1"))
    with pytest.raises(DeviceError) as error:
        pull_device(f"{host.name}:{root}", target, effects)
    assert "Connection refused" in (error.value.details or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(
    target: Target, effects: Effects, config: Path, host: SshHost, tmp_path: Path, said: list[str]
) -> None:
    root = make_root(tmp_path / "device")
    (root / "etc/ssl/private").mkdir(parents=True)
    (root / "etc/ssl/private").chmod(0)
    (root / "usr/share/doc/x/copyright").chmod(0)
    for place in (f"{host.name}:{root}", root):
        said.clear()
        if isinstance(place, str):
            check_tree(pull_device(place, target, effects))
        else:
            check_tree(pull_directory(place, target, effects))
        assert [line for line in said if "etc/ssl/private" in line]
    (root / "usr/include/stdio.h").write_bytes(b"other")
    (root / "usr/include/stdio.h").chmod(0)
    with pytest.raises(HostError, match=r"usr/include/stdio\.h cannot be read: .*Permission denied"):
        pull_device(f"{host.name}:{root}", target, effects)
    with pytest.raises(HostError, match=r"usr/include/stdio\.h cannot be read: Permission denied"):
        pull_directory(root, target, effects)
    (root / "etc/ssl/private").chmod(0o700)
