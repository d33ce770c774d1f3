"""What a release is made of on one device: from [deploy], what the device has, and what the image says. Pure.

Source of the options: docs.docker.com (docker create), NVIDIA's container toolkit documentation (runtime nvidia, CDI),
and the group and mode of /dev/nvmap (root:video 0440) as read on devices by others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from jetsonx import __version__
from jetsonx.deploy.state import DeviceState
from jetsonx.deploy.values import Health, Release
from jetsonx.device.values import Device
from jetsonx.errors import ConfigError
from jetsonx.project.model import DeploySection

Gpu = Literal["runtime", "cdi", "none"]
RUNTIME = "nvidia"
CDI_DEVICE = "nvidia.com/gpu=all"
_GPU_ENV = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}
_GPU_GROUPS = ("video", "render")
_SECOND_NS = 1_000_000_000
# What Docker takes for what a HEALTHCHECK does not say.
_INTERVAL_S, _TIMEOUT_S, _RETRIES = 30.0, 30.0, 3
_GRACE_S = 5.0
_ID_DIGITS = 12
_FOR_CONTAINERS = (
    "gpu", "network", "ipc", "shm_size", "volumes", "ports", "device_nodes", "groups", "cap_add", "privileged",
    "blue_green",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started in a release's directory, none for (), and the directories below it that hold libraries."""

    command: tuple[str, ...]
    library_dirs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What bears on running an image, from its configuration. ``health_s``: seconds until its HEALTHCHECK has said what
    it will say at the latest, None where it has none.
    """

    id: str
    architecture: str
    labels: Mapping[str, str] = field(default_factory=dict)
    env: tuple[str, ...] = ()
    health_s: float | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """What it was built for, "orin-nano@36.4.3"; empty for images that jetsonx did not build."""
        return _listed(self.labels.get("jetsonx.target", ""))

    @property
    def sms(self) -> tuple[int, ...]:
        """Machine code in it, as its label says."""
        return tuple(int(sm) for sm in _listed(self.labels.get("jetsonx.sms", "")) if sm.isdecimal())


def parse_image(image_id: str, config: bytes) -> ImageFacts:
    """The facts in an image's configuration. Raises ConfigError for what is none."""
    try:
        document: dict[str, Any] = json.loads(config)
        inner: dict[str, Any] = document.get("config") or {}
        return ImageFacts(
            id=image_id,
            architecture=str(document.get("architecture", "")),
            labels={str(name): str(value) for name, value in (inner.get("Labels") or {}).items()},
            env=tuple(str(each) for each in inner.get("Env") or ()),
            health_s=_health_s(inner.get("Healthcheck")),
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the configuration of image {image_id} cannot be read ({error})", hint="build it anew: jetsonx build"
        ) from None


def _health_s(check: Mapping[str, Any] | None) -> float | None:
    if not check or not check.get("Test") or check["Test"][0] == "NONE":
        return None
    interval_s = check.get("Interval", 0) / _SECOND_NS or _INTERVAL_S
    timeout_s = check.get("Timeout", 0) / _SECOND_NS or _TIMEOUT_S
    tries = check.get("Retries", 0) or _RETRIES
    return float(check.get("StartPeriod", 0) / _SECOND_NS + tries * (interval_s + timeout_s) + _GRACE_S)


def choose_gpu(deploy: DeploySection, device: Device) -> Gpu:
    """How the container comes to the GPU there; "none" also where ``auto`` finds nothing."""
    if deploy.gpu != "auto":
        return deploy.gpu
    if RUNTIME in device.docker.runtimes:
        return "runtime"
    return "cdi" if device.cdi_specs and device.docker.cdi_dirs else "none"


def plan_release(
    deploy: DeploySection, device: Device, image: ImageFacts, *, app: str, secrets: Mapping[str, bytes]
) -> Release:
    """The release of ``image`` for ``device``; the same for the same."""
    options = tuple(_options(deploy, device, image))
    health = _health(deploy, image)
    made_of = [image.id, app, options, deploy.restart, deploy.stop_timeout_s, asdict(health), _digest(app, secrets)]
    release_id = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:_ID_DIGITS]
    return Release(
        app=app,
        id=release_id,
        image_id=image.id,
        reference=f"jetsonx/{app}:{_tag(image)}",
        options=options,
        labels={"dev.jetsonx.image": image.id, "dev.jetsonx.version": __version__},
        secrets=secrets,
        restart=deploy.restart,
        health=health,
        stop_timeout_s=deploy.stop_timeout_s,
        is_blue_green=deploy.blue_green,
        keep=deploy.keep,
    )


def _tag(image: ImageFacts) -> str:
    """By the image and not by the release: devices whose groups have other numbers get the same bundle."""
    return image.id.removeprefix("sha256:")[:_ID_DIGITS]


def plan_files_release(
    deploy: DeploySection,
    state: DeviceState,
    image: ImageFacts,
    program: Program,
    *,
    app: str,
    env: Mapping[str, str],
    secrets: Mapping[str, bytes],
) -> Release:
    """The release of files for a device; the same for the same. ``env`` is what the project says for every place.

    Raises ConfigError for what only containers have.
    """
    _refuse_for_files(deploy)
    has_unit = deploy.unit and state.has_units and bool(program.command)
    health = _health(deploy, image)
    env = {**env, **dict(deploy.env)}
    made_of = [image.id, app, asdict(program), env, has_unit, deploy.restart, deploy.stop_timeout_s, asdict(health)]
    made_of.append(_digest(app, secrets))
    release_id = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:_ID_DIGITS]
    return Release(
        app=app,
        id=release_id,
        image_id=image.id,
        reference=f"files/{app}:{_tag(image)}",
        command=program.command,
        secrets=secrets,
        restart=deploy.restart,
        health=health,
        stop_timeout_s=deploy.stop_timeout_s,
        keep=deploy.keep,
        form="files",
        has_unit=has_unit,
        env=env,
        library_dirs=program.library_dirs,
    )


def _refuse_for_files(deploy: DeploySection) -> None:
    none = DeploySection()
    said = [name for name in _FOR_CONTAINERS if getattr(deploy, name) != getattr(none, name)]
    if said:
        keys = ", ".join(f"deploy.{name}" for name in said)
        raise ConfigError(
            f'{keys}: only a container has that, not deploy.kind = "files"',
            hint="leave it out: the program is one of the device's own, with all that its user may do",
        )


def published(deploy: DeploySection) -> tuple[str, ...]:
    """The device's ports that the container takes, "8080/tcp"."""
    ports = (port.partition("/")[::2] for port in deploy.ports)
    return tuple(f"{int(numbers.split(':')[-2])}/{protocol or 'tcp'}" for numbers, protocol in ports)


def _options(deploy: DeploySection, device: Device, image: ImageFacts) -> Iterator[str]:
    gpu = choose_gpu(deploy, device)
    env = dict(deploy.env)
    if gpu == "runtime":
        yield from ("--runtime", RUNTIME)
        told = {each.partition("=")[0] for each in image.env}
        env = {name: value for name, value in _GPU_ENV.items() if name not in told} | env
    elif gpu == "cdi":
        yield from ("--device", CDI_DEVICE)
    ids = dict(device.group_ids)
    of_gpu = [str(ids[name]) for name in _GPU_GROUPS if name in ids] if gpu != "none" else []
    several = {
        "--group-add": dict.fromkeys((*of_gpu, *deploy.groups)),
        "--device": deploy.device_nodes,
        "--cap-add": deploy.cap_add,
        "--volume": deploy.volumes,
        "--publish": deploy.ports,
        "--env": [f"{name}={value}" for name, value in sorted(env.items())],
    }
    for option, value in (("--network", deploy.network), ("--ipc", deploy.ipc), ("--shm-size", deploy.shm_size)):
        if value is not None:
            yield from (option, value)
    for option, values in several.items():
        for value in values:
            yield from (option, value)
    if deploy.privileged:
        yield "--privileged"


def _health(deploy: DeploySection, image: ImageFacts) -> Health:
    told = deploy.health
    if told is None:
        if image.health_s is None:
            return Health()
        return Health(kind="image", timeout_s=math.ceil(image.health_s))
    if told.command:
        return Health(kind="command", command=told.command, timeout_s=told.timeout_s)
    if told.http is not None:
        return Health(kind="http", url=told.http, timeout_s=told.timeout_s)
    return Health(kind="stays", stays_s=told.stays_s, timeout_s=max(told.timeout_s, told.stays_s))


def _digest(app: str, secrets: Mapping[str, bytes]) -> str:
    """Of the secrets. Slow on purpose: the release's name, which all may see, must not let them guess a short one."""
    if not secrets:
        return ""
    data = b"".join(f"{name}:{len(value)}:".encode() + value for name, value in sorted(secrets.items()))
    return hashlib.scrypt(data, salt=f"jetsonx/{app}".encode(), n=1 << 14, r=8, p=1).hex()


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
