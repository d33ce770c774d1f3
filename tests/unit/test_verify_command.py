"""``jetsonx verify`` and ``jetsonx diff`` from the command line, on small files made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jetsonx.cli import main
from tests.elf.synthetic import X86_64, ElfSpec, cubin_entry, cuda_program, make_elf, make_fatbin

TARGET = "orin-nano@36.4.3"
THOR = "thor-t5000@39.2.0"
GOOD = make_elf(ElfSpec(needed=["libc.so.6"], version_needs={"libc.so.6": ["GLIBC_2.17"]}))
TOO_NEW = make_elf(
    ElfSpec(
        needed=["libc.so.6"], version_needs={"libc.so.6": ["GLIBC_2.38"]}, symbols={"__isoc23_strtol": "GLIBC_2.38"}
    )
)


class Ran:
    def __init__(self, status: object, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err


class Jetsonx:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["jetsonx", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(stop.value.code, captured.out, captured.err)


@pytest.fixture
def jetsonx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Jetsonx:
    monkeypatch.chdir(tmp_path)
    return Jetsonx(monkeypatch, capsys)


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    path.write_bytes(TOO_NEW)
    return path


def test_a_good_file_passes(jetsonx: Jetsonx, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    ran = jetsonx("verify", "good", "-t", TARGET)
    assert ran.status == 0
    assert ran.out.splitlines()[-1] == f"checked 1 file for {TARGET}: nothing wrong"
    assert "symbol list" in ran.out  # which profile was used
    assert "not checked: " in ran.out


def test_findings_are_status_1_with_symbol_library_and_mend(jetsonx: Jetsonx, app: Path) -> None:
    ran = jetsonx("verify", app, "-t", TARGET)
    assert ran.status == 1
    assert "JX201" in ran.out
    assert "GLIBC_2.38" in ran.out
    assert "__isoc23_strtol" in ran.out
    assert "mend: " in ran.out


@pytest.mark.parametrize(("fail_on", "status"), [("error", 0), ("warning", 0), ("note", 1)])
def test_fail_on_says_what_fails(jetsonx: Jetsonx, tmp_path: Path, fail_on: str, status: int) -> None:
    waivers = tmp_path / "w.toml"
    waivers.write_text('[[waiver]]\nrule = "JX201"\npath = "other"\nreason = "r"\n')  # unused, which is a note
    (tmp_path / "good").write_bytes(GOOD)
    assert jetsonx("verify", "good", "-t", TARGET, "--waivers", waivers, "--fail-on", fail_on).status == status


def test_several_inputs_and_targets_in_one_report(jetsonx: Jetsonx, tmp_path: Path, app: Path) -> None:
    (tmp_path / "x86").write_bytes(make_elf(ElfSpec(machine=X86_64)))
    ran = jetsonx("verify", app, "x86", "-t", TARGET, "-t", "agx-thor@39.2", "--format", "json")
    report = json.loads(ran.out)
    assert (ran.status, report["targets"]) == (1, [TARGET, THOR])
    assert [each["name"] for each in report["inputs"]] == [str(app), "x86"]
    found = {(each["rule"], each["artifact"]): each["targets"] for each in report["findings"]}
    assert found["JX201", str(app)] == [TARGET]
    assert found["JX101", "x86"] == [TARGET, THOR]


@pytest.mark.parametrize("style", ["text", "json", "sarif", "junit", "markdown"])
def test_output_goes_to_a_file_as_a_whole(jetsonx: Jetsonx, tmp_path: Path, app: Path, style: str) -> None:
    output, page = tmp_path / "report", tmp_path / "page.html"
    ran = jetsonx("verify", app, "-t", TARGET, "--format", style, "--output", output, "--html", page)
    assert (ran.status, ran.out) == (1, "")
    assert "JX201" in output.read_text()
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app", "page.html", "report"]


def test_a_link_for_the_output_stays_a_link(jetsonx: Jetsonx, tmp_path: Path, app: Path) -> None:
    (tmp_path / "link").symlink_to("real")  # /dev/stdout is one
    (tmp_path / "real").touch()
    jetsonx("verify", app, "-t", TARGET, "--output", "link")
    assert (tmp_path / "link").is_symlink()
    assert "JX201" in (tmp_path / "real").read_text()


def test_the_targets_of_the_project_are_the_default(jetsonx: Jetsonx, tmp_path: Path, app: Path) -> None:
    (tmp_path / "jetsonx.toml").write_text(
        '[project]\nname = "x"\n[target]\nmodules = ["orin-nano"]\nl4t = "36.4.3"\n[build]\nsystem = "cuda"\n'
    )
    assert f"for {TARGET}: " in jetsonx("verify", app).out


def test_without_a_target_it_asks_for_one(jetsonx: Jetsonx, app: Path) -> None:
    ran = jetsonx("verify", app)
    assert ran.status == 2
    assert "-t TARGET" in ran.err


def test_without_what_it_looks_at_what_was_built(jetsonx: Jetsonx, tmp_path: Path) -> None:
    for release, target in (("r36.4.3", TARGET), ("r39.2.0", THOR)):
        files = tmp_path / "out" / release / "files"
        files.mkdir(parents=True)
        (files / "app").write_bytes(TOO_NEW)
        (files.parent / "report.json").write_text(json.dumps({"targets": [target]}))
    ran = jetsonx("verify", "--format", "json")
    report = json.loads(ran.out)
    assert [each["name"] for each in report["inputs"]] == ["out/r36.4.3/files", "out/r39.2.0/files"]
    found = [(each["artifact"], each["targets"]) for each in report["findings"] if each["rule"] == "JX201"]
    assert found == [("out/r36.4.3/files", [TARGET])]  # each release's output for its own targets only


def test_without_anything_built_it_says_what_to_type(jetsonx: Jetsonx) -> None:
    ran = jetsonx("verify")
    assert ran.status == 2
    assert "jetsonx verify FILE" in ran.err


def test_waivers_beside_the_project_file_hold(jetsonx: Jetsonx, tmp_path: Path, app: Path) -> None:
    waiver = '[[waiver]]\nrule = "JX201"\npath = "app"\nreason = "never started there"\n'
    (tmp_path / "jetsonx-waivers.toml").write_text(waiver)
    assert jetsonx("verify", app, "-t", TARGET).status == 1  # nobody said that this directory is a project
    (tmp_path / "jetsonx.toml").write_text('[project]\nname = "x"\n[build]\nsystem = "cuda"\n')
    ran = jetsonx("verify", app, "-t", TARGET)
    assert ran.status == 0
    assert "waived JX201 app: never started there" in ran.out


def test_a_baseline_lets_only_new_findings_count(jetsonx: Jetsonx, tmp_path: Path, app: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert jetsonx("verify", app, "-t", TARGET, "--write-baseline", baseline).status == 0
    ran = jetsonx("verify", app, "-t", TARGET, "--baseline", baseline)
    assert ran.status == 0
    assert "known" in ran.out
    app.write_bytes(make_elf(ElfSpec(machine=X86_64)))
    ran = jetsonx("verify", app, "-t", TARGET, "--baseline", baseline)
    assert ran.status == 1
    assert "gone from the baseline: JX201 app" in ran.out


def test_device_code_options_reach_the_rules(jetsonx: Jetsonx, tmp_path: Path) -> None:
    (tmp_path / "app").write_bytes(cuda_program(make_fatbin(cubin_entry(80))))
    assert jetsonx("verify", "app", "-t", TARGET).status == 1
    ran = jetsonx("verify", "app", "-t", TARGET, "--allow-minor")
    assert ran.status == 0
    assert "warning JX702" in ran.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere", "-t", TARGET), "nowhere"),
        (("app", "-t", "orin-nanoo@36.4.3"), "orin-nano"),
        (("app", "-t", TARGET, "--waivers", "none.toml"), "none.toml is not there"),
        (("app", "-t", TARGET, "--waivers", "bad.toml"), "bad.toml: not TOML"),
        (("app", "-t", TARGET, "--baseline", "none.json"), "none.json is not there"),
        (("app", "-t", TARGET, "--baseline", "bad.toml"), "bad.toml: not JSON"),
        (("app", "-t", TARGET, "--output", "no/where"), "no/where cannot be written"),
        (("app", "-t", TARGET, "--html", "."), "it is a directory"),
        (("--explain", "JX000"), "there is no rule JX000"),
        (("app", "-t", TARGET, "--format", "xml"), "'xml' is not one of"),
    ],
)
def test_what_cannot_be_checked_is_status_2(
    jetsonx: Jetsonx, tmp_path: Path, app: Path, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "bad.toml").write_text("[[waiver\n")
    ran = jetsonx("verify", *words)
    assert ran.status == 2
    assert said in ran.err
    assert ran.out == ""


def test_a_damaged_file_is_a_finding(jetsonx: Jetsonx, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(TOO_NEW[:80])
    ran = jetsonx("verify", "cut", "-t", TARGET)
    assert ran.status == 1
    assert "JX100" in ran.out


def test_rules_are_listed_and_explained(jetsonx: Jetsonx) -> None:
    lines = jetsonx("verify", "--rules").out.splitlines()
    assert any(line.startswith("JX701  error") for line in lines)
    told = jetsonx("verify", "--explain", "jx702").out
    assert told.startswith("JX702: ")
    assert "mend: " in told
    assert "source: " in told
    rules = json.loads(jetsonx("verify", "--rules", "--format", "json").out)["rules"]
    assert [rule["id"] for rule in rules] == [line.partition(" ")[0] for line in lines]


def test_diff_says_what_changed(jetsonx: Jetsonx, tmp_path: Path, app: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    ran = jetsonx("diff", "good", app)
    assert ran.status == 1
    assert "  + libc.so.6 GLIBC_2.38 (app)" in ran.out
    value = json.loads(jetsonx("diff", "good", app, "--json").out)
    assert value["equal"] is False
    assert [each["name"] for each in value["symbols"]["added"]] == ["__isoc23_strtol@GLIBC_2.38"]


def test_diff_of_the_same_is_status_0_and_of_nothing_2(jetsonx: Jetsonx, app: Path) -> None:
    assert jetsonx("diff", app, app).status == 0
    ran = jetsonx("diff", app, "nowhere")
    assert ran.status == 2
    assert "nowhere" in ran.err


def test_diff_sees_content_of_the_same_size(jetsonx: Jetsonx, tmp_path: Path) -> None:
    for name, data in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").write_bytes(data)
    ran = jetsonx("diff", "a", "b")
    assert ran.status == 1
    assert "~ data: content" in ran.out
