"""The wheel that people install holds everything the commands need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked in a directory of its own."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(directory), str(ROOT)], check=True)
    [wheel] = directory.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", str(directory / "site"), str(wheel)], check=True)
    return directory / "site"


def run(installed: Path, where: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "jetsonx", *words],
        cwd=where,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_catalog_comes_along(installed: Path, tmp_path: Path) -> None:
    assert "orin-nano" in run(installed, tmp_path, "targets")


def test_the_samples_come_along(installed: Path, tmp_path: Path) -> None:
    for name in ("vector-add", "saxpy-cmake", "opencv-edges"):
        run(installed, tmp_path, "init", "--sample", name)
        made = {path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*") if path.is_file()}
        source = ROOT / "samples" / name
        assert {path.relative_to(source) for path in source.rglob("*") if path.is_file()} == made


def test_a_sample_builds_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "init", "--sample", "vector-add", "-t", "agx-thor@39.2")
    run(installed, tmp_path, "build", "vector-add")
    assert (tmp_path / "vector-add/out/files/vector-add").is_file()
