"""The history of this host, and how it is put together with the device's."""

from __future__ import annotations

import json
from pathlib import Path

from jetsonx.deploy.history import append_history, history_file, merge_histories, read_history
from jetsonx.deploy.report import render_history
from jetsonx.rootfs.ssh import Address


def line(op: str, when: str, outcome: str = "ok") -> str:
    return json.dumps({"op": op, "kind": "switch", "when": when, "release": op, "outcome": outcome, "who": "me"})


def test_each_operation_is_kept_once(tmp_path: Path) -> None:
    path = history_file(Address(host="ssh://me@[::1]:22"), "demo", {"JETSONX_STATE": str(tmp_path)})
    assert path.is_relative_to(tmp_path / "history")
    assert read_history(path) == ()
    append_history(path, [line("1", "a")])
    append_history(path, [line("1", "a"), line("2", "b"), "spoilt"])
    assert [entry["op"] for entry in read_history(path)] == ["1", "2"]


def test_a_spoilt_line_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_text(f'{{"op": "0\n\x00\n[]\n{line("1", "a")}\n')
    assert [entry["op"] for entry in read_history(path)] == ["1"]


def test_both_sides_are_put_together() -> None:
    def parse(*lines: str) -> list[dict[str, str]]:
        return [json.loads(each) for each in lines]

    there = parse(line("2", "b"), line("3", "c"), line("4", "d"))
    here = parse(line("1", "a"), line("2", "b"), line("4", "d", "failed"), line("5", "e"))
    merged = merge_histories(there, here)
    assert [(entry["op"], where) for entry, where in merged] == [
        ("1", "host"),
        ("2", "both"),
        ("3", "device"),
        ("4", "differs"),
        ("5", "host"),
    ]
    lines = list(render_history(merged))
    assert lines[1].endswith("(only on this host)")
    assert not lines[2].endswith(")")
    assert list(render_history([])) == ["nothing was deployed yet"]
