"""What a release is made of: [deploy], the device and the image's configuration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetsonx.deploy.options import choose_gpu, parse_image, plan_release, published
from jetsonx.deploy.request import check_release
from jetsonx.errors import ConfigError
from jetsonx.project.model import DeploySection, HealthCheck
from tests.unit.deploy_values import IMAGE_ID, config_of, image, without_runtime
from tests.unit.device_answers import answer
from tests.unit.device_answers import device as read

DEVICE = read(answer())


def options(deploy: DeploySection, device=DEVICE, of=None) -> str:  # type: ignore[no-untyped-def]
    return " ".join(plan_release(deploy, device, of or image(), app="demo", secrets={}).options)


def test_the_gpu_comes_by_the_runtime_with_the_groups_of_its_devices() -> None:
    words = options(DeploySection())
    assert words.startswith("--runtime nvidia --group-add 44 --group-add 104")
    assert "--env NVIDIA_VISIBLE_DEVICES=all" in words


def test_what_the_image_says_of_the_gpu_is_left_alone() -> None:
    of = image(env=("NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_DRIVER_CAPABILITIES=compute"))
    assert "NVIDIA_" not in options(DeploySection(), of=of)


def test_the_project_says_it_last() -> None:
    words = options(DeploySection(env=(("NVIDIA_VISIBLE_DEVICES", "none"),)))
    assert "NVIDIA_VISIBLE_DEVICES=none" in words
    assert "NVIDIA_VISIBLE_DEVICES=all" not in words


def test_without_the_runtime_it_is_cdi_and_without_both_nothing() -> None:
    cdi = replace(without_runtime(DEVICE), cdi_specs=("/etc/cdi/nvidia.yaml",))
    assert options(DeploySection(), cdi).startswith("--device nvidia.com/gpu=all --group-add 44")
    assert choose_gpu(DeploySection(), without_runtime(cdi, cdi_dirs=())) == "none"
    assert options(DeploySection(gpu="none")) == ""


def test_every_key_becomes_its_option() -> None:
    deploy = DeploySection(
        gpu="none",
        network="host",
        ipc="host",
        shm_size="512m",
        groups=("20", "dialout"),
        device_nodes=("/dev/video0",),
        cap_add=("SYS_NICE",),
        volumes=("/data:/data:ro",),
        ports=("8080:80",),
        env=(("A", "x y"),),
        privileged=True,
    )
    assert plan_release(deploy, DEVICE, image(), app="demo", secrets={}).options == (
        *("--network", "host", "--ipc", "host", "--shm-size", "512m", "--group-add", "20", "--group-add", "dialout"),
        *("--device", "/dev/video0", "--cap-add", "SYS_NICE", "--volume", "/data:/data:ro", "--publish", "8080:80"),
        *("--env", "A=x y", "--privileged"),
    )


def test_the_device_knows_what_is_made_here() -> None:
    check_release(plan_release(DeploySection(), DEVICE, image(), app="demo", secrets={"token": b"x"}))


def test_a_release_is_called_by_what_it_is_made_of() -> None:
    plain = DeploySection()

    def name(deploy: DeploySection = plain, app: str = "demo", **secrets: bytes) -> str:
        return plan_release(deploy, DEVICE, image(), app=app, secrets=secrets).id

    assert name() == name() == name(DeploySection(keep=5))
    others = [
        name(DeploySection(restart="always")),
        name(DeploySection(env=(("A", "b"),))),
        name(DeploySection(health=HealthCheck(stays_s=9))),
        name(app="other"),
        name(token=b"one"),
        name(token=b"two"),
        name(other=b"two"),
    ]
    assert len({name(), *others}) == len(others) + 1


def test_devices_that_number_their_groups_otherwise_get_the_image_by_the_same_name() -> None:
    other = read(answer(group_ids="docker:999 video:45 render:104"))
    releases = [plan_release(DeploySection(), device, image(), app="demo", secrets={}) for device in (DEVICE, other)]
    assert releases[0].id != releases[1].id
    assert {release.reference for release in releases} == {f"jetsonx/demo:{IMAGE_ID[7:19]}"}


def test_no_secret_is_in_what_can_be_printed() -> None:
    release = plan_release(DeploySection(), DEVICE, image(), app="demo", secrets={"token": b"hush-hush"})
    assert release.secrets == {"token": b"hush-hush"}
    assert "hush" not in repr(release)


@pytest.mark.parametrize(
    ("told", "check", "expected"),
    [
        (None, None, ("stays", 30, 5)),
        (None, {"Test": ["NONE"]}, ("stays", 30, 5)),
        (None, {"Test": ["CMD", "x"]}, ("image", 185, 5)),
        (None, {"Test": ["CMD", "x"], "Interval": 2_000_000_000, "Timeout": 10**9, "Retries": 2}, ("image", 11, 5)),
        (HealthCheck(stays_s=60), {"Test": ["CMD", "x"]}, ("stays", 60, 60)),
        (HealthCheck(command=("a",)), None, ("command", 30, 5)),
        (HealthCheck(http="http://x/", timeout_s=3), None, ("http", 3, 5)),
    ],
)
def test_health_is_what_the_project_says_else_what_the_image_does(
    told: HealthCheck | None, check: object, expected: tuple[str, int, int]
) -> None:
    of = parse_image(IMAGE_ID, config_of(Healthcheck=check))
    health = plan_release(DeploySection(health=told), DEVICE, of, app="demo", secrets={}).health
    assert (health.kind, health.timeout_s, health.stays_s) == expected


@pytest.mark.parametrize("config", [b"", b"[]", b'{"config": [1]}', b'{"config": {"Healthcheck": 3}}'])
def test_a_damaged_configuration_is_refused(config: bytes) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_image(IMAGE_ID, config)


def test_ports_of_the_device() -> None:
    deploy = DeploySection(ports=("8080:80", "127.0.0.1:53:5353/udp"))
    assert published(deploy) == ("8080/tcp", "53/udp")
