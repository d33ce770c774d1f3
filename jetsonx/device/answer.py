"""Reads what probe.sh printed: pure. An answer that is cut off, or of something else, is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jetsonx.device.values import Device, Docker
from jetsonx.rootfs.identity import parse_l4t
from jetsonx.rootfs.script import parse_count
from jetsonx.sysroot.contents import parse_cuda_json

_L4T_PACKAGE = "nvidia-l4t-core"
_MACHINES = ("aarch64", "arm64")
_CONTAINERD_STORE = "io.containerd.snapshotter.v1"  # `docker info`, DriverStatus; the version does not tell
_VERSION = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6})+")


def is_whole(said: Mapping[str, str]) -> bool:
    """True when the answer came to its end."""
    return said.get("end") == "whole"


def parse_device(said: Mapping[str, str], *, asked_s: float) -> Device:
    """The device behind a whole answer; ``asked_s`` is this host's time then, in seconds since 1970."""
    packages = dict(_packages(said.get("packages", "")))
    l4t, source = _release(said, packages)
    clock_s = parse_count(said.get("clock_s", ""))
    return Device(
        machine=said.get("machine", ""),
        starts_aarch64=said.get("machine") in _MACHINES or "aarch64" in said.get("binfmt", ""),
        kernel=said.get("kernel", ""),
        host=said.get("host", ""),
        system=said.get("system", ""),
        model=said.get("model", ""),
        compatible=_words(said, "compatible"),
        virtual=said.get("virtual", "").partition("@")[0],
        l4t=l4t,
        l4t_source=source,
        jetpack=packages.get("nvidia-jetpack", ""),
        cuda=_cuda(said),
        cuda_compat=tuple(sorted(each for each in packages.items() if each[0].startswith("cuda-compat-"))),
        toolkit=packages.get("nvidia-container-toolkit", ""),
        cdi_specs=tuple(name for name in _words(said, "cdi") if name.endswith((".yaml", ".json"))),
        cores=parse_count(said.get("cores", "")),
        page_bytes=parse_count(said.get("page_bytes", "")),
        glibc=said.get("glibc", "").removeprefix("glibc "),
        cpu_flags=_words(said, "cpu_flags"),
        memory_bytes=parse_count(said.get("memory_kib", ""), 1024),
        memory_free_bytes=parse_count(said.get("memory_free_kib", ""), 1024),
        user=said.get("user", ""),
        is_root=said.get("uid") == "0",
        groups=_words(said, "groups"),
        group_ids=tuple(_group_ids(_words(said, "group_ids"))),
        has_sudo=said.get("sudo") == "yes",
        home=said.get("home", ""),
        home_free_bytes=parse_count(said.get("home_free_kib", ""), 1024),
        python=python if _VERSION.fullmatch(python := said.get("python", "")) else "",
        clock_offset_s=round(clock_s - asked_s) if clock_s is not None else None,
        docker=_docker(said),
    )


def _words(said: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(said.get(name, "").split())


def _packages(text: str) -> Iterator[tuple[str, str]]:
    """The installed ones of dpkg-query's `ii name version|…`."""
    for item in text.split("|"):
        fields = item.split()
        if len(fields) == 3 and fields[0].endswith("i"):
            yield fields[1], fields[2]


def _release(said: Mapping[str, str], packages: Mapping[str, str]) -> tuple[str | None, str]:
    if l4t := parse_l4t(said.get("release", "")):
        return l4t, "nv_tegra_release"
    version = packages.get(_L4T_PACKAGE, "").partition("-")[0]  # 36.4.4-20250616085344
    return (version, _L4T_PACKAGE) if _VERSION.fullmatch(version) else (None, "")


def _cuda(said: Mapping[str, str]) -> str:
    """Before CUDA 11.1 the toolkit has a version.txt: "CUDA Version 10.2.300"."""
    found = _VERSION.search(said.get("cuda_text", ""))
    return parse_cuda_json(said.get("cuda_json", "")) or (found[0] if found else "")


def _group_ids(items: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for item in items:
        name, _, number = item.partition(":")
        if (gid := parse_count(number)) is not None:
            yield name, gid


def _docker(said: Mapping[str, str]) -> Docker:
    by = said.get("docker_by", "")
    reached = by == "user" or by == "sudo"
    info = _object(said.get("docker_info", "")) if reached else {}
    has_containerd_store = _CONTAINERD_STORE in json.dumps(info.get("DriverStatus"))
    free = parse_count(said.get("docker_free_kib", ""), 1024)
    beside = parse_count(said.get("containerd_free_kib", ""), 1024)
    if has_containerd_store and free is not None and beside is not None:
        free = min(free, beside)  # images lie in containerd's directory, what is loaded passes through Docker's
    runtimes = info.get("Runtimes")
    return Docker(
        client=said.get("docker", ""),
        endpoint=said.get("docker_endpoint", ""),
        socket=said.get("docker_socket", ""),
        trouble=said.get("docker_trouble", ""),
        by=("user" if by == "user" else "sudo") if info else "",
        engine=_text(info, "ServerVersion"),
        api=said.get("docker_api", "") if info else "",
        root=_text(info, "DockerRootDir"),
        driver=_text(info, "Driver"),
        has_containerd_store=has_containerd_store,
        runtimes=tuple(sorted(map(str, runtimes))) if isinstance(runtimes, dict) else (),
        default_runtime=_text(info, "DefaultRuntime"),
        cdi_dirs=tuple(map(str, info.get("CDISpecDirs") or ())) if isinstance(info.get("CDISpecDirs"), list) else (),
        free_bytes=free,
    )


def _object(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(info: Mapping[str, Any], key: str) -> str:
    value = info.get(key)
    return value if isinstance(value, str) else ""
