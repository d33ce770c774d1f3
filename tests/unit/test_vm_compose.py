"""What is asked of a machine in a container, and the three ways to write it."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from jetsonx.errors import ConfigError
from jetsonx.host.facts import VmHost
from jetsonx.vm.compose import Mount, Service, load_facts, plan_service
from jetsonx.vm.compose_host import decide_kvm, judge_host, size_bytes
from jetsonx.vm.compose_render import render, run_words
from tests.unit.test_doctor import BARE, FULL, GB

ODD = '/home/ada/my $HOME: "disks", it\'s #1 é 💾'


def service(**changes: Any) -> Service:
    asked: dict[str, Any] = {
        "name": "lab",
        "machine": "x86-64",
        "image": "qemux/qemu",
        "boot": "alpine",
        "mount": None,
        "storage": None,
        "port": "8006",
        "publish": (),
        "cpus": "2",
        "memory": "2G",
        "disk": "64G",
        "has_kvm": True,
        "io": "native",
        "restart": "unless-stopped",
        "folder": "/home/ada",
    }
    return plan_service(**{**asked, **changes})


def compose(given: Service) -> Any:
    return yaml.safe_load(render(given, "compose"))["services"][given.name]


def test_the_compose_file_is_that_of_the_project_and_loopback() -> None:
    assert compose(service()) == {
        "image": "qemux/qemu",
        "container_name": "lab",
        "environment": {
            "BOOT": "alpine",
            "CPU_CORES": "2",
            "RAM_SIZE": "2G",
            "DISK_SIZE": "64G",
            "DISK_IO": "native",
            "KVM": "Y",
            "TIMEOUT": "110",
        },
        "devices": ["/dev/kvm", "/dev/net/tun"],
        "cap_add": ["NET_ADMIN"],
        "ports": ["127.0.0.1:8006:8006"],
        "volumes": [{"type": "volume", "source": "lab", "target": "/storage"}],
        "restart": "unless-stopped",
        "stop_grace_period": "2m",
    }


def test_the_guest_is_given_less_time_to_stop_than_its_container() -> None:
    assert load_facts()["guest_stop_s"] < load_facts()["stop_grace_s"]


def test_without_kvm_its_device_is_left_out() -> None:
    given = compose(service(has_kvm=False))
    assert given["devices"] == ["/dev/net/tun"]
    assert given["environment"]["KVM"] == "N"


def test_odd_characters_come_through_every_format() -> None:
    given = service(storage=f"{ODD}/storage", mount=Mount(source=f"{ODD}/boot.iso", target="/boot.iso"))
    text = render(given, "compose")
    volumes = yaml.safe_load(text)["services"]["lab"]["volumes"]
    assert [each["source"].replace("$$", "$") for each in volumes] == [f"{ODD}/storage", f"{ODD}/boot.iso"]
    assert "$" not in text.replace("$$", "")
    words = shlex.split(render(given, "run"))
    assert tuple(words) == run_words(given)
    quoted = f"{ODD}/boot.iso".replace('"', '""')
    assert f'--mount=type=bind,"source={quoted}",target=/boot.iso' in words
    deployment = next(each for each in yaml.safe_load_all(render(given, "kubernetes")) if each["kind"] == "Deployment")
    paths = [each["hostPath"]["path"] for each in deployment["spec"]["template"]["spec"]["volumes"]]
    assert {f"{ODD}/storage", f"{ODD}/boot.iso", "/dev/kvm", "/dev/net/tun"} == set(paths)


@pytest.mark.parametrize("word", ["no", "y", "off", "null"])
def test_a_name_that_yaml_takes_for_a_truth_value_stays_a_name(word: str) -> None:
    assert list(yaml.safe_load(render(service(name=word), "compose"))["services"]) == [word]


@pytest.mark.parametrize("mount", [None, Mount(source="/disks/a.img", target="/boot.img")])
def test_the_kubernetes_manifest_fits_kubernetes_own_schemas(mount: Mount | None) -> None:
    given = service(mount=mount, storage="/disks" if mount else None, publish=("2222:22",))
    documents = list(yaml.safe_load_all(render(given, "kubernetes")))
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    assert [each["kind"] for each in documents] == [
        *(["PersistentVolumeClaim"] if not mount else []),
        "Deployment",
        "Service",
    ]
    spec = documents[-2]["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 120
    mounts = {each["name"] for each in spec["containers"][0]["volumeMounts"]}
    assert mounts == {each["name"] for each in spec["volumes"]}


def test_kubernetes_cannot_leave_a_machine_off() -> None:
    with pytest.raises(ConfigError, match="always starts its machine again"):
        render(service(restart="no"), "kubernetes")


def test_a_mounted_file_takes_the_place_of_boot() -> None:
    given = service(boot="", mount=Mount(source="/a.iso", target="/boot.iso"))
    assert "BOOT" not in given.environment
    volume = compose(given)["volumes"][1]
    assert volume == {
        "type": "bind",
        "source": "/a.iso",
        "target": "/boot.iso",
        "bind": {"create_host_path": False},
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Lab"}, "cannot be the name"),
        ({"name": "a" * 51}, "cannot be the name"),
        ({"name": "--rm"}, "cannot be the name"),
        ({"name": "lab\n"}, "cannot be the name"),
        ({"memory": "lots"}, "--memory 'lots' is no size"),
        ({"memory": "0G"}, "is no size"),
        ({"disk": "half"}, "--disk 'half' is no size"),
        ({"cpus": "0"}, "is no count"),
        ({"port": "70000"}, "--port '70000' is no"),
        ({"port": "8006:8006"}, "--port '8006:8006' is no"),
        ({"publish": ("22",)}, "--publish '22' is no"),
        ({"publish": ("8006:22",)}, "at one port here"),
        ({"publish": ("2222:8006",)}, "published twice"),
        ({"storage": "a b"}, "cannot be the name of a volume"),
        ({"storage": "./a\nb"}, "control character"),
        ({"boot": "minty"}, "neither a file here nor a system"),
        ({"boot": "mint", "machine": "arm64"}, "that qemux/qemu-arm knows"),
        ({"boot": "ftp://example.org/a.iso"}, "no http or https address"),
        ({"boot": "https://example.org/a.tar"}, "takes none that ends so"),
        ({"boot": "https://example.org/a.iso.zst"}, "takes none that ends so"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        service(**changes)
    assert error.value.hint


@pytest.mark.parametrize("url", ["https://e.org/a.iso", "http://e.org/d.qcow2.xz?x=1", "https://e.org/all.zip"])
def test_urls_that_the_container_fetches(url: str) -> None:
    assert service(boot=url).boot == url


def test_sizes_and_ports_are_read_as_people_write_them() -> None:
    given = service(memory="8gib", port="0.0.0.0:80", publish=("[::1]:2222:22",), storage="./disks")
    assert given.memory == "8G"
    assert given.storage == "/home/ada/disks"
    assert compose(given)["ports"] == ["0.0.0.0:80:8006", "[::1]:2222:22"]
    assert size_bytes("8G") == 8 << 30
    assert size_bytes("half") == 0


def test_kvm_is_used_where_a_guest_came_up_under_it() -> None:
    works = replace(FULL, vm=VmHost(family="debian", trial="works"))
    assert decide_kvm("auto", "x86-64", works) == (True, "")
    assert decide_kvm("auto", "arm64", works)[0] is False
    assert "emulated" in decide_kvm("auto", "arm64", works)[1]
    for trial in ("hangs", "refused", "untried"):
        used, why = decide_kvm("auto", "x86-64", replace(FULL, vm=VmHost(family="debian", trial=trial)))
        assert not used
        assert "--kvm on insists" in why
    assert decide_kvm("on", "arm64", works) == (True, "")


def test_what_the_host_lacks_is_said() -> None:
    vm = VmHost(family="debian", trial="works", has_tun=True, free_memory_bytes=64 * GB)
    assert not list(judge_host(service(disk="8G"), replace(FULL, vm=vm), frozenset()))
    lacking = replace(BARE, vm=replace(vm, has_tun=False, free_memory_bytes=GB))
    said = "\n".join(judge_host(service(), lacking, frozenset({8006})))
    for words in (
        "no docker command",
        "apt-get install",
        "no /dev/net/tun",
        "modprobe tun",
        "no /dev/kvm",
        "1.0 GB of",
    ):
        assert words in said
    assert "something listens at port 8006" in said
    assert "may grow to 200G" in "\n".join(judge_host(service(disk="200G"), replace(FULL, vm=vm), frozenset()))
