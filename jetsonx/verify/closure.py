"""The libraries that a file loads, found as glibc's ld.so finds them, but inside a tree of files and for a profile.

The order is that of ld.so(8) and of glibc's elf/dl-load.c: the RPATH of whoever asks and of those that loaded it, as
long as the asker has no RUNPATH; LD_LIBRARY_PATH; the asker's own RUNPATH, which nobody inherits; the directories of
ld.so.conf; the system's. A candidate for another processor is passed over. In a whole file system ("root") a path means
a path in it, and nothing else is there but what the driver brings. Build outputs on their own are no such place: they
find each other by name wherever they lie, and the rest is looked up in the profile.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from jetsonx.artifact.tree import Tree
from jetsonx.elf.facts import ElfFacts
from jetsonx.verify.profile import Profile
from jetsonx.verify.versions import newest, numbers

_SYSTEM = ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib", "usr/lib", "lib64", "usr/lib64")
"""Debian's and Ubuntu's ld.so searches the first four; the others are where the rest of the world has its libraries."""

_GLIBC = ("libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-aarch64.so.1")
"""Libraries of glibc: not every release adds symbols to each, so only together do they tell which it is."""

_CONF = "etc/ld.so.conf"
_LEGACY_HWCAPS_UNTIL = (2, 37)  # glibc 2.37 dropped the search in "atomics" and its like
_INCLUDES_MAX = 100


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A file or library as the loader has it, whoever asked for it.

    ``path`` is where it was found in the tree and ``real`` where the links lead; both are "" for what the ``target``
    or the ``driver`` provides (``where``). ``exports`` are None when not known. ``rpath`` and ``runpath`` are the
    directories they name; ``runpath`` is None when there is none.
    """

    name: str
    where: str
    path: str = ""
    real: str = ""
    needed: tuple[str, ...] = ()
    versions: frozenset[str] = frozenset()
    exports: frozenset[str] | None = None
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Closure:
    """Everything one file loads: ``order`` as the loader loads it, the file itself first.

    ``by_name`` has every name asked for and every soname; ``missing`` maps a name that was found nowhere to the name of
    who asked for it, "" for the file itself.
    """

    order: tuple[Loaded, ...]
    by_name: Mapping[str, Loaded]
    missing: Mapping[str, str]

    @property
    def is_known(self) -> bool:
        """True when nothing is missing and every library's symbols are known."""
        return not self.missing and all(each.exports is not None for each in self.order)


class Loader:
    """Closures of the files of one tree for one profile; everything is found once."""

    def __init__(self, tree: Tree, profile: Profile) -> None:
        self._tree = tree
        self._profile = profile
        self._closures: dict[str, Closure] = {}
        self._objects: dict[tuple[str, str], Loaded] = {}
        self._found: dict[tuple[str, tuple[str, ...]], Loaded | None] = {}
        env = tree.config.env if tree.config else {}
        entries = env.get("LD_LIBRARY_PATH", "").replace(";", ":").split(":")
        self.env_dirs = tuple(entry.strip("/") for entry in entries if entry.startswith("/"))

    def closure(self, path: str) -> Closure:
        """What the ELF file at ``path``, a path of the tree without links, loads."""
        found = self._closures.get(path)
        if found is None:
            found = self._closures[path] = self._walk(path)
        return found

    def _walk(self, path: str) -> Closure:
        main = self._object(path, path, posixpath.basename(path))
        by_name = {name: main for name in (self._soname(path), main.name) if name}
        order, paths = [main], {path: main}
        missing: dict[str, str] = {}
        queue: list[tuple[Loaded, tuple[str, ...]]] = [(main, ())]
        for asker, inherited in queue:  # grows while it is walked: breadth first, as ld.so
            own = asker.rpath if asker.runpath is None else ()
            chain = (*own, *inherited) if own else inherited
            dirs = (*(chain if asker.runpath is None else ()), *self.env_dirs, *(asker.runpath or ()))
            for name in asker.needed:
                if name in by_name or name in missing:
                    continue
                found = self._find(name, dirs)
                if found is None:
                    missing[name] = "" if asker is main else asker.name
                    continue
                if found.real and found.real in paths:  # the same file under another name is loaded once
                    by_name[name] = paths[found.real]
                    continue
                by_name[name] = found
                if found.real:
                    paths[found.real] = found
                    soname = self._soname(found.real)
                    if soname:
                        by_name.setdefault(soname, found)
                order.append(found)
                queue.append((found, chain))
        return Closure(tuple(order), by_name, missing)

    def find_from(self, path: str, name: str) -> Loaded | None:
        """What the file at ``path`` gets when it opens the library ``name`` while it runs."""
        asker = self._object(path, path, posixpath.basename(path))
        dirs = (*(asker.rpath if asker.runpath is None else ()), *self.env_dirs, *(asker.runpath or ()))
        return self._find(name, dirs)

    def find_in_system(self, name: str) -> Loaded | None:
        """The library that a program without run paths gets."""
        return self._find(name, self.env_dirs)

    # -- one name ------------------------------------------------------------------------------------------------------

    def _find(self, name: str, dirs: tuple[str, ...]) -> Loaded | None:
        key = (name, dirs)
        if key not in self._found:
            self._found[key] = self._look(name, dirs)
        return self._found[key]

    def _look(self, name: str, dirs: tuple[str, ...]) -> Loaded | None:
        if not name or "/" in name or "\0" in name:  # a path of its own, from a directory that nobody knows
            return None
        for directory in dirs:
            found = self._at(f"{directory}/{name}", name)
            if found is not None:
                return found
        if dirs:
            return self._find(name, ())
        return self._look_in_system(name)

    def _look_in_system(self, name: str) -> Loaded | None:
        if self._tree.is_root:
            for directory in self.system_dirs:
                found = self._at(f"{directory}/{name}", name)
                if found is not None:
                    return found
        elif name in self._by_name:
            real = self._by_name[name]
            return self._object(real, real, name)
        if self._profile.is_driver_library(name):
            return Loaded(name=name, where="driver", source="the driver")
        library = None if self._tree.is_root else self._profile.libraries.get(name)
        if library is None:
            return Loaded(name=name, where="target") if self._profile.is_open else None
        return Loaded(
            name=name,
            where="target",
            needed=library.needed,
            versions=library.versions,
            exports=library.exports,
            source=library.source,
        )

    def _at(self, path: str, name: str) -> Loaded | None:
        node = self._tree.resolve(path)
        elf = node.facts.elf if node is not None and node.facts is not None else None
        if node is None or elf is None or elf.machine != "AArch64" or elf.bits != 64 or not elf.has_dynamic:
            return None
        return self._object(node.path, path, name)

    def _object(self, real: str, path: str, name: str) -> Loaded:
        """The object at ``real``, found as ``path``: where it was found, not where links lead, is its $ORIGIN."""
        key = (real, posixpath.dirname(path))
        found = self._objects.get(key)
        if found is None:
            elf = self._elf(real)
            origin = posixpath.dirname(path)
            found = self._objects[key] = Loaded(
                name=name,
                where="tree",
                path=path,
                real=real,
                needed=elf.needed,
                versions=frozenset(elf.version_definitions),
                exports=elf.exports,
                rpath=() if elf.runpath is not None else tuple(_expand(elf.rpath, origin, self._tree.is_root)),
                runpath=None if elf.runpath is None else tuple(_expand(elf.runpath, origin, self._tree.is_root)),
                source=real,
            )
        return found

    def _elf(self, real: str) -> ElfFacts:
        facts = self._tree.nodes[real].facts
        if facts is None or facts.elf is None:
            raise ValueError(f"{real} is no ELF file")  # callers looked
        return facts.elf

    def _soname(self, real: str) -> str:
        return self._elf(real).soname or ""

    # -- places --------------------------------------------------------------------------------------------------------

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
        """Libraries of build outputs by file name, by soname and by the names of links to them."""
        found: dict[str, str] = {}
        for path, node in self._tree.nodes.items():
            real = self._tree.resolve(path) if node.kind == "symlink" else node
            elf = real.facts.elf if real is not None and real.facts is not None else None
            if real is None or elf is None or elf.machine != "AArch64" or not elf.has_dynamic:
                continue
            for name in (posixpath.basename(path), elf.soname):
                if name:
                    found.setdefault(name, real.path)
        return found

    @cached_property
    def glibc(self) -> tuple[int, ...]:
        """Version of the C library that will be there: the root's own, else the target's."""
        parts = [self._look_in_plain(name) for name in _GLIBC] if self._tree.is_root else []
        found = newest((version for part in parts if part is not None for version in part.versions), "GLIBC")
        return numbers(found or self._profile.glibc)

    def _look_in_plain(self, name: str) -> Loaded | None:
        return next((found for x in _SYSTEM if (found := self._at(f"{x}/{name}", name)) is not None), None)

    @cached_property
    def system_dirs(self) -> tuple[str, ...]:
        """Where every program looks: ld.so.conf's directories, then the system's, with those for better processors."""
        dirs = dict.fromkeys((*self._conf_dirs(_CONF, []), *_SYSTEM))
        extra = ("atomics",) if "lse" in (self._profile.cpu_features or ()) else ()
        if not extra or self.glibc >= _LEGACY_HWCAPS_UNTIL:
            return tuple(dirs)
        found: list[str] = []
        for directory in dirs:
            found += [sub for name in extra if self._is_dir(sub := f"{directory}/{name}")]
            found.append(directory)
        return tuple(found)

    def _is_dir(self, path: str) -> bool:
        node = self._tree.resolve(path)
        return node is not None and node.kind == "dir"

    def _conf_dirs(self, path: str, seen: list[str]) -> Iterator[str]:
        """Directories that the ld.so.conf at ``path`` names, in order, with those of the files it includes."""
        node = self._tree.resolve(path)
        if node is None or node.facts is None or path in seen or len(seen) > _INCLUDES_MAX:
            return
        seen.append(path)
        for raw in node.facts.text.splitlines():
            line = raw.partition("#")[0].strip()
            words = line.split()
            if words[:1] == ["include"]:
                for pattern in words[1:]:
                    full = pattern if pattern.startswith("/") else f"{posixpath.dirname(path)}/{pattern}"
                    for each in self._glob(full.strip("/")):
                        yield from self._conf_dirs(each, seen)
            elif line.startswith("/"):
                yield line.partition("=")[0].strip().strip("/")

    def _glob(self, pattern: str) -> Iterable[str]:
        folder, _, name = pattern.rpartition("/")
        real = self._tree.resolve(folder)
        names = self._tree.folders.get(real.path if real is not None else folder, ())
        return [f"{folder}/{each}" for each in names if fnmatchcase(each, name)]


def _expand(entries: str | None, origin: str, is_root: bool) -> Iterator[str]:
    """The directories of a run path, relative to the tree. Relative ones are anybody's guess and left out."""
    for entry in (entries or "").split(":"):
        text = entry
        for token, value in (("ORIGIN", f"/{origin}"), ("LIB", "lib/aarch64-linux-gnu"), ("PLATFORM", "aarch64")):
            text = text.replace(f"${{{token}}}", value).replace(f"${token}", value)
        if text.startswith("/") and (is_root or text != entry):
            yield text.strip("/")
