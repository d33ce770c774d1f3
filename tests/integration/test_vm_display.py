"""The console of a virtual Jetson in a real browser, while it starts."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from jetsonx.vm.wire import is_port_taken
from tests.integration.browser import Page, browse
from tests.integration.conftest import Need
from tests.integration.vm import CLI, call, machines

_LIMIT_S = 120
# Which of the screen's cells, of 8 by 16 points, have something bright in them: a line of text for each row of cells.
_CELLS = """(() => {
  const canvas = document.querySelector("canvas");
  if (!canvas || canvas.width < 640) return [];
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const lit = (x, y) => Math.max(...data.subarray(4 * (y * canvas.width + x), 4 * (y * canvas.width + x) + 3)) > 64;
  const cell = (left, top) => {
    for (let y = top; y < top + 16; y++) for (let x = left; x < left + 8; x++) if (lit(x, y)) return "#";
    return " ";
  };
  const rows = [];
  for (let top = 0; top + 16 <= canvas.height; top += 16) {
    let row = "";
    for (let left = 0; left + 8 <= canvas.width; left += 8) row += cell(left, top);
    rows.push(row.trimEnd());
  }
  return rows;
})()"""


def _wait(find: Callable[[], str], what: str) -> str:
    until = time.monotonic() + _LIMIT_S
    while not (found := find()):
        assert time.monotonic() < until, what
        time.sleep(0.2)
    return found


def _pattern(line: str) -> str:
    return re.sub(r"\S", "#", line.rstrip())


def _shared(page: Page, console: Path) -> int:
    """How many long lines of the guest's stand on the screen, character for character where it has any."""
    seen = {row for row in page.evaluate(_CELLS) if row.count("#") > 20}
    said = console.read_text(errors="replace").replace("\r", "").split("\n")
    return len(seen & {_pattern(line) for line in said if len(line) <= 100})


def _upgrade(port: int, token: str) -> int:
    """The status that a WebSocket's opening gets, 0 when websockify hangs up, as it does on a token it cannot find."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    asked |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": "binary"}
    connection.request("GET", f"/websockify?token={token}", headers=asked)
    with contextlib.closing(connection):
        try:
            return connection.getresponse().status
        except http.client.RemoteDisconnected:
            return 0


def _calls() -> str:
    """The command lines of all processes, as every user of this host may read them."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(each.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def test_a_browser_shows_the_console_and_what_serves_it_ends_with_the_machine(need: Need, tmp_path: Path) -> None:
    for program in ("qemu-system-aarch64", "qemu-img", "ssh-keygen", "websockify"):
        need(program)
    with machines() as root:
        made = call(root, "create", "seen", "--memory", "512")
        assert made.returncode == 0, made.stderr
        said = tmp_path / "said"
        with said.open("wb") as stream:
            words = [*CLI, "vm", "start", "seen", "--display", "web"]
            starting = subprocess.Popen(words, env={**os.environ, "JETSONX_VMS": str(root)}, stderr=stream)
        try:
            address = _wait(
                lambda: "".join(re.findall(r"watch it at (http://127\.0\.0\.1:\S+)\n", said.read_text())),
                "no address of the console",
            )
            with browse(need("chromium"), address, tmp_path / "profile") as page:
                _wait(lambda: "seen" * (_shared(page, root / "seen/console.log") >= 3), "the guest's lines")
                (tmp_path / "screen.png").write_bytes(page.screenshot())
            port, secret = urlsplit(address).port or 0, address.rpartition("%3D")[2]
            assert [_upgrade(port, token) for token in (secret, "0" * 16, "../vnc", "")] == [101, 0, 0, 0]
            serving = f"127.0.0.1:{port}"
            calls = _calls()
            assert (serving in calls, secret in calls) == (True, False)
        finally:
            starting.kill()
            starting.wait()
        # The one that started it is gone, and nothing else: it ends with the machine.
        again = call(root, "start", "seen", "--display", "web", "--timeout", "1")
        assert again.stdout.endswith(f"its console: {address}\n"), again.stderr
        assert call(root, "fault", "seen", "power-cut").returncode == 0
        _wait(lambda: "gone" * (serving not in _calls()), "what serves the console outlives the machine")
        assert not is_port_taken(port)
