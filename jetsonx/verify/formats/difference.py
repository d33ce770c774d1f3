"""A difference between two artifacts, as lines for a person and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jetsonx.console import amount
from jetsonx.verify.diff import Delta, Diff, FileChange, Need, Side
from jetsonx.verify.formats.words import counted, plain

_SHOWN = 20
_FILES_NAMED = 3


def render_diff(diff: Diff, *, everything: bool = False) -> list[str]:
    """The difference as lines: of each kind the first few, unless ``everything`` is asked for."""
    shown = None if everything else _SHOWN
    lines = [f"{sign} {_side(side)}" for sign, side in (("-", diff.before), ("+", diff.after))]
    if diff.is_equal:
        return [*lines, *_layers(diff), "equal: the same files"]
    counts = f"{len(diff.added):,} added, {len(diff.removed):,} removed, {len(diff.changed):,} changed"
    grown = _grown(diff.before.size_bytes, diff.after.size_bytes)
    lines += [f"files: {counts}; {grown}", *_some([*_file_lines(diff)], shown)]
    named = (
        ("libraries needed", diff.libraries),
        ("symbol versions needed", diff.versions),
        ("symbols needed", diff.symbols),
    )
    for title, delta in named:
        if delta:
            lines += [f"{title}:", *_some([*_need_lines(delta)], shown)]
    moved = [(name, sizes) for name, sizes in diff.device.items() if sizes.before_bytes != sizes.after_bytes]
    if moved:
        lines.append("device code:")
        lines += (f"  {name}: {_grown(sizes.before_bytes, sizes.after_bytes)}" for name, sizes in moved)
    lines += _layers(diff)
    if diff.settings:
        lines.append("settings:")
        told = (f"{name}: {was or 'none'} -> {now or 'none'}" for name, was, now in diff.settings)
        lines += _some([f"  {plain(line)}" for line in told], shown)
    return lines


def diff_json(diff: Diff) -> dict[str, object]:
    """The answer of ``jetsonx diff --json``; docs/json.md says what is in it."""
    return {
        "schema": 1,
        "equal": diff.is_equal,
        "before": _side_json(diff.before),
        "after": _side_json(diff.after),
        "added": [{"path": each.path, "size_bytes": each.after_bytes} for each in diff.added],
        "removed": [{"path": each.path, "size_bytes": each.before_bytes} for each in diff.removed],
        "changed": [
            {
                "path": each.path,
                "before_bytes": each.before_bytes,
                "after_bytes": each.after_bytes,
                "what": list(each.what),
            }
            for each in diff.changed
        ],
        "libraries": _delta_json(diff.libraries),
        "versions": _delta_json(diff.versions),
        "symbols": _delta_json(diff.symbols),
        "device_code": {
            name: {"before_bytes": sizes.before_bytes, "after_bytes": sizes.after_bytes}
            for name, sizes in diff.device.items()
        },
        "settings": [{"name": name, "before": was, "after": now} for name, was, now in diff.settings],
    }


def _side(side: Side) -> str:
    layers = f", {counted(len(side.layers), 'layer')}" if side.layers else ""
    return f"{plain(side.name)}: {side.kind}{layers}, {counted(side.file_count, 'file')} ({amount(side.size_bytes)})"


def _file_lines(diff: Diff) -> Iterator[str]:
    yield from (f"  + {plain(each.path)} ({amount(each.after_bytes or 0)})" for each in diff.added)
    yield from (f"  - {plain(each.path)} ({amount(each.before_bytes or 0)})" for each in diff.removed)
    yield from (f"  ~ {plain(each.path)}: {_changes(each)}" for each in diff.changed)


def _changes(change: FileChange) -> str:
    words = [*change.what]
    before, after = change.before_bytes or 0, change.after_bytes or 0
    if before != after:
        words.append(_grown(before, after))
    return plain(", ".join(words))


def _need_lines(delta: Delta) -> Iterator[str]:
    for sign, needs in (("+", delta.added), ("-", delta.removed)):
        yield from (f"  {sign} {plain(need.name)} ({_files(need)})" for need in needs)


def _files(need: Need) -> str:
    more = len(need.files) - _FILES_NAMED
    return plain(", ".join(need.files[:_FILES_NAMED])) + (f", {more:,} more" if more > 0 else "")


def _layers(diff: Diff) -> Iterator[str]:
    """Layers that only one of them has; those in both are only counted: they are not sent again."""
    before, after = diff.before.layers, diff.after.layers
    if not (before or after):
        return
    old, new = {each.digest for each in before}, {each.digest for each in after}
    sizes = _grown(sum(x.size_bytes for x in before), sum(x.size_bytes for x in after))
    yield f"layers: {len(old & new)} in both; {sizes} stored"
    for sign, layers, others in (("+", after, old), ("-", before, new)):
        for each in layers:
            if each.digest not in others:
                yield f"  {sign} {plain(each.digest[:19])} ({amount(each.size_bytes)})"


def _grown(before: int, after: int) -> str:
    if before == after:
        return amount(after)
    change = f"{'+' if after > before else '-'}{amount(abs(after - before))}"
    return f"{amount(before)} -> {amount(after)} ({change})"


def _some(lines: Sequence[str], shown: int | None) -> list[str]:
    if shown is None or len(lines) <= shown:
        return list(lines)
    return [*lines[:shown], f"  … and {len(lines) - shown:,} more (jetsonx -v diff shows all)"]


def _delta_json(delta: Delta) -> dict[str, object]:
    return {
        "added": [{"name": need.name, "files": list(need.files)} for need in delta.added],
        "removed": [{"name": need.name, "files": list(need.files)} for need in delta.removed],
    }


def _side_json(side: Side) -> dict[str, object]:
    return {
        "name": side.name,
        "kind": side.kind,
        "digest": side.digest,
        "files": side.file_count,
        "size_bytes": side.size_bytes,
        "layers": [{"digest": each.digest, "size_bytes": each.size_bytes} for each in side.layers],
    }
