"""Which program is started under QEMU, and how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jetsonx.build.emulate import emulator_command
from jetsonx.errors import ConfigError, HostError
from jetsonx.toolchain.resolve import Host


@pytest.fixture
def out(tmp_path: Path) -> Path:
    record = {
        "sysroot": ["/sdk/sysroot"],
        "library_dirs": ["/sdk/cuda/lib", "/sdk/stubs"],
        "files": ["bin/app", "bin/tool", "lib/libapp.so.1"],
        "programs": ["bin/app", "bin/tool"],
    }
    (tmp_path / "run.json").write_text(json.dumps(record))
    return tmp_path


@pytest.fixture
def _qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "emulator", "/usr/bin/qemu-aarch64")


@pytest.mark.usefixtures("_qemu")
def test_the_entrypoint_starts_with_the_libraries_of_the_build(out: Path) -> None:
    command = emulator_command(Path(), out, None, ("--n", "-1"))
    search = f"LD_LIBRARY_PATH={out}/files/lib:/sdk/cuda/lib:/sdk/stubs"
    program = str(out / "files/bin/app")
    assert command.argv == ("/usr/bin/qemu-aarch64", "-L", "/sdk/sysroot", "-E", search, program, "--n", "-1")


@pytest.mark.usefixtures("_qemu")
@pytest.mark.parametrize("name", ["tool", "bin/tool"])
def test_a_program_is_chosen_by_name_or_path(name: str, out: Path) -> None:
    assert emulator_command(Path(), out, name, ()).argv[-1] == str(out / "files/bin/tool")


@pytest.mark.usefixtures("_qemu")
def test_an_unknown_program_is_refused_with_those_there_are(out: Path) -> None:
    with pytest.raises(ConfigError) as error:
        emulator_command(Path(), out, "nothing", ())
    assert error.value.hint == "it has bin/app, bin/tool"


def test_without_a_build_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        emulator_command(Path(), tmp_path, None, ())
    assert error.value.hint == "run `jetsonx build` first"


def test_builds_of_several_releases_are_named(out: Path, tmp_path: Path) -> None:
    (tmp_path / "r39.2.0").mkdir()
    (out / "run.json").rename(tmp_path / "r39.2.0/run.json")
    with pytest.raises(ConfigError) as error:
        emulator_command(Path(), tmp_path, None, ())
    assert error.value.hint == f"name one of its builds: -o {tmp_path / 'r39.2.0'}"


def test_without_qemu_the_package_is_named(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "emulator", None)
    with pytest.raises(HostError) as error:
        emulator_command(Path(), out, None, ())
    assert "qemu-user" in (error.value.hint or "")


@pytest.mark.usefixtures("_qemu")
def test_libraries_alone_cannot_be_started(out: Path) -> None:
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "programs": []}))
    with pytest.raises(ConfigError, match="no program to start"):
        emulator_command(Path(), out, None, ())
