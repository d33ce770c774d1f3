"""Frozen dataclasses that are their own schema: each field says what it may hold, what it means and an example.

The same declarations check files, write the commented example and the reference page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import Generic, TypeVar, get_type_hints

from jetsonx.project.kinds import Invalid, Kind, Problem, describe, dotted, nearest

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """What is known about one key of a TOML table, in the ``Annotated`` type of a dataclass's field.

    ``example`` is a TOML value in which ``{name}`` stands for the project's name; ``other_examples`` are
    further forms. ``default`` says the default in words where the field's own would not tell.
    ``only_for`` and ``needed_for`` are values of the table's deciding key (``Record.decided_by``). ``goes_with`` names
    the key beside it without which it says nothing.
    """

    kind: Kind[object]
    doc: str
    example: str = ""
    other_examples: tuple[str, ...] = ()
    default: str = ""
    only_for: tuple[str, ...] = ()
    needed_for: tuple[str, ...] = ()
    goes_with: str = ""
    name: str = ""
    required: bool = False


def keys_of(cls: type) -> Mapping[str, Key]:
    """The keys that a dataclass declares, by name, in order. One without a default is required."""
    hints = get_type_hints(cls, include_extras=True)
    return {
        field.name: replace(key, name=field.name, required=field.default is MISSING)
        for field in fields(cls)
        for key in getattr(hints[field.name], "__metadata__", ())
    }


def walk(cls: type, at: str = "") -> Iterator[tuple[str, Key]]:
    """Every key below a dataclass with its dotted path, tables before what is in them."""
    for name, key in keys_of(cls).items():
        path = dotted(at, name)
        yield path, key
        if isinstance(key.kind, Record):
            yield from walk(key.kind.cls, path)


@dataclass(frozen=True, slots=True)
class Record(Generic[T]):
    """A table with known keys, read into the dataclass ``cls``.

    ``alternatives`` are groups of keys of which one group may be given, and then whole; one must be when
    ``needs_one``. ``decided_by`` names the key whose value says which other keys apply.
    """

    cls: type[T]
    alternatives: tuple[tuple[str, ...], ...] = ()
    needs_one: bool = False
    decided_by: str = ""
    what: str = "a table"

    def read(self, value: object, at: str) -> T:
        """The dataclass. Raises Invalid with the problems of all keys."""
        if not isinstance(value, Mapping):
            fix = f"write [{at}] once, and its keys below it"
            raise Invalid(Problem(path=at, message=f"expected {self.what}, found {describe(value)}", fix=fix))
        keys = keys_of(self.cls)
        found: dict[str, object] = {}
        problems: list[Problem] = []
        for name, raw in value.items():
            where = dotted(at, name)
            if name not in keys:
                problems.append(_unknown(name, where, tuple(keys)))
                continue
            try:
                found[name] = keys[name].kind.read(raw, where)
            except Invalid as invalid:
                problems += invalid.args
        problems += _missing(keys, value, at)
        problems += self._broken_alternatives(value, at)
        problems += self._out_of_place(keys, value, at)
        problems += _alone(keys, value, at)
        if problems:
            raise Invalid(*problems)
        return self.cls(**found)

    def _broken_alternatives(self, value: Mapping[str, object], at: str) -> Iterator[Problem]:
        given = [group for group in self.alternatives if any(name in value for name in group)]
        choice = ", or ".join(" and ".join(group) for group in self.alternatives)
        if len(given) > 1 or (self.needs_one and not given):
            yield Problem(path=at, message=f"expected either {choice}", fix="not both" if given else "one is needed")
            return
        for name in (name for group in given for name in group if name not in value):
            others = " and ".join(other for other in given[0] if other in value)
            yield Problem(path=dotted(at, name), message=f"missing: {others} goes with it", fix=f"expected {choice}")

    def _out_of_place(self, keys: Mapping[str, Key], value: Mapping[str, object], at: str) -> Iterator[Problem]:
        decision = value.get(self.decided_by)
        if not self.decided_by or decision not in getattr(keys[self.decided_by].kind, "options", ()):
            return
        setting = f'{self.decided_by} = "{decision}"'
        for name, key in keys.items():
            if name in value and key.only_for and decision not in key.only_for:
                applies = [other.name for other in keys.values() if decision in other.only_for]
                fix = f"keys of its own: {', '.join(applies)}" if applies else ""
                yield Problem(path=dotted(at, name), message=f"not used with {setting}", fix=fix)
            if name not in value and decision in key.needed_for:
                yield Problem(path=dotted(at, name), message=f"missing: {setting} needs it", fix=_such_as(key))


def _unknown(name: str, where: str, known: tuple[str, ...]) -> Problem:
    close = nearest(name, known)
    return Problem(
        path=where,
        message="unknown key",
        fix=f"did you mean {close}?" if close else "",
        is_unknown_key=True,
    )


def _missing(keys: Mapping[str, Key], value: Mapping[str, object], at: str) -> Iterator[Problem]:
    for name, key in keys.items():
        if key.required and name not in value:
            where = dotted(at, name)
            yield Problem(path=where, message=f"missing: expected {key.kind.what}", fix=_such_as(key))


def _alone(keys: Mapping[str, Key], value: Mapping[str, object], at: str) -> Iterator[Problem]:
    for name, key in keys.items():
        if name in value and key.goes_with and not value.get(key.goes_with):
            fix = _such_as(keys[key.goes_with])
            yield Problem(path=dotted(at, name), message=f"means nothing without {key.goes_with}", fix=fix)


def _such_as(key: Key) -> str:
    return f"for example {key.name} = {key.example.replace('{name}', 'saxpy')}" if key.example else ""
