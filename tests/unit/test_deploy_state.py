"""A device's answer about its images, containers and apps; it may be cut off, or of something else."""

from __future__ import annotations

import json

import pytest

from jetsonx.deploy.outcome import parse_outcome
from jetsonx.deploy.report import check_outcome, choose_app, render_status, status_json
from jetsonx.deploy.state import DeviceState, Unfinished, parse_state
from jetsonx.errors import ConfigError, DeviceError, RolledBackError

IMAGE = {
    "id": "sha256:" + "1" * 64,
    "layers": ["sha256:" + "2" * 64],
    "tags": ["jetsonx/demo:0123456789ab"],
    "digests": None,
    "labels": {"a": "b"},
}


def container(name: str, release: str, **more: object) -> str:
    labels = {
        "dev.jetsonx.app": "demo",
        "dev.jetsonx.release": release,
        "dev.jetsonx.reference": f"jetsonx/demo:{release}",
    }
    ports = {"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "9/udp": None}
    found = {
        "id": release * 4 + "0" * 16,
        "name": f"/{name}",
        "image": IMAGE["id"],
        "state": "running",
        "labels": labels,
    }
    return "container=" + json.dumps(
        {**found, "bound": ports, "ports": {}, "restarts": 0, "status": 0, "health": "", **more}
    )


ENTRY = '{"op": "1", "kind": "switch", "release": "0123456789ab", "when": "2026-01-01T00:00:00Z", "outcome": "ok"}'
LINES = [
    "app=demo",
    "journal=step=gate",
    "journal=op=abc",
    "journal=kind=switch",
    "history={ spoilt",
    f"history={ENTRY}",
    "failed=ffffffffffff.3",
    "app=../../etc",
    "journal=step=evil",
    "staged=1234 abc.part",
    "free_kib=2048",
    f"image={json.dumps(IMAGE)}",
    'image={"id": "; rm -rf"}',
    "image=[[[[",
    container("demo", "0123456789ab"),
    container("demo.prev", "ba9876543210", state="exited"),
    "docker=user",
    "end=whole",
]


def state(*lines: str) -> DeviceState:
    found = parse_state("\n".join(["Welcome!", *(lines or LINES), ""]))
    assert found is not None
    return found


def test_the_state_of_a_device() -> None:
    found = state()
    assert [(image.id, image.tags, image.repo_digests) for image in found.images] == [
        (IMAGE["id"], ("jetsonx/demo:0123456789ab",), ())
    ]
    assert list(found.apps) == ["demo"]
    app = found.apps["demo"]
    assert app.current is not None
    assert app.previous is not None
    assert (app.current.ports, app.previous.state) == (("8080/tcp",), "exited")
    assert app.unfinished == Unfinished(op="abc", kind="switch", step="gate")
    assert (app.holder, app.failed, len(app.history)) == (None, "ffffffffffff", 1)
    assert (found.staged, found.free_bytes, found.by) == ({"abc.part": 1234}, 2 << 20, "user")


@pytest.mark.parametrize("cut", range(0, len("\n".join(LINES)), 37))
def test_an_answer_that_is_cut_off_is_none(cut: int) -> None:
    assert parse_state("\n".join(LINES)[:cut]) is None


def test_hundreds_of_images_fit() -> None:
    lines = [f"image={json.dumps({**IMAGE, 'id': f'sha256:{number:064x}'})}" for number in range(500)]
    assert len(state(*lines, "end=whole").images) == 500


def test_what_a_terminal_would_obey_does_not_come_through() -> None:
    found = state("app=demo", "holder=who=\x1b[31mevil", "docker=user", "end=whole").apps["demo"]
    assert found.holder is not None
    assert found.holder.who == "?[31mevil"


def test_an_app_is_chosen() -> None:
    found = state()
    for wanted, project in (("demo", ""), ("", "demo"), ("", ""), ("", "other")):
        assert choose_app(found, wanted, project).name == "demo"
    with pytest.raises(ConfigError, match="no app 'other'"):
        choose_app(found, "other", "demo")
    with pytest.raises(ConfigError, match="no app that jetsonx deployed"):
        choose_app(state("docker=user", "end=whole"), "", "")
    with pytest.raises(DeviceError, match="Docker does not answer"):
        choose_app(state("docker=", "end=whole"), "", "")


def test_status_for_people_and_programs() -> None:
    found = state()
    app = found.apps["demo"]
    text = "\n".join(render_status(app, found, title="orin"))
    assert "0123456789ab" in text
    assert "since     2026-01-01T00:00:00Z" in text
    assert "interrupted at 'gate'" in text
    document = status_json(app, found, name="", address="jetson")
    assert (document["current"]["since"], document["previous"]["since"]) == ("2026-01-01T00:00:00Z", None)
    assert document["unfinished"] == {"op": "abc", "kind": "switch", "step": "gate"}


RESULT = """step=gate
outcome=rolled-back
op=1
step=gate
why=it ended with status 3
seconds=4.50
downtime=1.25
log=last
log=words
end=whole
"""


def test_a_result() -> None:
    outcome = parse_outcome(RESULT)
    assert outcome is not None
    assert (outcome.step, outcome.downtime_s, outcome.log) == ("gate", 1.25, ("last", "words"))
    with pytest.raises(
        RolledBackError, match="failed at 'gate': it ended with status 3; the release before runs again"
    ):
        check_outcome(outcome, what="the switch")
    assert parse_outcome(RESULT.removesuffix("end=whole\n")) is None
    assert parse_outcome("outcome=perfect\nend=whole\n") is None
    assert parse_outcome("step=gate\n") is None


def test_containers_that_were_changed_by_hand_are_told() -> None:
    ids = {
        name: json.loads(container(name, release).partition("=")[2])["id"]
        for name, release in (("demo", "0123456789ab"),)
    }
    lines = [
        "modified=" + ids["demo"] + " 2026-01-01T00:00:00Z by me@here",
        "modified=other ",
        container("demo.debug", "0123456789ab"),
    ]
    state = parse_state("\n".join([LINES[0], *lines, *LINES[1:]]))
    assert state is not None
    app = state.apps["demo"]
    assert app.modified == {ids["demo"]: "2026-01-01T00:00:00Z by me@here"}
    assert app.older == ()
    text = "\n".join(render_status(app, state, title="orin"))
    assert "modified  2026-01-01T00:00:00Z by me@here, by jetsonx sync" in text
    assert "debugged" in text
    shown = status_json(app, state, name="orin", address="jetson@orin")
    assert shown["current"]["modified"] == "2026-01-01T00:00:00Z by me@here"
    assert shown["previous"]["modified"] is None
