"""What changed between two artifacts: files, what they need of libraries, device code, sizes. Pure, over two trees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields

from jetsonx.artifact.tree import Config, Layer, Node, Tree
from jetsonx.elf.facts import ElfFacts, FileFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One path: sizes are None where there is no file. ``what`` says in words what changed, for a path in both."""

    path: str
    before_bytes: int | None = None
    after_bytes: int | None = None
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that files ask of others, "libfoo.so.1" or "strlcpy@GLIBC_2.38", and the files that do."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What only the second (``added``) and only the first (``removed``) has, sorted by name."""

    added: tuple[Need, ...] = ()
    removed: tuple[Need, ...] = ()

    def __bool__(self) -> bool:
        """True when there is a difference."""
        return bool(self.added or self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes before and after; 0 where there is nothing."""

    before_bytes: int
    after_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two artifacts: what it is, how many files of how many bytes it has, and its layers, base first."""

    name: str
    kind: str
    digest: str
    file_count: int
    size_bytes: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """All that changed from ``before`` to ``after``.

    ``device`` has every architecture that either holds code for, with its stored sizes. ``settings`` are what an image
    says about how it is started: name, before, after.
    """

    before: Side
    after: Side
    added: tuple[FileChange, ...]
    removed: tuple[FileChange, ...]
    changed: tuple[FileChange, ...]
    libraries: Delta
    versions: Delta
    symbols: Delta
    device: Mapping[str, Sizes]
    settings: tuple[tuple[str, str, str], ...]

    @property
    def is_equal(self) -> bool:
        """True when both hold the same files and start the same way; how layers cut and pack them does not count."""
        return not (self.added or self.removed or self.changed or self.settings)


def diff_trees(before: Tree, after: Tree) -> Diff:
    """Compare two trees. Two single files are compared whatever their names are."""
    old, new = _nodes(before), _nodes(after)
    if before.kind == after.kind == "file" and len(old) == len(new) == 1:
        old = dict(zip(new, old.values(), strict=True))
    both = sorted(old.keys() & new.keys())
    changes = (_change(path, old[path], new[path]) for path in both)
    return Diff(
        before=_side(before),
        after=_side(after),
        added=tuple(FileChange(path=x, after_bytes=_size(new[x])) for x in sorted(new.keys() - old.keys())),
        removed=tuple(FileChange(path=x, before_bytes=_size(old[x])) for x in sorted(old.keys() - new.keys())),
        changed=tuple(change for change in changes if change.what),
        libraries=_delta(old, new, lambda elf: elf.needed),
        versions=_delta(old, new, _version_names),
        symbols=_delta(old, new, _symbol_names),
        device=_device(old, new),
        settings=tuple(_settings(before.config, after.config)),
    )


def _nodes(tree: Tree) -> dict[str, Node]:
    """All but directories: an empty one matters to nobody, and packers differ in writing down parents."""
    return {path: node for path, node in tree.nodes.items() if node.kind != "dir"}


def _side(tree: Tree) -> Side:
    nodes = _nodes(tree).values()
    return Side(
        name=tree.name,
        kind=tree.kind,
        digest=tree.digest,
        file_count=len(nodes),
        size_bytes=sum(node.size_bytes for node in nodes),
        layers=tree.layers,
    )


def _size(node: Node) -> int:
    return node.size_bytes


def _change(path: str, old: Node, new: Node) -> FileChange:
    return FileChange(
        path=path, before_bytes=old.size_bytes, after_bytes=new.size_bytes, what=tuple(_differences(old, new))
    )


def _differences(old: Node, new: Node) -> Iterator[str]:
    if old.kind != new.kind:
        yield f"{old.kind} -> {new.kind}"
        return
    if old.target != new.target:
        yield f"link to {old.target} -> {new.target}"
    if old.kind == "file":
        if old.size_bytes != new.size_bytes or _sha256(old) != _sha256(new):
            yield "content"
        if old.mode != new.mode:
            yield f"mode {old.mode:o} -> {new.mode:o}"
    if old.facts and new.facts:
        yield from _fact_differences(old.facts, new.facts)


def _sha256(node: Node) -> str:
    return node.facts.sha256 if node.facts else ""


def _fact_differences(old: FileFacts, new: FileFacts) -> Iterator[str]:
    """What of the difference matters to a loader."""
    if old.elf and new.elf:
        for name in ("machine", "interpreter", "soname", "rpath", "runpath"):
            was, now = getattr(old.elf, name), getattr(new.elf, name)
            if was != now:
                yield f"{name} {was or 'none'} -> {now or 'none'}"
        yield from _set_words("needs", set(old.elf.needed), set(new.elf.needed))
    yield from _set_words("device code", set(_code(old)), set(_code(new)))


def _set_words(what: str, old: set[str], new: set[str]) -> Iterator[str]:
    words = [*(f"+{name}" for name in sorted(new - old)), *(f"-{name}" for name in sorted(old - new))]
    if words:
        yield f"{what} {' '.join(words)}"


def _code(facts: FileFacts) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for fatbin in facts.fatbins:
        for entry in fatbin.entries:
            sizes[entry.name] += entry.size_bytes
    return sizes


def _delta(old: Mapping[str, Node], new: Mapping[str, Node], names: Callable[[ElfFacts], tuple[str, ...]]) -> Delta:
    was, now = _needs(old, names), _needs(new, names)

    def only(these: Mapping[str, list[str]], those: Mapping[str, list[str]]) -> tuple[Need, ...]:
        return tuple(Need(name=name, files=tuple(these[name])) for name in sorted(these.keys() - those.keys()))

    return Delta(added=only(now, was), removed=only(was, now))


def _needs(nodes: Mapping[str, Node], names: Callable[[ElfFacts], tuple[str, ...]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(nodes):
        facts = nodes[path].facts
        if facts and facts.elf:
            for name in dict.fromkeys(names(facts.elf)):
                found.setdefault(name, []).append(path)
    return found


def _version_names(elf: ElfFacts) -> tuple[str, ...]:
    return tuple(f"{need.library} {need.version}" for need in elf.version_needs)


def _symbol_names(elf: ElfFacts) -> tuple[str, ...]:
    return tuple(f"{each.name}@{each.version}" if each.version else each.name for each in elf.imports)


def _device(old: Mapping[str, Node], new: Mapping[str, Node]) -> dict[str, Sizes]:
    was, now = _total_code(old), _total_code(new)
    return {name: Sizes(before_bytes=was[name], after_bytes=now[name]) for name in sorted(was.keys() | now.keys())}


def _total_code(nodes: Mapping[str, Node]) -> Counter[str]:
    total: Counter[str] = Counter()
    for node in nodes.values():
        if node.facts:
            total.update(_code(node.facts))
    return total


def _settings(old: Config | None, new: Config | None) -> Iterator[tuple[str, str, str]]:
    """Each key of environment and labels counts by itself."""
    was, now = dict(_setting_texts(old)), dict(_setting_texts(new))
    for name in sorted(was.keys() | now.keys()):
        if was.get(name) != now.get(name):
            yield name, was.get(name, ""), now.get(name, "")


def _setting_texts(config: Config | None) -> Iterator[tuple[str, str]]:
    for field in fields(config) if config else ():
        value = getattr(config, field.name)
        if isinstance(value, Mapping):
            yield from ((f"{field.name}.{key}", text) for key, text in value.items())
        else:
            yield field.name, value if isinstance(value, str) else " ".join(value)
