"""Releases of files: what they are made of, what is packed, what a device says of them, and what forbids them."""

from __future__ import annotations

import json
import random
import shlex
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.catalog import load_catalog
from jetsonx.console import Console
from jetsonx.deploy.control import make_request
from jetsonx.deploy.files import load_files, prepare_files
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.options import Program, plan_files_release
from jetsonx.deploy.preflight import Load, failures, judge_load, judge_subject
from jetsonx.deploy.request import check_release, render_release, render_request
from jetsonx.deploy.state import AppState, DeviceState, parse_state
from jetsonx.deploy.transfer import Receiver
from jetsonx.deploy.values import Health, RemoteContainer
from jetsonx.errors import ConfigError
from jetsonx.project.model import DeploySection, HealthCheck
from jetsonx.project.parse import parse_project
from jetsonx.store.cachedir import CacheDir
from tests.unit.deploy_values import image, subject
from tests.unit.device_answers import answer
from tests.unit.device_answers import device as read

CATALOG = load_catalog()
FILES = DeploySection(kind="files")
WITH_SYSTEMD = DeviceState(has_units=True, has_linger=True)
PROGRAM = Program(command=("./demo", "a b"), library_dirs=("lib",))
PROJECT = (
    '[project]\nname = "demo"\n[build]\nsystem = "cuda"\n[image]\nfiles = ["models/**"]\n[deploy]\nkind = "files"\n'
)


def release(deploy: DeploySection = FILES, state: DeviceState = WITH_SYSTEMD, **more: object):  # type: ignore[no-untyped-def]
    values = {"app": "demo", "env": {"A": "1"}, "secrets": {}, **more}
    return plan_files_release(deploy, state, image(), values.pop("program", PROGRAM), **values)  # type: ignore[arg-type]


def test_a_release_is_the_same_for_the_same_and_another_for_what_bears_on_it() -> None:
    first = release()
    assert (first.form, first.has_unit, first.command, first.health) == ("files", True, ("./demo", "a b"), Health())
    assert first == release()
    others = [
        release(env={"A": "2"}),
        release(secrets={"key": b"1"}),
        release(state=DeviceState()),
        release(program=Program(command=("./demo",), library_dirs=())),
        release(replace(FILES, health=HealthCheck(command=("true",)))),
    ]
    assert len({each.id for each in (first, *others)}) == 6
    assert not release(replace(FILES, unit=False)).has_unit
    assert not release(program=Program(command=(), library_dirs=())).has_unit


@pytest.mark.parametrize("more", [{"gpu": "cdi"}, {"ports": ("80:80",)}, {"blue_green": True}, {"privileged": True}])
def test_what_only_containers_have_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"deploy.{next(iter(more))}: only a container has that"):
        release(replace(FILES, **more))  # type: ignore[arg-type]


def test_the_device_gets_words_as_they_are() -> None:
    made = release(env={"ODD": "a 'b' $(c)"})
    text = render_release(made)
    words = shlex.split(text[text.index("with_env()") : text.index("with_libraries()")].rstrip().removesuffix("; }"))
    assert words[3:] == ["ODD=a 'b' $(c)"]
    assert f"payload={'a1' * 32}\nunit=1\nunit_restart=always\n" in text
    assert "restart=no\n" in render_release(release(state=DeviceState()))
    assert "\nbackend=files\n" in render_request(make_request("switch", "demo", release=made))
    assert "\nbackend=files\n" in render_request(make_request("stop", "demo", form="files"))
    with pytest.raises(ConfigError, match="no name of an environment variable"):
        check_release(replace(made, env={"A-B": ""}))


def test_a_build_is_packed_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "jetsonx.toml").write_text(PROJECT)
    for name in ("out/files/run.sh", "models/a b", "out/files/data"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(random.Random(name).randbytes(50_000))
    (tmp_path / "out/files/run.sh").chmod(0o755)
    (tmp_path / "out/report.json").write_text(json.dumps({"targets": ["orin-nano@36.4.3"]}))
    project = parse_project(PROJECT, tmp_path / "jetsonx.toml")
    cache = CacheDir(tmp_path / "cache", Console(-1))
    first = load_files(project, tmp_path / "out", cache)
    assert first == load_files(project, tmp_path / "out", cache)
    assert first.program == Program(command=("./run.sh",), library_dirs=())
    assert first.facts.targets == ("orin-nano@36.4.3",)
    with tarfile.open(first.image.layers[0].path) as tar:
        assert {each.name: each.mode for each in tar if each.isfile()} == {
            "run.sh": 0o755, "data": 0o644, "models/a b": 0o644
        }  # fmt: skip
    (tmp_path / "out/files/data").write_bytes(b"other")
    second = load_files(project, tmp_path / "out", cache)
    there = RemoteContainer(id="0123456789ab.1", name="demo", image_id=first.image.id, state="placed", form="files")
    app, kept = AppState(name="demo", form="files", current=there), Kept(cache)
    known = prepare_files(first, "demo:1", app, kept, Receiver(), "auto")
    assert (known.plan.method, known.bundle) == ("none", None)
    changed = prepare_files(second, "demo:1", app, kept, Receiver(), "auto").plan
    assert (changed.method, changed.old_image_id) == ("recipe", "0123456789ab.1")
    assert prepare_files(second, "demo:1", app, kept, Receiver(has_python=False), "auto").plan.method == "thin"
    with pytest.raises(ConfigError, match="--method recipe"):
        prepare_files(second, "demo:1", AppState(name="demo"), kept, Receiver(), "recipe")


def test_what_a_device_says_of_its_files() -> None:
    payload = "ab" * 32
    text = (
        "app=demo\nform=files\n"
        f"files=older 0123456789ab.1 {payload} files/demo:0123456789ab rests 0 0\n"
        f"files=previous 0123456789ac.2 {payload} files/demo:0123456789ac rests 0 0\n"
        f"files=current 0123456789ad.3 {payload} files/demo:0123456789ad activating 2 3\n"
        "files=current ../../x y z\n"
        "units=yes\nlinger=Linger=no\nhome_mount=rw,noexec,relatime\nfree_kib=1\ndocker=\nend=whole\n"
    )
    state = parse_state(text)
    assert state is not None
    assert (state.has_units, state.has_linger, state.can_run) == (True, False, False)
    app = state.apps["demo"]
    assert app.current is not None
    assert app.previous is not None
    assert (app.form, app.current.id, app.current.state) == ("files", "0123456789ad.3", "restarting")
    assert (app.current.restarts, app.current.status, app.current.image_id) == (2, 3, f"sha256:{payload}")
    assert app.previous.id == "0123456789ac.2"
    assert [each.id for each in app.older] == ["0123456789ab.1"]


def judged(state: DeviceState, deploy: DeploySection = FILES, program: Program = PROGRAM) -> dict[str, tuple[str, str]]:
    made = release(deploy, state, program=program)
    what = replace(
        subject(state=state, verdict=()), release=made, wants_unit=deploy.unit, gpu="none", must_have_gpu=False
    )
    return {line.name: (line.finding.status, line.finding.found) for line in judge_subject(what, CATALOG)}


def test_docker_is_no_matter_for_files() -> None:
    lines = judged(WITH_SYSTEMD)
    assert {status for status, _ in lines.values()} == {"ok"}
    assert not {"docker", "gpu", "names", "ports"} & set(lines)


def test_what_is_said_of_homes_and_systemd() -> None:
    assert judged(replace(WITH_SYSTEMD, can_run=False))["home"][0] == "fail"
    assert judged(replace(WITH_SYSTEMD, has_linger=False))["systemd"][0] == "warn"
    assert "does not answer" in judged(DeviceState())["systemd"][1]
    assert judged(DeviceState(), replace(FILES, unit=False))["systemd"][0] == "ok"
    assert "no single program" in judged(WITH_SYSTEMD, program=Program(command=(), library_dirs=()))["systemd"][1]
    container = AppState(name="demo", history=({"op": "1"},))
    assert judged(replace(WITH_SYSTEMD, apps={"demo": container}))["form"][0] == "fail"


def test_files_need_room_in_the_home_directory_alone() -> None:
    device = replace(read(answer()), home_free_bytes=1000)
    room = Load(bundle_bytes=100, layer_bytes=500, form="files")
    assert [line.name for line in failures(judge_load(device, room))] == ["disk"]
    assert not failures(judge_load(replace(device, home_free_bytes=2000), room))
