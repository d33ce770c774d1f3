"""What gdb is told, and how gdbserver is started."""

from __future__ import annotations

from dataclasses import replace

from jetsonx.deploy.debug import Session, attach_words, launch_json, render_command
from jetsonx.deploy.gdbserver import Tools

SESSION = Session(gdb="/usr/bin/gdb-multiarch", program="/p/out/files/my demo", sysroot="/s", port=2159, directory="/p")


def test_the_command_line_is_for_a_shell() -> None:
    assert render_command(SESSION) == (
        "/usr/bin/gdb-multiarch -q '/p/out/files/my demo' -ex 'set sysroot /s' -ex 'target remote 127.0.0.1:2159'"
    )


def test_a_program_of_the_device_is_found_by_gdb_itself() -> None:
    there = replace(SESSION, program="target:/usr/bin/tool", sysroot="target:")
    assert render_command(there) == (
        "/usr/bin/gdb-multiarch -q -ex 'set sysroot target:' -ex 'target remote 127.0.0.1:2159'"
    )
    assert launch_json(there, name="x")["configurations"][0]["program"] == "/usr/bin/tool"


def test_launch_json_says_the_same() -> None:
    (only,) = launch_json(SESSION, name="jetsonx: demo")["configurations"]
    assert only["miDebuggerServerAddress"] == "127.0.0.1:2159"
    assert only["miDebuggerPath"] == SESSION.gdb
    assert only["program"] == SESSION.program
    assert {"text": "set sysroot /s", "ignoreFailures": False} in only["setupCommands"]


def test_gdbserver_needs_neither_shell_nor_port() -> None:
    tools = Tools(suite="bookworm", version="1", loader="ld.so", archive=b"")
    words = tools.words(("/opt/demo/demo", "--fast"))
    assert words[words.index("-") :] == ("-", "/opt/demo/demo", "--fast")
    assert "--no-startup-with-shell" in words
    assert attach_words("demo", ("sudo", "-n", "docker"))[:4] == ("sudo", "-n", "docker", "start")
