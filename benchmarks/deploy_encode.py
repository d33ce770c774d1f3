"""Encodes what a device lacks of one image, which has the one before, and says what that took: OLD NEW CACHE."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmarks.measure import status_kib
from jetsonx.console import Console
from jetsonx.deploy.bundle import prepare
from jetsonx.deploy.image import load_image
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.transfer import Receiver
from jetsonx.deploy.values import RemoteImage
from jetsonx.store.cachedir import CacheDir


def main() -> None:
    """Print it as JSON."""
    old, new = (load_image(Path(word)) for word in sys.argv[1:3])
    kept = Kept(CacheDir(Path(sys.argv[3]), Console(-1)))
    kept.keep(old)
    there = RemoteImage(id=old.id, diff_ids=old.diff_ids, tags=("jetsonx/demo:1",))
    started, used = time.perf_counter(), time.process_time()
    prepared = prepare(new, "jetsonx/demo:2", Receiver(images=(there,)), kept)
    took = {
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - used,
        "peak_kib": status_kib("self", "VmHWM"),
        "bytes": prepared.bundle.size_bytes if prepared.bundle else 0,
    }
    print(json.dumps(took))


if __name__ == "__main__":
    main()
