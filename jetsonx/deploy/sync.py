"""Which of a build's outputs differ from what a container has, and the archive that brings them: facts in, a plan out.

What the container has is known from what the last sync left there, else it is read out of it by the device's `docker
cp`, which needs no program in the image. What is not known is sent.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.deploy.ask import ask, read_script
from jetsonx.deploy.outcome import Outcome, read_fields
from jetsonx.deploy.report import check_outcome
from jetsonx.deploy.sending import Parcel
from jetsonx.deploy.values import RemoteContainer
from jetsonx.device.link import Link
from jetsonx.elf.facts import UnreadableElfError
from jetsonx.elf.load import is_elf, read_elf
from jetsonx.errors import ConfigError, DeviceError
from jetsonx.image.app import App, AppFile
from jetsonx.rootfs.ssh import UnreachableError

_CONTENTS_BYTES = 1 << 24
_LEVEL = 6  # of gzip: a megabyte in 40 ms
_MACHINES = {"arm64": "AArch64", "amd64": "x86-64"}
"""What a program's header calls the architectures of Docker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The ``files`` of an app's directory in a container, by their name in it, with their sha256; the architecture of
    its image as Docker says it, "" when that is not known; and whether the device has python3.
    """

    files: Mapping[str, str]
    architecture: str
    has_python: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPlan:
    """``changed`` files have to be brought, with the ``links`` (name, target) beside them. ``new_libraries`` are those
    that the loader's cache of the image does not name. ``contents`` is what the directory then holds.
    """

    directory: str
    changed: tuple[AppFile, ...]
    links: tuple[tuple[str, str], ...]
    new_libraries: tuple[str, ...]
    contents: Mapping[str, str]


def load_contents(link: Link, app: str, container: RemoteContainer, folder: str, docker: tuple[str, ...]) -> Contents:
    """Ask what the container holds below ``folder``, from the root. Raises DeviceError."""
    script = read_script("jetsonx.rootfs", "script.sh") + read_script("jetsonx.deploy", "contents.sh")
    words = ("sh", "-s", app, container.id, container.image_id, f"/{folder}", *docker)
    text, _ = ask(link, words, stdin=script.encode(), most_bytes=_CONTENTS_BYTES)
    if (contents := parse_contents(text, folder)) is None:
        raise UnreachableError(f"the answer of {link.address.host} was cut off", hint="try again; the link may be weak")
    return contents


def parse_contents(text: str, folder: str) -> Contents | None:
    """What contents.sh printed, None when it is not whole. ``folder``'s last part is before names that were read."""
    files: dict[str, str] = {}
    facts: dict[str, str] = {}
    top = folder.rpartition("/")[2] + "/"
    for name, value in read_fields(text):
        if name == "file":
            digest, _, path = value.partition(" ")
            files[path.removeprefix(top)] = digest
        else:
            facts[name] = value.strip()
    if facts.get("end") != "whole":
        return None
    return Contents(files=files, architecture=facts.get("platform", ""), has_python=bool(facts.get("python")))


def plan_sync(app: App, contents: Contents) -> SyncPlan:
    """Compare. A file that is no output any more stays where it is until the next deployment."""
    links = dict(app.links)
    files = tuple(file for file in app.files if file.name not in links)
    there = contents.files
    changed = tuple(file for file in files if there.get(file.name) != file.sha256)
    return SyncPlan(
        directory=app.directory,
        changed=changed,
        links=app.links,
        new_libraries=tuple(file.name for file in changed if file.is_library and there and file.name not in there),
        contents={file.name: file.sha256 for file in files},
    )


def check_machine(plan: SyncPlan, architecture: str) -> None:
    """Raise ConfigError for programs and libraries that the container's processor does not run."""
    wanted = _MACHINES.get(architecture)
    for file in plan.changed:
        if wanted is None or file.elf is None or not is_elf(file.path):
            continue
        try:
            machine = read_elf(file.path).machine
        except UnreadableElfError as error:
            raise ConfigError(f"{file.path}: {error}", hint="build it anew: jetsonx build") from None
        if machine != wanted:
            raise ConfigError(
                f"{file.path} is for {machine}, and the container's image is for {wanted}: nothing was sent",
                hint="build for the device: jetsonx build",
            )


def write_archive(plan: SyncPlan, path: Path) -> Parcel:
    """Write the gzip'ed tar that `docker cp` takes at the container's root; the same bytes for the same files.

    Times are the files' own, so that what is cached by them (Python's bytecode) is made anew.
    """
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for member, file in _members(plan):
            if file is None:
                tar.addfile(member)
            else:
                with file.open("rb") as stream:
                    tar.addfile(member, stream)
    data = path.read_bytes()
    return Parcel(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _members(plan: SyncPlan) -> Iterator[tuple[tarfile.TarInfo, Path | None]]:
    names = [file.name for file in plan.changed] + [name for name, _ in plan.links]
    folders = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}
    for folder in sorted(folders):
        info = tarfile.TarInfo(f"{plan.directory}/{folder}")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        yield info, None
    for file in plan.changed:
        status = file.path.stat()
        info = tarfile.TarInfo(f"{plan.directory}/{file.name}")
        info.size, info.mtime, info.mode = status.st_size, int(status.st_mtime), 0o755 if file.is_executable else 0o644
        yield info, file.path
    for name, target in plan.links:
        info = tarfile.TarInfo(f"{plan.directory}/{name}")
        info.type, info.linkname = tarfile.SYMTYPE, target
        yield info, None


def check_sync(outcome: Outcome, *, what: str) -> None:
    """Raise DeviceError unless the files are there and the program is well with them."""
    if outcome.ok or outcome.ending != "failed" or outcome.step not in ("sync", "gate"):
        check_outcome(outcome, what=what)
        return
    log = "\n".join(outcome.log or outcome.said) or None
    if outcome.step == "gate":
        raise DeviceError(
            f"the new files are in the container, and it is not well with them: {outcome.why}",
            details=log,
            hint="mend it and sync again; jetsonx deploy or jetsonx rollback bring a release back",
        )
    raise DeviceError(
        f"the files could not be put into the container: {outcome.why}; what it has of them is not certain",
        details=log,
        hint="sync again, or deploy: jetsonx deploy",
    )
