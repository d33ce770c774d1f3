"""jetsonx.lock: the exact packages, wheels, archives and layers that a build used, so that the next takes the same.

The file is TOML, the same bytes for the same contents: sorted, one package or wheel on each line. It names no mirror.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from jetsonx.errors import ConfigError, HostError
from jetsonx.project.document import load_text, parse_document, toml_text
from jetsonx.project.kinds import Choice, Invalid, Many, Text, Whole, like
from jetsonx.project.record import Key, Record, keys_of
from jetsonx.project.values import is_inside

FILE_NAME = "jetsonx.lock"

SourceKind = Literal["apt", "image", "device", "tarball", "directory"]

_SCHEMA = 1
_HEADER = "# Written by jetsonx: what the last build used. Commit it; `jetsonx build --locked` takes exactly this."

_WORD = Key(Text("a word", like(r"[^\s\x00-\x1f\x7f]+")), "")
_PATH = Key(Text("a relative path", lambda text: is_inside(text) and "://" not in text and text.isprintable()), "")
_TEXT = Key(Text("a line of text", lambda text: text.isprintable()), "")
_DIGEST = Key(Text("sha256: and 64 hexadecimal digits", like(r"sha256:[0-9a-f]{64}")), "")
_BASE = Key(Text("a digest, or nothing", like(r"((sha256:)?[0-9a-f]{64})?")), "")
_SHA256 = Key(Text("64 hexadecimal digits", like(r"[0-9a-f]{64}")), "")
_SIZE = Key(Whole(0, 2**63 - 1), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedPackage:
    """A Debian package; ``filename`` is its path below the root of any mirror."""

    name: Annotated[str, _WORD]
    version: Annotated[str, _WORD]
    sha256: Annotated[str, _SHA256]
    size_bytes: Annotated[int, _SIZE]
    filename: Annotated[str, _PATH]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWheel:
    """A Python wheel."""

    name: Annotated[str, _WORD]
    version: Annotated[str, _WORD]
    sha256: Annotated[str, _SHA256]
    filename: Annotated[str, _PATH]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedArchive:
    """One of NVIDIA's redistributable archives; ``filename`` is its path below the tree (``cuda`` or ``cudnn``)."""

    name: Annotated[str, _WORD]
    version: Annotated[str, _WORD]
    platform: Annotated[str, _WORD]
    sha256: Annotated[str, _SHA256]
    size_bytes: Annotated[int, _SIZE]
    filename: Annotated[str, _PATH]
    tree: Annotated[str, _WORD] = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedLayer:
    """A layer of an image, by the digest of the compressed blob."""

    digest: Annotated[str, _DIGEST]
    size_bytes: Annotated[int, _SIZE]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedSysroot:
    """What the sysroot of one L4T release was made of. ``key`` is the digest of the request that led to it."""

    release: Annotated[str, _WORD]
    key: Annotated[str, _WORD]
    source: Annotated[SourceKind, Key(Choice(get_args(SourceKind)), "")] = "apt"
    suite: Annotated[str, _TEXT] = ""
    origin: Annotated[str, _TEXT] = ""
    base: Annotated[str, _BASE] = ""
    manifest: Annotated[str, Key(Text("a digest, or nothing", like(r"(sha256:[0-9a-f]{64})?")), "")] = ""
    layer: Annotated[tuple[LockedLayer, ...], Key(Many(Record(LockedLayer), "layers"), "")] = ()
    package: Annotated[tuple[LockedPackage, ...], Key(Many(Record(LockedPackage), "packages"), "")] = ()
    wheel: Annotated[tuple[LockedWheel, ...], Key(Many(Record(LockedWheel), "wheels"), "")] = ()
    archive: Annotated[tuple[LockedArchive, ...], Key(Many(Record(LockedArchive), "archives"), "")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedImage:
    """The packages in the image for one L4T release. ``key`` is the digest of the request that led to them."""

    release: Annotated[str, _WORD]
    key: Annotated[str, _WORD]
    package: Annotated[tuple[LockedPackage, ...], Key(Many(Record(LockedPackage), "packages"), "")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedRuntime:
    """The C and C++ libraries in the image for one L4T release, where they are of another suite than the sysroot."""

    release: Annotated[str, _WORD]
    suite: Annotated[str, _WORD]
    package: Annotated[tuple[LockedPackage, ...], Key(Many(Record(LockedPackage), "packages"), "")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A jetsonx.lock. ``tool`` and ``tool_archive`` are the toolchain for this workstation: wheels and archives.

    ``image`` is what image.packages came to; a release whose image asks for none has no entry.
    """

    schema: Annotated[int, Key(Choice((_SCHEMA,)), "")]
    sysroot: Annotated[tuple[LockedSysroot, ...], Key(Many(Record(LockedSysroot), "sysroots"), "")] = ()
    image: Annotated[tuple[LockedImage, ...], Key(Many(Record(LockedImage), "images"), "")] = ()
    runtime: Annotated[tuple[LockedRuntime, ...], Key(Many(Record(LockedRuntime), "runtimes"), "")] = ()
    tool: Annotated[tuple[LockedWheel, ...], Key(Many(Record(LockedWheel), "wheels"), "")] = ()
    tool_archive: Annotated[tuple[LockedArchive, ...], Key(Many(Record(LockedArchive), "archives"), "")] = ()

    def sysroot_of(self, release: str) -> LockedSysroot | None:
        """What is locked for an L4T release such as "39.2.0"."""
        return next((sysroot for sysroot in self.sysroot if sysroot.release == release), None)

    def with_sysroot(self, sysroot: LockedSysroot) -> Lock:
        """The lock with this sysroot in place of the one for the same release."""
        others = tuple(other for other in self.sysroot if other.release != sysroot.release)
        return replace(self, sysroot=(*others, sysroot))

    def image_of(self, release: str) -> LockedImage | None:
        """What is locked for the image of an L4T release."""
        return next((image for image in self.image if image.release == release), None)

    def with_image(self, release: str, image: LockedImage | None) -> Lock:
        """The lock with this image in place of the one for ``release``; None leaves none."""
        others = tuple(other for other in self.image if other.release != release)
        return replace(self, image=(*others, image) if image else others)

    def runtime_of(self, release: str) -> LockedRuntime | None:
        """The C and C++ libraries locked for the image of an L4T release."""
        return next((runtime for runtime in self.runtime if runtime.release == release), None)

    def with_runtime(self, release: str, runtime: LockedRuntime | None) -> Lock:
        """The lock with this runtime in place of the one for ``release``; None leaves none."""
        others = tuple(other for other in self.runtime if other.release != release)
        return replace(self, runtime=(*others, runtime) if runtime else others)


EMPTY_LOCK = Lock(schema=_SCHEMA)


def parse_lock(text: str, path: Path) -> Lock:
    """The lock in a text, sorted as :func:`render_lock` sorts. ``path`` is only named in errors.

    Raises ConfigError when the text is damaged or of a newer jetsonx.
    """
    hint = f"restore {path} from version control, or delete it: the next build writes a new one"
    try:
        tables = parse_document(text, path)
    except ConfigError as error:
        raise ConfigError(error.message, hint=hint) from None
    schema = tables.get("schema")
    if isinstance(schema, int) and schema > _SCHEMA:
        raise ConfigError(f"{path}: schema {schema}: written by a newer jetsonx", hint=f"upgrade jetsonx, or {hint}")
    try:
        lock = _sorted(Record(Lock).read(tables, ""))
    except Invalid as invalid:
        raise ConfigError("\n".join(f"{path}: damaged: {problem}" for problem in invalid.args), hint=hint) from None
    for what, entries in (("sysroots", lock.sysroot), ("images", lock.image), ("runtimes", lock.runtime)):
        if len({entry.release for entry in entries}) < len(entries):
            raise ConfigError(f"{path}: damaged: two {what} for one L4T release", hint=hint)
    return lock


def load_lock(path: Path) -> Lock | None:
    """The lock in a file, or None when there is no such file. Raises ConfigError when it is damaged."""
    try:
        return parse_lock(load_text(path), path)
    except FileNotFoundError:
        return None


def render_lock(lock: Lock) -> str:
    """The text of a lock: the same bytes for the same contents, whatever their order."""
    lock = _sorted(lock)
    lines = [_HEADER, f"schema = {lock.schema}"]
    for sysroot in lock.sysroot:
        lines += ["", "[[sysroot]]"]
        given = {name: getattr(sysroot, name) for name in ("suite", "origin", "base", "manifest")}
        lines += [f"{name} = {toml_text(getattr(sysroot, name))}" for name in ("release", "key", "source")]
        lines += [f"{name} = {toml_text(value)}" for name, value in given.items() if value]
        lines += _rows("layer", sysroot.layer)
        lines += _rows("package", sysroot.package)
        lines += _rows("wheel", sysroot.wheel)
        lines += _rows("archive", sysroot.archive)
    for image in lock.image:
        lines += ["", "[[image]]", f"release = {toml_text(image.release)}", f"key = {toml_text(image.key)}"]
        lines += _rows("package", image.package)
    for runtime in lock.runtime:
        lines += ["", "[[runtime]]", f"release = {toml_text(runtime.release)}", f"suite = {toml_text(runtime.suite)}"]
        lines += _rows("package", runtime.package)
    # A key that comes after [[sysroot]] would belong to it, so tools come first.
    lines[2:2] = [*_rows("tool", lock.tool), *_rows("tool_archive", lock.tool_archive)]
    return "\n".join(lines) + "\n"


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the file at once, or leave it alone when it already says this. Raises HostError when it cannot."""
    data = render_lock(lock).encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        raise HostError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):  # most often: it has become the lock
            beside.unlink()


_Entry = TypeVar("_Entry", LockedPackage, LockedWheel, LockedArchive)


def _rows(key: str, entries: Iterable[LockedPackage | LockedWheel | LockedArchive | LockedLayer]) -> Iterator[str]:
    rows = [toml_text({name: getattr(entry, name) for name in keys_of(type(entry))}) for entry in entries]
    if rows:
        yield f"{key} = ["
        yield from (f"  {row}," for row in rows)
        yield "]"


def _sorted(lock: Lock) -> Lock:
    # Not the layers: their order is part of what they make.
    sysroots = (
        replace(x, package=_by_name(x.package), wheel=_by_name(x.wheel), archive=_by_name(x.archive))
        for x in lock.sysroot
    )
    return replace(
        lock,
        sysroot=tuple(sorted(sysroots, key=lambda x: x.release)),
        image=tuple(sorted((replace(x, package=_by_name(x.package)) for x in lock.image), key=lambda x: x.release)),
        runtime=tuple(sorted((replace(x, package=_by_name(x.package)) for x in lock.runtime), key=lambda x: x.release)),
        tool=_by_name(lock.tool),
        tool_archive=_by_name(lock.tool_archive),
    )


def _by_name(entries: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.name, entry.version, entry.filename, entry.sha256)))
