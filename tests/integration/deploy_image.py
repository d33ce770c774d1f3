"""Images to deploy, as `jetsonx build` leaves them: a static AArch64 program, and data that most releases share."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jetsonx.image import blobs, layer, oci
from jetsonx.image.oci import Config, Image

LABELS = {
    "jetsonx.target": "orin-nano@36.4.3",
    "jetsonx.l4t": "36.4.3",
    "jetsonx.sms": "87",
    "org.opencontainers.image.title": "demo",
}
DEMO_PROJECT = """
[project]
name = "demo"
[target]
modules = ["orin-nano"]
l4t = "36.4.3"
[build]
system = "cuda"
[deploy]
devices = ["jetson"]
gpu = "none"
network = "none"
"""
"""The beginning of a project's file, to which lines of [deploy] may be added."""
_PROGRAM = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
int main(void) {
  char mode[64] = "";
  FILE *file = fopen("/opt/demo/mode", "r");
  if (file) { if (!fgets(mode, sizeof mode, file)) mode[0] = 0; fclose(file); }
  if (!strncmp(mode, "bad", 3)) { puts("cannot open the camera"); return 3; }
  signal(SIGTERM, end);
  printf("up %s\n", mode);
  fflush(stdout);
  for (;;) pause();
}
"""


def compile_program(folder: Path, compiler: str) -> Path:
    """The program; it ends at once with 3 where its mode says "bad"."""
    (folder / "demo.c").write_text(_PROGRAM)
    program = folder / "demo"
    subprocess.run([compiler, "-static", "-O2", "-s", "-o", program, folder / "demo.c"], check=True)
    return program


def write_app(directory: Path, program: Path, mode: str, *, labels: Mapping[str, str] | None = None) -> Image:
    """An image whose releases differ by ``mode``, and by 64 KB in a file of a megabyte."""
    shared = random.Random(1).randbytes(4_000_000)
    table = shared[:1_000_000] + random.Random(mode).randbytes(65_536)
    base = [layer.file("usr/share/model", shared)]
    app = [
        layer.file("opt/demo/demo", program, 0o755),
        layer.file("opt/demo/mode", f"{mode}\n"),
        layer.file("opt/demo/table", table),
    ]
    config = Config(entrypoint=("/opt/demo/demo",), working_dir="/opt/demo", labels={**LABELS, **(labels or {})})
    with oci.replaced_directory(directory) as layout:
        folder = layout / "blobs" / "sha256"
        folder.mkdir(parents=True)
        stored = [(name, blobs.store(folder, each, mtime_s=0)) for name, each in (("base", base), ("app", app))]
        return oci.write_blobs(layout, config, stored, reference="demo:1", key=mode)
