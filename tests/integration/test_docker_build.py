"""`jetsonx build` in real Docker engines: what it leaves, what it says of what is wrong, and what it takes back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import CLI, Ran, Run
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.registry import RunningRegistry
from tests.integration.small_disk import small_disk

Sample = Callable[[str], Path]
TARGET = ("-t", "orin-nano@39.2")

pytestmark = pytest.mark.usefixtures("arm64")


@pytest.fixture(scope="module")
def env(devel_registry: RunningRegistry) -> dict[str, str]:
    """The registry in NVIDIA's place."""
    return {"JETSONX_MIRRORS": f"nvcr.io={devel_registry.url}"}


def command_project(folder: Path, *commands: str, output: str = "app") -> Path:
    """A project whose build is a few shell commands."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = ", ".join(json.dumps(command) for command in commands)
    (folder / "jetsonx.toml").write_text(
        '[project]\nname = "app"\n[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n'
        f'[build]\nsystem = "command"\ncommand = [{listed}]\noutputs = ["{output}"]\n'
    )
    return folder


@pytest.mark.parametrize("name", ["engine_26", "engine_20"])
def test_a_sample_is_built_checked_and_saved(
    name: str, request: pytest.FixtureRequest, jetsonx: Run, sample: Sample, env: Mapping[str, str]
) -> None:
    engine: Engine = request.getfixturevalue(name)
    project = sample("vector-add")
    build = ("build", project, "--engine", "docker", *TARGET)

    first = jetsonx(*build, "--json", env={**engine.env, **env}, timeout_s=900)
    assert first.status == 0, first.err
    [built] = json.loads(first.out)["builds"]
    assert (built["engine"], built["verdict"], built["tags"]) == ("docker", "ok", ["vector-add:0.1.0"])
    assert built["device_code"]["vector-add"] == ["sm_87", "compute_87"]
    assert any(line.startswith("cross:") for line in built["why"])
    assert any("its mirror" in line for line in built["why"])
    config = json.loads(engine.docker("image", "inspect", "vector-add:0.1.0").out)[0]
    layout = project / "out/image"
    [described] = json.loads((layout / "manifest.json").read_bytes())
    assert described["Config"].endswith(config["Id"].removeprefix("sha256:"))
    ran = jetsonx("run", "-C", project, "--", "--self-test", env={**engine.env, **env})
    assert ran.status == 0, ran.err
    assert ran.out.startswith("CPU reference: ok")

    again = jetsonx(*build, env={**engine.env, **env})
    assert again.status == 0, again.err
    assert "up to date" in again.err
    assert not (project / "out/docker/outputs").exists()


def test_the_command_lines_of_a_dry_run_can_be_pasted(
    engine_26: Engine, jetsonx: Run, sample: Sample, env: Mapping[str, str]
) -> None:
    project = sample("vector-add")
    ran = jetsonx("build", project, "--engine", "docker", *TARGET, "--dry-run", env={**engine_26.env, **env})
    assert ran.status == 0, ran.err
    calls = [line for line in ran.out.splitlines() if not line.startswith("#")]
    assert len(calls) == 2
    assert all(" buildx build " in call and call.endswith(str(project)) for call in calls)
    assert not (project / "out").exists()


def test_a_failing_compiler_is_told_with_its_stage_and_what_is_known(
    engine_26: Engine, jetsonx: Run, sample: Sample, env: Mapping[str, str]
) -> None:
    project = sample("vector-add")
    source = project / "vector_add.cu"
    source.write_text(f'#include "not_there.h"\n{source.read_text()}')
    before = engine_26.traces()
    ran = jetsonx("build", project, "--engine", "docker", *TARGET, env={**engine_26.env, **env})
    assert ran.status == 5
    assert "not_there.h: No such file or directory" in ran.err
    assert "stage build:" in ran.err
    assert engine_26.traces() == before
    assert not (project / "out/image").exists()


def test_known_failures_are_explained(engine_26: Engine, jetsonx: Run, env: Mapping[str, str], tmp_path: Path) -> None:
    words = "nvcc fatal   : Unsupported gpu architecture 'compute_53'"
    project = command_project(tmp_path / "p", f'echo "{words}" >&2', "exit 7")
    ran = jetsonx("build", project, "--engine", "docker", env={**engine_26.env, **env})
    assert ran.status == 5
    assert "exit status 7" in ran.err
    assert "cuda13-old-gpu" in ran.err


def test_a_killed_compiler_is_mostly_one_without_memory(
    engine_26: Engine, jetsonx: Run, env: Mapping[str, str], tmp_path: Path
) -> None:
    project = command_project(tmp_path / "p", "sh -c 'kill -9 $$'")
    ran = jetsonx("build", project, "--engine", "docker", env={**engine_26.env, **env})
    assert ran.status == 5
    assert "killed" in ran.err
    assert "-j 2" in ran.err


def test_a_directory_with_spaces_quotes_and_commas(
    engine_26: Engine, jetsonx: Run, env: Mapping[str, str], tmp_path: Path
) -> None:
    project = command_project(tmp_path / """it's "mine", $HOME""", "$CC -x c - -o app <main.c")
    (project / "main.c").write_text("int main(void) { return 0; }\n")
    ran = jetsonx("build", project, "--engine", "docker", "-o", project / "the, out", env={**engine_26.env, **env})
    assert ran.status == 0, ran.err
    assert (project / "the, out/files/app").is_file()


def test_a_file_outside_the_context_is_named(
    engine_26: Engine, jetsonx: Run, env: Mapping[str, str], tmp_path: Path
) -> None:
    project = command_project(tmp_path / "p", "$CC -x c - -o app <main.c")
    (project / "main.c").write_text("int main(void) { return 0; }\n")
    (project / ".dockerignore").write_text("models\n")
    (project / "models").mkdir()
    (project / "models/a").touch()
    with (project / "jetsonx.toml").open("a") as file:
        file.write('[image]\nfiles = ["models/a"]\n')
    ran = jetsonx("build", project, "--engine", "docker", env={**engine_26.env, **env})
    assert ran.status == 5
    assert "models/a" in ran.err


def test_ctrl_c_leaves_nothing_behind(engine_26: Engine, env: Mapping[str, str], tmp_path: Path) -> None:
    project = command_project(tmp_path / "p", "echo started; sleep 600")
    before = engine_26.traces()
    process = subprocess.Popen(
        [*CLI, "-v", "build", str(project), "--engine", "docker"],
        env={**os.environ, **engine_26.env, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.rstrip().endswith(" started"):
                    break
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            assert process.wait(60) == 130, rest
            assert "interrupted" in rest
            assert "Traceback" not in rest
        finally:
            process.kill()
    assert not _lives("sleep 600")
    assert engine_26.traces() == before
    assert not (project / "out/docker/outputs").exists()


def _lives(words: str) -> bool:
    """True when a process with that command line outlives a few seconds."""
    for _ in range(50):
        if subprocess.run(["pgrep", "-fx", words], check=False, capture_output=True).returncode != 0:
            return False
        time.sleep(0.2)
    return True


def test_one_tag_means_both_platforms(
    engine_26: Engine, devel_registry: RunningRegistry, jetsonx: Run, sample: Sample, env: Mapping[str, str]
) -> None:
    project = sample("vector-add")
    tag = f"{devel_registry.host}/me/vector-add:1"
    words = ("--platform", "linux/amd64,linux/arm64", "--tag", tag, "--push")
    ran = jetsonx("build", project, *TARGET, *words, env={**engine_26.env, **env}, timeout_s=900)
    assert ran.status == 0, ran.err
    index = json.loads(engine_26.docker("buildx", "imagetools", "inspect", "--raw", tag).out)
    assert {each["platform"]["architecture"] for each in index["manifests"]} == {"amd64", "arm64"}
    assert engine_26.docker("run", "--rm", f"{tag}-amd64", "--self-test").out.startswith("CPU reference: ok")
    machine = (project / "out/amd64/files/vector-add").read_bytes()[18:20]
    assert machine == b"\x3e\0"


def test_an_image_that_is_not_there(
    engine_26: Engine, devel_registry: RunningRegistry, jetsonx: Run, sample: Sample
) -> None:
    project = sample("vector-add")
    mirror = {"JETSONX_MIRRORS": f"nvcr.io={devel_registry.url}/v2/nowhere"}
    ran = jetsonx("build", project, "--engine", "docker", *TARGET, env={**engine_26.env, **mirror})
    assert ran.status == 4
    assert f"cannot pull {devel_registry.host}/nowhere/nvidia/cuda:13.2.1-devel-ubuntu24.04" in ran.err
    assert "JETSONX_MIRRORS" in ran.err


def test_a_full_disk_of_the_engine(
    root_rights: None, jetsonx: Run, sample: Sample, env: Mapping[str, str], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = {"data-root": str(disk), "storage-driver": "overlay2"}
    with small_disk(disk, 64 << 20), serve_engine("26.1", options=options) as engine:
        ran = jetsonx("build", sample("vector-add"), "--engine", "docker", *TARGET, env={**engine.env, **env})
    assert ran.status == 3, ran.err
    assert "the disk of the engine is full" in ran.err
    assert "docker builder prune" in ran.err


def without_engine(jetsonx: Run, project: Path, *words: str, env: Mapping[str, str]) -> Ran:
    ran = jetsonx("build", project, *words, *TARGET, env=env)
    assert ran.status == 3
    assert not (project / "out").exists()
    return ran


def test_no_daemon(engine_26: Engine, jetsonx: Run, sample: Sample) -> None:
    nowhere = {**engine_26.env, "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    ran = without_engine(jetsonx, sample("vector-add"), "--engine", "docker", env=nowhere)
    assert "the engine at unix:///nowhere/docker.sock does not answer" in ran.err
    assert "unset DOCKER_HOST" in ran.err


def test_no_buildx(engine_26: Engine, jetsonx: Run, sample: Sample, tmp_path: Path) -> None:
    bare = {**engine_26.env, "DOCKER_CONFIG": str(tmp_path)}
    ran = without_engine(jetsonx, sample("vector-add"), "--engine", "docker", env=bare)
    assert "no buildx plugin" in ran.err
    assert "docker-buildx" in ran.err


def test_no_permission_on_the_socket(engine_26: Engine, sample: Sample) -> None:
    """As an ordinary user: root may everything."""
    project = sample("vector-add")
    for path in (project, *project.rglob("*"), *project.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o755)
    engine_26.folder.chmod(0o711)  # so that the socket is seen
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = subprocess.run(
        [*nobody, *CLI, "build", str(project), "--engine", "docker"],
        env={**os.environ, **engine_26.env, "HOME": "/nonexistent", "JETSONX_CACHE": str(project / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    engine_26.folder.chmod(0o700)
    if "Permission denied" in done.stderr and "python" in done.stderr:
        pytest.skip("this machine's Python is not readable to other users")
    assert done.returncode == 3, done.stderr
    assert "no permission on" in done.stderr
    assert "1. the socket belongs to" in done.stderr
    assert "3. this session began" in done.stderr


@pytest.fixture(scope="module")
def own(env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """A store of these tests' own: what comes from the stand-in must not be taken for NVIDIA's."""
    return {**env, "JETSONX_CACHE": str(tmp_path_factory.mktemp("store") / "cache")}


def test_a_sysroot_of_the_releases_image_is_a_named_context(
    engine_26: Engine, engine_20: Engine, jetsonx: Run, sample: Sample, own: Mapping[str, str]
) -> None:
    project = sample("vector-add")
    build = ("build", project, "--engine", "docker", *TARGET)
    stage = jetsonx(*build, "--dry-run", env={**engine_26.env, **own})
    assert "sysroot: by a stage, from the release's image" in stage.out
    pulled = jetsonx("-q", "sysroot", "pull", TARGET[1], "--from", "image", env=own)
    assert pulled.status == 0, pulled.err
    place = pulled.out.strip()

    planned = jetsonx(*build, "--dry-run", env={**engine_26.env, **own})
    assert f"--build-context sysroot={place} " in planned.out
    assert "--build-context" not in jetsonx(*build, "--dry-run", env={**engine_20.env, **own}).out
    built = jetsonx(*build, env={**engine_26.env, **own}, timeout_s=900)
    assert built.status == 0, built.err
    ran = engine_26.docker("run", "--rm", "--platform=linux/arm64", "vector-add:0.1.0", "--self-test")
    assert ran.out.startswith("CPU reference: ok")


def test_locked_packages_are_installed_in_their_versions_or_not_at_all(
    engine_20: Engine, jetsonx: Run, own: Mapping[str, str], tmp_path: Path
) -> None:
    """By a stage, where apt is asked: this engine takes no named contexts. The local engine writes the lock."""
    project = command_project(tmp_path / "p", "$CC -x c - -o app -llz4 <main.c")
    (project / "main.c").write_text("#include <lz4.h>\nint main(void) { return LZ4_versionNumber() < 10900; }\n")
    with (project / "jetsonx.toml").open("a") as file:
        file.write('[sysroot]\nsource = "image"\npackages = ["liblz4-dev"]\n[image]\npackages = ["lz4"]\n')
    local = jetsonx("build", project, "--engine", "local", env=own)
    assert local.status == 0, local.err
    build = ("build", project, "--engine", "docker", "--locked", "-o", project / "out/docker")
    built = jetsonx(*build, env={**engine_20.env, **own}, timeout_s=900)
    assert built.status == 0, built.err
    text = (project / "out/docker/docker/Dockerfile").read_text()
    [sysroot, image] = re.findall(r"--download-only (.*) \\", text)
    assert re.fullmatch(r"liblz4-dev=[\w.+~-]+", sysroot)
    assert {"lz4", "libc6", "liblz4-1"} <= {word.partition("=")[0] for word in image.split()}

    lock = project / "jetsonx.lock"
    lock.write_text(re.sub(r'(name = "liblz4-dev", version = )"[^"]*"', r'\1"0.1-1"', lock.read_text()))
    gone = jetsonx(*build, env={**engine_20.env, **own}, timeout_s=900)
    assert gone.status != 0
    assert "Version '0.1-1' for 'liblz4-dev' was not found" in gone.err


def test_podman_under_the_name_of_docker(jetsonx: Run, sample: Sample, tmp_path: Path) -> None:
    program = tmp_path / "bin/docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho podman version 4.3.1\n")
    program.chmod(0o755)
    ran = without_engine(
        jetsonx, sample("vector-add"), "--engine", "docker", env={"PATH": f"{program.parent}:{os.environ['PATH']}"}
    )
    assert "docker is Podman 4.3.1 here" in ran.err
    assert "podman build" in ran.err


def test_a_changed_source_is_built_anew_in_the_build_directory_that_was_kept(
    engine_26: Engine, jetsonx: Run, sample: Sample, env: Mapping[str, str]
) -> None:
    project = sample("saxpy-cmake")
    build = ("build", project, "--engine", "docker", *TARGET)
    first = jetsonx(*build, env={**engine_26.env, **env}, timeout_s=900)
    assert first.status == 0, first.err
    source = project / "src/main.cpp"
    source.write_text(source.read_text().replace("CPU reference", "Reference of the CPU"))
    second = jetsonx("-v", *build, env={**engine_26.env, **env}, timeout_s=900)
    assert second.status == 0, second.err
    assert "main.cpp.o" in second.err
    assert "saxpy.cu.o" not in second.err
    ran = jetsonx("run", "-C", project, "--", "--self-test", env={**engine_26.env, **env})
    assert ran.out.startswith("Reference of the CPU: ok")


def test_a_cache_in_a_registry_serves_another_build(
    engine_26_containerd: Engine, devel_registry: RunningRegistry, jetsonx: Run, env: Mapping[str, str], tmp_path: Path
) -> None:
    """Docker's own image store can export no such cache; containerd's can."""
    project = command_project(tmp_path / "p", "$CC -x c - -o app <main.c")
    (project / "main.c").write_text("int main(void) { return 0; }\n")
    where = f"type=registry,ref={devel_registry.host}/me/cache:1"
    both = {**engine_26_containerd.env, **env}
    first = jetsonx("build", project, "--cache-to", where, env=both, timeout_s=900)
    assert first.status == 0, first.err
    engine_26_containerd.docker("builder", "prune", "--all", "--force")
    shutil.rmtree(project / "out")
    second = jetsonx("-v", "build", project, "--cache-from", where, env=both, timeout_s=900)
    assert second.status == 0, second.err
    assert f"importing cache manifest from {devel_registry.host}/me/cache:1" in second.err
