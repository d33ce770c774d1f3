"""Stands for `systemctl --user` and `journalctl --user` of a device, for no systemd runs on the machines of the tests.

It starts what a unit says, starts it again by its policy, and says how it is, in the words that systemd has for that.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_SYSTEMD", "/nonexistent"))


def note(unit: str, **what: object) -> dict[str, object]:
    place = FOLDER / f"{unit}.json"
    known: dict[str, object] = json.loads(place.read_text()) if place.exists() else {}
    known.update(what)
    part = place.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(known))
    part.replace(place)
    return known


def read_unit(unit: str) -> dict[str, str]:
    text = (Path(os.environ["HOME"]) / ".config/systemd/user" / unit).read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def supervise(unit: str) -> None:
    said = read_unit(unit)
    argv = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(said["ExecStart"])]
    restarts = 0
    while True:
        with (FOLDER / f"{unit}.log").open("ab") as log:
            # A user's unit has an environment of its own, little more than these.
            own = {name: os.environ[name] for name in ("HOME", "PATH", "FAKE_SYSTEMD")}
            program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=own)
        note(unit, ActiveState="active", ActiveEnterTimestampMonotonic=time.monotonic_ns() // 1000, program=program.pid)
        status = program.wait()
        again = said["Restart"] == "always" or (said["Restart"] == "on-failure" and status)
        note(unit, ActiveState="activating" if again else "failed" if status else "inactive", ExecMainStatus=status)
        if not again:
            return
        time.sleep(0.2)
        restarts += 1
        note(unit, NRestarts=restarts)


def stop(unit: str) -> None:
    known = note(unit)
    for name, number in (("supervisor", signal.SIGKILL), ("program", signal.SIGTERM)):
        pid = known.get(name)
        if isinstance(pid, int):
            try:
                os.kill(pid, number)
                while (
                    name == "program"
                    and Path(f"/proc/{pid}").exists()
                    and " Z " not in Path(f"/proc/{pid}/stat").read_text()
                ):
                    time.sleep(0.01)
            except OSError:
                pass
    note(unit, ActiveState="inactive", supervisor=None, program=None)


def start(unit: str) -> None:
    note(unit, ActiveState="active", NRestarts=0, ExecMainStatus=0)
    null = subprocess.DEVNULL
    child = subprocess.Popen(
        [sys.executable, __file__, "supervise", unit], stdin=null, stdout=null, stderr=null, start_new_session=True
    )
    note(unit, supervisor=child.pid)


def main(words: list[str]) -> int:
    if words[0] == "supervise":
        supervise(words[1])
        return 0
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join(words) + "\n")
    assert words.pop(0) == "--user"
    if words[0] == "-u":  # journalctl --user -u UNIT -n N -o cat
        log = FOLDER / f"{words[1]}.log"
        count = int(words[words.index("-n") + 1])
        sys.stdout.write("".join(log.read_text().splitlines(keepends=True)[-count:]) if log.exists() else "")
        return 0
    verb, unit = words[0], words[-1]
    if verb in ("restart", "stop"):
        stop(unit)
    if verb == "restart":
        start(unit)
    if verb in ("enable", "disable"):
        note(unit, enabled=verb == "enable")
    if verb == "is-active":
        return 0 if note(unit).get("ActiveState") == "active" else 3
    if verb == "show":
        for name in ("ActiveState", "NRestarts", "ExecMainStatus", "ActiveEnterTimestampMonotonic"):
            sys.stdout.write(f"{name}={note(unit).get(name, 0)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
