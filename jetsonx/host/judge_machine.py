"""Judges the machine itself, and where packages and wheels come from: pure, one function for each line of `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from jetsonx.catalog.versions import parse_version
from jetsonx.console import amount
from jetsonx.host.facts import HostFacts
from jetsonx.host.mend import Finding, Mend, resolve_package, shell

PIP_MIN = "25.1"
"""As pyproject.toml asks for."""
KERNEL_MIN = (4, 8)
"""The first whose binfmt_misc keeps an interpreter open (flag F), which emulated containers need."""
# A sysroot with CUDA, nvcc and a compiler take 1 GB, an L4T image more than 4 (benchmarks/RESULTS.md).
_CACHE_LEAST_BYTES, _CACHE_GOOD_BYTES = 1_000_000_000, 5_000_000_000
_MEMORY_GOOD_BYTES = 4_000_000_000


def judge_kernel(facts: HostFacts) -> Finding:
    """Linux on x86-64: what jetsonx fetches are x86-64 programs."""
    found = f"Linux {facts.kernel}, {facts.machine}"
    if facts.machine != "x86_64":
        move = Mend(text="use an x86-64 machine, or build on the device with its own compilers")
        return Finding(status="fail", found=f"{found}: what jetsonx fetches are x86-64 programs", mend=move)
    if facts.is_wsl and "wsl2" not in facts.kernel.lower() and kernel_version(facts) < (4, 19):
        up = Mend(text="in Windows: wsl --set-version <distribution> 2")
        return Finding(status="warn", found=f"{found} (WSL 1): neither Docker nor emulated containers", mend=up)
    if kernel_version(facts) < KERNEL_MIN:
        return Finding(status="warn", found=f"{found}: too old for emulated containers, which need 4.8")
    return Finding(status="ok", found=f"{found} (WSL)" if facts.is_wsl else found)


def kernel_version(facts: HostFacts) -> tuple[int, ...]:
    """The kernel's version, () when its name has no number."""
    try:
        return parse_version(facts.kernel)
    except ValueError:
        return ()


def judge_libc(facts: HostFacts) -> Finding:
    """NVIDIA's compilers and zig's are built for glibc."""
    if facts.glibc:
        return Finding(status="ok", found=f"glibc {facts.glibc}")
    move = Mend(text="use a distribution with glibc: Debian, Ubuntu, Fedora and their kin")
    return Finding(status="fail", found="not glibc: NVIDIA's compilers do not start here", mend=move)


def judge_memory(facts: HostFacts) -> Finding:
    """Large CUDA files take gigabytes for each compiler at work."""
    if facts.memory_bytes is None:
        return Finding(status="warn", found="unknown: /proc/meminfo cannot be read")
    found = amount(facts.memory_bytes)
    if facts.memory_bytes >= _MEMORY_GOOD_BYTES:
        return Finding(status="ok", found=found)
    fewer = Mend(text="build with fewer jobs at once, or give this machine more memory or swap")
    return Finding(status="warn", found=f"{found}: compilers of large CUDA files may be killed", mend=fewer)


def judge_cache(facts: HostFacts) -> Finding:
    """Where sysroots and compilers are kept."""
    cache = facts.cache
    move = Mend(text="set JETSONX_CACHE to a directory of yours on a disk with room")
    if cache.problem:
        return Finding(status="fail", found=cache.problem, mend=move)
    if not cache.is_writable:
        return Finding(status="fail", found=f"{cache.path} cannot be written", mend=move)
    free_bytes = cache.free_bytes or 0
    found = f"{amount(free_bytes)} free for {cache.path}"
    if free_bytes >= _CACHE_GOOD_BYTES:
        return Finding(status="ok", found=found)
    prune = Mend(text="jetsonx sysroot prune, or set JETSONX_CACHE to a directory on a larger disk")
    if free_bytes >= _CACHE_LEAST_BYTES:
        return Finding(status="warn", found=f"{found}: enough for packages, not for an L4T image", mend=prune)
    return Finding(status="fail", found=f"{found}: a sysroot with compilers takes about 1 GB", mend=prune)


def judge_python(facts: HostFacts) -> Finding:
    """The Python of jetsonx, and whether it can make environments."""
    python = facts.python
    if python.in_venv:
        return Finding(status="ok", found=f"{python.version}, virtual environment ({python.executable})")
    found = f"{python.version}, no virtual environment ({python.executable})"
    if python.has_venv_module:
        return Finding(status="ok", found=found)
    return Finding(status="warn", found=f"{found}, no venv module", mend=resolve_package("venv", facts))


def judge_pip(facts: HostFacts) -> Finding:
    """pip beside the Python of jetsonx, new enough, and the index it is set to."""
    python = facts.python
    if python.pip and parse_version(python.pip) >= parse_version(PIP_MIN):
        return _judge_index(python.pip, python.pip_settings)
    calls: tuple[tuple[str, ...], ...] = ((python.executable, "-m", "pip", "install", "--upgrade", f"pip>={PIP_MIN}"),)
    if not python.pip:
        calls = ((python.executable, "-m", "ensurepip"), *calls)
    have = f"pip {python.pip} is too old" if python.pip else f"no pip for {python.executable}"
    # Outside of an environment the distribution owns what pip would replace.
    mend = Mend(text=shell(calls), calls=calls if python.in_venv else ())
    return Finding(status="fail", found=f"{have}, {PIP_MIN} is needed", mend=mend)


def _judge_index(version: str, settings: Mapping[str, str]) -> Finding:
    options = {name.rpartition(".")[2]: value for name, value in settings.items()}  # the environment's come last
    if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        mend = Mend(text="pip config unset global.no-index, or see that find-links holds every wheel")
        return Finding(status="warn", found=f"{version}, set to ask no index (find-links alone)", mend=mend)
    places = " ".join(value for name, value in options.items() if name.endswith("index-url")).split()
    named = ", ".join(dict.fromkeys(place_name(place) for place in places))
    return Finding(status="ok", found=f"{version}, index: {named}" if named else f"{version}, its default index")


def place_name(uri: str) -> str:
    """A URI without what may be secret in it: the host, or the directory of a file URI."""
    try:
        parts = urlsplit(uri)
        return parts.hostname or parts.path or uri
    except ValueError:
        return "an unreadable address"


def judge_apt(facts: HostFacts) -> Finding:
    """Where packages for arm64 come from by default."""
    apt = facts.apt
    if not apt.is_there:
        image = Mend(text="jetsonx sysroot pull --from image (or device:, tarball:) needs no apt")
        return Finding(status="absent", found="no apt-get on this host", mend=image)
    if apt.problem:
        name = Mend(text="set JETSONX_APT_MIRROR to a Debian or Ubuntu archive that has arm64")
        return Finding(status="fail", found=apt.problem, mend=name)
    places = ", ".join(dict.fromkeys(place_name(place) for place in apt.places))
    return Finding(status="ok", found=f"{facts.distribution} {facts.codename}, arm64 from {places}")
