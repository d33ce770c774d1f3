"""Where the CUDA of a target comes from: chosen before anything is fetched.

NVIDIA's wheels, from CUDA 13 on; else a toolkit of this host that holds the target's libraries too; else NVIDIA's
redistributable archives of the release's CUDA; else those of a CUDA that the device runs with a cuda-compat package.
"""

from __future__ import annotations

from jetsonx.catalog import CudaFacts, Target, load_catalog
from jetsonx.catalog.versions import parse_version
from jetsonx.errors import ConfigError
from jetsonx.runner import Runner
from jetsonx.sysroot.cuda import Toolkit, has_overlay
from jetsonx.toolchain.nvcc import Nvcc, find_nvcc, host_roots
from jetsonx.toolchain.resolve import Host


def choose_toolkit(target: Target, host: Host, *, runner: Runner, asked: str | None = None) -> tuple[Target, Toolkit]:
    """The toolkit for ``target``, and the target with the CUDA of that toolkit.

    ``asked``: another CUDA than the release's, as ``[target] cuda`` has it: "12.4", or "12.4.1" for exactly these
    archives. A sysroot whose source holds that CUDA (an image, a device) keeps its own; the toolkit is then where nvcc
    and further libraries come from.

    Raises ConfigError for a CUDA that is not known, that the device cannot run or that cannot be had.
    """
    if asked is not None:
        other = _with_asked(target, asked)
        found = _of_version(other, host, runner, exact=asked if asked.count(".") == 2 else None)
        if found is None:
            raise ConfigError(
                f"CUDA {asked} for {target.name}: no toolkit of that version with targets/{target.cuda_target} on this "
                "host, and which full version NVIDIA's archives have is not known",
                hint=f'write the full version: [target] cuda = "{other.cuda_version}.1", for one',
            )
        return other, found
    found = _of_version(target, host, runner)
    if found is not None:
        return target, found
    return _with_compat(target)


def compat_note(target: Target) -> str:
    """What the device needs beside its own driver to run the target's CUDA; "" for nothing."""
    driver = target.driver
    if driver is None or parse_version(target.cuda_version) <= parse_version(driver.native_cuda):
        return ""
    return f"the device needs NVIDIA's package cuda-compat-{target.cuda_version.replace('.', '-')}"


def _of_version(target: Target, host: Host, runner: Runner, *, exact: str | None = None) -> Toolkit | None:
    """The toolkit of exactly the target's CUDA; ``exact``: the full version that is asked for."""
    version = target.cuda_version
    redist = exact or next(iter(target.cuda.redist if target.cuda else ()), None)
    if has_overlay(target):
        return Toolkit(source="wheels", version=version, why=_why(target, f"CUDA {version} from NVIDIA's wheels"))
    on_host = None if exact else find_nvcc(runner, version, host_roots(version, host.environ))
    if on_host is not None and _holds_target(on_host, target):
        why = _why(target, f"CUDA {version} of this host ({on_host.root})")
        return Toolkit(source="host", version=version, why=why)
    if redist is not None:
        why = _why(target, f"CUDA {redist} from NVIDIA's redistributable archives")
        return Toolkit(source="redist", version=version, redist=redist, why=why)
    return None


def _with_compat(target: Target) -> tuple[Target, Toolkit]:
    """The CUDA that the catalog names for devices whose own cannot be had, or none."""
    name = target.driver.redist_cuda if target.driver else None
    facts = load_catalog().cuda.get(name or "")
    if facts is None or not facts.redist:
        why = (
            f"CUDA {target.cuda_version}: neither a toolkit of that version on this host, nor wheels or archives of it "
            "for Jetson"
        )
        return target, Toolkit(source="none", version=target.cuda_version, why=why)
    other = target.with_cuda(facts)
    reason = (
        f"CUDA {facts.redist[0]} from NVIDIA's redistributable archives, which have no {target.cuda_version} for Jetson"
    )
    return other, Toolkit(source="redist", version=facts.version, redist=facts.redist[0], why=_why(other, reason))


def _with_asked(target: Target, asked: str) -> Target:
    catalog = load_catalog()
    version = ".".join(asked.split(".")[:2])
    facts = catalog.cuda.get(version)
    if facts is None:
        raise ConfigError(
            f'[target] cuda = "{asked}": CUDA {version} is not one that jetsonx knows',
            hint=f"known: {', '.join(catalog.cuda)}",
        )
    _check_driver(target, facts, asked)
    other = target.with_cuda(facts, asked if asked.count(".") == 2 else None)
    if other.sm not in (facts.sms or facts.jetson_sms):
        raise ConfigError(
            f'[target] cuda = "{asked}": it makes no code for {target.module.name} (sm_{other.sm})',
            hint=f"leave it out: {target.name} has CUDA {target.cuda_version}",
        )
    return other


def _check_driver(target: Target, facts: CudaFacts, asked: str) -> None:
    driver = target.driver
    highest = driver.max_cuda_with_compat if driver else None
    if highest is not None and parse_version(facts.version) > parse_version(highest):
        raise ConfigError(
            f'[target] cuda = "{asked}": the driver of L4T {target.release.l4t} runs CUDA up to {highest}',
            hint=f"leave it out: {target.name} has CUDA {target.cuda_version}",
        )


def _holds_target(nvcc: Nvcc, target: Target) -> bool:
    return (nvcc.root / "targets" / target.cuda_target / "include/cuda_runtime.h").is_file()


def _why(target: Target, reason: str) -> str:
    note = compat_note(target)
    return f"{reason}; {note}" if note else reason
