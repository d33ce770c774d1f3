"""Packages in the image and its test: the local engine with real apt and QEMU, and the Dockerfile on a real engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jetsonx.toml import load_toml
from tests.integration.conftest import Need, Ran, Run
from tests.integration.docker_engine import Engine
from tests.integration.registry import RunningRegistry
from tests.integration.test_image import unpack

# Its own libraries are libc's alone; what it finds in its file system is what the image holds.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **word) {
  char directory[200];
  printf("%s in %s, MODE=%s:", word[0], getcwd(directory, sizeof directory), getenv("MODE"));
  for (int i = 1; i < count; i++) printf(" [%s]", word[i]);
  puts(access("/usr/bin/python3", X_OK) ? ", no python" : ", python");
  fflush(stdout);
  if (count > 1 && !strcmp(word[1], "--hang")) for (;;) sleep(1);
  if (count > 1 && !strcmp(word[1], "--crash")) *(volatile int *)0 = 1;
  if (count > 1 && !strcmp(word[1], "--host")) return access("/etc/apt", F_OK) ? 0 : 9;
  return count > 1 && !strcmp(word[1], "--fail") ? 3 : 0;
}
"""
PYTHON = '["/usr/bin/python3", "-c", "import _ssl, zlib; print(open(\'/etc/ssl/certs/ca-certificates.crt\').read(9))"]'
HOSTILE = r"""["app", "it's", "$HOME", "say \"x\"", "<<EOF", "a\\"]"""


def write_project(place: Path, test: str, more: str = "") -> Path:
    place.mkdir(exist_ok=True)
    (place / "app.c").write_text(PROGRAM)
    (place / "jetsonx.toml").write_text(
        f"""\
[project]
name = "app"
[target]
modules = ["orin-nano"]
l4t = "39.2"
[build]
system = "cuda"
sources = ["app.c"]
[image]
packages = ["ca-certificates", "python3-minimal"]
env = {{ MODE = "a 'b' $x" }}
workdir = "/data/in"
test = {test}
{more}
"""
    )
    return place


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, jetsonx: Run, need: Need) -> Path:
    """Built once; what the test of the image says is seen only when it fails."""
    need("qemu-aarch64-static")
    place = write_project(tmp_path_factory.mktemp("packages") / "app", PYTHON)
    built = jetsonx("build", cwd=place)
    assert built.status == 0, built.err
    assert "testing the image under QEMU, without a GPU: /usr/bin/python3" in built.err
    return place


@pytest.fixture
def tests_as(project: Path, jetsonx: Run) -> Callable[..., str]:
    """Build the project with another test, which fails; what is said."""

    def build(test: str, more: str = "") -> str:
        write_project(project, test, more)
        built = jetsonx("build", cwd=project)
        assert built.status == 5, built.err
        assert not (project / "out/image").exists()
        return built.err

    return build


def test_the_lock_pins_them_and_offline_builds_do_with_it(project: Path, jetsonx: Run) -> None:
    [image] = load_toml((project / "jetsonx.lock").read_text())["image"]
    names = {package["name"] for package in image["package"]}
    assert {"python3-minimal", "python3.11-minimal", "libssl3", "zlib1g"} <= names
    assert not names & {"libc6", "ca-certificates", "dpkg", "perl-base"}  # there already, or for scripts alone
    write_project(project, PYTHON)
    first = json.loads(jetsonx("build", "--json", cwd=project).out)
    again = jetsonx("build", "--locked", "--offline", "-o", "again", "--json", cwd=project)
    assert again.status == 0, again.err
    digests = [each["builds"][0]["image"] for each in (first, json.loads(again.out))]
    assert digests[0] == digests[1]
    (project / "jetsonx.toml").write_text(
        (project / "jetsonx.toml").read_text().replace('"python3-minimal"]', '"python3-minimal", "lz4"]')
    )
    refused = jetsonx("build", "--locked", cwd=project)
    assert refused.status == 2
    assert "was made for other packages" in refused.err


def test_the_image_holds_whole_packages_with_their_records(project: Path, jetsonx: Run, tmp_path: Path) -> None:
    write_project(project, PYTHON)
    built = jetsonx("build", cwd=project)
    assert built.status == 0, built.err
    root = unpack(project / "out/image", tmp_path / "root")
    assert (root / "usr/bin/python3").resolve() == root / "usr/bin/python3.11"
    records = {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "ca-certificates", "python3-minimal", "libexpat1"} <= records
    assert not (root / "usr/share/man").exists()


def test_an_unchanged_build_tests_nothing_again(project: Path, jetsonx: Run) -> None:
    write_project(project, HOSTILE)
    first, second = jetsonx("build", cwd=project), jetsonx("build", cwd=project)
    assert "testing the image" in first.err
    assert (first.status, second.status) == (0, 0), first.err
    assert "testing the image" not in second.err
    other = jetsonx("build", cwd=write_project(project, '["app", "--host"]'))
    assert other.status == 0, other.err  # nothing of this host is to be seen


def test_a_failing_test_fails_the_build_in_its_own_words(tests_as: Callable[..., str]) -> None:
    said = tests_as('["app", "--fail", "it\'s", "$HOME", "say \\"x\\""]')
    own = "/opt/app/app in /data/in, MODE=a 'b' $x: [--fail] [it's] [$HOME] [say \"x\"], python"
    assert own in said
    assert "failed with status 3 (under QEMU, without a GPU)" in said


@pytest.mark.parametrize(
    ("test", "more", "expected"),
    [
        ('["app", "--hang"]', "test_timeout_s = 2", "did not end within 2 s and was killed"),
        ('["app", "--crash"]', "", "was killed by SIGSEGV"),
        ('["/usr/bin/perl"]', "", "the image has no /usr/bin/perl"),
    ],
)
def test_other_ways_to_fail(test: str, more: str, expected: str, tests_as: Callable[..., str]) -> None:
    assert expected in tests_as(test, more)


def test_without_namespaces_the_images_libraries_still_serve(
    project: Path, jetsonx: Run, tmp_path: Path, need: Need
) -> None:
    need("qemu-aarch64-static")
    (tmp_path / "unshare").write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2\nexit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    built = jetsonx("build", cwd=write_project(project, PYTHON.replace("read(9)", "read(8)")), env={"PATH": path})
    assert built.status == 0, built.err
    assert "this host gives no namespaces to users" in built.err


def test_names_that_do_not_exist_and_scripts_are_refused(project: Path, jetsonx: Run) -> None:
    write_project(project, PYTHON, "scripts = true")
    refused = jetsonx("build", cwd=project)
    assert refused.status == 2
    assert "image.scripts: the local engine unpacks packages" in refused.err
    text = write_project(project, PYTHON).joinpath("jetsonx.toml").read_text()
    (project / "jetsonx.toml").write_text(text.replace("python3-minimal", "python3-minimall"))
    refused = jetsonx("build", cwd=project)
    assert refused.status == 2
    assert "bookworm has no package named python3-minimall" in refused.err
    assert "did you mean python3-minimal" in refused.err


# ---- Docker ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def docker_build(
    engine_26: Engine, arm64: None, devel_registry: RunningRegistry, jetsonx: Run, tmp_path: Path
) -> Callable[..., Ran]:
    """Build a project by the Docker engine, on the registry's stand-ins."""
    env = {**engine_26.env, "JETSONX_MIRRORS": f"nvcr.io={devel_registry.url}"}

    def build(test: str, more: str = "") -> Ran:
        place = write_project(tmp_path / "app", test, more)
        words = ("build", "--engine", "docker", "--strategy", "cross", "--tag", "app:packages")
        ran = jetsonx(*words, cwd=place, env=env, timeout_s=900)
        assert (place / "out/image").exists() is (ran.status == 0)
        return ran

    return build


def test_docker_puts_them_into_the_image_and_lets_no_failing_test_pass(
    docker_build: Callable[..., Ran], engine_26: Engine
) -> None:
    hung = docker_build('["app", "--hang", "it\'s", "$HOME", "<<EOF"]', "test_timeout_s = 2")
    assert hung.status == 5, hung.err
    assert "/opt/app/app in /data/in, MODE=a 'b' $x: [--hang] [it's] [$HOME] [<<EOF], python" in hung.err
    assert "image.test: /opt/app/app did not end within 2 s" in hung.err
    assert engine_26.docker("image", "inspect", "app:packages", check=False).status != 0
    passed = docker_build(HOSTILE)
    assert passed.status == 0, passed.err
    run = ("run", "--rm", "--platform=linux/arm64", "--entrypoint=/usr/bin/python3", "app:packages", "-c")
    assert engine_26.docker(*run, "import zlib; print(zlib.crc32(b'a'))").out == "3904355907\n"
    layers = engine_26.docker("history", "--format", "{{.Size}} {{.CreatedBy}}", "app:packages").out.splitlines()
    assert [line.split()[1] for line in layers if not line.startswith("0B ")] == ["COPY"]  # the test left nothing
    engine_26.docker("image", "rm", "app:packages")
