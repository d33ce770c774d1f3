"""Known failures in logs: each in lines as they were seen, and what only looks like one."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from jetsonx import cli as command_line
from jetsonx.cli import cli, main
from jetsonx.errors import BuildError
from jetsonx.host.explain import explain, explain_blocks, load_failures, read_blocks, render_matches

KNOWN = {failure.id: failure for failure in load_failures()}
GOLDEN = Path(__file__).parents[1] / "golden" / "explain"


def load_seen() -> dict[str, list[str]]:
    """Failure -> lines of real logs that give it away."""
    seen: dict[str, list[str]] = {}
    for line in (GOLDEN / "seen.txt").read_text().splitlines():
        if line and not line.startswith("#" + " "):
            if head := re.fullmatch(r"\[([a-z0-9-]+)\]", line):
                seen[head[1]] = []
            else:
                seen[list(seen)[-1]].append(line)
    return seen


SEEN = load_seen()
# Lines that look alike and are not: nothing may be made of them.
NEAR = (GOLDEN / "near.txt").read_text().splitlines()

# A real build that went well, and one that failed for a reason of its own.
ORDINARY = """\
-- The CUDA compiler identification is NVIDIA 13.2.78
-- Found CUDAToolkit: /cache/usr/local/cuda-13.2/include (found version "13.2.78")
[1/3] nvcc -forward-unknown-to-host-compiler -ccbin=aarch64-linux-gnu-g++ --generate-code=arch=compute_87,code=[sm_87]
[2/3] : && aarch64-linux-gnu-g++ -Wl,-rpath-link,/cache/usr/lib/aarch64-linux-gnu CMakeFiles/app.dir/a.cu.o -o app
a.cu(1): error: identifier "nothing" is undefined
  int main() { return nothing; }
                      ^
1 error detected in the compilation of "a.cu".
ninja: build stopped: subcommand failed.
"""


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in SEEN.items() for line in lines])
def test_a_line_that_was_seen_is_known(name: str, line: str) -> None:
    found = explain(f"before\n{line}\nafter\n")
    assert [match.failure.id for match in found] == [name]
    assert found[0].number == 2


def test_every_failure_has_a_line_that_was_seen() -> None:
    assert set(SEEN) == set(KNOWN)


def test_every_pattern_is_needed() -> None:
    for failure in load_failures():
        for symptom in failure.symptoms:
            assert any(symptom.search(line) for line in SEEN[failure.id]), symptom.pattern


@pytest.mark.parametrize("line", NEAR)
def test_a_line_that_only_looks_alike_is_not_explained(line: str) -> None:
    assert explain(line) == ()


def test_an_ordinary_log_is_not_explained() -> None:
    assert explain(ORDINARY) == ()


def test_the_data_is_complete_and_plain() -> None:
    assert len(KNOWN) == len(load_failures())
    for failure in load_failures():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", failure.id)
        assert failure.confidence in {"measured", "verified", "reported", "unverified"}
        assert failure.symptoms
        for text in (failure.context, failure.cause, failure.fix):
            assert text.isascii()
            assert text.strip() == text != ""
        for thread in failure.threads:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+(#[0-9]+| .+)", thread), thread


def test_matches_come_once_each_in_the_order_of_the_log() -> None:
    first, second = SEEN["gpus-flag"][0], SEEN["cicc-not-found"][0]
    found = explain("\n".join([second, "x", first, second, first]))
    assert [(match.failure.id, match.number) for match in found] == [("cicc-not-found", 1), ("gpus-flag", 3)]


def test_colours_and_progress_displays_do_not_hide_a_line() -> None:
    shown = "[1/2] a\r[2/2] b\r\x1b[01;31m\x1b[Ktex.cu(1): \x1b[0merror: texture is not a template\x1b[m\r\n"
    [match] = explain(shown)
    assert match.line == "tex.cu(1): error: texture is not a template"


def test_what_is_printed_of_a_line_cannot_move_the_cursor() -> None:
    [match] = explain("\x07\x9b2J" + SEEN["cicc-not-found"][0] + "\x08\u202e")
    assert match.line.isprintable()


def test_a_long_line_is_shown_around_its_match() -> None:
    [match] = explain("x" * 5000 + " " + SEEN["cicc-not-found"][0] + " " + "y" * 5000)
    assert "cicc: not found" in match.line
    assert len(match.line) < 500


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_log_may_be_cut_anywhere(size: int) -> None:
    log = "".join(f"noise\n{lines[0]}\n" for lines in SEEN.values())
    blocks = [log[start : start + size] for start in range(0, len(log), size)]
    assert explain_blocks(blocks) == explain(log)
    assert len(explain(log)) == len(SEEN)


def test_a_quote_cut_in_two_is_still_read() -> None:
    line = "\u2018cudaThreadExit\u2019 was not declared in this scope".encode()
    padding = b"x" * ((1 << 20) - 2) + b"\n"
    assert len(explain_blocks(read_blocks(io.BytesIO(padding + line)))) == 1


def test_a_line_without_an_end_does_not_fill_the_memory_and_hides_nothing() -> None:
    line = SEEN["docker28-iptables"][0]
    for shift in (0, 60, len(line)):
        blocks = iter(["x" * ((1 << 20) - shift) + line, *["y" * (1 << 20)] * 3])
        assert [match.failure.id for match in explain_blocks(blocks)] == ["docker28-iptables"]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_a_fault(data: bytes) -> None:
    for match in explain_blocks(read_blocks(io.BytesIO(data))):
        assert match.line.isprintable()


@given(st.lists(st.sampled_from([*NEAR, *(lines[0] for lines in SEEN.values()), "\r", "\x1b[31m"]), max_size=12))
def test_the_line_shown_is_the_line_of_that_number(lines: list[str]) -> None:
    text = "\n".join(lines)
    for match in explain(text):
        assert match.line in lines[match.number - 1] or match.line.strip() in lines[match.number - 1]


@pytest.mark.parametrize(
    "part",
    [
        "docker.io/library/",
        "-lib",
        "/sbsa-linux/lib/lib",
        "fatal error: thrust/a",
        "1.1 1.1 ",
        "error: ",
        "ld: cannot find /lib/",
        "needed by ",
        "#1 from /a",
    ],
)
def test_a_hostile_line_takes_no_time(part: str) -> None:
    started = time.monotonic()
    explain(part * (200_000 // len(part)))
    assert time.monotonic() - started < 5


def test_text_fits_into_80_columns() -> None:
    log = "\n".join(line for lines in SEEN.values() for line in lines)
    for line in render_matches(explain(log)):
        assert len(line) <= 80 or " " not in line.strip(), line


def test_command_explains_a_file_and_a_pipe(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_bytes(b"\xff\xfe\n" + SEEN["cuda13-old-gpu"][0].encode())
    named = CliRunner().invoke(cli, ["explain", str(log)])
    piped = CliRunner().invoke(cli, ["explain"], input=log.read_bytes())
    assert named.exit_code == 0
    assert named.output == piped.output
    assert named.output.startswith("line 2: nvcc fatal   : Unsupported gpu architecture 'compute_53'\n")
    for word in ("cuda13-old-gpu (measured)", "  when ", "  cause ", "  fix ", "  threads "):
        assert word in named.output


def test_command_says_when_nothing_is_known() -> None:
    shown = CliRunner().invoke(cli, ["explain", "-"], input=ORDINARY)
    assert shown.exit_code == 0
    assert shown.output == f"no known failure in this log ({len(KNOWN)} are known)\n"
    assert json.loads(CliRunner().invoke(cli, ["explain", "--json"], input="").output) == {"schema": 1, "matches": []}


def test_command_gives_json() -> None:
    shown = CliRunner().invoke(cli, ["explain", "--json"], input=SEEN["gpus-flag"][0])
    [match] = json.loads(shown.output)["matches"]
    assert match["line"] == 1
    assert match["id"] == "gpus-flag"
    assert match["threads"][0] == "dusty-nv/jetson-containers#1068"
    assert set(match) == {"line", "text", "id", "confidence", "context", "cause", "fix", "threads"}


def test_command_lists_all() -> None:
    shown = CliRunner().invoke(cli, ["explain", "--list"])
    assert shown.exit_code == 0
    assert all(f"  {name} (" in shown.output for name in KNOWN)
    listed = json.loads(CliRunner().invoke(cli, ["explain", "--list", "--json"]).output)["failures"]
    assert [failure["id"] for failure in listed] == list(KNOWN)


@pytest.mark.parametrize("name", ["missing.log", "."])
def test_a_log_that_cannot_be_read_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["jetsonx", "explain", str(tmp_path / name)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert f"Error: cannot read {tmp_path / name}: " in capsys.readouterr().err


def test_an_error_is_followed_by_what_is_known_of_its_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def failing() -> None:
        raise BuildError("it broke", details="make: failed", log=f"{SEEN['cicc-not-found'][0]}\nmake: failed")

    monkeypatch.setattr(type(command_line.cli), "get_command", lambda *_: failing)
    monkeypatch.setattr("sys.argv", ["jetsonx", "build"])
    with pytest.raises(SystemExit):
        main()
    err = capsys.readouterr().err
    assert err.startswith("make: failed\nError: it broke\n\nlog: sh: 1: cicc: not found\n  cicc-not-found (verified)\n")
