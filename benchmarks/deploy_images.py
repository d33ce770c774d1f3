"""Images of which the releases differ in one file: a base and an app's layer out of Debian's arm64 packages."""

from __future__ import annotations

import random
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from jetsonx.image import blobs, layer, oci
from jetsonx.image.layer import Entry
from jetsonx.image.oci import Config
from jetsonx.packages.mirrors import load_host, resolve_sources
from tests.images.build import default_cache

SUITE = "bookworm"
PACKAGES = (
    "base-files,bash,coreutils,dash,libc6,libstdc++6,openssl,libssl3,python3,python3-numpy,libopenblas0-pthread,perl,"
    "apt,dpkg,util-linux,python3-scipy"
)
BASE_BYTES, LIBRARY_BYTES, PYTHON_BYTES, CHANGED_BYTES = 195_000_000, 40_000_000, 17_000_000, 3_000_000
MANY_FILES, MANY_BYTES, ONE_BYTES = 50_000, 16_000, 13_800_000
REFERENCE = "by-hand:1"
LABELS = {"jetsonx.target": "orin-nano@36.4.3", "jetsonx.l4t": "36.4.3", "jetsonx.sms": "87"}
_LIBRARIES = "usr/lib/aarch64-linux-gnu"
_ALTERNATIVES = ("libblas.so.3", "liblapack.so.3")  # links that the packages' scripts make
_APP = "usr/lib/python3/dist-packages/"
_COMPILER = ("usr/lib/gcc/", "usr/include/", "usr/bin/aarch64-linux-gnu-", "usr/share/", "boot/", "dev/", "etc/")
_NOT_NEEDED = (".a", ".pyc")
_PROGRAM = """
#include <signal.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
int main(int count, char **words) {
  (void)words;
  if (count > 1) return 0; /* the health check */
  signal(SIGTERM, end);
  for (;;) pause();
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A release: an OCI layout that `docker load` reads too. ``tar`` is the app's layer, plain."""

    layout: Path
    id: str
    tar: Path


class Maker:
    """Makes releases of one app, below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "layers").mkdir(parents=True)
        base, app = read_pool(find_pool())
        self._app = [*app, compile_program(folder)]
        self._base = blobs.store(folder / "layers", base, mtime_s=0)
        # Half a library is no library: without its magic number nobody takes it for one.
        self.changed = (
            b"none" + next(data for each in base if len(data := bytes_of(each)) > CHANGED_BYTES)[4:CHANGED_BYTES]
        )
        self._count = 0

    def version(self, changed: bytes) -> Version:
        """The release whose one file that changes is ``changed``."""
        return self.of([*self._app, layer.file("opt/app/lib/libown.so", changed)])

    def of(self, entries: list[Entry], *, mtime_s: int = 0) -> Version:
        """The release whose app's layer has these entries."""
        self._count += 1
        stored = blobs.store(self._folder / "layers", entries, mtime_s=mtime_s)
        layout = self._folder / f"release-{self._count}"
        config = Config(entrypoint=("/opt/app/demo",), labels=LABELS)
        image = oci.write_blobs(layout, config, [("base", self._base), ("app", stored)], reference=REFERENCE, key="")
        tar = self._folder / f"release-{self._count}.tar"
        with tar.open("wb") as out:
            subprocess.run(["gzip", "-dc", stored.path], stdout=out, check=True)
        return Version(layout=layout, id=image.id, tar=tar)

    def many(self) -> tuple[Version, Version]:
        """Two releases with a layer of many files: all times changed, 16 bytes in each third file, 300 edits in one."""
        source = random.Random(7)
        with find_pool().open("rb") as pool:
            text = pool.read(200 << 20)

        def entries(salt: bytes, one: bytes) -> list[Entry]:
            places = random.Random(11)
            made = [compile_program(self._folder), layer.file("opt/app/lib/libone.so", one)]
            for number in range(MANY_FILES):
                at = places.randrange(len(text) - MANY_BYTES)
                data = text[at : at + MANY_BYTES]
                data = salt + data[len(salt) :] if number % 3 == 0 else data
                made.append(layer.file(f"opt/app/{number % 500:03}/{number:05}.pyc", data))
            return made

        one = source.randbytes(ONE_BYTES)
        return self.of(entries(b"", one)), self.of(entries(source.randbytes(16), rebuilt(one, 1)), mtime_s=1)


def rebuilt(data: bytes, seed: int) -> bytes:
    """A library after a small change of its sources: 300 edits of 8 bytes, 60 insertions of up to 64."""
    source = random.Random(seed)
    made = bytearray(data)
    for _ in range(300):
        at = source.randrange(len(made) - 8)
        made[at : at + 8] = source.randbytes(8)
    for at in sorted((source.randrange(len(made)) for _ in range(60)), reverse=True):
        made[at:at] = source.randbytes(source.randrange(1, 65))
    return bytes(made)


def new_bytes(seed: int) -> bytes:
    """A file that nothing there resembles and nothing compresses."""
    return random.Random(seed).randbytes(CHANGED_BYTES)


def find_pool() -> Path:
    """Debian's files in one tar, fetched once per machine."""
    place = default_cache() / "bench" / f"{SUITE}-arm64.tar"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        mirrors = [
            f"deb {uri} {SUITE} main" for source in resolve_sources(load_host(), SUITE)[:1] for uri in source.uris
        ]
        words = ["mmdebstrap", "--quiet", "--variant=extract", "--format=tar", "--architectures=arm64"]
        subprocess.run([*words, f"--include={PACKAGES}", SUITE, str(part), *mirrors], check=True)
        part.rename(place)
    return place


def read_pool(pool: Path) -> tuple[list[Entry], list[Entry]]:
    """The files of the base, and those of the app: scipy and numpy, each up to a size."""
    base: list[Entry] = [layer.symlink(f"{_LIBRARIES}/{name}", f"openblas-pthread/{name}") for name in _ALTERNATIVES]
    app: list[Entry] = []
    left = {True: LIBRARY_BYTES, False: PYTHON_BYTES}
    room = BASE_BYTES
    with tarfile.open(pool) as tar:
        # Libraries first: all that any program needs is there.
        for info in sorted(tar, key=lambda each: (".so" not in each.name, each.name)):
            name, is_library = info.name.removeprefix("./"), ".so" in info.name
            is_app = name.startswith(_APP)
            if info.issym() and not is_app:
                base.append(layer.symlink(name, info.linkname))
            if not info.isreg() or name.startswith(_COMPILER) or name.endswith(_NOT_NEEDED):
                continue
            if info.size > (left[is_library] if is_app else room):
                continue
            file = tar.extractfile(info)
            data = file.read() if file else b""
            if is_app:
                left[is_library] -= info.size
                app.append(layer.file(f"opt/app/{name.removeprefix(_APP)}", data))
            else:
                room -= info.size
                base.append(layer.file(name, data, info.mode & 0o755))
    return base, app


def bytes_of(entry: Entry) -> bytes:
    """What a file holds."""
    return entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()


def compile_program(folder: Path) -> Entry:
    """A static AArch64 program that waits, and ends at once when it is told to."""
    (folder / "demo.c").write_text(_PROGRAM)
    words = ["aarch64-linux-gnu-gcc", "-static", "-O2", "-s", "-o", str(folder / "demo"), str(folder / "demo.c")]
    subprocess.run(words, check=True)
    return layer.file("opt/app/demo", (folder / "demo").read_bytes(), 0o755)
