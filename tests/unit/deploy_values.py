"""Devices, images and releases for the tests of deployments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from jetsonx.catalog import load_catalog
from jetsonx.deploy.options import ImageFacts, choose_gpu, parse_image, plan_release, published
from jetsonx.deploy.preflight import Subject
from jetsonx.deploy.state import DeviceState
from jetsonx.device.identify import identify
from jetsonx.device.values import Device
from jetsonx.project.model import DeploySection
from tests.unit.device_answers import answer
from tests.unit.device_answers import device as read

IMAGE_ID = f"sha256:{'a1' * 32}"
LABELS = {"jetsonx.target": "orin-nano@36.4.3", "jetsonx.l4t": "36.4.3", "jetsonx.sms": "87"}


def config_of(
    labels: Mapping[str, str] = LABELS, *, architecture: str = "arm64", env: tuple[str, ...] = (), **more: object
) -> bytes:
    return json.dumps(
        {"architecture": architecture, "os": "linux", "config": {"Labels": labels, "Env": env, **more}}
    ).encode()


def image(labels: Mapping[str, str] = LABELS, **more: object) -> ImageFacts:
    return parse_image(IMAGE_ID, config_of(labels, **more))  # type: ignore[arg-type]


def subject(
    deploy: DeploySection | None = None,
    *,
    device: Device | None = None,
    of: ImageFacts | None = None,
    state: DeviceState | None = None,
    verdict: tuple[str, ...] | None = None,
) -> Subject:
    deploy = deploy or DeploySection()
    device = device or read(answer())
    of = of or image()
    return Subject(
        device=device,
        identity=identify(device, load_catalog()),
        image=of,
        release=plan_release(deploy, device, of, app="demo", secrets={}),
        state=state or DeviceState(by="user"),
        gpu=choose_gpu(deploy, device),
        must_have_gpu=deploy.gpu != "none",
        ports=published(deploy),
        verdict=verdict,
    )


def without_runtime(device: Device, **more: object) -> Device:
    return replace(device, docker=replace(device.docker, runtimes=("runc",), **more))  # type: ignore[arg-type]
