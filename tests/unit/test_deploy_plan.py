"""What --dry-run and --json show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jetsonx.catalog import load_catalog
from jetsonx.cli import cli
from jetsonx.deploy.command import Result
from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.plan import DevicePlan, Transfer, plan_steps, render_plan
from jetsonx.deploy.preflight import Load, judge_load, judge_subject
from jetsonx.deploy.summary import render_results, results_json
from jetsonx.errors import DeviceError
from jetsonx.project.model import DeploySection
from tests.unit.deploy_values import LABELS, image, subject
from tests.unit.golden import check_golden


def plan(
    deploy: DeploySection | None = None, *, labels: dict[str, str] | None = None, running: str = "0123456789ab"
) -> DevicePlan:
    what = subject(deploy, of=image(labels or LABELS), verdict=())
    load = Load(bundle_bytes=85_000, layer_bytes=62_000_000)
    return DevicePlan(
        name="orin",
        address="jetson@192.168.55.1",
        about="orin-nano@36.4.3, Docker 27.5.1 with overlay2, 41.0 GB free",
        image=Path("out/image"),
        release=what.release,
        running=running,
        checks=(*judge_subject(what, load_catalog()), *judge_load(what.device, load)),
        transfer=Transfer(
            method="recipe",
            send_bytes=85_000,
            layer_bytes=62_000_000,
            why="a file changed",
            prices={"recipe": 85_000, "thin": 20_900_000, "full": 95_000_000},
        ),
    )


def test_the_plan_in_words() -> None:
    refused = plan(labels={**LABELS, "jetsonx.target": "orin-nano@36.3.0", "jetsonx.sms": "72"})
    first = replace(plan(running=""), transfer=Transfer(method="thin", send_bytes=20_900_000))
    same = plan()
    same = replace(same, running=same.release.id, transfer=None)
    both = replace(plan(DeploySection(blue_green=True, keep=3)), interrupted="switch")
    none = replace(plan(), transfer=Transfer(method="none"))
    shown = [*render_plan(plan(), everything=True)]
    for each in (refused, first, same, both, none):
        shown += ["", *render_plan(each)]
    check_golden("deploy-plan.txt", "\n".join(shown) + "\n")


def test_the_plan_for_programs() -> None:
    result = Result(name="orin", address="jetson@192.168.55.1", status="planned", plan=plan())
    check_golden("deploy-plan.json", json.dumps(results_json([result], is_dry_run=True), indent=2) + "\n")


def test_nothing_is_done_where_nothing_is_to_be_done() -> None:
    same = plan()
    assert not list(plan_steps(replace(same, running=same.release.id)))


def test_how_a_fleet_ended() -> None:
    results = [
        Result(
            name="one",
            address="a@one",
            status="deployed",
            plan=plan(),
            outcome=Outcome(ending="ok", seconds=6.5, downtime_s=0.87),
        ),
        Result(name="two", address="a@two", status="off", error=DeviceError("cannot reach a@two with ssh")),
        Result(name="", address="a@three", status="rolled-back", error=DeviceError("it ended with status 3")),
        Result(name="four", address="a@four", status="skipped"),
    ]
    lines = list(render_results(results))
    assert lines[0].split()[:3] == ["one", "deployed", "demo"]
    assert "85.0 kB sent, 6.5 s, 0.87 s without a running release" in lines[0]
    assert lines[1].startswith("two      off  it did not answer")
    assert lines[2] == "a@three  rolled-back  it ended with status 3"
    assert "others failed before its turn" in lines[3]
    document = results_json(results, is_dry_run=False)
    assert (document["ok"], [each["status"] for each in document["devices"]]) == (
        False,
        ["deployed", "off", "rolled-back", "skipped"],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bwlimit", "fast"], "is no rate"),
        (["--bwlimit", "0"], "is no rate"),
        (["--method", "rsync"], "'rsync' is not one of"),
        (["--canary", "-1"], "canary"),
        (["--max-failures", "0"], "max-failures"),
    ],
)
def test_options_that_mean_nothing_are_refused(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["deploy", *words])
    assert done.exit_code == 2
    assert said in done.output
