"""Changes to a jetsonx.toml that keep its comments and its order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jetsonx.errors import ConfigError, HostError


def with_packages(text: str, names: Iterable[str]) -> str:
    """The text of a jetsonx.toml with these names in ``[sysroot] packages``; one with another version is replaced.

    Raises ConfigError when ``[sysroot]`` is not a table or ``packages`` not a list of strings.
    """
    import tomlkit  # only this command writes into the file

    document = tomlkit.parse(text)
    table = document.setdefault("sysroot", tomlkit.table())
    packages = table.setdefault("packages", tomlkit.array()) if hasattr(table, "setdefault") else None
    if not isinstance(packages, list):
        raise ConfigError("[sysroot] packages is not a list", hint='write packages = ["libopencv-dev"]')
    for name in names:
        bare = name.partition("=")[0]
        there = [place for place, each in enumerate(packages) if str(each).partition("=")[0] == bare]
        if there:
            packages[there[0]] = name
        else:
            packages.append(name)
    return tomlkit.dumps(document)


def add_packages(path: Path, names: Iterable[str]) -> bool:
    """Put the names into the file, at once or not at all; False when they stood in it already.

    Raises ConfigError and HostError.
    """
    before = path.read_text(encoding="utf-8")
    after = with_packages(before, names)
    if after == before:
        return False
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(after, encoding="utf-8")
        beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise HostError(f"cannot write {path}: {error.strerror}") from None
    return True
