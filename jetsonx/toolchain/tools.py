"""Programs a build needs beside the compilers: the host's when they fit, else from their wheels in the store."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.package import Archive, Wheel, archive_from_json, to_json, wheel_from_json
from jetsonx.packages.redist import download_archives, resolve_compiler, unpack_archive
from jetsonx.packages.wheels import fetch_wheels, unpack_wheel
from jetsonx.runner import Command, Runner
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import TreeWriter
from jetsonx.toolchain.search import which_host


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as wheels: what to ask the index for, and which files of the wheels are worth keeping (globs).

    ``moves``: patterns and what to put in their place, applied in turn to the path of each file that is kept.
    ``launcher``: name and text of a script to put beside them.
    """

    name: str
    requirements: tuple[str, ...]
    keep: tuple[str, ...] = ("*",)
    drop: tuple[str, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()
    launcher: tuple[str, str] | None = None


CMAKE = Tool(
    name="cmake",
    # The 3.x line still reads the cmake_minimum_required of old projects and has FindCUDA for them.
    requirements=("cmake==3.31.*",),
    keep=("cmake/data/bin/cmake", "cmake/data/bin/ctest", "cmake/data/share/*"),
    drop=("cmake/data/share/doc/*", "cmake/data/share/cmake-*/Help/*"),
)
NINJA = Tool(name="ninja", requirements=("ninja>=1.11",), keep=("*ninja",))
MESON = Tool(
    name="meson",
    requirements=("meson>=1.4",),
    keep=("mesonbuild/*",),
    # Meson writes calls of itself into build.ninja, by the file it was started from.
    launcher=("meson.py", "import sys\nfrom mesonbuild.mesonmain import main\n\nsys.exit(main())\n"),
)
PKGCONF = Tool(name="pkgconf", requirements=("pkgconf>=2.1",), keep=("pkgconf/*",))


def zig(version: str) -> Tool:
    """The clang and lld of a ziglang wheel; zig's own C library, C++ library and sources are left out."""
    return Tool(
        name="zig",
        requirements=(f"ziglang=={version}",),
        keep=("ziglang/zig", "ziglang/lib/include/*", "ziglang/LICENSE"),
    )


def nvcc(pins: tuple[str, ...]) -> Tool:
    """NVIDIA's x86-64 compiler wheels, laid out as a toolkit."""
    return Tool(
        name="nvcc",
        requirements=pins,
        keep=("nvidia/*/bin/*", "nvidia/*/nvvm/*"),
        moves=((r"^nvidia/[^/]+/", ""),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Fetches tools into the store; the effects it needs come in here once.

    ``pins``: wheels that a lock file holds; where one fits a requirement, it is taken and no other. ``archive_pins``:
    archives that it holds; a toolkit's version says exactly which are taken, so these are only compared with. ``used``
    and ``used_archives`` collect what every tool that was asked for is made of, whether it had to be fetched or not.
    """

    effects: Effects
    pins: tuple[Wheel, ...] = ()
    used: list[Wheel] = field(default_factory=list)
    archive_pins: tuple[Archive, ...] = ()
    used_archives: list[Archive] = field(default_factory=list)

    @property
    def store(self) -> Store:
        """The store that tools are kept in."""
        return self.effects.store

    @property
    def runner(self) -> Runner:
        """Starts programs of this host."""
        return self.effects.runner

    def fetch(self, tool: Tool, *, constraints: tuple[str, ...] = ()) -> Path:
        """The tool's directory in the store, fetched from the wheel index when it is not there.

        Raises DownloadError.
        """
        requirements = tuple(pin_requirement(each, constraints, self.pins) for each in tool.requirements)
        key = _tool_key(tool, requirements, constraints)
        tree = self.store.find("tool", key)
        if tree is None and requirements != tool.requirements:
            # The build that wrote the lock asked without pins: what it got then may be what the lock pins now.
            tree = self._as_pinned(self.store.find("tool", _tool_key(tool, tool.requirements, constraints)))
        if tree is None:
            tree = self._make(tool, key, requirements, constraints)
        self.used.extend(wheel_from_json(each) for each in tree.info["wheels"])
        return tree.path

    def _as_pinned(self, tree: Tree | None) -> Tree | None:
        """The tree, if it is made of exactly the wheels that are pinned."""
        pinned = {(pin.name, pin.version, pin.sha256) for pin in self.pins}
        wheels = [wheel_from_json(each) for each in tree.info["wheels"]] if tree is not None else []
        return tree if wheels and pinned.issuperset((each.name, each.version, each.sha256) for each in wheels) else None

    def fetch_compiler(self, toolkit: str) -> Path:
        """The x86-64 nvcc of a toolkit ("12.6.3") from NVIDIA's archives, laid out as a toolkit.

        Raises DownloadError, also when the manifest names another file than a lock file pins.
        """
        archives = resolve_compiler(toolkit, effects=self.effects)
        for archive in archives:
            check_pin(archive, [pin for pin in self.archive_pins if pin.platform == archive.platform])
        key = json.dumps(["nvcc", sorted(archive.sha256 for archive in archives)])
        tree = self.store.find("tool", key)
        if tree is None:
            files = download_archives(archives, effects=self.effects)

            def fill(writer: TreeWriter) -> None:
                for archive, path in files:
                    unpack_archive(path, writer, place_compiler, owner=archive.name)

            info = {"name": "nvcc", "wheels": [], "archives": [to_json(archive) for archive in archives]}
            tree = self.store.create("tool", key, fill, info=info)
        self.used_archives.extend(archive_from_json(each) for each in tree.info["archives"])
        return tree.path

    def _make(self, tool: Tool, key: str, requirements: tuple[str, ...], constraints: tuple[str, ...]) -> Tree:
        fetched = fetch_wheels(
            requirements,
            platform="x86_64",
            constraints=constraints,
            dependencies=False,
            store=self.store,
            runner=self.runner,
            console=self.effects.console,
            offline=self.effects.offline,
        )
        for wheel, _ in fetched:
            check_pin(wheel, self.pins)

        def fill(writer: TreeWriter) -> None:
            for wheel, path in fetched:
                unpack_wheel(path, writer, partial(place_file, tool), owner=wheel.name)
            if tool.launcher is not None:
                writer.add_file(tool.launcher[0], tool.launcher[1].encode())

        info = {"name": tool.name, "wheels": [to_json(wheel) for wheel, _ in fetched]}
        return self.store.create("tool", key, fill, info=info)


def place_compiler(path: str) -> str | None:
    """Where a file of the compiler's archives goes in its tree; None when it is not kept."""
    return path if path.startswith(("bin/", "nvvm/bin/", "nvvm/libdevice/")) or path == "LICENSE" else None


def _tool_key(tool: Tool, requirements: tuple[str, ...], constraints: tuple[str, ...]) -> str:
    return json.dumps([requirements, constraints, tool.keep, tool.drop, tool.moves, tool.launcher])


def place_file(tool: Tool, path: str) -> str | None:
    """Where a wheel's file goes in the tool's tree; None when it is not kept."""
    if not _matches(path, tool.keep) or _matches(path, tool.drop):
        return None
    for pattern, replacement in tool.moves:
        path = re.sub(pattern, replacement, path)
    return path


def pin_requirement(text: str, constraints: Sequence[str], pins: Sequence[Wheel]) -> str:
    """The requirement narrowed to the pinned version that satisfies it and the constraints, if there is one."""
    if not pins:
        return text
    from packaging.requirements import Requirement

    wanted = Requirement(text)
    limits = [each.specifier for each in map(Requirement, constraints) if each.name == wanted.name]
    for pin in pins:
        if pin.name == wanted.name and all(limit.contains(pin.version) for limit in (wanted.specifier, *limits)):
            return f"{pin.name}=={pin.version}"
    return text


def check_pin(item: Wheel | Archive, pins: Sequence[Wheel | Archive]) -> None:
    """Raise DownloadError when a wheel or archive is pinned in this version with another sha256."""
    for pin in pins:
        if (pin.name, pin.version) == (item.name, item.version) and pin.sha256 != item.sha256:
            raise DownloadError(
                f"{item.filename}: its sha256 is {item.sha256} now, jetsonx.lock pins {pin.sha256}",
                hint="find out why they differ; `jetsonx build --refresh` takes what is there today",
            )


def find_ninja(fetcher: Fetcher, which: Callable[[str], str | None] = which_host) -> str:
    """Path of a ninja: the host's, else the wheel's."""
    for name in ("ninja", "ninja-build"):
        path = which(name)
        if path is not None:
            return path
    return _program(fetcher.fetch(NINJA), "ninja")


def find_cmake(fetcher: Fetcher, minimum: str, which: Callable[[str], str | None] = which_host) -> str:
    """Path of a CMake of at least that version: the host's, else the wheel's."""
    path = which("cmake")
    if path is not None:
        match = re.search(r"version (\d+)\.(\d+)", fetcher.runner.run(Command(argv=(path, "--version"))).stdout)
        version = (int(match[1]), int(match[2])) if match else (0, 0)
        if version >= tuple(int(part) for part in minimum.split(".")):
            return path
    return _program(fetcher.fetch(CMAKE), "cmake")


def find_meson(fetcher: Fetcher, which: Callable[[str], str | None] = which_host) -> tuple[str, ...]:
    """Words that start Meson: the host's, else the wheel's under this Python."""
    path = which("meson")
    if path is not None:
        return (path,)
    return (sys.executable, str(fetcher.fetch(MESON) / "meson.py"))


def find_pkg_config(fetcher: Fetcher, which: Callable[[str], str | None] = which_host) -> str:
    """Path of a pkg-config: the host's, else the wheel's."""
    path = which("pkg-config") or which("pkgconf")
    return path or _program(fetcher.fetch(PKGCONF), "pkgconf")


def _program(directory: Path, name: str) -> str:
    """The executable file of that name in a tool's tree."""
    return str(next(path for path in sorted(directory.rglob(name)) if path.is_file() and path.stat().st_mode & 0o111))


def _matches(path: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, glob) for glob in globs)
