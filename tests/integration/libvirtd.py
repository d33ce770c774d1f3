"""A real libvirtd of the tests' own: a session daemon of the user nobody, with all its files in a directory of its own.

Not the system's: no service is started, /var/lib/libvirt stays as it is, and QEMU runs without root's rights.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
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
    """Serve while the block runs. Takes root's rights, to give them up."""
    with tempfile.TemporaryDirectory(prefix="jetsonx-lv-", dir="/tmp") as name:
        folder = Path(name)
        for each in (folder, folder / "run", folder / "home", folder / "pool"):
            each.mkdir(exist_ok=True)
            os.chown(each, _NOBODY, _NOBODY)
        config = folder / "libvirtd.conf"
        config.write_text(f'auth_unix_rw = "none"\nlog_outputs = "3:file:{folder}/home/libvirtd.log"\n')
        # Or QEMU's output goes by way of virtlogd, which would stay for two minutes longer.
        settings = folder / "home/.config/libvirt"
        settings.mkdir(parents=True)
        (settings / "qemu.conf").write_text('stdio_handler = "file"\n')
        for each in (settings, settings.parent):
            os.chown(each, _NOBODY, _NOBODY)
        folder.chmod(0o755)
        drop = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--pdeathsig", "TERM"]
        env = {"PATH": f"{os.environ['PATH']}:/usr/sbin", "HOME": f"{folder}/home", "XDG_RUNTIME_DIR": f"{folder}/run"}
        with subprocess.Popen([*drop, libvirtd, "-f", str(config)], env=env, stderr=subprocess.DEVNULL) as server:
            libvirt = Libvirt(uri=f"qemu:///session?socket={folder}/run/libvirt/libvirt-sock", folder=folder)
            try:
                _await(libvirt, server)
                libvirt.virsh("pool-create-as", "default", "dir", "--target", folder / "pool")
                yield libvirt
            finally:
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
