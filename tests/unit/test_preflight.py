"""What a deployment is refused for before a byte is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetsonx.catalog import load_catalog
from jetsonx.deploy.preflight import Load, Subject, failures, judge_load, judge_subject
from jetsonx.deploy.state import AppState, DeviceState, Holder
from jetsonx.deploy.values import RemoteContainer
from jetsonx.device.values import Device
from jetsonx.project.model import DeploySection
from tests.unit.deploy_values import LABELS, image, subject, without_runtime
from tests.unit.device_answers import answer, without_engine
from tests.unit.device_answers import device as read

DEVICE = read(answer())
CATALOG = load_catalog()


def found(what: Subject) -> dict[str, str]:
    """What fails, by name."""
    return {line.name: line.finding.found for line in failures(judge_subject(what, CATALOG))}


def built_for(*targets: str, sms: str = "87") -> Subject:
    return subject(of=image({**LABELS, "jetsonx.target": ",".join(targets), "jetsonx.sms": sms}))


def container(name: str, *ports: str, app: str = "", state: str = "running") -> RemoteContainer:
    labels = {"dev.jetsonx.app": app} if app else {}
    return RemoteContainer(id="0" * 64, name=name, image_id="", state=state, labels=labels, ports=ports)


def with_containers(*containers: RemoteContainer, deploy: DeploySection | None = None) -> Subject:
    return subject(deploy, state=DeviceState(by="user", containers=containers))


def test_what_fits_is_let_through_and_every_line_says_why() -> None:
    lines = judge_subject(subject(verdict=()), CATALOG)
    assert not failures(lines)
    assert {line.name for line in lines} >= {"architecture", "target", "device code", "program", "gpu", "docker"}
    assert all(line.finding.found for line in lines)


@pytest.mark.parametrize("target", ["agx-orin@36.4.3", "orin-nano@36.4", "orin-nano@36.5.0"])
def test_releases_of_one_range_run_one_anothers_images(target: str) -> None:
    assert "target" not in found(built_for(target))


@pytest.mark.parametrize("target", ["orin-nano@36.3.0", "agx-orin@36.2.0", "agx-orin@35.4.1", "orin-nano@39.2.0"])
def test_images_of_other_releases_are_refused(target: str) -> None:
    assert "do not run in each other's place" in found(built_for(target))["target"]


def test_one_fitting_target_of_several_is_enough() -> None:
    assert not found(built_for("agx-orin@35.4.1", "orin-nano@36.4.3"))


@pytest.mark.parametrize(
    ("device", "image", "together"),
    [
        ("36.3.0", "36.2.0", True),
        ("36.4.0", "36.3.0", False),
        ("35.1.0", "35.6.1", True),
        ("32.7.1", "32.7.6", True),
        ("32.6.1", "32.5.0", False),
        ("38.2", "39.2.0", True),
        ("34.1.1", "35.1.0", False),
    ],
)
def test_which_releases_go_together_is_data(device: str, image: str, together: bool) -> None:
    assert CATALOG.runs_images_of(device, image) is CATALOG.runs_images_of(image, device) is together


def test_machine_code_for_another_gpu_is_refused_with_what_to_build() -> None:
    lines = failures(judge_subject(built_for("xavier-nx@36.4.3", sms="72"), CATALOG))
    assert [line.name for line in lines] == ["device code"]
    assert lines[0].finding.mend is not None
    assert lines[0].finding.mend.text == "jetsonx build -t orin-nano@36.4.3"


def test_an_image_of_somebody_elses_gets_a_warning() -> None:
    what = subject(of=image({}))
    assert not found(what)
    assert "target" in {line.name for line in judge_subject(what, CATALOG) if line.finding.status == "warn"}


def test_an_image_for_another_processor_is_refused() -> None:
    assert found(subject(of=image(architecture="amd64"))).keys() == {"architecture"}


def test_what_verify_says_is_told() -> None:
    lines = failures(judge_subject(subject(verdict=("a needs GLIBC_2.38",)), CATALOG))
    assert [line.name for line in lines] == ["program"]
    assert lines[0].finding.notes == ("a needs GLIBC_2.38",)


def test_device_code_without_a_gpu_is_refused_unless_the_project_wants_that() -> None:
    device = without_runtime(DEVICE, cdi_dirs=())
    assert found(subject(device=device)).keys() == {"gpu", "runtime"}
    assert not found(subject(DeploySection(gpu="none"), device=device))
    assert not found(subject(device=device, of=image({**LABELS, "jetsonx.sms": ""})))


@pytest.mark.parametrize("gpu", ["runtime", "cdi"])
def test_a_way_to_the_gpu_that_the_device_lacks_is_refused(gpu: str) -> None:
    device = without_runtime(replace(DEVICE, cdi_specs=()))
    assert found(subject(DeploySection(gpu=gpu), device=device)).keys() == {"gpu"}  # type: ignore[arg-type]


def test_a_docker_that_may_not_be_used_is_refused() -> None:
    said = without_engine(docker_trouble="permission denied while trying to connect", groups="jetson sudo")
    assert "docker" in found(subject(device=read(said)))


@pytest.mark.parametrize("name", ["demo", "demo.next", "demo.prev"])
def test_a_strange_container_of_our_name_is_refused(name: str) -> None:
    assert found(with_containers(container(name))).keys() == {"names"}
    assert found(with_containers(container(name, app="other"))).keys() == {"names"}
    assert not found(with_containers(container(name, app="demo")))


def test_ports_that_others_hold_are_refused() -> None:
    deploy = DeploySection(ports=("8080:80",))
    assert "web" in found(with_containers(container("web", "8080/tcp"), deploy=deploy))["ports"]
    assert not found(with_containers(container("web", "8080/udp"), deploy=deploy))
    assert not found(with_containers(container("web", "8080/tcp", state="exited"), deploy=deploy))


def test_the_old_release_gives_its_port_up_unless_both_run_at_once() -> None:
    old = container("demo", "8080/tcp", app="demo")
    assert not found(with_containers(old, deploy=DeploySection(ports=("8080:80",))))
    both = DeploySection(ports=("8080:80",), blue_green=True)
    assert found(with_containers(old, deploy=both)).keys() == {"ports"}


def test_who_holds_the_lock_is_said() -> None:
    holder = Holder(who="ann@desk", when="2026-11-26T10:00:00Z", kind="switch")
    state = DeviceState(by="user", apps={"demo": AppState(name="demo", holder=holder)})
    assert found(subject(state=state)) == {"lock": "ann@desk is at it: switch, since 2026-11-26T10:00:00Z"}


def test_room_is_needed_for_the_layers_twice_and_for_the_bundle() -> None:
    load = Load(bundle_bytes=10_000_000, layer_bytes=100_000_000)

    def names(docker: int, home: int) -> set[str]:
        device: Device = replace(DEVICE, docker=replace(DEVICE.docker, free_bytes=docker), home_free_bytes=home)
        return {line.name for line in failures(judge_load(device, load))}

    assert names(231_000_000, 11_000_000) == set()
    assert names(230_999_999, 11_000_000) == {"disk"}
    assert names(231_000_000, 10_999_999) == {"staging"}


def test_nothing_to_send_needs_no_room() -> None:
    assert judge_load(DEVICE, Load(bundle_bytes=0, layer_bytes=0)) == ()
