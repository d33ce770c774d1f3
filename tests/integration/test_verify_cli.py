"""``jetsonx verify`` and ``jetsonx diff`` on what a real build left, in every form it can be shipped in."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import zipfile
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from tests.integration.conftest import SAMPLES, Need, Run
from tests.integration.docker_engine import Engine

ORIN = "orin-nano@39.2.0"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, jetsonx: Run) -> Path:
    """A built sample: its directory."""
    directory = tmp_path_factory.mktemp("verify") / "vector-add"
    shutil.copytree(SAMPLES / "vector-add", directory)
    ran = jetsonx("build", "-t", ORIN, cwd=directory)
    assert ran.status == 0, ran.err
    return directory


@pytest.fixture(scope="module")
def shipped(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same program in every form, by its kind."""
    out, place = built / "out", tmp_path_factory.mktemp("shipped")
    for name, mode in (("app.tar", "w"), ("app.tar.gz", "w:gz")):
        with tarfile.open(place / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(out / "image", ".")
    with zipfile.ZipFile(place / "app-1-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.write(out / "files/vector-add", "app/vector-add")
        wheel.writestr("app/__init__.py", "")
    return {
        "directory": str(out / "files"),
        "file": str(out / "files/vector-add"),
        "oci": f"oci:{out / 'image'}",
        "archive": f"docker-archive:{place / 'app.tar'}",
        "packed": str(place / "app.tar.gz"),
        "wheel": str(place / "app-1-py3-none-any.whl"),
    }


def test_the_program_passes_in_every_form(shipped: dict[str, str], jetsonx: Run, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    ran = jetsonx("verify", *shipped.values(), "-t", ORIN, "--format", "json", "--output", output)
    report = json.loads(output.read_text())
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert (ran.status, errors) == (0, [])
    kinds = [each["kind"] for each in report["inputs"]]
    assert kinds == ["directory", "file", "oci", "docker-archive", "docker-archive", "wheel"]
    programs = [file for file in report["files"] if file["path"].endswith("vector-add")]
    assert len(programs) == len(shipped)
    assert {tuple(file["device"]) for file in programs} == {("sm_87", "compute_87")}
    assert all(each["layers"] for each in report["inputs"] if each["kind"] in {"oci", "docker-archive"})


def test_the_report_of_a_build_and_of_verify_satisfy_the_schema(
    built: Path, shipped: dict[str, str], jetsonx: Run
) -> None:
    schema = json.loads(resources.files("jetsonx.verify").joinpath("report.schema.json").read_text())
    jsonschema.validate(json.loads((built / "out/report.json").read_text()), schema)
    ran = jetsonx("verify", shipped["oci"], "-t", ORIN, "--format", "json", "--hardening", "--deep")
    jsonschema.validate(json.loads(ran.out), schema)


def test_another_module_gets_findings_in_every_form(shipped: dict[str, str], jetsonx: Run, tmp_path: Path) -> None:
    output = tmp_path / "verify.sarif"
    target = ("-t", "agx-thor@39.2", "--no-jit", "--format", "sarif", "--output", output)
    assert jetsonx("verify", *shipped.values(), *target).status == 1
    (run,) = json.loads(output.read_text())["runs"]
    uris = {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in run["results"]
        if result["level"] == "error"
    }
    assert uris == {"vector-add", "app/vector-add", "opt/vector-add/vector-add"}


def test_the_build_and_the_image_know_their_target(
    built: Path, shipped: dict[str, str], jetsonx: Run, tmp_path: Path
) -> None:
    ran = jetsonx("verify", cwd=built)
    assert ran.status == 0, ran.out + ran.err
    assert "oci:out/image: oci" in ran.out
    for said in (ran, jetsonx("verify", shipped["oci"], cwd=tmp_path)):
        assert f" for {ORIN}: " in said.out.splitlines()[-1]


def test_a_leftover_of_the_build_machine_is_found_in_the_image(
    shipped: dict[str, str], jetsonx: Run, tmp_path: Path, need: Need
) -> None:
    wheel = tmp_path / "x86-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(need("true"), "pkg/native.so")
    junit, page = tmp_path / "verify.xml", tmp_path / "verify.html"
    words = ("verify", wheel, shipped["oci"], "-t", ORIN, "--html", page, "--format", "junit", "--output", junit)
    assert jetsonx(*words).status == 1
    cases = {
        (case.get("classname"), case.get("name")): case.find("failure") is not None
        for case in ElementTree.parse(junit).iter("testcase")
    }
    assert cases["JX101", f"{wheel}: pkg/native.so"]
    assert not cases["JX101", f"{shipped['oci']}: opt/vector-add/vector-add"]
    assert page.read_text().count("<svg") >= 2

    waivers = tmp_path / "waivers.toml"
    waivers.write_text('[[waiver]]\nrule = "JX101"\npath = "pkg/*"\nreason = "for the build machine"\n')
    ran = jetsonx("verify", wheel, "-t", ORIN, "--waivers", waivers)
    assert ran.status == 0
    assert "waived JX101 pkg/native.so: for the build machine" in ran.out


def test_diff_of_two_forms_and_of_two_builds(
    built: Path, shipped: dict[str, str], jetsonx: Run, tmp_path: Path
) -> None:
    ran = jetsonx("diff", shipped["oci"], shipped["packed"])
    assert ran.status == 0, ran.out + ran.err
    other = tmp_path / "files"
    shutil.copytree(built / "out/files", other)
    (other / "notes").write_text("new")
    (other / "vector-add").chmod(0o700)
    os.truncate(other / "vector-add", (other / "vector-add").stat().st_size - 1)
    ran = jetsonx("diff", built / "out/files", other, "--json")
    value = json.loads(ran.out)
    assert ran.status == 1
    assert value["added"] == [{"path": "notes", "size_bytes": 3}]
    (change,) = value["changed"]
    assert change["what"][:2] == ["content", "mode 755 -> 700"]


@pytest.mark.parametrize("name", ["engine_20", "engine_26_containerd"])
def test_an_image_of_the_engine_is_read_as_the_engine_saves_it(
    name: str, request: pytest.FixtureRequest, shipped: dict[str, str], jetsonx: Run
) -> None:
    engine: Engine = request.getfixturevalue(name)
    archive = shipped["archive"].removeprefix("docker-archive:")
    loaded = engine.docker("load", "--input", archive).out.split()[-1]
    try:
        ran = jetsonx("verify", f"docker:{loaded}", "--format", "json", env=engine.env)
        report = json.loads(ran.out)
        assert (ran.status, report["targets"]) == (0, [ORIN])
        assert report["inputs"][0]["kind"] == "docker"
        assert "opt/vector-add/vector-add" in {file["path"] for file in report["files"]}
        assert jetsonx("diff", f"docker:{loaded}", shipped["oci"], env=engine.env).status == 0
    finally:
        engine.docker("image", "rm", loaded)
    gone = jetsonx("verify", f"docker:{loaded}", env=engine.env)
    assert gone.status == 2
    assert "no such image" in gone.err
