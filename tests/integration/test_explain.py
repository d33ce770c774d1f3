"""Failures that real compilers and programs make, explained where they happen."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import Need, Run

CONFIG = """
[project]
name = "app"
[target]
modules = ["orin-nano"]
l4t = "39.2"
[build]
system = "cuda"
"""
OLD_API = """
texture<float, 1> table;
__global__ void kernel(float *out) { out[0] = tex1Dfetch(table, 0); }
int main() {
    kernel<<<1, 1>>>(nullptr);
    cudaThreadSynchronize();
    cudaDeviceProp properties;
    return properties.clockRate;
}
"""
CRASH = "int main(int argc, char **) { return argc > 1 ? 3 : *static_cast<volatile int *>(nullptr); }"


def project(directory: Path, source: str) -> Path:
    (directory / "jetsonx.toml").write_text(CONFIG)
    (directory / "a.cu").write_text(source)
    return directory


def test_a_failed_build_is_explained(tmp_path: Path, jetsonx: Run) -> None:
    built = jetsonx("build", project(tmp_path, OLD_API))

    assert built.status == 5
    words, _, known = built.err.partition("\nError: ")
    for name in ("texture-references-removed", "cuda13-thread-functions", "cuda13-device-properties"):
        assert name in known
        assert name not in words

    piped = tmp_path / "build.log"
    piped.write_text(words)
    explained = jetsonx("explain", piped)
    assert "cuda13-thread-functions (measured)" in explained.out
    assert "cudaDeviceSynchronize" in explained.out


def test_a_failure_of_the_projects_own_is_not_explained(tmp_path: Path, jetsonx: Run) -> None:
    built = jetsonx("build", project(tmp_path, "int main() { return nothing; }"))

    assert built.status == 5
    assert built.err.rstrip().splitlines()[-1].startswith("hint: ")


def test_the_first_error_is_explained_however_far_above_the_last_words(tmp_path: Path, jetsonx: Run) -> None:
    directory = project(tmp_path, "int main() { return 0; }")
    script = 'echo "sh: 1: cicc: not found"; for n in $(seq 300); do echo "noise $n"; done; exit 1'
    (directory / "build.sh").write_text(script)
    config = CONFIG.replace('system = "cuda"', 'system = "command"\ncommand = ["sh build.sh"]\noutputs = ["app"]')
    (directory / "jetsonx.toml").write_text(config)

    built = jetsonx("build", directory)

    assert built.status == 5
    words, _, known = built.err.partition("\nError: ")
    assert "cicc" not in words
    assert "log: sh: 1: cicc: not found\n  cicc-not-found (verified)" in known


def test_a_program_that_crashes_in_qemu_is_explained(tmp_path: Path, jetsonx: Run, need: Need) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    assert jetsonx("build", project(tmp_path, CRASH)).status == 0

    crashed = jetsonx("run", "-C", tmp_path)
    assert crashed.status == 128 + 11
    assert "qemu: uncaught target signal 11" in crashed.err
    assert "qemu-signal-11 (verified)" in crashed.err

    ended = jetsonx("run", "-C", tmp_path, "--", "x")
    assert (ended.status, ended.err) == (3, "")
