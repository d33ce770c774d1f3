"""What of a device's answer `jetsonx verify` judges by."""

from __future__ import annotations

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.device.profile import device_facts
from jetsonx.device.values import Device
from jetsonx.verify.profile import profile_of, profile_of_device


def test_what_the_device_says_replaces_what_is_known() -> None:
    target = resolve_target(load_catalog(), "orin-nano@36.4.3")
    packages = (("cuda-compat-12-8", "12.8.1"), ("cuda-compat-12-9", "12.9.1"), ("cuda-compat-orin", "1"))
    device = Device(glibc="2.35", kernel="5.15.148-tegra", cpu_flags=("fp", "atomics"), cuda_compat=packages)
    profile = profile_of_device(target, device_facts(device))
    assert (profile.kernel, profile.driver_cuda) == ("5.15.148-tegra", (12, 9))
    assert profile.cpu_features == frozenset({"lse"})
    assert profile.source.startswith("what the device said")


def test_what_it_does_not_say_is_that_of_its_release() -> None:
    target = resolve_target(load_catalog(), "orin-nano@36.4.3")
    known, asked = profile_of(target), profile_of_device(target, device_facts(Device()))
    for name in ("glibc", "glibcxx", "kernel", "driver_cuda", "cpu_features", "page_bytes", "sm"):
        assert getattr(asked, name) == getattr(known, name), name
