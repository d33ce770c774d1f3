"""`jetsonx build` for real: samples, build systems, wrong results, bad input."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.integration.conftest import CLI, Need, Run
from tests.integration.small_disk import small_disk

KERNEL = """
#include <cstdio>
__global__ void twice(int *x) { *x *= 2; }
int main() {
    int n = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    twice<<<1, 1>>>(nullptr);
    std::printf("%s|%s\\n", FILE_NAME, cudaGetErrorName(error));
    return 7;
}
"""
SOURCE = KERNEL.replace("FILE_NAME", "__FILE__")
TARGET = '[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n'


def write(directory: Path, **files: str) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def project(name: str, build: str, rest: str = "") -> str:
    return f'[project]\nname = "{name}"\n{TARGET}[build]\n{build}\n{rest}'


def machine(path: Path) -> str:
    with path.open("rb") as file:
        return ELFFile(file)["e_machine"]  # type: ignore[no-any-return]


def report(directory: Path) -> dict[str, list[dict[str, object]]]:
    loaded: dict[str, list[dict[str, object]]] = json.loads((directory / "out/report.json").read_text())
    return loaded


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("vector-add", ["vector-add"]),
        ("saxpy-cmake", ["saxpy", "libsaxpy.so.0.1.0"]),
        ("opencv-edges", ["opencv-edges"]),
    ],
)
def test_sample_builds_for_orin_and_thor_and_starts(
    name: str, outputs: list[str], sample: Callable[[str], Path], jetsonx: Run, need: Need
) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    directory = sample(name)

    built = jetsonx("build", "--json", directory)

    assert built.status == 0, built.err
    [build] = json.loads(built.out)["builds"]
    assert build["targets"] == ["orin-nano@39.2.0", "thor-t5000@39.2.0"]
    for output in outputs:
        assert machine(directory / "out/files" / output) == "EM_AARCH64"
    held = {code for codes in build["device_code"].values() for code in codes}
    assert held == {"sm_87", "sm_110", "compute_110"}
    manifest = json.loads((directory / "out/image/manifest.json").read_text())
    assert manifest[0]["RepoTags"] == [f"{name.removesuffix('-cmake')}:0.1.0"]

    ran = jetsonx("run", "-C", directory, "--", "--self-test")
    assert ran.status == 0, ran.err + ran.out
    assert "no CUDA device" in ran.out


def test_unchanged_project_rebuilds_nothing(sample: Callable[[str], Path], jetsonx: Run) -> None:
    directory = sample("vector-add")
    jetsonx("build", directory)
    before = (directory / "out/files/vector-add").stat().st_mtime_ns

    again = jetsonx("build", directory, "--json")

    assert json.loads(again.out)["builds"][0]["up_to_date"] is True
    assert (directory / "out/files/vector-add").stat().st_mtime_ns == before
    source = directory / "vector_add.cu"
    source.write_text(source.read_text() + "\n// a change\n")
    assert json.loads(jetsonx("build", directory, "--json").out)["builds"][0]["up_to_date"] is False


@pytest.mark.parametrize("name", ["vector-add", "saxpy-cmake"])
def test_two_directories_give_the_same_digest(
    name: str, tmp_path: Path, sample: Callable[..., Path], jetsonx: Run
) -> None:
    results = []
    for place in ("a", "some/much longer/directory"):
        directory = sample(name, place)
        built = jetsonx("build", "--json", directory)
        assert built.status == 0, built.err
        results.append(json.loads(built.out)["builds"][0]["image"])
        for path in (directory / "out/files").iterdir():
            data = path.read_bytes()
            assert str(tmp_path).encode() not in data, path
            assert str(Path.home() / ".cache").encode() not in data, path
    assert results[0] == results[1]


def test_source_directory_stays_clean_and_the_revision_is_known(sample: Callable[[str], Path], jetsonx: Run) -> None:
    directory = sample("opencv-edges")
    git = ["git", "-C", str(directory), "-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)

    assert jetsonx("build", directory).status == 0

    changed = subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout
    assert changed.split() == ["??", "jetsonx.lock"]
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    index = json.loads((directory / "out/image/index.json").read_text())
    blobs = directory / "out/image/blobs/sha256"
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    labels = json.loads((blobs / manifest["config"]["digest"][7:]).read_text())["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == head
    assert labels["jetsonx.sms"] == "87,110"


MAKEFILE = """
NVCC = nvcc
CXX = g++
app: a.o b.o
\t$(NVCC) -o $@ $^ -L/usr/local/cuda/lib64 -lcudart
a.o: a.cu
\t$(NVCC) -arch=native -Xcompiler -march=native -c $< -o $@
b.o: b.cpp
\t$(CXX) -O2 -march=native -I/usr/local/cuda/include -c $< -o $@
"""
CMAKE = """
cmake_minimum_required(VERSION 3.18)
project(app LANGUAGES CXX CUDA)
find_package(CUDAToolkit REQUIRED)
add_executable(app a.cu)
target_link_libraries(app PRIVATE CUDA::cuda_driver)
"""
MESON = """
project('app', 'cuda', 'cpp')
executable('app', 'a.cu')
"""


@pytest.mark.parametrize(
    ("build", "files"),
    [
        ('system = "cuda"\noutputs = ["app"]', {}),
        (
            'system = "make"\noutputs = ["app"]',
            {"Makefile": MAKEFILE, "b.cpp": "#include <cuda_runtime.h>\nint b() { return CUDART_VERSION; }"},
        ),
        ('system = "cmake"\noutputs = ["app"]', {"CMakeLists.txt": CMAKE}),
        ('system = "meson"\noutputs = ["app"]', {"meson.build": MESON}),
        ('system = "command"\ncommand = ["nvcc a.cu -o app"]\noutputs = ["app"]', {}),
    ],
    ids=["cuda", "make", "cmake", "meson", "command"],
)
def test_every_build_system_gives_a_program_that_runs(
    build: str, files: dict[str, str], tmp_path: Path, jetsonx: Run, need: Need
) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")
    directory = write(tmp_path, **{"jetsonx.toml": project("app", build), "a.cu": SOURCE, **files})

    built = jetsonx("build", directory)

    assert built.status == 0, built.err
    ran = jetsonx("run", "-C", directory)
    assert ran.status == 7, ran.err
    name, _, error = ran.out.strip().partition("|")
    assert name.endswith("a.cu")
    assert not name.startswith("/"), "a path of this workstation"
    assert error in {"cudaErrorStubLibrary", "cudaErrorInsufficientDriver"}
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".o"] == []


def test_meson_makes_code_for_every_module(tmp_path: Path, jetsonx: Run) -> None:
    config = project("app", 'system = "meson"\noutputs = ["app"]').replace('["orin-nano"]', '["orin-nano", "agx-thor"]')
    write(tmp_path, **{"jetsonx.toml": config, "meson.build": MESON, "a.cu": SOURCE})

    built = jetsonx("build", tmp_path)

    assert built.status == 0, built.err
    code = json.loads((tmp_path / "out/done.json").read_text())["device_code"]["app"]
    assert {"sm_87", "sm_110"} <= set(code)


def test_native_flags_are_replaced_and_said(tmp_path: Path, jetsonx: Run) -> None:
    files = {"Makefile": MAKEFILE, "b.cpp": "int b() { return 1; }", "a.cu": SOURCE}
    write(tmp_path, **{"jetsonx.toml": project("app", 'system = "make"\noutputs = ["app"]'), **files})

    built = jetsonx("build", tmp_path)

    assert "note: nvcc -arch=native replaced by" in built.err
    assert "-march=native replaced by the target's -mcpu=cortex-a78ae" in built.err


def test_architecture_overridden_by_the_project_fails_the_build(tmp_path: Path, jetsonx: Run) -> None:
    lists = CMAKE + "set_target_properties(app PROPERTIES CUDA_ARCHITECTURES 80)\n"
    config = project("app", 'system = "cmake"\noutputs = ["app"]')
    write(tmp_path, **{"jetsonx.toml": config, "CMakeLists.txt": lists, "a.cu": SOURCE})

    built = jetsonx("build", tmp_path)

    assert built.status == 1
    assert "sm_80" in built.err
    assert "override_arch" in built.err
    [finding] = [each for each in report(tmp_path)["findings"] if each["severity"] == "error"]
    assert finding["rule"] in {"JX702", "JX703"}
    assert not (tmp_path / "out/image").exists()

    (tmp_path / "jetsonx.toml").write_text(config + "override_arch = true\n")
    mended = jetsonx("build", tmp_path)
    assert mended.status == 0, mended.err
    assert "replaced by" in mended.err


def test_x86_output_fails_the_build(tmp_path: Path, jetsonx: Run) -> None:
    host = shutil.which("true")
    config = project("app", f'system = "command"\ncommand = ["cp {host} app"]\noutputs = ["app"]')
    write(tmp_path, **{"jetsonx.toml": config})

    built = jetsonx("build", tmp_path)

    assert built.status == 1
    assert "JX101" in built.err


def test_compile_error_shows_the_compilers_words_then_target_and_stage(tmp_path: Path, jetsonx: Run) -> None:
    write(tmp_path, **{"jetsonx.toml": project("app", 'system = "cuda"'), "a.cu": "int main() { return nothing; }"})

    built = jetsonx("build", tmp_path)

    assert built.status == 5
    words, _, ours = built.err.partition("Error:")
    assert '"nothing" is undefined' in words
    assert "orin-nano@39.2.0" in ours
    assert "compile and link" in ours


def test_missing_output_names_what_is_there(tmp_path: Path, jetsonx: Run) -> None:
    config = project("app", 'system = "command"\ncommand = ["nvcc a.cu -o other"]\noutputs = ["app"]')
    write(tmp_path, **{"jetsonx.toml": config, "a.cu": SOURCE})

    built = jetsonx("build", tmp_path)

    assert built.status == 2
    assert "app" in built.err
    assert "other" in built.err.partition("hint:")[2]


def test_release_without_nvcc_says_what_it_needs(sample: Callable[[str], Path], jetsonx: Run) -> None:
    nobody = "developer.download.nvidia.com=http://127.0.0.1:1"
    env = {"CUDA_HOME": "", "CUDA_PATH": "", "JETSONX_MIRRORS": nobody}
    built = jetsonx("build", sample("vector-add"), "-t", "orin-nano@36.4.3", env=env)

    assert built.status == 3
    assert "CUDA 12.6" in built.err
    assert "/usr/local/cuda-12.6" in built.err
    assert "127.0.0.1:1" in built.err
    assert "JETSONX_MIRRORS" in built.err.partition("hint:")[2]


def test_locked_build_takes_the_lock_and_nothing_else(sample: Callable[[str], Path], jetsonx: Run) -> None:
    directory = sample("vector-add")
    without = jetsonx("build", "--locked", directory)
    assert without.status == 2
    assert "jetsonx.lock" in without.err

    assert jetsonx("build", directory).status == 0
    lock = (directory / "jetsonx.lock").read_bytes()
    assert jetsonx("build", "--locked", "--offline", directory).status == 0
    assert (directory / "jetsonx.lock").read_bytes() == lock


def test_dry_run_prints_commands_and_builds_nothing(sample: Callable[[str], Path], jetsonx: Run) -> None:
    directory = sample("vector-add")

    planned = jetsonx("build", "--dry-run", directory)

    assert planned.status == 0, planned.err
    assert " -C " in planned.out
    assert not (directory / "out").exists()


def command_lines() -> list[str]:
    """Of every process on this host."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended while we looked
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_ctrl_c_ends_the_children_and_the_next_build_works(sample: Callable[[str], Path], jetsonx: Run) -> None:
    directory = sample("vector-add")
    child = subprocess.Popen(
        [*CLI, "build", str(directory)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    build = directory / "out/build"
    deadline = time.monotonic() + 120
    while not list(build.glob("obj/*")) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)

    assert child.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert [words for words in command_lines() if str(directory) in words] == []
    assert jetsonx("build", directory).status == 0


def test_several_releases_get_a_directory_each(sample: Callable[[str], Path], jetsonx: Run) -> None:
    directory = sample("vector-add")

    built = jetsonx("build", directory, "-t", "orin-nano@39.2", "-t", "agx-thor@38.4")

    assert built.status == 0, built.err
    assert (directory / "out/r39.2.0/files/vector-add").is_file()
    assert (directory / "out/r38.4.0/image/index.json").is_file()
    assert "sm_110" in json.dumps(json.loads((directory / "out/r38.4.0/report.json").read_text()))


@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_either_compiler_sees_only_the_sysroot(compiler: str, tmp_path: Path, jetsonx: Run, need: Need) -> None:
    if compiler == "gcc":
        need("aarch64-linux-gnu-g++")
    config = project("app", f'system = "cuda"\ncompiler = "{compiler}"')
    write(tmp_path, **{"jetsonx.toml": config, "a.cu": SOURCE + "#include <iostream>\nvoid f() { std::cout << 1; }"})

    built = jetsonx("-v", "build", tmp_path)

    assert built.status == 0, built.err
    needed = (tmp_path / "out/build/.ninja_deps").read_bytes()
    for line in needed.split(b"\0"):
        assert b"/usr/aarch64-linux-gnu" not in line
        assert b" /usr/include" not in line


def test_environment_of_the_host_stays_out(sample: Callable[[str], Path], jetsonx: Run, tmp_path: Path) -> None:
    directory = sample("vector-add")
    poison = {"CFLAGS": "-nonsense", "CPATH": "/usr/include", "LIBRARY_PATH": "/usr/lib", "LDFLAGS": "-nonsense"}

    assert jetsonx("build", directory, env=poison).status == 0


def test_env_drives_the_compilers_by_hand(tmp_path: Path, jetsonx: Run) -> None:
    exports = jetsonx("env", "orin-nano@39.2").out
    write(tmp_path, **{"a.cu": SOURCE})

    done = subprocess.run(
        ["sh", "-ec", f"{exports}\nnvcc a.cu -o app"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert machine(tmp_path / "app") == "EM_AARCH64"
    described = json.loads(jetsonx("env", "orin-nano@39.2", "--format", "json").out)
    assert described["sms"] == [87]
    assert Path(jetsonx("env", "orin-nano@39.2", "--format", "cmake").out.strip()).is_file()


def test_demo_does_the_main_job(tmp_path: Path, jetsonx: Run, need: Need) -> None:
    need("qemu-aarch64-static", "qemu-aarch64")

    done = jetsonx("demo", "-o", tmp_path / "demo")

    assert done.status == 0, done.err
    assert "orin-nano@39.2.0, thor-t5000@39.2.0" in done.out
    assert "exit status 0" in done.out
    assert "docker load" in done.out


@pytest.mark.skipif(os.geteuid() != 0, reason="a tmpfs needs root")
def test_full_disk_in_the_output_directory_is_said(sample: Callable[[str], Path], tmp_path: Path, jetsonx: Run) -> None:
    directory, small = sample("vector-add"), tmp_path / "small"
    small.mkdir()
    with small_disk(small, 400 << 10):
        built = jetsonx("build", directory, "-o", small / "out")
        assert built.status in {3, 5}, built.err
        assert "No space left on device" in built.err or "space" in built.err
    assert jetsonx("build", directory, "-o", small / "out").status == 0
