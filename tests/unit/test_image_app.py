"""The application layer: where files lie, what starts, and what ld.so is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.errors import BuildError, ConfigError
from jetsonx.image.app import App, AppFile, app_entries, plan_app, read_app_file, resolve_entrypoint
from jetsonx.image.ldcache import parse_cache
from tests.elf.synthetic import ElfSpec, make_elf


def made(tmp_path: Path, name: str, data: bytes, mode: int = 0o755) -> AppFile:
    path = tmp_path / name.replace("/", "_")
    path.write_bytes(data)
    path.chmod(mode)
    return read_app_file(path, name)


@pytest.fixture
def app(tmp_path: Path) -> App:
    library = make_elf(ElfSpec(interpreter=None, soname="libdemo.so.1"))
    return plan_app(
        "demo",
        [
            made(tmp_path, "bin/demo", make_elf()),
            made(tmp_path, "bin/tool", make_elf(ElfSpec(needed=("libc.so.6",)))),
            made(tmp_path, "lib/libdemo.so.1.2", library),
            made(tmp_path, "start.sh", b"#!/bin/sh\n"),
            made(tmp_path, "model.bin", b"weights", 0o600),
        ],
    )


def test_entries(app: App) -> None:
    entries = {entry.path: entry for entry in app_entries(app, ["usr/lib/libc.so.6", "etc/x"], ["usr/lib"])}
    assert {path: oct(entry.mode) for path, entry in entries.items() if path.startswith("opt/demo/")} == {
        "opt/demo/bin": "0o755",
        "opt/demo/bin/demo": "0o755",
        "opt/demo/bin/tool": "0o755",
        "opt/demo/lib": "0o755",
        "opt/demo/lib/libdemo.so.1": "0o777",
        "opt/demo/lib/libdemo.so.1.2": "0o755",
        "opt/demo/model.bin": "0o644",
        "opt/demo/start.sh": "0o755",
    }
    assert entries["opt/demo/lib/libdemo.so.1"].target == "libdemo.so.1.2"
    assert entries["etc/ld.so.conf.d/00-jetsonx.conf"].data == b"/opt/demo/lib\n"
    cache = entries["etc/ld.so.cache"].data
    assert isinstance(cache, bytes)
    assert {each.name: each.path for each in parse_cache(cache)} == {
        "libc.so.6": "/usr/lib/libc.so.6",
        "libdemo.so.1": "/opt/demo/lib/libdemo.so.1",
        "libdemo.so.1.2": "/opt/demo/lib/libdemo.so.1.2",
    }


def test_no_library_no_configuration(tmp_path: Path) -> None:
    app = plan_app("demo", [made(tmp_path, "demo", make_elf())])
    assert "etc/ld.so.conf.d/00-jetsonx.conf" not in {entry.path for entry in app_entries(app, [], [])}


def test_links_among_the_files_stay_links(tmp_path: Path) -> None:
    made(tmp_path, "libx.so.1.0", make_elf(ElfSpec(interpreter=None, soname="libx.so.1")))
    (tmp_path / "outside").write_bytes(make_elf())
    targets = {"libx.so.1": "libx.so.1.0", "libx.so": "libx.so.1", "tool": "outside", "data": str(tmp_path / "outside")}
    for name, target in targets.items():
        (tmp_path / name).symlink_to(target)
    app = plan_app("demo", [read_app_file(tmp_path / name, name) for name in ("libx.so.1.0", *targets)])
    entries = {entry.path.removeprefix("opt/demo/"): entry for entry in app_entries(app, [], [])}
    assert {name: entries[name].target for name in ("libx.so", "libx.so.1")} == {
        "libx.so": "libx.so.1",
        "libx.so.1": "libx.so.1.0",
    }
    assert {entries[name].kind for name in ("libx.so.1.0", "tool", "data")} == {"file"}


def test_a_program_and_a_link_to_it_are_one(tmp_path: Path) -> None:
    made(tmp_path, "demo-1.0", make_elf()).path.chmod(0o755)
    (tmp_path / "demo").symlink_to("demo-1.0")
    app = plan_app("demo", [read_app_file(tmp_path / name, name) for name in ("demo", "demo-1.0")])
    assert resolve_entrypoint(app, []) == ("/opt/demo/demo-1.0",)
    assert resolve_entrypoint(app, ["demo"]) == ("/opt/demo/demo",)


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to("gone")
    with pytest.raises(BuildError, match="cannot pack"):
        read_app_file(tmp_path / "demo", "demo")


def test_a_soname_that_is_a_path_makes_no_link(tmp_path: Path) -> None:
    hostile = make_elf(ElfSpec(interpreter=None, soname="../../../etc/passwd"))
    assert plan_app("demo", [made(tmp_path, "libx.so", hostile)]).links == ()


@pytest.mark.parametrize(
    ("entrypoint", "resolved"),
    [
        (["demo", "--x", "demo"], ("/opt/demo/bin/demo", "--x", "demo")),
        (["bin/tool"], ("/opt/demo/bin/tool",)),
        (["/opt/demo/bin/tool"], ("/opt/demo/bin/tool",)),
        ([], ()),  # two programs: none is the obvious one
    ],
)
def test_entrypoint(app: App, entrypoint: list[str], resolved: tuple[str, ...]) -> None:
    assert resolve_entrypoint(app, entrypoint) == resolved


def test_the_only_program_is_the_entrypoint(tmp_path: Path) -> None:
    library = make_elf(ElfSpec(interpreter=None, soname="libdemo.so.1"))
    files = [made(tmp_path, "libdemo.so", library), made(tmp_path, "demo", make_elf())]
    assert resolve_entrypoint(plan_app("demo", files), ()) == ("/opt/demo/demo",)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("dmo", r"'dmo' is none of the outputs"),
        ("bin/dem", r"did you mean 'bin/demo'\?"),
        ("start.sh", "no shell"),
        ("model.bin", "no AArch64 program"),
        ("/bin/sh", "none of the outputs"),
    ],
)
def test_an_entrypoint_that_cannot_start(app: App, word: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        resolve_entrypoint(app, [word])
    assert caught.value.hint == "programs among the outputs: bin/demo, bin/tool"


def test_an_entrypoint_that_could_be_either(tmp_path: Path) -> None:
    app = plan_app("demo", [made(tmp_path, f"{name}/demo", make_elf()) for name in "ab"])
    with pytest.raises(ConfigError, match="more than one program: /opt/demo/a/demo, /opt/demo/b/demo"):
        resolve_entrypoint(app, ["demo"])


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../passwd", "a/../../b", "a//b"])
def test_places_outside_are_refused(tmp_path: Path, name: str) -> None:
    file = AppFile(path=tmp_path, name=name, sha256="0")
    with pytest.raises(ConfigError, match="cannot be placed"):
        plan_app("demo", [file])


def test_two_files_at_one_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="would both be /opt/demo/x"):
        plan_app("demo", [AppFile(path=tmp_path / place, name="x", sha256=place) for place in "ab"])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot pack"):
        read_app_file(tmp_path / "gone", "gone")
    with pytest.raises(BuildError, match="cannot pack"):
        read_app_file(tmp_path, "directory")
    with pytest.raises(BuildError, match="half"):
        made(tmp_path, "half", b"\x7fELF\x02")
