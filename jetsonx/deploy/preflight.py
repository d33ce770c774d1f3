"""Whether a release can be brought to a device and will run there, judged before a byte is sent: pure.

A finding that fails ends the deployment before anything was changed; each says what to type next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jetsonx.catalog import Catalog
from jetsonx.catalog.versions import short_l4t
from jetsonx.console import amount
from jetsonx.deploy.options import Gpu, ImageFacts
from jetsonx.deploy.state import APP_LABEL, DeviceState
from jetsonx.deploy.values import Form, Release
from jetsonx.device.identify import Identity
from jetsonx.device.judge import Line, assess
from jetsonx.device.values import Device
from jetsonx.host.mend import Finding, Mend, Status

_MACHINES = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "amd64"}
_HELPER_BYTES = 64_000_000  # what receiving and loading take at most
_SPARE = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be judged: a release of an image on its way to a device.

    ``gpu`` is how it comes to the GPU, of its own accord or, when ``must_have_gpu`` is False, as [deploy] says.
    ``wants_unit``: files are to be run by a unit of systemd. ``ports`` of the device are those that it takes.
    ``verdict`` is what the check of the image's files for this device found, one line for each error; None: it was not
    asked.
    """

    device: Device
    identity: Identity
    image: ImageFacts
    release: Release
    state: DeviceState
    gpu: Gpu
    must_have_gpu: bool = True
    wants_unit: bool = False
    ports: tuple[str, ...] = ()
    verdict: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a deployment brings: bytes of the bundle that is sent, and of the layers that are new there, unpacked,
    or of all files.
    """

    bundle_bytes: int
    layer_bytes: int
    form: Form = "container"


def judge_subject(subject: Subject, catalog: Catalog) -> tuple[Line, ...]:
    """Everything that can be said before it is known what has to be sent."""
    is_container = subject.release.form == "container"
    judged = (
        ("architecture", _judge_architecture(subject)),
        ("target", _judge_target(subject, catalog)),
        ("device code", _judge_code(subject)),
        ("program", _judge_verdict(subject)),
        ("gpu", _judge_gpu(subject) if is_container else None),
        ("memory", _judge_memory(subject.device)),
        ("lock", _judge_lock(subject)),
        ("form", _judge_form(subject)),
        ("names", _judge_names(subject) if is_container else None),
        ("ports", _judge_ports(subject)),
        ("home", None if is_container else _judge_home(subject)),
        ("systemd", None if is_container else _judge_systemd(subject)),
        ("health", _judge_health(subject)),
    )
    lines = [Line(name=name, finding=finding) for name, finding in judged if finding is not None]
    if not is_container:
        return tuple(lines)
    lines += [line for line in assess(subject.device, catalog).lines if line.name in _of_device(subject)]
    return tuple(lines)


def _judge_form(subject: Subject) -> Finding | None:
    app = subject.state.apps.get(subject.release.app)
    if app is None or app.form == subject.release.form or not app.history:
        return None
    found = f"{app.name} is there already, deployed as {'files' if app.form == 'files' else 'a container'}"
    return Finding(status="fail", found=found, mend=Mend(text="take another name: --app NAME"))


def _judge_home(subject: Subject) -> Finding:
    if subject.state.can_run:
        return Finding(status="ok", found="programs can be started there")
    found = "the file system of the home directory is mounted noexec: no program can be started there"
    return Finding(status="fail", found=found, mend=Mend(text="mount it without noexec there, or deploy a container"))


def _judge_systemd(subject: Subject) -> Finding:
    release = subject.release
    if release.has_unit and subject.state.has_linger:
        return Finding(status="ok", found=f"the unit jetsonx-{release.app}.service of the user runs it")
    if release.has_unit:
        found = "a unit of the user runs it, and only while somebody is logged in"
        return Finding(status="warn", found=found, mend=Mend(text="on the device: loginctl enable-linger"))
    if not subject.wants_unit:
        return Finding(status="ok", found="not asked for: others start what is put there")
    lacks = "no single program is to be started" if not release.command else "systemctl --user does not answer there"
    fix = (
        "name it: image.entrypoint"
        if not release.command
        else "start it by something else, and say deploy.unit = false"
    )
    return Finding(status="warn", found=f"{lacks}: nothing starts what is put there", mend=Mend(text=fix))


def _of_device(subject: Subject) -> tuple[str, ...]:
    """The lines of `jetsonx device probe` that bear on this release."""
    lacks_gpu = subject.gpu == "none" and subject.must_have_gpu and bool(subject.image.sms)
    return ("docker", "runtime") if lacks_gpu else ("docker",)


def judge_load(device: Device, load: Load) -> tuple[Line, ...]:
    """Whether there is room for what has to be sent."""
    if not load.bundle_bytes:
        return ()
    docker = device.docker
    # The layers lie there twice for a moment: in the archive that is read, or containerd's store, and unpacked.
    store = ("disk", docker.free_bytes, round((2 * load.layer_bytes + load.bundle_bytes) * _SPARE), docker.root)
    if load.form == "files":
        needed = round((2 * load.layer_bytes + load.bundle_bytes) * _SPARE)
        free = device.home_free_bytes
        finding = None if free is None else _judge_room(free, needed, device.home)
        return (Line(name="disk", finding=finding),) if finding else ()
    home = ("staging", device.home_free_bytes, round(load.bundle_bytes * _SPARE), device.home)
    return tuple(
        Line(name=name, finding=_judge_room(free, needed, place))
        for name, free, needed, place in (store, home)
        if free is not None
    )


def failures(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Those that forbid the deployment."""
    return tuple(line for line in lines if line.finding.status in ("fail", "absent"))


def _judge_architecture(subject: Subject) -> Finding:
    device, built = subject.device, subject.image.architecture
    runs = _MACHINES.get(device.machine, device.machine)
    if built == runs:
        return Finding(status="ok", found=f"the image is for {built}")
    if built == "arm64" and device.starts_aarch64:
        return Finding(status="warn", found=f"the image is for {built}; the device, {runs}, starts it under QEMU")
    mend = Mend(text="build it with jetsonx build, or for linux/arm64")
    return Finding(
        status="fail", found=f"the image is for {built or 'an unknown machine'}, the device {runs}", mend=mend
    )


def _judge_target(subject: Subject, catalog: Catalog) -> Finding:
    identity, built = subject.identity, subject.image.targets
    here = identity.target
    if not built:
        found = "the image does not say for which Jetson it was built (label jetsonx.target)"
        return Finding(status="warn", found=found)
    names = ", ".join(built)
    l4t = subject.device.l4t
    if l4t is None:
        return Finding(status="warn", found=f"built for {names}; {identity.why or 'the device is no Jetson'}")
    own = identity.module.id if identity.module else "an unknown module"
    releases = tuple(dict.fromkeys(name.partition("@")[2] for name in built))
    fitting = [each for each in releases if _runs(catalog, l4t, each)]
    if not fitting:
        mend = Mend(text=f"jetsonx build -t {here.name}" if here else "build for the device's release")
        found = f"built for {names}; the device runs L4T {l4t}, and {_apart(l4t, releases)}"
        return Finding(status="fail", found=found, mend=mend)
    exact = here is not None and here.name in built
    if exact:
        return Finding(status="ok", found=f"built for {names}")
    return Finding(status="ok", found=f"built for {names}, which runs on {own} with L4T {l4t}")


def _runs(catalog: Catalog, device_l4t: str, image_l4t: str) -> bool:
    try:
        return catalog.runs_images_of(device_l4t, image_l4t)
    except ValueError:  # a label of somebody else's
        return False


def _apart(l4t: str, releases: Sequence[str]) -> str:
    others = " and ".join(short_l4t(each) for each in releases)
    return f"images of {others} and {short_l4t(l4t)} do not run in each other's place"


def _judge_code(subject: Subject) -> Finding | None:
    """By the labels, for they cost nothing; the check of the files says it exactly."""
    here, there = subject.identity.sms, subject.image.sms
    if not here or not there:
        return None
    words = ", ".join(f"sm_{sm}" for sm in there)
    if set(here) <= set(there):
        return Finding(status="ok", found=f"machine code for {words}")
    target = subject.identity.target
    mend = Mend(text=f"jetsonx build -t {target.name}") if target else None
    needed = ", ".join(f"sm_{sm}" for sm in here)
    return Finding(status="fail", found=f"machine code for {words}; the device's GPU is {needed}", mend=mend)


def _judge_verdict(subject: Subject) -> Finding | None:
    verdict = subject.verdict
    if verdict is None:
        return None
    if not verdict:
        return Finding(status="ok", found="jetsonx verify finds nothing in it that would fail there")
    count = f"{len(verdict)} thing{'s' if len(verdict) != 1 else ''}"
    found = f"jetsonx verify finds {count} in it that will fail there"
    return Finding(status="fail", found=found, mend=Mend(text="jetsonx verify says more"), notes=verdict[:5])


def _judge_gpu(subject: Subject) -> Finding | None:
    docker = subject.device.docker
    if not docker.by:
        return None
    if subject.gpu == "none":
        if _of_device(subject) == ("docker",):
            return Finding(status="ok", found="none")
        found = "the image holds device code, and Docker there has neither the runtime nvidia nor CDI"
        fix = 'install one, or say deploy.gpu = "none" to run it without'
        return Finding(status="fail", found=found, mend=Mend(text=fix))
    if subject.gpu == "cdi":
        if subject.device.cdi_specs and docker.cdi_dirs:
            return Finding(status="ok", found="by CDI")
        found = "Docker there takes no GPUs by CDI" if not docker.cdi_dirs else "there is no CDI specification"
        fix = 'deploy.gpu = "runtime", or on the device: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml'
        return Finding(status="fail", found=found, mend=Mend(text=fix))
    if "nvidia" in docker.runtimes:
        return Finding(status="ok", found="by the runtime nvidia")
    mend = Mend(text="jetsonx device probe says how to install it")
    return Finding(status="fail", found="Docker there has no runtime nvidia", mend=mend)


def _judge_memory(device: Device) -> Finding | None:
    free = device.memory_free_bytes
    if free is None:
        return None
    status: Status = "ok" if free >= 2 * _HELPER_BYTES else "warn"
    return Finding(status=status, found=f"{amount(free)} available")


def _judge_lock(subject: Subject) -> Finding | None:
    app = subject.state.apps.get(subject.release.app)
    if app is None or app.holder is None:
        return None
    holder = app.holder
    found = f"{holder.who} is at it: {holder.kind}, since {holder.when}"
    return Finding(status="fail", found=found, mend=Mend(text="wait for it; jetsonx status says what it does"))


def _judge_names(subject: Subject) -> Finding:
    app = subject.release.app
    ours = {app, f"{app}.next", f"{app}.prev"}
    strange = [
        each.name for each in subject.state.containers if each.name in ours and each.labels.get(APP_LABEL) != app
    ]
    if not strange:
        return Finding(status="ok", found=f"the container is called {app}")
    found = f"{', '.join(strange)} on the device is a container that jetsonx did not make"
    fix = f"rename it there: docker rename {strange[0]} NAME; or take another name: --app NAME"
    return Finding(status="fail", found=found, mend=Mend(text=fix))


def _judge_ports(subject: Subject) -> Finding | None:
    if not subject.ports:
        return None
    release = subject.release
    taken = dict(_taken(subject))
    if clashes := [port for port in subject.ports if port in taken]:
        held = ", ".join(f"{port} ({taken[port]})" for port in clashes)
        fix = "stop that container, or change deploy.ports"
        if all(taken[port] == release.app for port in clashes):
            fix = "leave --blue-green out: only one of two releases can have a port"
        return Finding(status="fail", found=f"taken on the device: {held}", mend=Mend(text=fix))
    return Finding(status="ok", found=", ".join(subject.ports))


def _taken(subject: Subject) -> Iterator[tuple[str, str]]:
    """Ports and the containers that hold them when the new one starts; the old release is stopped before."""
    release = subject.release
    for container in subject.state.containers:
        is_old = container.labels.get(APP_LABEL) == release.app
        if container.state != "running" or (is_old and not release.is_blue_green):
            continue
        yield from ((port, container.name) for port in container.ports)


def _judge_health(subject: Subject) -> Finding:
    health = subject.release.health
    words = {
        "image": f"the image's HEALTHCHECK says so within {health.timeout_s} s",
        "command": f"a command in it succeeds within {health.timeout_s} s",
        "http": f"{health.url} answers with 200 within {health.timeout_s} s",
        "stays": f"it runs for {health.stays_s} s",
    }
    if subject.release.form == "files" and not subject.release.has_unit and health.kind == "stays":
        return Finding(status="ok", found="not judged: nothing of ours starts it, and deploy.health names no command")
    return Finding(status="ok", found=f"well when {words[health.kind]}")


def _judge_room(free: int, needed: int, place: str) -> Finding:
    found = f"{amount(free)} free in {place}, {amount(needed)} needed"
    if free >= needed:
        return Finding(status="ok", found=found)
    fix = "make room there: docker system df says what takes it; jetsonx prune removes old releases"
    return Finding(status="fail", found=found, mend=Mend(text=fix))
