"""Real libvirtds of the tests' own: a session's, of the user nobody, and a system's, of root.

With all their files in directories of their own: no service is started, /var/lib/libvirt stays as it is, and QEMU runs
without root's rights.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_NOBODY = 65534
_START_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Libvirt:
    """A libvirt that answers at ``uri``; it reads and writes in ``folder``, and has a storage pool ``default``."""

    uri: str
    folder: Path

    def virsh(self, *words: object) -> str:
        """What virsh prints; it has to succeed."""
        done = subprocess.run(
            ["virsh", "--quiet", "--connect", self.uri, *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"virsh {words}: {done.stderr}"
        return done.stdout.strip()


@contextlib.contextmanager
def serve_libvirt(libvirtd: str) -> Iterator[Libvirt]:
    """A session's: serve while the block runs. Takes root's rights, to give them up."""
    with _folder() as folder:
        # Or QEMU's output goes by way of virtlogd, which would stay for two minutes longer.
        settings = folder / "home/.config/libvirt"
        settings.mkdir(parents=True)
        (settings / "qemu.conf").write_text('stdio_handler = "file"\n')
        for each in folder.rglob("*"):
            os.chown(each, _NOBODY, _NOBODY)
        drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--pdeathsig", "TERM"]
        env = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": f"{folder}/home", "XDG_RUNTIME_DIR": f"{folder}/run"}
        uri = f"qemu:///session?socket={folder}/run/libvirt/libvirt-sock"
        with _served(
            [*drop, libvirtd, "-f", f"{folder}/libvirtd.conf"], env, Libvirt(uri=uri, folder=folder)
        ) as served:
            yield served


@contextlib.contextmanager
def serve_system_libvirt(libvirtd: str) -> Iterator[Libvirt]:
    """The system's, by root, who lets QEMU run as nobody: in file systems and on a loopback of its own."""
    with _folder() as folder:
        (folder / "qemu.conf").write_text(
            f'user = "+{_NOBODY}"\ngroup = "+{_NOBODY}"\nstdio_handler = "file"\ncgroup_controllers = []\n'
            "namespaces = []\nremember_owner = 0\n"
        )
        script = f"""
            for place in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /run; do
                [ ! -d $place ] || mount -t tmpfs -o mode=755 tmpfs $place
            done
            mkdir -p /etc/libvirt
            # Debian's libvirtd wants that user before it reads who is to be in its place.
            for file in passwd group; do
                cp /etc/$file {folder}/$file
                echo "libvirt-qemu:x:{_NOBODY}:{_NOBODY}::/:/usr/sbin/nologin" >>{folder}/$file
                mount --bind {folder}/$file /etc/$file
            done
            echo 'unix_sock_dir = "{folder}/run"' >>{folder}/libvirtd.conf
            cp {folder}/qemu.conf /etc/libvirt/
            # A KVM that it may use and QEMU may not, or that starts no guest, has it look at QEMU again and again.
            if [ -e /dev/kvm ]; then
                touch {folder}/kvm
                mount --bind {folder}/kvm /dev/kvm
                mount -o remount,bind,ro /dev/kvm
            fi
            ip link set lo up
            exec setpriv --pdeathsig TERM {libvirtd} -f {folder}/libvirtd.conf
        """
        words = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-ec", script]
        env = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        uri = f"qemu:///system?socket={folder}/run/libvirt-sock"
        with _served(words, env, Libvirt(uri=uri, folder=folder)) as served:
            yield served


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jetsonx-lv-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for each in ("run", "home", "pool"):
            (folder / each).mkdir()
        (folder / "libvirtd.conf").write_text(
            f'auth_unix_rw = "none"\nlog_outputs = "3:file:{folder}/home/libvirtd.log"\n'
        )
        yield folder


@contextlib.contextmanager
def _served(words: Sequence[str], env: Mapping[str, str], libvirt: Libvirt) -> Iterator[Libvirt]:
    with subprocess.Popen(words, env=env, stderr=subprocess.DEVNULL) as server:
        try:
            _await(libvirt, server)
            libvirt.virsh("pool-create-as", "default", "dir", "--target", libvirt.folder / "pool")
            yield libvirt
        finally:
            if server.poll() is None:
                for domain in libvirt.virsh("list", "--name").split():
                    libvirt.virsh("destroy", domain)
            server.terminate()


def _await(libvirt: Libvirt, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    words = ["virsh", "--quiet", "--connect", libvirt.uri, "version"]
    while subprocess.run(words, capture_output=True, check=False).returncode != 0:
        if server.poll() is not None or time.monotonic() > until:
            raise RuntimeError("libvirtd did not start")
        time.sleep(0.2)
