"""``image.test``: a command in the finished image, by QEMU's user emulation and with nothing of this host in sight.

The image's layers are unpacked into a scratch directory. Where the kernel lets users have namespaces, that directory
is the root of the command, with this host's /dev and /proc as in a container. Elsewhere QEMU looks files up there first
(``-L``), and one that the image lacks may be found on this host: that is said, since a test may pass that should not.
"""

from __future__ import annotations

import os
import posixpath
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.errors import BuildError, HostError
from jetsonx.image.oci import Config, Image
from jetsonx.image.pack import ImagePlan
from jetsonx.runner import Command, Completed, Runner
from jetsonx.toolchain.search import which_host

_QEMU_NAMES = ("qemu-aarch64-static", "qemu-aarch64")  # a static one runs under another root too
_QEMU = ".jetsonx-qemu"
_RUNTIME_FILES = {"etc/hosts": "127.0.0.1 localhost\n::1 localhost\n"}
_DETAIL_LINES = 20
_NO_GPU = "under QEMU, without a GPU"
_NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child")
# The shell stays: as process 1 of its namespace, QEMU could not die of the signals that its program dies of.
_IN_NAMESPACES = 'mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" || exit; "$@"; exit $?'


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An unpacked image: where, by which QEMU, and whether that directory is the command's root."""

    root: Path
    qemu: str
    is_isolated: bool


def run_test(plan: ImagePlan, image: Image, *, timeout_s: int, effects: Effects) -> None:
    """Run the image's test, if there is one.

    Raises BuildError when it fails, is killed or takes longer than ``timeout_s``, HostError without QEMU.
    """
    if not plan.test:
        return
    qemu = next((path for name in _QEMU_NAMES if (path := which_host(name))), None)
    if qemu is None:
        raise HostError(
            f"image.test: no QEMU user emulation on this host (looked for {' and '.join(_QEMU_NAMES)})",
            hint="apt-get install qemu-user-static; without it the image cannot be tested here, so none was made",
        )
    effects.console.say(f"testing the image {_NO_GPU}: {plan.test[0]}")
    with effects.store.scratch() as scratch, effects.store.guard("unpacking the image for its test"):
        root = scratch / "root"
        _unpack(image, root, effects.runner)
        if not os.path.lexists(f"{root}{plan.test[0]}"):  # QEMU would say nothing
            raise BuildError(
                f"image.test: the image has no {plan.test[0]}",
                hint="a program of a package is named by its whole path; image.packages brings more of them",
            )
        place = _prepare(root, _directory(plan.config), qemu, effects)
        started_s = time.monotonic()
        done = effects.runner.run(test_command(place, plan.config, plan.test, timeout_s=timeout_s))
        took_s = time.monotonic() - started_s
    if not done.ok:
        raise _failed(done, plan.test, took_s=took_s, timeout_s=timeout_s)


def test_command(place: Place, config: Config, words: Sequence[str], *, timeout_s: int) -> Command:
    """The call that runs ``words`` in the image's environment and working directory, and kills it after ``timeout_s``.

    What the command started dies with it where it has namespaces of its own.
    """
    directory = _directory(config)
    limit = ("timeout", "--signal=KILL", str(timeout_s))
    if place.is_isolated:
        return Command(argv=(*limit, *_isolated(place.root, directory, config.env, words)))
    root = str(place.root)
    qemu = (place.qemu, "-L", root, "-0", words[0], root + words[0], *words[1:])
    return Command(argv=(*limit, *_with_only(config.env), *qemu), cwd=place.root / directory.lstrip("/"))


def _directory(config: Config) -> str:
    return "/" + posixpath.normpath(f"/{config.working_dir}").lstrip("/")


def _isolated(root: Path, directory: str, env: Mapping[str, str], words: Sequence[str]) -> tuple[str, ...]:
    chroot = (*_with_only(env), which_host("unshare") or "unshare", f"--root={root}", f"--wd={directory}")
    return (*_NAMESPACES, "sh", "-c", _IN_NAMESPACES, str(root), *chroot, f"/{_QEMU}", *words)


def _with_only(env: Mapping[str, str]) -> tuple[str, ...]:
    return ("env", "-i", *(f"{name}={value}" for name, value in env.items()))


def _unpack(image: Image, root: Path, runner: Runner) -> None:
    root.mkdir()
    for blob in image.layers:
        path = image.path / "blobs" / "sha256" / blob.digest.removeprefix("sha256:")
        done = runner.run(Command(argv=("tar", "-xf", str(path), "-C", str(root), "--no-same-owner")))
        if not done.ok:
            raise HostError(f"image.test: cannot unpack the image into {root}", details=done.tail)


def _prepare(root: Path, directory: str, qemu: str, effects: Effects) -> Place:
    """Add what a container runtime adds, and see whether this host lets the command have a root of its own."""
    for path, text in _RUNTIME_FILES.items():
        if not (root / path).is_symlink() and not (root / path).exists():
            (root / path).write_text(text)
    workdir = root / directory.lstrip("/")
    if workdir.resolve().is_relative_to(root.resolve()):
        workdir.mkdir(parents=True, exist_ok=True)
    shutil.copy(qemu, root / _QEMU)
    tried = effects.runner.run(Command(argv=_isolated(root, "/", {}, ["--version"])))
    if not tried.ok:
        why = tried.tail.splitlines()[-1:] or ["it says nothing"]
        effects.console.warn(
            "image.test: this host gives no namespaces to users, so the test also sees files of this host where the "
            f"image has none: {why[0]}"
        )
    return Place(root=root, qemu=qemu, is_isolated=tried.ok)


def _failed(done: Completed, words: Sequence[str], *, took_s: float, timeout_s: int) -> BuildError:
    command = str(Command(argv=tuple(words)))
    number = -done.status if done.status < 0 else done.status - 128
    if number == signal.SIGKILL and took_s >= timeout_s:
        how = f"did not end within {timeout_s} s and was killed"
        hint = "if it only needs longer: [image] test_timeout_s"
    else:
        how = _by_signal(number) if number > 0 else f"failed with status {done.status}"
        hint = "there is no GPU under QEMU: a test of the image has to pass without one"
    return BuildError(
        f"image.test: {command} {how} ({_NO_GPU})",
        details="\n".join(done.tail.splitlines()[-_DETAIL_LINES:]) or None,
        hint=hint,
    )


def _by_signal(number: int) -> str:
    try:
        return f"was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"failed with status {number + 128}"
