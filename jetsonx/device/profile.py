"""What `jetsonx verify` judges against when a device is named: its release's profile, with what it says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jetsonx.catalog import load_catalog
from jetsonx.device.identify import identify
from jetsonx.device.probe import probe_device
from jetsonx.device.registry import open_registry
from jetsonx.device.values import Device
from jetsonx.errors import DeviceError
from jetsonx.runner import Runner

if TYPE_CHECKING:
    from jetsonx.verify.profile import DeviceFacts, Profile, Version

_COMPAT = re.compile(r"cuda-compat-(\d+)-(\d+)")


def load_device_profile(text: str, *, runner: Runner, environ: Mapping[str, str]) -> Profile:
    """Ask the device that ``NAME|ADDRESS`` means, and say what runs there.

    Raises ConfigError for a name or address that is none, DeviceError when the device does not answer, or is no Jetson
    with a release that the catalog knows.
    """
    from jetsonx.verify.profile import profile_of_device

    name, address = open_registry(environ).find(text)
    device = probe_device(address, runner=runner, environ=environ).device
    identity = identify(device, load_catalog())
    if identity.target is None:
        raise DeviceError(
            f"{name or address.host}: {identity.why or 'it is no Jetson'}",
            hint="jetsonx device probe says what it is; -t TARGET judges without asking it",
        )
    return profile_of_device(identity.target, device_facts(device))


def device_facts(device: Device) -> DeviceFacts:
    """What of a device's answer bears on what runs there."""
    from jetsonx.verify.profile import DeviceFacts

    return DeviceFacts(
        glibc=device.glibc or None,
        kernel=device.kernel or None,
        page_bytes=device.page_bytes,
        cpu_flags=device.cpu_flags or None,
        driver_cuda=_compat(device),
    )


def _compat(device: Device) -> Version | None:
    """The CUDA of the newest cuda-compat package there, whose driver libraries then stand for the release's own."""
    found = (_COMPAT.fullmatch(package) for package, _ in device.cuda_compat)
    return max(((int(match[1]), int(match[2])) for match in found if match), default=None)
