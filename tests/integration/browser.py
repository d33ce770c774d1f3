"""A real browser: headless Chromium, spoken with by the DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
    "--remote-debugging-pipe",
)


@dataclass(slots=True)
class Page:
    """A page that is open in the browser. Messages end with a zero byte (Chromium's --remote-debugging-pipe)."""

    to: IO[bytes]
    answers: IO[bytes]
    session: str = ""
    count: int = 0

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Ask the browser, and read what comes until it is the answer: events come in between."""
        self.count += 1
        message: dict[str, object] = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to.write(json.dumps(message).encode() + b"\0")
        self.to.flush()
        while True:
            said = json.loads(self._read())
            if said.get("id") == self.count:
                assert "error" not in said, said
                return dict(said["result"])

    def _read(self) -> bytes:
        data = bytearray()
        while (byte := self.answers.read(1)) != b"\0":
            assert byte, "the browser ended"
            data += byte
        return bytes(data)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page, waited for when it is a promise."""
        said = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def screenshot(self) -> bytes:
        """What the page looks like, as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def browse(chromium: str, address: str, profile: Path) -> Iterator[Page]:
    """Open a page, in a browser that keeps what it keeps in ``profile`` and ends with the block."""
    # Chromium reads messages on descriptor 3 and writes them on 4.
    words = ("sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1', "sh", chromium)
    process = subprocess.Popen(
        [*words, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        page = Page(process.stdin, process.stdout)
        target = page.call("Target.createTarget", url=address)["targetId"]
        page.session = page.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        yield page
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()
