"""What a device prints, and what is made of it; also when it prints something else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.catalog import load_catalog
from jetsonx.device.identify import identify
from jetsonx.device.judge import assess
from jetsonx.device.probe import probe_all, probe_device
from jetsonx.device.render import assessment_json, render_assessment
from jetsonx.errors import DeviceError
from jetsonx.rootfs.script import MOST_BYTES, parse_answer
from jetsonx.rootfs.ssh import Address, HostKeyError
from jetsonx.runner import Command, Completed, Runner
from tests.unit.device_answers import ASKED_S, CONTAINERD, ORIN, answer, device, without_engine

ADDRESS = Address(host="jetson@orin")
WHOLE = "".join(f"{name}={value}\n" for name, value in ORIN.items()).encode()


class Ssh(Runner):
    """Answers as a device would."""

    def __init__(self, answer: bytes, *, status: int = 0, tail: str = "") -> None:
        super().__init__()
        self.answer, self.status, self.tail = answer, status, tail
        self.read_bytes = 0

    def run(
        self,
        command: Command,
        *,
        on_line: Callable[[str], None] | None = None,
        status_fd: Callable[[str], None] | None = None,
        stdin: bytes | None = None,
        stdout: Callable[[IO[bytes]], None] | None = None,
    ) -> Completed:
        assert stdout is not None
        assert stdin is not None
        stream = io.BytesIO(self.answer)
        try:
            stdout(stream)
        finally:
            self.read_bytes = stream.tell()
        return Completed(command=command, status=self.status, stdout="", tail=self.tail)


def ask(runner: Runner) -> dict[str, str]:
    return dict(probe_device(ADDRESS, runner=runner, environ={}, limit_s=5).said)


def test_a_whole_answer_is_read() -> None:
    assert ask(Ssh(b"Welcome to Ubuntu!\nLast login=never\n" + WHOLE)) == {**ORIN, "Last login": "never"}
    found = device(ORIN)
    assert (found.l4t, found.l4t_source) == ("36.4.3", "nv_tegra_release")
    assert (found.jetpack, found.cuda) == ("6.2+b77", "12.6.68")
    assert found.cuda_compat == (("cuda-compat-12-9", "12.9.40"),)
    assert (found.toolkit, found.glibc, found.clock_offset_s) == ("1.16.2-1", "2.35", 2)
    assert found.group_ids == (("docker", 999), ("video", 44), ("render", 104))
    docker = found.docker
    assert (docker.by, docker.engine, docker.api, docker.store) == ("user", "27.5.1", "1.47", "overlay2")
    assert docker.free_bytes == 40_000_000 * 1024


def test_the_containerd_store_is_known_by_its_driver_and_judged_by_the_fuller_disk() -> None:
    docker = device(answer(docker_info=json.dumps(CONTAINERD))).docker
    assert (docker.store, docker.driver) == ("containerd", "overlayfs")
    assert docker.free_bytes == 30_000_000 * 1024


def test_the_package_names_the_release_where_the_file_is_gone() -> None:
    found = device(answer(("release",)))
    assert (found.l4t, found.l4t_source) == ("36.4.3", "nvidia-l4t-core")


def test_cuda_10_is_read_from_its_text_file() -> None:
    assert device(answer(("cuda_json",), cuda_text="CUDA Version 10.2.300")).cuda == "10.2.300"


@pytest.mark.parametrize("size", [0, 1, 30, len(WHOLE) // 2, len(WHOLE) - 4])
def test_an_answer_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(DeviceError, match="was cut off" if size > 20 else "no POSIX shell"):
        ask(Ssh(WHOLE[:size]))


def test_an_endless_answer_is_read_no_further_than_the_limit() -> None:
    endless = Ssh(b"y\n" * (4 * MOST_BYTES))
    with pytest.raises(DeviceError, match="sends more than"):
        ask(endless)
    assert endless.read_bytes <= MOST_BYTES + (1 << 14)


def test_what_no_terminal_should_get_is_taken_out() -> None:
    said = parse_answer(WHOLE.decode() + "model=\x1b]0;owned\x07\x1b[2J\u202eevil\x9b\n")
    shown = "\n".join(render_assessment(assess(device(said), load_catalog()), title="x"))
    assert said["model"] == "?]0;owned??[2J?evil?"
    assert all(line.isprintable() for line in shown.splitlines())


@given(st.dictionaries(st.sampled_from([*ORIN, "cuda_text", "docker_trouble", "cdi"]), st.text(max_size=60)))
def test_whatever_a_device_says_gives_a_report(said: dict[str, str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in {**ORIN, **said}.items())
    assessment = assess(device(parse_answer(text)), load_catalog())
    assert list(render_assessment(assessment, title="x"))
    json.dumps(assessment_json(assessment))


@pytest.mark.parametrize(
    "info", ["{", "[]", "[" * 100_000, '{"Runtimes": [1], "DriverStatus": 5, "CDISpecDirs": 7}', "null", "\ufffd"]
)
def test_a_docker_that_answers_nonsense_is_none(info: str) -> None:
    docker = device(answer(docker_info=info)).docker
    assert (docker.engine, docker.runtimes, docker.cdi_dirs, docker.has_containerd_store) == ("", (), (), False)


def test_an_unknown_key_and_a_silent_device_are_told_apart() -> None:
    with pytest.raises(HostKeyError):
        ask(Ssh(b"", status=255, tail="Host key verification failed."))
    with pytest.raises(DeviceError, match="did not answer within 5 s"):
        ask(Ssh(b"", status=124))


def test_one_silent_device_does_not_hide_the_others() -> None:
    class Mixed(Ssh):
        def run(self, command: Command, **options: Any) -> Completed:
            answering = "good" in command.argv
            options["stdout"](io.BytesIO(WHOLE if answering else b""))
            return Completed(command=command, status=0 if answering else 124, stdout="", tail="")

    addresses = [Address(host="off"), Address(host="good")]
    first, second = probe_all(addresses, runner=Mixed(b""), environ={}, limit_s=1)
    assert isinstance(first, DeviceError)
    assert not isinstance(second, Exception)
    assert second.device.l4t == "36.4.3"


@pytest.mark.parametrize(
    ("compatible", "model", "module"),
    [
        ("nvidia,p3768-0000+p3767-0000-super nvidia,tegra234", "", "orin-nx"),
        ("nvidia,p4071-0000+p3834-0008 nvidia,p3834-0008 nvidia,tegra264", "", "thor-t5000"),
        ("nvidia,jetson-nano nvidia,tegra210", "", "nano"),
        ("acme,board+p3767-0001 nvidia,tegra234", "", "orin-nx"),  # another maker's carrier
        ("nvidia,tegra234", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "orin-nx"),
    ],
)
def test_modules_are_known_by_the_device_tree(compatible: str, model: str, module: str) -> None:
    found = identify(device(answer(compatible=compatible, model=model)), load_catalog())
    assert found.module is not None
    assert found.module.id == module


def test_an_unknown_board_still_has_the_machine_code_of_its_soc() -> None:
    found = identify(device(answer(compatible="acme,box nvidia,tegra234", model="Acme Box")), load_catalog())
    assert (found.module, found.sms) == (None, (87,))
    assert {module.id for module in found.siblings} == {"orin-nano", "orin-nx", "agx-orin"}


def test_a_release_that_the_catalog_does_not_know_is_said() -> None:
    assessment = assess(device(answer(release="# R36 (release), REVISION: 99.9, GCID: 1")), load_catalog())
    (line,) = (line for line in assessment.lines if line.name == "release")
    assert line.finding.status == "warn"
    assert "unknown L4T release '36.99.9'" in line.finding.notes[0]


def shown(said: dict[str, str]) -> str:
    return "\n".join(render_assessment(assess(device(said), load_catalog()), title="orin"))


def test_a_device_that_has_all_is_ready() -> None:
    text = shown(answer())
    assert "Jetson Orin Nano (orin-nano), sm_87" in text
    assert "the driver runs CUDA up to 12.6, 12.9 with cuda-compat" in text
    assert text.endswith("images can run there")
    assert {line.finding.status for line in assess(device(ORIN), load_catalog()).lines} == {"ok"}


def test_a_device_with_neither_docker_nor_root_gets_a_list() -> None:
    said = without_engine(("docker", "docker_endpoint", "docker_socket"), groups="jetson", packages="")
    assessment = assess(device(said), load_catalog())
    assert not assessment.is_ready
    docker, toolkit, groups = assessment.tasks
    who = "as root (jetson has no sudo; ask who runs it): "
    assert docker == f"{who}apt-get update && apt-get install -y docker.io && usermod -aG docker jetson"
    assert toolkit == (
        f"{who}apt-get install -y nvidia-container-toolkit && nvidia-ctk runtime configure --runtime=docker && "
        "systemctl restart docker"
    )
    assert groups == f"{who}usermod -aG video,render jetson"


def test_no_permission_is_mended_by_the_sockets_group_and_the_name_is_quoted() -> None:
    said = without_engine(
        user="jet son;reboot", groups="sudo video render", docker_trouble="permission denied while trying to connect"
    )
    assert "sudo usermod -aG docker 'jet son;reboot'" in shown(said)


def test_docker_by_sudo_is_usable() -> None:
    assessment = assess(device(answer(docker_by="sudo", sudo="yes", groups="video render")), load_catalog())
    assert assessment.is_ready
    assert assessment.tasks == ("sudo usermod -aG docker jetson",)


def test_a_toolkit_that_docker_does_not_know_is_configured() -> None:
    info = json.dumps({**json.loads(ORIN["docker_info"]), "Runtimes": {"runc": {}}})
    (task,) = assess(device(answer(docker_info=info)), load_catalog()).tasks
    assert task == "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"
    assert assess(device(answer(docker_info=info, cdi="nvidia.yaml")), load_catalog()).is_ready


def test_what_is_no_jetson_is_said() -> None:
    said = answer(("release", "packages", "compatible", "model"), machine="x86_64")
    text = shown(said)
    assert "no Jetson: it has neither /etc/nv_tegra_release nor the package nvidia-l4t-core" in text
    assert "x86_64, 6 cores: images for Jetsons are for AArch64" in text


def test_qemu_makes_another_processor_usable() -> None:
    said = answer(machine="x86_64", binfmt="register status qemu-aarch64")
    assert assess(device(said), load_catalog()).is_ready
    assert not assess(device({**said, "binfmt": "register status"}), load_catalog()).is_ready


def test_a_clock_that_is_wrong_by_years_is_said() -> None:
    text = shown(answer(clock_s="100000000", sudo="yes"))
    assert "18518 days behind this machine's" in text
    assert "sudo timedatectl set-ntp true" in text
    assert ASKED_S - 100_000_000 > 18518 * 86400
