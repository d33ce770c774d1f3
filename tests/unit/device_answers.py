"""Answers of devices as probe.sh prints them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from jetsonx.device.answer import parse_device
from jetsonx.device.values import Device

ASKED_S = 1_700_000_000.0
INFO: Mapping[str, object] = {
    "ServerVersion": "27.5.1",
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"]],
    "DockerRootDir": "/var/lib/docker",
    "Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}, "runc": {"path": "runc"}},
    "DefaultRuntime": "runc",
    "CDISpecDirs": ["/etc/cdi", "/var/run/cdi"],
}
CONTAINERD: Mapping[str, object] = {
    **INFO,
    "Driver": "overlayfs",
    "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
}
# An Orin Nano as it should be; its clock is two seconds ahead.
ORIN: Mapping[str, str] = {
    "machine": "aarch64",
    "kernel": "5.15.148-tegra",
    "host": "orin",
    "system": "Ubuntu 22.04.5 LTS",
    "clock_s": "1700000002",
    "model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    "compatible": "nvidia,p3768-0000+p3767-0005-super nvidia,p3767-0005 nvidia,tegra234",
    "release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8",
    "packages": "ii  nvidia-l4t-core 36.4.3-20250107174145|ii  cuda-compat-12-9 12.9.40|rc  cuda-compat-12-8 12.8.1|"
    "ii  nvidia-jetpack 6.2+b77|ii  nvidia-container-toolkit 1.16.2-1|",
    "cuda_json": '{"cuda": {"name": "CUDA SDK", "version": "12.6.68"}}',
    "cores": "6",
    "page_bytes": "4096",
    "glibc": "glibc 2.35",
    "cpu_flags": "fp asimd atomics",
    "memory_kib": "7802000",
    "memory_free_kib": "5000000",
    "user": "jetson",
    "uid": "1000",
    "groups": "jetson sudo docker video render",
    "group_ids": "docker:999 video:44 render:104",
    "home": "/home/jetson",
    "home_free_kib": "40000000",
    "python": "3.10.12",
    "sudo": "no",
    "docker_free_kib": "40000000",
    "docker": "/usr/bin/docker",
    "docker_endpoint": "unix:///var/run/docker.sock",
    "docker_socket": "srw-rw---- 1 root docker 0 Jan  1 00:00 /var/run/docker.sock",
    "docker_info": json.dumps(INFO),
    "docker_api": "1.47",
    "containerd_free_kib": "30000000",
    "docker_by": "user",
    "end": "whole",
}
_ENGINE = ("docker_info", "docker_api", "docker_by", "containerd_free_kib")


def answer(lacks: tuple[str, ...] = (), **changes: str) -> dict[str, str]:
    """ORIN with changes, without what it ``lacks``."""
    return {name: value for name, value in {**ORIN, **changes}.items() if name not in lacks}


def without_engine(lacks: tuple[str, ...] = (), **changes: str) -> dict[str, str]:
    """ORIN with an engine that does not answer its user."""
    return answer((*lacks, *_ENGINE), **changes)


def device(said: Mapping[str, str]) -> Device:
    return parse_device(said, asked_s=ASKED_S)
