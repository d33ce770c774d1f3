"""An L4T image of 3 GB to a usable sysroot: jetsonx against Docker, against skopeo and umoci, and against the floor.

All fetch the same stand-in image (``tests/images``) from a real registry on loopback. The floor is what no unpacker of
these layers can beat here: every layer through curl and the fastest gzip decompressor, all at once, into /dev/null.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.measure import Timing, measure, nothing, peak_memory_of_all
from tests.images.build import build_images
from tests.integration.registry import serve_registry

JETSONX = str(Path(sys.executable).with_name("jetsonx"))
NAME = "An image of 3 GB to a sysroot: jetsonx sysroot pull --from image"
REPOSITORY = "nvidia/l4t-jetpack"
FIRST, SECOND = "36.4.0", "36.3.0"
# What the filter of jetsonx takes its files from, so that docker export unpacks no more than is needed.
PATHS = (
    "usr/include usr/lib usr/local usr/share/pkgconfig usr/share/cmake "
    "etc/ld.so.conf.d etc/alternatives opt/nvidia var/lib/dpkg/status"
)
ROUNDS = 3
GOALS = (
    "Goals: at most 0.33 of the better of the two others; at most 1.3 times the floor; at most 200 MiB for all its "
    "processes together (PSS); the second release at most 0.25 of the first; a warm look-up at most 0.15 s."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way from the registry to the files: how it is shown, a shell script, and what puts everything back first."""

    shown: str
    script: str
    before: Callable[[], None] = nothing

    def measure(self) -> float:
        os.sync()  # what the one before wrote is not this one's to write out
        return measure(["sh", "-ec", self.script], self.before)


def run(work: Path) -> str:
    with serve_registry(work / "registry") as registry, docker_daemon(work) as docker:
        layouts = build_images(bench=True)
        for release in (FIRST, SECOND):
            registry.push(layouts[f"r{release}-bench"], f"{REPOSITORY}:r{release}")
        contenders = {
            **ours(work, registry.host),
            "docker": by_docker(work, docker, registry.host),
            "umoci": by_umoci(work, registry.host),
            "floor": floor(layouts[f"r{FIRST}-bench"], registry.host),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, contender in contenders.items():
                seconds[name].append(contender.measure())
        cold = contenders["cold"]
        peak_kib = peak_memory_of_all(["sh", "-ec", cold.script], cold.before)
        timings = {name: Timing(seconds=tuple(times), peak_kib=0) for name, times in seconds.items()}
        return report(contenders, timings, peak_kib, size_of(layouts[f"r{FIRST}-bench"]))


def ours(work: Path, address: str) -> dict[str, Contender]:
    """A pull into an empty store; the other release into the same store; the warm look-up of the first."""
    cache = work / "cache"
    environment = f"export JETSONX_CACHE={shlex.quote(str(cache))} JETSONX_MIRRORS=nvcr.io=http://{address}; "
    pull = f"{environment}{shlex.quote(JETSONX)} -q sysroot pull --from image "
    path = f"{environment}exec {shlex.quote(JETSONX)} -q sysroot path "
    return {
        "cold": Contender(
            shown=f"jetsonx sysroot pull orin-nano@{FIRST} --from image",
            script=f"{pull}orin-nano@{FIRST}",
            before=partial(remove, cache),
        ),
        "second": Contender(
            shown=f"jetsonx sysroot pull orin-nano@{SECOND} --from image, after it",
            script=f"{pull}orin-nano@{SECOND}",
        ),
        "warm": Contender(shown=f"jetsonx sysroot path orin-nano@{FIRST}", script=f"{path}orin-nano@{FIRST}"),
    }


def by_docker(work: Path, docker: str, address: str) -> Contender:
    image = f"{address}/{REPOSITORY}:r{FIRST}"
    root = work / "docker-root"

    def before() -> None:
        for words in ("rm -f bench", f"rmi -f {image}"):
            subprocess.run(["sh", "-c", f"{docker} {words}"], capture_output=True, check=False)
        remove(root)
        root.mkdir()

    return Contender(
        shown="docker pull, docker create, docker export \\| tar -x of the same paths",
        script=f"{docker} pull -q --platform linux/arm64 {image}; "
        f"{docker} create --platform linux/arm64 --name bench {image}; "
        f"{docker} export bench | tar -x -C {root} {PATHS}",
        before=before,
    )


def by_umoci(work: Path, address: str) -> Contender:
    layout, bundle = work / "umoci-layout", work / "umoci-bundle"

    def before() -> None:
        remove(layout)
        remove(bundle)

    return Contender(
        shown="skopeo copy, umoci unpack",
        script=f"skopeo --override-arch arm64 copy -q --src-tls-verify=false docker://{address}/{REPOSITORY}:r{FIRST} "
        f"oci:{layout}:bench && umoci unpack --image {layout}:bench {bundle}",
        before=before,
    )


def floor(layout: Path, address: str) -> Contender:
    layers = [layer["digest"] for layer in load_layers(layout)]
    url = f"http://{address}/v2/{REPOSITORY}/blobs"
    one = " & ".join(f"curl -sf {url}/{digest} | igzip -dc > /dev/null" for digest in layers)
    return Contender(shown="curl -s LAYER \\| igzip -dc > /dev/null, all layers at once", script=f"{one} & wait")


def load_layers(layout: Path) -> list[Mapping[str, str]]:
    [described] = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads((layout / "blobs" / described["digest"].replace(":", "/")).read_text())
    layers: list[Mapping[str, str]] = manifest["layers"]
    return layers


def size_of(layout: Path) -> str:
    """How much there is to fetch and to unpack, in words."""
    layers = load_layers(layout)
    paths = [layout / "blobs" / layer["digest"].replace(":", "/") for layer in layers]
    packed = sum(path.stat().st_size for path in paths)
    unpacked = sum(int(subprocess.check_output(f"gzip -dc {path} | wc -c", shell=True)) for path in paths)
    return f"{len(layers)} layers, {packed / 1e9:.2f} GB compressed, {unpacked / 1e9:.2f} GB unpacked"


def report(contenders: Mapping[str, Contender], timings: Mapping[str, Timing], peak_kib: int, size: str) -> str:
    median = {name: timing.median_s for name, timing in timings.items()}
    better = min("docker", "umoci", key=median.__getitem__)
    ratio = {name: median["cold"] / median[name] for name in (better, "floor")}
    lines = [
        f"### {NAME}",
        "",
        f"{size}. The two releases share all layers but those of the board, the CUDA runtime and the last one.",
        "",
        GOALS,
        "",
        "| command | median (min-max) | peak memory |",
        "|---|---|---|",
    ]
    for name, contender in contenders.items():
        memory = f"{peak_kib / 1024:.0f} MiB" if name == "cold" else "-"
        lines.append(f"| `{contender.shown}` | {timings[name]} | {memory} |")
    second = median["second"] / median["cold"]
    result = (
        f"**Ratio {ratio[better]:.2f}** to {better}, **{ratio['floor']:.2f}** to the floor, **{second:.2f}** of the "
    )
    lines += ["", f"{result}second release to the first; {ROUNDS} runs each, in turn."]
    text = "\n".join(lines)
    print(text, end="\n\n", flush=True)
    return text


def remove(path: Path) -> None:
    """Remove a directory whose parts may be read-only."""
    if path.exists():
        subprocess.run(["chmod", "-R", "u+w", str(path)], check=True)
        shutil.rmtree(path)


@contextmanager
def docker_daemon(work: Path) -> Iterator[str]:
    """A Docker daemon of the benchmark's own; gives the words that a shell starts its client with."""
    home = work / "docker"
    home.mkdir()
    places = ["--data-root", f"{home}/data", "--exec-root", f"{home}/exec", "--pidfile", f"{home}/pid"]
    quiet = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    with ExitStack() as stack:
        log = stack.enter_context((home / "log").open("wb"))
        argv = ["dockerd", "-H", f"unix://{home}/sock", *places, *quiet]
        daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        stack.callback(daemon.wait, 30)
        stack.callback(daemon.send_signal, signal.SIGTERM)
        client = f"docker -H unix://{home}/sock"
        deadline = time.monotonic() + 40
        while subprocess.run(f"{client} version", shell=True, capture_output=True, check=False).returncode != 0:
            if daemon.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"dockerd does not answer:\n{(home / 'log').read_text()}")
            time.sleep(0.2)
        yield client
