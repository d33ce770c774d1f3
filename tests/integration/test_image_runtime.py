"""Images of a sysroot of packages: the driver's libraries of the device find the C library that they were built for.

JetPack 5 and 6 are in test_redist.py, where their nvcc is.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from jetsonx.toml import load_toml
from tests.integration.conftest import Need, Run
from tests.integration.test_image import unpack


def check_image(place: Path, target: str, jetsonx: Run, need: Need, tmp_path: Path, *, but: Sequence[str] = ()) -> Path:
    """The image of the project at ``place`` unpacked: verify finds nothing wrong, and its program starts in it.

    ``but``: rules that warn of something else.
    """
    report = tmp_path / "image.json"
    ran = jetsonx("verify", "-t", target, place / "out/image", "--format", "json", "--output", report)
    found = json.loads(report.read_text())["findings"]
    assert [each for each in found if each["severity"] != "note" and each["rule"] not in but] == []
    assert ran.status == 0, ran.err
    root = unpack(place / "out/image", tmp_path / "root")
    qemu = need("qemu-aarch64-static", "qemu-aarch64")
    [program] = (path for path in (root / "opt" / place.name).iterdir() if path.is_file())
    words = [qemu, "-L", str(root), str(program), "--self-test"]
    started = subprocess.run(words, env={}, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    assert "ok" in started.stdout
    return root


def version(root: Path, package: str) -> str:
    lines = (root / "var/lib/dpkg/status.d" / package).read_text().splitlines()
    return next(line.removeprefix("Version: ") for line in lines if line.startswith("Version: "))


@pytest.mark.parametrize(
    ("name", "target"),
    [("vector-add", "orin-nano@39.2"), ("vector-add", "agx-thor@38.4"), ("opencv-edges", "orin-nano@39.2")],
)
def test_the_image_is_not_older_than_the_device(
    name: str, target: str, sample: Callable[[str], Path], jetsonx: Run, need: Need, tmp_path: Path
) -> None:
    place = sample(name)
    built = jetsonx("build", "-t", target, cwd=place)
    assert built.status == 0, built.err
    root = check_image(place, target, jetsonx, need, tmp_path)
    records = {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libgcc-s1", "libstdc++6", "gcc-14-base"} <= records
    assert ("gcc-12-base" in records) is ("libgfortran5" in records)
    assert (version(root, "libc6")[:5], version(root, "libstdc++6")[:3]) == ("2.41-", "14.")
    assert version(root, "ca-certificates").endswith("deb12u1")
    assert [path for path in root.rglob("*") if path.is_symlink() and not path.resolve().is_relative_to(root)] == []


def test_packages_of_glibcs_source_follow_it(sample: Callable[[str], Path], jetsonx: Run, tmp_path: Path) -> None:
    place = sample("vector-add")
    text = (place / "jetsonx.toml").read_text()
    (place / "jetsonx.toml").write_text(text.replace("[image]\n", '[image]\npackages = ["locales", "libgomp1"]\n'))
    built = jetsonx("build", "-t", "orin-nano@39.2", cwd=place)
    assert built.status == 0, built.err
    [image] = load_toml((place / "jetsonx.lock").read_text())["image"]
    versions = {each["name"]: each["version"] for each in image["package"]}
    assert {name for name, found in versions.items() if found.startswith("2.41-")} == {
        "locales",
        "libc-bin",
        "libc-l10n",
    }
    assert versions.keys() - {"locales", "libc-bin", "libc-l10n"} == {"libgomp1", "gcc-12-base"}
    assert versions["libgomp1"] == versions["gcc-12-base"]
    root = unpack(place / "out/image", tmp_path / "root")
    assert version(root, "libc6") == versions["libc-bin"]


def test_the_lock_pins_them(sample: Callable[[str], Path], jetsonx: Run) -> None:
    place = sample("vector-add")
    lock = place / "jetsonx.lock"

    def build(*words: str) -> tuple[str, str]:
        built = jetsonx("build", "-t", "orin-nano@39.2", "--json", *words, cwd=place)
        assert built.status == 0, built.err
        return json.loads(built.out)["builds"][0]["image"], built.err

    image, _ = build()
    [runtime] = load_toml(lock.read_text())["runtime"]
    assert (runtime["release"], runtime["suite"]) == ("39.2.0", "trixie")
    assert [each["name"] for each in runtime["package"]] == ["gcc-14-base", "libc6", "libgcc-s1", "libstdc++6"]
    assert build("--locked", "--offline", "-o", "again")[0] == image

    whole = lock.read_text()
    before, _, _ = whole.partition("\n[[runtime]]")
    lock.write_text(before)  # as an older jetsonx wrote it
    old, said = build("--locked", "-o", "old")
    assert "jetsonx.lock pins no newer ones" in said
    assert old != image
    assert lock.read_text() == before
    assert build()[0] == image
    assert lock.read_text() == whole
