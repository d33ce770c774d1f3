"""What of a device fits for images to run there, what is missing, and what to type on the device to mend it: pure.

Source of the commands and limits: NVIDIA's container toolkit documentation and CHANGELOG (`nvidia-ctk runtime
configure`, CDI from 1.13 on), docs.docker.com (linux-postinstall), and /dev/nvmap's mode (root:video 0440) as read on
devices by others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

from jetsonx.catalog import Catalog
from jetsonx.catalog.versions import parse_version
from jetsonx.console import amount
from jetsonx.device.identify import Identity, identify
from jetsonx.device.values import Device
from jetsonx.host.mend import Finding, Mend

_MACHINES = ("aarch64", "arm64")
_OLDEST_PYTHON = (3, 6)  # of what sends parts of layers; whole layers need none
_LITTLE_BYTES, _GOOD_BYTES = 1_000_000_000, 5_000_000_000
_SCRATCH_BYTES = 500_000_000
_CLOCK_S = 300
_ADMINS = ("sudo", "admin", "wheel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One judgement under its name."""

    name: str
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """A device, what it is in the catalog, and the judgements."""

    device: Device
    identity: Identity
    lines: tuple[Line, ...]

    @property
    def is_ready(self) -> bool:
        """True when nothing is in the way of running an image there."""
        return not any(line.finding.status in ("fail", "absent") for line in self.lines)

    @property
    def tasks(self) -> tuple[str, ...]:
        """What to type on the device, in order, each once."""
        mends = (line.finding.mend for line in self.lines)
        return tuple(dict.fromkeys(mend.text for mend in mends if mend is not None))


def assess(device: Device, catalog: Catalog) -> Assessment:
    """Judge everything."""
    identity = identify(device, catalog)
    judged = (
        ("module", _judge_module(device, identity)),
        ("release", _judge_release(device, identity)),
        ("processor", _judge_processor(device)),
        ("cuda", _judge_cuda(device, identity)),
        ("docker", _judge_docker(device)),
        ("store", _judge_store(device)),
        ("runtime", _judge_runtime(device)),
        ("groups", _judge_groups(device)),
        ("disk", _judge_disk(device)),
        ("home", _judge_home(device)),
        ("memory", _judge_memory(device)),
        ("python3", _judge_python(device)),
        ("clock", _judge_clock(device)),
        ("root", _judge_root(device)),
    )
    lines = tuple(Line(name=name, finding=finding) for name, finding in judged if finding is not None)
    return Assessment(device=device, identity=identity, lines=lines)


def _judge_module(device: Device, identity: Identity) -> Finding:
    named = f"{device.model}: " if device.model else ""
    sms = ", ".join(f"sm_{sm}" for sm in identity.sms)
    if identity.module is not None and device.virtual:
        found = f"a virtual machine that stands for {identity.module.name} ({identity.module.id}), {sms}; it has no GPU"
        return Finding(status="ok", found=found)
    if identity.module is not None:
        return Finding(status="ok", found=f"{named}{identity.module.name} ({identity.module.id}), {sms}")
    if identity.siblings:
        names = ", ".join(module.id for module in identity.siblings)
        return Finding(status="warn", found=f"{named}an unknown module with the SoC of {names}; {sms}")
    return Finding(status="warn", found=f"{named}no Jetson: its device tree names no module of NVIDIA's")


def _judge_release(device: Device, identity: Identity) -> Finding:
    system = ", ".join(filter(None, (device.system, f"kernel {device.kernel}" if device.kernel else "")))
    if device.l4t is None:
        found = "no Jetson: it has neither /etc/nv_tegra_release nor the package nvidia-l4t-core"
        return Finding(status="warn", found=found, notes=(system,) if system else ())
    jetpack = identity.target.release.jetpack if identity.target else ""
    installed = f"nvidia-jetpack {device.jetpack} installed" if device.jetpack else ""
    found = ", ".join(filter(None, (f"L4T {device.l4t}", f"JetPack {jetpack}" if jetpack else "", installed, system)))
    if identity.target is None:
        return Finding(status="warn", found=found, notes=(identity.why,) if identity.why else ())
    return Finding(status="ok", found=found, notes=(f"target: {identity.target.name}",))


def _judge_processor(device: Device) -> Finding:
    cores = f", {device.cores} cores" if device.cores else ""
    if device.machine in _MACHINES:
        return Finding(status="ok", found=f"{device.machine}{cores}")
    found = f"{device.machine or 'unknown'}{cores}: images for Jetsons are for AArch64"
    if device.starts_aarch64:
        return Finding(status="warn", found=f"{found}; QEMU starts them, without a GPU")
    return Finding(status="fail", found=found)


def _judge_cuda(device: Device, identity: Identity) -> Finding | None:
    if device.virtual:
        return Finding(status="warn", found="no driver: CUDA programs start, and find no GPU")
    driver = identity.target.driver if identity.target else None
    there = [f"toolkit {device.cuda}"] if device.cuda else []
    there += [f"{name} {version}" for name, version in device.cuda_compat]
    installed = f"installed: {', '.join(there)}" if there else ""
    if driver is None:
        return Finding(status="ok", found=installed) if installed else None
    more = driver.max_cuda_with_compat
    beyond = f", {more} with cuda-compat in the image or on the device" if more and more != driver.max_cuda else ""
    found = f"the driver runs CUDA up to {driver.max_cuda}{beyond} ({driver.confidence})"
    return Finding(status="ok", found=found, notes=tuple(filter(None, (installed, driver.compat, driver.note))))


def _judge_docker(device: Device) -> Finding:
    docker = device.docker
    if not docker.client:
        join = (
            ""
            if device.is_root or "docker" in device.groups
            else f" && {{sudo}}usermod -aG docker {quote(device.user)}"
        )
        mend = _as_root(device, "apt-get update && {sudo}apt-get install -y docker.io" + join)
        return Finding(status="absent", found="no docker command, or not on the PATH that ssh gives", mend=mend)
    if docker.by == "user":
        return Finding(status="ok", found=f"Docker {docker.engine} (API {docker.api}) for {device.user}")
    words = (f"docker says: {docker.trouble}",) if docker.trouble else ()
    if "permission denied" in docker.trouble.lower() or docker.by == "sudo":
        return _judge_permission(device, words)
    found = f"the Docker engine does not answer at {docker.endpoint or 'its socket'}"
    return Finding(status="fail", found=found, mend=_as_root(device, "systemctl enable --now docker"), notes=words)


def _judge_permission(device: Device, words: Sequence[str]) -> Finding:
    docker, group = device.docker, device.docker.socket_group
    is_member = group in device.groups
    notes = (
        *words,
        f"group: {device.user} is {'' if is_member else 'not '}in {group}; its groups: {' '.join(device.groups)}",
        f"socket: {docker.socket or 'not seen'}",
        "a member of that group has root's rights there through Docker",
    )
    join = _as_root(device, f"usermod -aG {quote(group)} {quote(device.user)}")
    mend = join if not is_member and group != "root" else None
    if docker.by == "sudo":
        found = f"Docker {docker.engine} (API {docker.api}) by sudo only: {device.user} may not use the socket"
        return Finding(status="warn", found=found, mend=mend, notes=notes)
    if mend is None:
        mend = _as_root(device, "groupadd -f docker && {sudo}systemctl restart docker.socket docker")
    return Finding(status="fail", found=f"{device.user} may not use the Docker engine", mend=mend, notes=notes)


def _judge_store(device: Device) -> Finding | None:
    docker = device.docker
    if not docker.by:
        return None
    kind = f"containerd's image store ({docker.driver})" if docker.has_containerd_store else f"{docker.driver}"
    if docker.store in ("containerd", "overlay2"):
        return Finding(status="ok", found=f"{kind}, in {docker.root}")
    return Finding(status="warn", found=f"{kind}, in {docker.root}: slower, and takes more room than overlay2")


def _judge_runtime(device: Device) -> Finding | None:
    docker = device.docker
    if device.virtual:
        return Finding(status="ok", found="no GPU to hand to containers: a virtual machine")
    toolkit = f"NVIDIA container toolkit {device.toolkit}" if device.toolkit else ""
    specs = f"CDI: {', '.join(device.cdi_specs)}" if device.cdi_specs else ""
    extra = tuple(filter(None, (toolkit, specs)))
    if "nvidia" in docker.runtimes:
        default = "the default" if docker.default_runtime == "nvidia" else f"the default is {docker.default_runtime}"
        return Finding(status="ok", found="; ".join((f"Docker has the runtime nvidia, {default}", *extra)))
    if device.cdi_specs and docker.cdi_dirs:
        return Finding(status="ok", found="; ".join(("Docker takes GPUs by CDI", *extra)))
    configure = "nvidia-ctk runtime configure --runtime=docker && {sudo}systemctl restart docker"
    if device.toolkit and not docker.by:
        return None  # whether Docker knows it will show once Docker can be asked
    if device.toolkit:
        found = f"Docker knows neither the runtime nvidia nor CDI; {toolkit} is installed"
        return Finding(status="fail", found=found, mend=_as_root(device, configure))
    found = "no NVIDIA container toolkit: containers get no GPU"
    mend = _as_root(device, "apt-get install -y nvidia-container-toolkit && {sudo}" + configure)
    return Finding(status="absent", found=found, mend=mend)


def _judge_groups(device: Device) -> Finding:
    named = " ".join(device.groups) or "none"
    lacking = [name for name, _ in device.group_ids if name in ("video", "render") and name not in device.groups]
    if not lacking or device.is_root:
        return Finding(status="ok", found=f"{device.user} is in: {named}")
    found = f"{device.user} is not in {' and '.join(lacking)}: its programs outside of containers get no GPU"
    mend = _as_root(device, f"usermod -aG {','.join(lacking)} {quote(device.user)}")
    return Finding(status="warn", found=found, notes=(f"its groups: {named}",), mend=mend)


def _judge_disk(device: Device) -> Finding | None:
    free, docker = device.docker.free_bytes, device.docker
    if free is None:
        return None
    found = f"{amount(free)} free for Docker's images ({docker.root or '/var/lib/docker'})"
    sudo = "sudo " if docker.by == "sudo" else ""
    prune = Mend(text=f"{sudo}docker system df shows what takes room, {sudo}docker system prune frees what is unused")
    mend = prune if docker.by else None
    if free < _LITTLE_BYTES:
        return Finding(status="fail", found=f"{found}: an image hardly fits", mend=mend)
    if free < _GOOD_BYTES:
        return Finding(status="warn", found=f"{found}: an L4T base image does not fit", mend=mend)
    return Finding(status="ok", found=found)


def _judge_home(device: Device) -> Finding | None:
    free = device.home_free_bytes
    if free is None:
        return None
    found = f"{amount(free)} free in {device.home}"
    if free < _SCRATCH_BYTES:
        return Finding(status="warn", found=f"{found}: what is sent is kept there until it is complete")
    return Finding(status="ok", found=found)


def _judge_memory(device: Device) -> Finding | None:
    if device.memory_bytes is None:
        return None
    free = f", {amount(device.memory_free_bytes)} available" if device.memory_free_bytes is not None else ""
    return Finding(status="ok", found=f"{amount(device.memory_bytes)}{free}")


def has_usable_python(device: Device) -> bool:
    """True when what sends parts of layers can run there."""
    return bool(device.python) and parse_version(device.python) >= _OLDEST_PYTHON


def _judge_python(device: Device) -> Finding:
    if has_usable_python(device):
        return Finding(status="ok", found=device.python)
    found = f"{device.python}: older than 3.6" if device.python else "none, or python3-minimal"
    install = _as_root(device, "apt-get install -y python3") if not device.python else None
    return Finding(status="warn", found=f"{found}; images can only be sent in whole layers", mend=install)


def _judge_clock(device: Device) -> Finding | None:
    offset = device.clock_offset_s
    if offset is None or abs(offset) <= _CLOCK_S:
        return None
    where = "ahead of" if offset > 0 else "behind"
    found = f"{_span(abs(offset))} {where} this machine's: its logs and certificates are judged by it"
    return Finding(status="warn", found=found, mend=_as_root(device, "timedatectl set-ntp true"))


def _span(seconds: int) -> str:
    days = seconds // 86400
    return f"{days} days" if days > 1 else f"{seconds // 60} minutes"


def _judge_root(device: Device) -> Finding:
    if device.is_root:
        return Finding(status="ok", found="the user is root")
    if device.has_sudo:
        return Finding(status="ok", found=f"{device.user} has sudo without a password")
    if _is_admin(device):
        return Finding(status="ok", found=f"{device.user} may use sudo with a password, on a terminal")
    found = f"{device.user} has no root's rights there; none are needed once Docker is usable"
    return Finding(status="ok", found=found)


def _is_admin(device: Device) -> bool:
    return any(group in device.groups for group in _ADMINS)


def _as_root(device: Device, command: str) -> Mend:
    """A command that takes root's rights, as this user types it; ``{sudo}`` stands before each later one."""
    if device.is_root:
        return Mend(text=command.replace("{sudo}", ""))
    if device.has_sudo or _is_admin(device):
        return Mend(text="sudo " + command.replace("{sudo}", "sudo "))
    return Mend(text=f"as root ({device.user} has no sudo; ask who runs it): {command.replace('{sudo}', '')}")


def name_problems(assessment: Assessment) -> Iterator[str]:
    """The lines that are not ok, in short: a name and what was found."""
    for line in assessment.lines:
        if line.finding.status != "ok":
            yield f"{line.name}: {line.finding.found}"
