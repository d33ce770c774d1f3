"""Wheels by pip, the ordinary client of the wheel index: it resolves, checks hashes and knows the user's mirrors.

pip is asked in two steps. The first only resolves, for a platform that need not be this one, and reports what it chose;
the second downloads what the store lacks, by hash. So a set of requirements is resolved once and found again offline.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from jetsonx.console import Bar, Console
from jetsonx.errors import DownloadError, HostError
from jetsonx.packages.links import clean_path
from jetsonx.packages.package import Wheel, to_json, wheel_from_json
from jetsonx.runner import Command, Completed, Runner
from jetsonx.store.store import Store
from jetsonx.store.tree import TreeWriter, file_sha256

if TYPE_CHECKING:
    import zipfile

Platform = Literal["aarch64", "x86_64"]

_OLDEST_GLIBC_MINOR = {"aarch64": 17, "x86_64": 5}
_LEGACY_TAGS = {"aarch64": ("manylinux2014",), "x86_64": ("manylinux2014", "manylinux2010", "manylinux1")}
# The user's pip configuration (index, mirrors, certificates) stays in force; only what would change the result is set.
_PIP_ENV = {
    "PIP_USER": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_REQUIRE_HASHES": "0",
}
# NVIDIA's wheels carry no Python version in their tags; pip wants one when the platform is not this one.
_PYTHON = "3.12"
_BAR_FROM_BYTES = 2_000_000
_DETAIL_LINES = 8


def fetch_wheels(
    requirements: Sequence[str],
    *,
    platform: Platform,
    constraints: Sequence[str] = (),
    glibc: str = "2.28",
    dependencies: bool = True,
    store: Store,
    runner: Runner,
    console: Console,
    offline: bool = False,
    refresh: bool = False,
) -> tuple[tuple[Wheel, Path], ...]:
    """The wheels that ``requirements`` (and what they depend on) come to, each with its file in the store.

    ``constraints`` are requirement lines that hold if the project is taken at all. Wheels built for a glibc newer than
    ``glibc`` are not taken. What was resolved once is found again without the network until ``refresh``.

    Raises DownloadError when pip cannot have them, or with ``offline`` when the store lacks one.
    """
    key = json.dumps([sorted(requirements), sorted(constraints), platform, glibc, dependencies])
    wheels = () if refresh else _recalled(store, key)
    if not wheels:
        if offline:
            raise DownloadError(
                f"offline: the wheels {', '.join(requirements)} for {platform} were never resolved here",
                hint=f"run it once with a network; the cache is {store.root}",
            )
        wheels = _resolve(requirements, platform, constraints, glibc, dependencies, store, runner, console)
        store.remember("wheels", key, json.dumps([to_json(wheel) for wheel in wheels]))
    return download_wheels(wheels, store=store, runner=runner, console=console, offline=offline)


def _recalled(store: Store, key: str) -> tuple[Wheel, ...]:
    try:
        return tuple(wheel_from_json(item) for item in json.loads(store.recall("wheels", key) or "[]"))
    except (ValueError, TypeError):
        return ()


def platform_tags(platform: Platform, glibc: str) -> tuple[str, ...]:
    """The wheel platforms of a Linux with this glibc, as pip takes them: ``("manylinux_2_28_aarch64", …)``."""
    newest = int(glibc.split(".")[1])
    modern = [f"manylinux_2_{minor}" for minor in range(newest, _OLDEST_GLIBC_MINOR[platform] - 1, -1)]
    return tuple(f"{tag}_{platform}" for tag in (*modern, *_LEGACY_TAGS[platform], "linux"))


def _resolve(
    requirements: Sequence[str],
    platform: Platform,
    constraints: Sequence[str],
    glibc: str,
    dependencies: bool,
    store: Store,
    runner: Runner,
    console: Console,
) -> tuple[Wheel, ...]:
    console.say(f"resolving {len(requirements)} wheels for {platform}")
    with store.scratch() as scratch, store.guard("resolving wheels"):
        (scratch / "constraints.txt").write_text("".join(f"{line}\n" for line in constraints))
        (scratch / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
        words = ["install", "--dry-run", "--ignore-installed", "--quiet", "--target", str(scratch / "target")]
        words += ["--report", str(scratch / "report.json"), "--requirement", str(scratch / "requirements.txt")]
        words += ["--constraint", str(scratch / "constraints.txt")] if constraints else []
        words += [] if dependencies else ["--no-deps"]
        words += _platform_words(platform_tags(platform, glibc))
        done = runner.run(_pip(words, scratch))
        if not done.ok:
            raise _failed(f"pip cannot have {', '.join(requirements)} for {platform}", done, store)
        return parse_report((scratch / "report.json").read_text())


def _platform_words(tags: Sequence[str]) -> list[str]:
    named = [word for tag in tags for word in ("--platform", tag)]
    return ["--only-binary=:all:", "--implementation", "cp", "--python-version", _PYTHON, *named]


def _pip(words: Sequence[str], scratch: Path) -> Command:
    # pip's own temporary files belong beside ours: on the disk that was judged large enough, and swept up with the rest
    return Command(argv=(sys.executable, "-m", "pip", *words), env={**_PIP_ENV, "TMPDIR": str(scratch)})


def parse_report(text: str) -> tuple[Wheel, ...]:
    """The wheels of a pip installation report (version 1), sorted by name.

    Raises DownloadError for an entry without sha256, which an index or a link page must give.
    """
    wheels = []
    for item in json.loads(text)["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        sha256 = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "")
        url = item["download_info"]["url"]
        if not sha256:
            raise DownloadError(f"{url}: the index gives no sha256 for it", hint="use an index that names hashes")
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        wheels.append(Wheel(name=name, version=item["metadata"]["version"], filename=filename, sha256=sha256, url=url))
    return tuple(sorted(wheels, key=lambda wheel: wheel.name))


def download_wheels(
    wheels: Sequence[Wheel],
    *,
    store: Store,
    runner: Runner,
    console: Console,
    offline: bool = False,
) -> tuple[tuple[Wheel, Path], ...]:
    """Each wheel with its file, from the store or by pip; every file is hashed before it is handed out.

    Raises DownloadError when one cannot be had (also: offline and not in the store) or is not what its hash says.
    """
    lacking = [wheel for wheel in wheels if not _is_whole(wheel, store)]
    if lacking and offline:
        raise DownloadError(
            "offline, and the cache lacks " + ", ".join(f"{wheel.name} {wheel.version}" for wheel in lacking),
            hint=f"run it once with a network; the cache is {store.root}",
        )
    if lacking:
        _download(lacking, store, runner, console)
    found = []
    for wheel in wheels:
        path = store.download(wheel.sha256)
        if path is None:
            raise DownloadError(
                f"{wheel.filename} vanished from {store.root} just now", hint="is something pruning it?"
            )
        found.append((wheel, path))
    return tuple(found)


def _is_whole(wheel: Wheel, store: Store) -> bool:
    path = store.download(wheel.sha256)
    if path is None:
        return False
    if file_sha256(path) == wheel.sha256:
        return True
    store.drop_download(wheel.sha256)
    return False


def _download(wheels: Sequence[Wheel], store: Store, runner: Runner, console: Console) -> None:
    with store.scratch() as scratch, store.guard("downloading wheels"):
        # the last part of a wheel's name is its platforms; "any" goes without saying
        tags = sorted({tag for wheel in wheels for tag in wheel.filename[:-4].rpartition("-")[2].split(".")} - {"any"})
        pins = scratch / "requirements.txt"
        pins.write_text("".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels))
        words = ["download", "--no-deps", "--require-hashes", "--progress-bar", "raw", "--requirement", str(pins)]
        words += ["--dest", str(scratch / "wheels"), *_platform_words(tags)]
        with ExitStack() as stack:
            progress = _Progress(console, stack)
            done = runner.run(_pip(words, scratch), on_line=progress.take)
            progress.close()
        for wheel in wheels:
            path = scratch / "wheels" / wheel.filename
            if not path.is_file():
                raise _failed(f"{wheel.name} {wheel.version} could not be downloaded", done, store)
            if file_sha256(path) != wheel.sha256:
                raise DownloadError(f"{wheel.filename}: its sha256 is not {wheel.sha256}", hint="try again")
            store.keep_download(path, wheel.sha256)


class _Progress:
    """Shows pip's raw progress lines ("Progress 1024 of 4096") as one bar per larger file."""

    def __init__(self, console: Console, stack: ExitStack) -> None:
        self._console = console
        self._stack = stack
        self._bar: Bar | None = None
        self._file = ""

    def take(self, line: str) -> None:
        words = line.split()
        if words[:1] == ["Downloading"] and len(words) > 1:
            self.close()
            self._file = unquote(words[1].rpartition("/")[2])
        elif len(words) == 4 and words[0] == "Progress" and words[1].isdigit() and words[3].isdigit():
            if self._bar is None and int(words[3]) >= _BAR_FROM_BYTES:
                self._bar = self._stack.enter_context(
                    self._console.bar("-".join(self._file.split("-")[:2]), int(words[3]))
                )
            if self._bar is not None:
                self._bar.reach(int(words[1]))

    def close(self) -> None:
        self._stack.pop_all().close()
        self._bar = None


def unpack_wheel(path: Path, writer: TreeWriter, place: Callable[[str], str | None], *, owner: str = "") -> None:
    """Add a wheel's files to a tree: ``place`` gives each name's path in the tree, None leaves it out.

    A file is executable when the archive says so, or says nothing and the file is a program or script. Raises
    DownloadError when the wheel is damaged or holds a name that leads outside.
    """
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                target = None if info.is_dir() else place(clean_path(info.filename, source=path.name))
                if target is None:
                    continue
                mode = info.external_attr >> 16 or _guessed_mode(archive, info)
                with archive.open(info) as stream:
                    writer.add_file(target, stream, mode=mode, owner=owner)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DownloadError(
            f"{path.name}: not a usable wheel: {error}",
            hint="the file is damaged: jetsonx sysroot prune --all, then pull again",
        ) from error


def _guessed_mode(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    with archive.open(info) as stream:
        head = stream.read(4)
    return 0o755 if head == b"\x7fELF" or head[:2] == b"#!" else 0o644


def _failed(message: str, done: Completed, store: Store) -> DownloadError | HostError:
    lines = [line for line in done.tail.splitlines() if line.startswith(("ERROR", "OSError")) or "Error" in line]
    details = "\n".join((lines or done.tail.splitlines())[-_DETAIL_LINES:])
    if store.is_full(done.tail):
        return store.disk_full(message)
    return DownloadError(
        message,
        details=details,
        hint=f"check the network and pip's configuration (pip config list); what is in {store.root} already can be "
        "used with --offline",
    )


def parse_metadata(text: str) -> Mapping[str, Any]:
    """A wheel's METADATA as {header: [values]}."""
    from email.parser import HeaderParser

    message = HeaderParser().parsestr(text)
    return {name: message.get_all(name) or [] for name in message}
