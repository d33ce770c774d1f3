"""What `doctor` makes of hosts that are made up: each judgement, and what follows from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jetsonx.cli import cli
from jetsonx.host.ask import PATIENCE_S, REMOTE_PATIENCE_S, Ask, find_version, is_silent
from jetsonx.host.binfmt import Binfmt
from jetsonx.host.doctor import ABILITIES, CHECKS, Diagnosis, Line, diagnose, diagnosis_json, render_diagnosis
from jetsonx.host.facts import (
    Apt,
    Compiler,
    CudaToolkit,
    Disk,
    Docker,
    HostFacts,
    Kvm,
    Node,
    Program,
    Python,
    Socket,
    User,
)
from jetsonx.host.judge_machine import PIP_MIN, place_name
from jetsonx.host.mend import PACKAGES, resolve_package
from jetsonx.host.nodes import load_instances
from jetsonx.host.probe import parse_policy
from jetsonx.host.probe_docker import parse_info, probe_docker
from jetsonx.runner import Command, Completed, Runner
from jetsonx.toml import load_toml

GB = 1_000_000_000
NOTHING = Binfmt(mounted=False, name=None, interpreter=None, flags="", enabled=False)
QEMU = Binfmt(mounted=True, name="qemu-aarch64", interpreter="/usr/bin/qemu-aarch64-static", flags="POCF", enabled=True)
SOCKET = Socket(path="/var/run/docker.sock", exists=True, is_writable=True, group="docker")
ENGINE = Docker(
    client=Program(path="/usr/bin/docker", version="26.1.5"),
    has_engine=True,
    endpoint="unix:///var/run/docker.sock",
    socket=SOCKET,
    answer="yes",
    server="26.1.5",
    operating_system="Debian GNU/Linux 13 (trixie)",
    runtimes=("runc",),
    root=Disk(path="/var/lib/docker", free_bytes=100 * GB),
    buildx="0.13.1",
)
SILENT = replace(ENGINE, answer="no", server="", root=None, runtimes=(), words="is the docker daemon running?")
USER = User(name="ada", is_root=False, groups=frozenset({"ada"}), has_sudo=True)

BARE = HostFacts(
    kernel="6.1.0-28-amd64",
    machine="x86_64",
    glibc="2.36",
    has_systemd=True,
    distribution="debian",
    codename="bookworm",
    packages=frozenset(name for package in PACKAGES.values() for name in package.names) - {"docker-ce"},
    user=USER,
    jetsonx=("/venv/bin/jetsonx",),
    memory_bytes=16 * GB,
    cache=Disk(path="/home/ada/.cache/jetsonx", free_bytes=50 * GB),
    python=Python(version="3.11.2", executable="/venv/bin/python", in_venv=True, has_venv_module=True, pip="25.1"),
    apt=Apt(is_there=True, places=("http://deb.example/debian",)),
    programs={},
    compilers=(),
    toolkits=(),
    docker=None,
    binfmt=NOTHING,
    interpreter=None,
    kvm=Kvm(),
    has_gpu=False,
)
"""A fresh Debian with jetsonx and nothing else."""
FULL = replace(
    BARE,
    programs={name: Program(path=f"/usr/bin/{name}", version="9.2") for name in ("ssh", "cmake", "make", "ninja")}
    | {"qemu-aarch64-static": Program(path="/usr/bin/qemu-aarch64-static", version="7.2.22")},
    compilers=(Compiler(name="aarch64-linux-gnu-g++", kind="gcc", major=12, has_linker=True),),
    toolkits=(CudaToolkit(root="/usr/local/cuda-13.0", version="13.0", is_complete=True),),
    docker=ENGINE,
    binfmt=QEMU,
    interpreter=Program(path="/usr/bin/qemu-aarch64-static", version="7.2.22"),
    kvm=Kvm(cpu_flag="vmx", has_node=True, is_accessible=True, group="kvm"),
)


def line(facts: HostFacts, name: str) -> Line:
    return next(each for each in diagnose(facts).lines if each.check.name == name)


def status(facts: HostFacts, name: str) -> str:
    return line(facts, name).finding.status


def found(facts: HostFacts, name: str) -> str:
    return line(facts, name).finding.found


def mend(facts: HostFacts, name: str) -> str:
    given = line(facts, name).finding.mend
    assert given is not None
    return given.text


def notes(facts: HostFacts, name: str) -> str:
    return "\n".join(line(facts, name).finding.notes)


def abilities(facts: HostFacts) -> dict[str, bool]:
    diagnosis = diagnose(facts)
    return {each.name: diagnosis.can(each.name) for each in ABILITIES}


def missing(diagnosis: Diagnosis, ability: str) -> list[str]:
    verdict = next(each for each in diagnosis.verdicts if each.ability.name == ability)
    return [each.check.name for each in verdict.missing]


# The table.


def test_names_are_unique_and_all_that_is_named_exists() -> None:
    checks = [check for _, group in CHECKS for check in group]
    names = [check.name for check in checks]
    assert len(set(names)) == len(names)
    assert {name for ability in ABILITIES for name in ability.needs} <= set(names)
    assert {check.follows for check in checks} <= {"", *names}
    assert {ability.name for ability in ABILITIES} == {"embedded", "cross", "emulate", "native", "run", "deploy"}


def test_pip_is_asked_for_as_the_package_does() -> None:
    project = load_toml((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert f"pip>={PIP_MIN}" in project["dependencies"]


# Whole hosts.


def test_a_bare_machine_builds_without_docker() -> None:
    diagnosis = diagnose(BARE)
    assert abilities(BARE) == dict.fromkeys(("cross", "emulate", "native", "run", "deploy"), False) | {"embedded": True}
    assert missing(diagnosis, "cross") == ["docker", "buildx"]
    assert missing(diagnosis, "emulate") == ["docker", "buildx", "binfmt"]
    assert missing(diagnosis, "run") == ["qemu"]
    assert mend(BARE, "docker") == "sudo apt-get install -y docker.io"
    assert mend(BARE, "qemu") == "sudo apt-get install -y qemu-user-static"
    assert mend(BARE, "binfmt") == "sudo /venv/bin/jetsonx binfmt install"
    assert {each.finding.status for each in diagnosis.lines} == {"ok", "absent"}


def test_a_full_machine_lacks_only_a_native_node() -> None:
    assert abilities(FULL) == dict.fromkeys(("embedded", "cross", "emulate", "run", "deploy"), True) | {"native": False}
    assert missing(diagnose(FULL), "native") == ["builder"]


def test_wsl_without_docker_is_pointed_to_docker_desktop() -> None:
    client_only = replace(SILENT, has_engine=False, socket=replace(SOCKET, exists=False))
    facts = replace(BARE, kernel="5.15.167.4-microsoft-standard-WSL2", docker=client_only)
    assert (status(facts, "kernel"), status(facts, "daemon")) == ("ok", "fail")
    assert "(WSL)" in found(facts, "kernel")
    assert "Docker Desktop" in mend(facts, "daemon")
    assert ".wslconfig" in mend(facts, "kvm")


def test_wsl_1_cannot_have_docker() -> None:
    facts = replace(BARE, kernel="4.4.0-19041-Microsoft")
    assert status(facts, "kernel") == "warn"
    assert mend(facts, "kernel") == "in Windows: wsl --set-version <distribution> 2"
    assert status(facts, "binfmt") == "fail"
    assert abilities(facts)["embedded"]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"machine": "aarch64"}, "kernel"),
        ({"glibc": ""}, "libc"),
        ({"cache": Disk(path="/c", free_bytes=GB // 2)}, "cache"),
        ({"cache": Disk(path="/c", free_bytes=9 * GB, is_writable=False)}, "cache"),
        ({"cache": Disk(path="/c", free_bytes=None, problem="written by a newer jetsonx")}, "cache"),
        ({"python": replace(BARE.python, pip="")}, "pip"),
        ({"python": replace(BARE.python, pip="23.0.1")}, "pip"),
    ],
)
def test_what_stops_a_build_without_docker(change: dict[str, Any], check: str) -> None:
    facts = replace(FULL, **change)
    assert status(facts, check) == "fail"
    assert not abilities(facts)["embedded"]
    assert missing(diagnose(facts), "embedded") == [check]
    assert mend(facts, check)


def test_little_room_and_memory_are_said_but_do_not_stop() -> None:
    facts = replace(BARE, cache=Disk(path="/c", free_bytes=3 * GB), memory_bytes=2 * GB)
    assert (status(facts, "cache"), status(facts, "memory")) == ("warn", "warn")
    assert "prune" in mend(facts, "cache")
    assert abilities(facts)["embedded"]
    assert status(replace(BARE, memory_bytes=None), "memory") == "warn"


# Distributions and rights.


def test_another_distribution_is_told_what_the_package_holds() -> None:
    facts = replace(BARE, distribution="", codename="", apt=Apt(is_there=False), packages=frozenset())
    assert mend(facts, "qemu") == "install the package of your distribution that holds QEMU's user emulation"
    assert status(facts, "apt") == "absent"
    assert "--from image" in mend(facts, "apt")
    assert abilities(facts)["embedded"]
    assert not [each for each in diagnose(facts).mends if "apt-get" in each.text]


def test_root_needs_no_sudo_and_without_sudo_it_is_only_told() -> None:
    as_root = replace(BARE, user=User(name="root", is_root=True, has_sudo=True))
    assert mend(as_root, "ssh") == "apt-get install -y openssh-client"
    alone = replace(BARE, user=replace(USER, has_sudo=False))
    assert mend(alone, "ssh") == "as root: apt-get install -y openssh-client"
    assert diagnose(alone).mends == ()


def test_without_package_lists_they_are_fetched_first() -> None:
    facts = replace(BARE, packages=frozenset())
    given = resolve_package("docker", facts)
    assert given.text == "sudo apt-get update && sudo apt-get install -y docker.io"
    assert given.calls == (("sudo", "apt-get", "update"), ("sudo", "apt-get", "install", "-y", "docker.io"))


def test_docker_s_own_packages_are_preferred_where_its_source_was_added() -> None:
    facts = replace(BARE, packages=BARE.packages | {"docker-ce"})
    assert resolve_package("docker", facts).text.endswith("docker-ce")
    assert resolve_package("buildx", facts).text.endswith("docker-buildx-plugin")


def test_a_release_without_buildx_says_where_it_comes_from() -> None:
    facts = replace(BARE, packages=frozenset({"docker.io"}))
    given = resolve_package("buildx", facts)
    assert "docker-buildx-plugin" in given.text
    assert given.calls == ()


# Docker.


@pytest.mark.parametrize(
    ("member_of", "groups", "group", "answers", "expected"),
    [
        (set(), set(), "docker", ("yes", "no", "no"), "sudo usermod -aG docker ada and log in again"),
        ({"docker"}, set(), "docker", ("yes", "yes", "no"), "newgrp docker, or log in again"),
        (
            set(),
            set(),
            "root",
            ("no", "no", "no"),
            "sudo groupadd -f docker && sudo systemctl restart docker.socket docker",
        ),
        ({"docker"}, {"docker"}, "docker", ("yes", "yes", "yes"), "sudo chmod g+rw /var/run/docker.sock"),
    ],
)
def test_no_permission_on_the_socket_names_three_things_to_check(
    member_of: set[str], groups: set[str], group: str, answers: tuple[str, ...], expected: str
) -> None:
    user = replace(USER, member_of=frozenset(member_of), groups=frozenset(groups))
    closed = replace(SILENT, socket=replace(SOCKET, is_writable=False, group=group))
    facts = replace(FULL, user=user, docker=closed)
    assert status(facts, "daemon") == "fail"
    assert mend(facts, "daemon") == expected
    for note, answer in zip(line(facts, "daemon").finding.notes[:3], answers, strict=True):
        assert note.partition(": ")[2].startswith(answer)
    assert missing(diagnose(facts), "cross") == ["daemon"]
    assert not line(facts, "daemon").finding.mend.calls  # type: ignore[union-attr] # who has root's rights is not ours


@pytest.mark.parametrize(
    ("change", "facts_change", "expected"),
    [
        ({"is_named_by_environment": True, "endpoint": "tcp://10.9.8.7:2375"}, {}, "unset DOCKER_HOST"),
        ({"context": "lab", "endpoint": "ssh://lab"}, {}, "docker context use default"),
        ({}, {}, "sudo systemctl restart docker"),
        ({"socket": replace(SOCKET, exists=False)}, {}, "sudo systemctl enable --now docker"),
        ({"socket": replace(SOCKET, exists=False)}, {"has_systemd": False}, "sudo service docker start"),
        ({"socket": None, "has_engine": False}, {}, "sudo apt-get install -y docker.io"),
    ],
)
def test_an_engine_that_does_not_answer(change: dict[str, Any], facts_change: dict[str, Any], expected: str) -> None:
    facts = replace(FULL, docker=replace(SILENT, **change), **facts_change)
    assert status(facts, "daemon") == "fail"
    assert mend(facts, "daemon").startswith(expected)
    assert "is the docker daemon running?" in notes(facts, "daemon")


def test_an_engine_that_keeps_silent_is_told_from_one_that_refuses() -> None:
    facts = replace(FULL, docker=replace(SILENT, answer="silence", words="", is_named_by_environment=True))
    assert "in time" in found(facts, "daemon")


def test_docker_without_buildx_builds_nothing_in_docker() -> None:
    facts = replace(FULL, docker=replace(ENGINE, buildx=""))
    assert mend(facts, "buildx") == "sudo apt-get install -y docker-buildx-plugin"
    assert missing(diagnose(facts), "cross") == ["buildx"]
    assert missing(diagnose(facts), "emulate") == ["buildx"]


@pytest.mark.parametrize(
    ("server", "words"),
    [("20.10.24+dfsg1", "without named contexts"), ("26.1.5", "with named contexts"), ("dev", "generation unknown")],
)
def test_the_generation_of_buildkit(server: str, words: str) -> None:
    assert words in found(replace(FULL, docker=replace(ENGINE, server=server)), "buildkit")


def test_a_full_docker_disk_stops_builds_in_docker_only() -> None:
    facts = replace(FULL, docker=replace(ENGINE, root=Disk(path="/var/lib/docker", free_bytes=GB)))
    assert missing(diagnose(facts), "cross") == ["storage"]
    assert abilities(facts)["embedded"]
    few = replace(FULL, docker=replace(ENGINE, root=Disk(path="/var/lib/docker", free_bytes=8 * GB)))
    assert (status(few, "storage"), abilities(few)["cross"]) == ("warn", True)


def test_a_remote_engine_is_not_taken_for_this_machine() -> None:
    docker = replace(ENGINE, endpoint="ssh://lab", socket=None, root=Disk(path="/var/lib/docker", free_bytes=None))
    facts = replace(FULL, docker=docker, binfmt=NOTHING, interpreter=None)
    assert status(facts, "binfmt") == "warn"
    assert "another machine" in found(facts, "storage")


def test_podman_under_docker_s_name_is_said() -> None:
    podman = Docker(client=Program(path="/usr/bin/docker", version="4.3.1"), is_podman=True)
    facts = replace(BARE, docker=podman)
    assert status(facts, "docker") == "warn"
    assert "Podman 4.3.1" in found(facts, "docker")
    assert not abilities(facts)["cross"]


@pytest.mark.parametrize(
    ("endpoint", "platforms", "is_native"),
    [
        ("ssh://jetson@192.168.55.1", ("linux/arm64",), True),
        ("ssh://jetson@192.168.55.1", (), False),
        ("ssh://server", ("linux/amd64",), False),
        ("unix:///var/run/docker.sock", ("linux/arm64",), False),
        ("default", ("linux/arm64",), False),
    ],
)
def test_a_native_node_is_another_machine_pinned_to_arm64(
    endpoint: str, platforms: tuple[str, ...], is_native: bool
) -> None:
    node = Node(name="jetson0", builder="jetson", driver="docker-container", endpoint=endpoint, platforms=platforms)
    facts = replace(FULL, docker=replace(ENGINE, nodes=(node,)))
    assert abilities(facts)["native"] is is_native


def test_a_native_build_needs_no_engine_here() -> None:
    node = Node(
        name="jetson0", builder="jetson", driver="docker-container", endpoint="ssh://jetson", platforms=("linux/arm64",)
    )
    assert abilities(replace(FULL, docker=replace(SILENT, nodes=(node,))))["native"]


@pytest.mark.parametrize(
    ("has_gpu", "runtimes", "programs", "words"),
    [
        (True, ("runc", "nvidia"), (), "Docker has the runtime nvidia"),
        (False, (), (), "none is needed"),
        (True, (), ("nvidia-ctk",), "does not know"),
        (True, (), (), "no NVIDIA container toolkit"),
    ],
)
def test_the_nvidia_runtime_is_never_missed(
    has_gpu: bool, runtimes: tuple[str, ...], programs: tuple[str, ...], words: str
) -> None:
    tools = {name: Program(path=name, version="1") for name in programs}
    facts = replace(
        FULL, has_gpu=has_gpu, docker=replace(ENGINE, runtimes=runtimes), programs={**FULL.programs, **tools}
    )
    assert words in found(facts, "nvidia")
    assert abilities(facts)["cross"]


# Emulation.


@pytest.mark.parametrize(
    ("change", "expected", "words"),
    [
        ({"flags": "POC"}, "fail", "without F"),
        ({"enabled": False}, "fail", "switched off"),
        ({"name": None, "interpreter": None}, "absent", "nothing is registered"),
    ],
)
def test_a_registration_that_containers_cannot_use(change: dict[str, Any], expected: str, words: str) -> None:
    facts = replace(FULL, binfmt=replace(QEMU, **change))
    assert status(facts, "binfmt") == expected
    assert words in found(facts, "binfmt")
    assert mend(facts, "binfmt").endswith("binfmt install")
    assert missing(diagnose(facts), "emulate") == ["binfmt"]
    assert abilities(facts)["run"]


def test_an_interpreter_of_a_container() -> None:
    old = replace(FULL, interpreter=None)
    assert status(old, "binfmt") == "warn"
    assert "multiarch/qemu-user-static" in found(old, "binfmt")
    other = replace(old, binfmt=replace(QEMU, interpreter="/usr/bin/qemu-aarch64"))
    assert status(other, "binfmt") == "ok"
    assert "version unknown" in found(other, "binfmt")


def test_docker_desktop_brings_its_own_emulation() -> None:
    desktop = replace(ENGINE, operating_system="Docker Desktop")
    facts = replace(FULL, docker=desktop, binfmt=NOTHING, interpreter=None)
    assert abilities(facts)["emulate"]


def test_a_qemu_with_a_bad_name_is_named_and_still_counts() -> None:
    bad = Program(path="/usr/bin/qemu-aarch64-static", version="10.1.3")
    facts = replace(FULL, interpreter=bad, programs={**FULL.programs, "qemu-aarch64-static": bad})
    for name in ("qemu", "binfmt"):
        assert status(facts, name) == "warn"
        assert "tonistiigi/binfmt#298" in notes(facts, name)
    assert abilities(facts)["emulate"]


@pytest.mark.parametrize(
    ("kernel", "distribution", "expected"),
    [
        ("6.8.0-49-generic", "ubuntu", "ok"),
        ("6.8.0-51-generic", "ubuntu", "warn"),
        ("6.8.0-51-generic", "debian", "ok"),
        ("6.11.0-9-generic", "ubuntu", "ok"),
    ],
)
def test_kernels_under_which_emulation_is_reported_to_crash(kernel: str, distribution: str, expected: str) -> None:
    assert status(replace(FULL, kernel=kernel, distribution=distribution), "binfmt") == expected


@pytest.mark.parametrize("kernel", ["4.4.0-210-generic", "3.10.0-1160.el7", "strange"])
def test_a_kernel_without_flag_f(kernel: str) -> None:
    facts = replace(FULL, kernel=kernel)
    assert status(facts, "kernel") == "warn"
    assert not abilities(facts)["emulate"]
    assert abilities(facts)["embedded"]


# KVM: three facts, and the node alone proves nothing.


@pytest.mark.parametrize(
    ("kvm", "expected", "words"),
    [
        (Kvm(cpu_flag="svm", has_node=True, is_accessible=True, group="kvm"), "ok", ""),
        (Kvm(has_node=True, is_accessible=True, group="root"), "warn", "nested virtualization"),
        (Kvm(), "absent", "nested virtualization"),
        (Kvm(cpu_flag="svm"), "absent", "sudo modprobe kvm_amd"),
        (Kvm(cpu_flag="vmx"), "absent", "sudo modprobe kvm_intel"),
        (Kvm(cpu_flag="vmx", has_node=True, group="kvm"), "warn", "sudo usermod -aG kvm ada and log in again"),
        (Kvm(cpu_flag="vmx", has_node=True, group="root"), "warn", "sudo chgrp kvm /dev/kvm && sudo chmod g+rw"),
    ],
)
def test_kvm(kvm: Kvm, expected: str, words: str) -> None:
    facts = replace(FULL, kvm=kvm)
    assert status(facts, "kvm") == expected
    if expected != "ok":
        assert words in mend(facts, "kvm")


def test_a_member_of_kvm_only_has_to_log_in_again() -> None:
    user = replace(USER, member_of=frozenset({"kvm"}))
    facts = replace(FULL, user=user, kvm=Kvm(cpu_flag="vmx", has_node=True, group="kvm"))
    assert mend(facts, "kvm") == "newgrp kvm, or log in again"


# Compilers and tools.


def test_a_clang_without_a_linker_is_no_compiler() -> None:
    facts = replace(FULL, compilers=(Compiler(name="clang++", kind="clang", major=18, has_linker=False),))
    assert status(facts, "compiler") == "warn"
    assert mend(facts, "compiler") == "sudo apt-get install -y lld"


@pytest.mark.parametrize("major", [0, 99])
def test_a_compiler_that_no_nvcc_takes(major: int) -> None:
    facts = replace(FULL, compilers=(Compiler(name="aarch64-linux-gnu-g++", kind="gcc", major=major, has_linker=True),))
    assert status(facts, "compiler") == "warn"
    assert abilities(facts)["embedded"]


def test_an_old_cmake_is_passed_over_and_an_incomplete_toolkit_named() -> None:
    toolkit = CudaToolkit(root="/usr/local", version="", is_complete=False)
    facts = replace(FULL, programs={"cmake": Program(path="/usr/bin/cmake", version="3.13.4")}, toolkits=(toolkit,))
    assert "too old" in found(facts, "cmake")
    assert status(facts, "nvcc") == "absent"
    assert "/usr/local is incomplete" in notes(facts, "nvcc")


# Where packages and wheels come from.


def test_the_index_is_named_without_its_secrets() -> None:
    settings = {
        "global.index-url": "https://user:secret@wheels.example/simple",
        ":env:.extra-index-url": "file:///srv/wheels https://token@more.example/simple",
    }
    facts = replace(BARE, python=replace(BARE.python, pip_settings=settings))
    assert found(facts, "pip") == "25.1, index: wheels.example, /srv/wheels, more.example"
    assert "secret" not in json.dumps(diagnosis_json(diagnose(facts)))


def test_pip_without_an_index_only_warns() -> None:
    facts = replace(BARE, python=replace(BARE.python, pip_settings={"global.no-index": "true"}))
    assert status(facts, "pip") == "warn"
    assert abilities(facts)["embedded"]


@pytest.mark.parametrize(("in_venv", "is_run"), [(True, True), (False, False)])
def test_pip_is_upgraded_only_in_an_environment(in_venv: bool, is_run: bool) -> None:
    facts = replace(BARE, python=replace(BARE.python, pip="24.0", in_venv=in_venv))
    assert mend(facts, "pip") == "/venv/bin/python -m pip install --upgrade 'pip>=25.1'"
    assert any("pip" in each.text for each in diagnose(facts).mends) is is_run


def test_apt_without_sources_names_the_variable() -> None:
    facts = replace(BARE, apt=Apt(is_there=True, problem="no source of the debian release bookworm was found"))
    assert status(facts, "apt") == "fail"
    assert "JETSONX_APT_MIRROR" in mend(facts, "apt")


@pytest.mark.parametrize(
    ("uri", "name"),
    [("http://u:p@h:8080/x", "h"), ("file:/srv/debs", "/srv/debs"), ("http://[broken", "an unreadable address")],
)
def test_places_are_named_without_secrets(uri: str, name: str) -> None:
    assert place_name(uri) == name


def test_a_python_without_venv_names_the_package() -> None:
    facts = replace(BARE, python=replace(BARE.python, in_venv=False, has_venv_module=False))
    assert mend(facts, "python") == "sudo apt-get install -y python3-venv"


# What programs say.


def test_an_apt_policy_is_read() -> None:
    text = (
        "docker.io:\n  Installed: (none)\n  Candidate: 20.10.24+dfsg1-1\n  Version table:\n     20.10.24+dfsg1-1 500\n"
        "docker-ce:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n"
        "make:\n  Installed: 4.3-4.1\n  Candidate: 4.3-4.1\n  Version table:\n *** 4.3-4.1 500\n"
    )
    assert parse_policy(text) == {"docker.io", "make"}
    assert parse_policy("") == frozenset()


def test_docker_info_is_read() -> None:
    text = json.dumps(
        {
            "ServerVersion": "26.1.5",
            "OperatingSystem": "Debian",
            "DockerRootDir": "/var/lib/docker",
            "Runtimes": {"runc": {}, "nvidia": {}},
            "ClientInfo": {
                "Context": "lab",
                "Plugins": [
                    {"Name": "buildx", "Version": "v0.13.1"},
                    {"Name": "scan", "Version": "1", "Err": "broken"},
                ],
            },
        }
    )
    info = parse_info(text)
    assert (info.server, info.root, info.context) == ("26.1.5", "/var/lib/docker", "lab")
    assert info.runtimes == ("runc", "nvidia")
    assert info.plugins == {"buildx": "v0.13.1"}


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{", '"x"', '{"ClientInfo": 1, "Runtimes": [], "ServerVersion": null, "ServerErrors": "x"}'],
)
def test_whatever_else_docker_says_is_no_answer(text: str) -> None:
    assert parse_info(text).server == ""


def test_docker_20_s_own_words_for_a_dead_engine() -> None:
    info = parse_info('{"ServerVersion": "", "ServerErrors": ["Cannot connect"], "ClientInfo": {"Plugins": null}}')
    assert (info.server, info.errors, info.plugins) == ("", "Cannot connect", {})


def test_nodes_are_read_from_buildx_s_files(tmp_path: Path) -> None:
    instances = tmp_path / "instances"
    instances.mkdir()
    builder = {
        "Name": "jetson",
        "Driver": "docker-container",
        "Nodes": [
            {"Name": "jetson0", "Endpoint": "ssh://jetson", "Platforms": [{"os": "linux", "architecture": "arm64"}]},
            {"Name": "jetson1", "Endpoint": "default", "Platforms": None},
            "nonsense",
        ],
    }
    (instances / "jetson").write_text(json.dumps(builder))
    (instances / "half").write_text('{"Name": "half", "Nodes": [')
    (instances / "other").write_bytes(b"\xff\xfe[]")
    (instances / "directory").mkdir()
    first, *rest = load_instances(tmp_path)
    assert first == Node(
        name="jetson0", builder="jetson", driver="docker-container", endpoint="ssh://jetson", platforms=("linux/arm64",)
    )
    assert [node.is_remote for node in rest] == [False]
    assert load_instances(tmp_path / "nowhere") == ()


def completed(tail: str, status_: int = 0) -> Completed:
    return Completed(command=Command(argv=("x",)), status=status_, stdout="", tail=tail)


@pytest.mark.parametrize(
    ("tail", "version"),
    [
        ("qemu-aarch64 version 7.2.22 (Debian 1:7.2+dfsg-7)", "7.2.22"),
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.22", "9.2"),
        ("12", "12"),
        ("no number", ""),
    ],
)
def test_versions_are_found(tail: str, version: str) -> None:
    assert find_version(completed(tail)) == version
    assert find_version(completed(tail, 1)) == ""
    assert find_version(None) == ""


def test_silence_is_told_from_failure() -> None:
    assert is_silent(completed("", 124))
    assert not is_silent(completed("", 1))
    assert not is_silent(None)


def test_every_question_is_asked_with_patience_that_ends() -> None:
    asked: list[Command] = []

    class Listening(Runner):
        def run(self, command: Command, **_: object) -> Completed:
            asked.append(command)
            return completed("1.2")

    Ask(Listening())("docker", "info")
    assert asked[0].argv[0] == "timeout"
    assert asked[0].argv[-2:] == ("docker", "info")


# The answer.


def test_the_text_has_every_line_with_its_mend_and_ends_with_what_the_host_can_do() -> None:
    diagnosis = diagnose(BARE)
    text = list(render_diagnosis(diagnosis))
    for each in diagnosis.lines:
        assert any(shown.startswith(f"  {each.finding.status:<6}  {each.check.name} ") for shown in text)
    after = text.index("This host can")
    assert text[after + 1].startswith("  yes     embedded")
    assert text[after + 2].endswith("missing: docker (absent), buildx (absent)")
    assert text[-1].startswith("`jetsonx doctor --fix` runs ")


def test_a_mend_that_serves_two_lines_is_run_once() -> None:
    facts = replace(BARE, docker=replace(SILENT, has_engine=False, socket=None))
    texts = [each.text for each in diagnose(facts).mends]
    assert len(texts) == len(set(texts))


def test_the_json_is_as_documented() -> None:
    document = diagnosis_json(diagnose(BARE))
    assert document["schema"] == 1
    described = (Path(__file__).parents[2] / "docs/json.md").read_text().partition("## `jetsonx doctor --json`")[2]
    for key in ("checks", "abilities"):
        rows = document[key]
        assert isinstance(rows, list)
        assert f"`{key}[]`" in described
        for name in rows[0]:
            assert f"`{name}`" in described, name


# The command.


def use(monkeypatch: pytest.MonkeyPatch, *hosts: HostFacts) -> list[tuple[str, ...]]:
    """Let the command see these hosts, one after the other, and note what it runs."""
    ran: list[tuple[str, ...]] = []
    left = list(hosts)

    def probe(runner: Runner, environ: Mapping[str, str], **asked: bool) -> HostFacts:
        return left.pop(0)

    def replace_(self: Runner, command: Command) -> int:
        ran.append(command.argv)
        return 1 if "openssh-client" in command.argv else 0

    monkeypatch.setattr("jetsonx.host.probe.probe_host", probe)
    monkeypatch.setattr(Runner, "replace", replace_)
    return ran


def test_the_exit_status_is_about_building_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, BARE, replace(BARE, glibc=""))
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 0
    shown = CliRunner().invoke(cli, ["doctor", "--json"])
    assert shown.exit_code == 3
    assert json.loads(shown.stdout)["abilities"][0] == {
        "name": "embedded",
        "possible": False,
        "purpose": "build without Docker or root",
        "missing": ["libc"],
    }


def test_nothing_is_run_without_being_asked_for_and_agreed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = use(monkeypatch, BARE, BARE, FULL)
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 0
    count = len(diagnose(BARE).mends)
    refused = CliRunner().invoke(cli, ["doctor", "--fix"], input="n\n" * count)
    assert (refused.exit_code, ran) == (0, [])
    assert CliRunner().invoke(cli, ["doctor", "--fix"], input="").exit_code != 0
    assert ran == []


def test_what_is_agreed_to_is_run_and_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = use(monkeypatch, BARE, FULL)
    texts = [each.text for each in diagnose(BARE).mends]
    answers = "".join("y\n" if "qemu-user-static" in text else "n\n" for text in texts)
    shown = CliRunner().invoke(cli, ["doctor", "--fix"], input=answers)
    assert shown.exit_code == 0
    assert ran == [("sudo", "apt-get", "install", "-y", "qemu-user-static")]
    assert "yes     run" in shown.stdout


def test_a_mend_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = use(monkeypatch, BARE, BARE)
    shown = CliRunner().invoke(cli, ["doctor", "--fix", "--yes"])
    assert shown.exit_code == 0
    assert len(ran) == len(diagnose(BARE).mends)
    assert "it ended with status 1: sudo apt-get install -y openssh-client" in shown.stderr


@pytest.mark.parametrize("words", [("--yes",), ("--json", "--fix")])
def test_options_that_do_not_go_together(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    assert CliRunner().invoke(cli, ["doctor", *words]).exit_code == 2


@pytest.mark.parametrize("endpoint", ["ssh://far", "unix:///vms/dev/docker.sock"])
def test_an_engine_gets_the_time_that_is_asked_for_it(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[str] = []

    class Elsewhere(Runner):
        def run(self, command: Command, **_: object) -> Completed:
            if "info" in command.argv:
                limits.append(command.argv[2])
            return Completed(command=command, status=0, stdout=endpoint, tail="")

    monkeypatch.setattr("jetsonx.host.probe_docker.which_host", lambda name: f"/bin/{name}")
    probe_docker(Ask(Elsewhere()), {})
    probe_docker(Ask(Elsewhere()), {}, patience_s=60.0)
    assert limits == [str(REMOTE_PATIENCE_S if endpoint.startswith("ssh") else PATIENCE_S), "60.0"]
