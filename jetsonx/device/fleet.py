"""All named devices at once: what is known of each, and what they say now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jetsonx.catalog import load_catalog
from jetsonx.device.judge import assess
from jetsonx.device.probe import Answer, probe_all
from jetsonx.device.registry import Named, Registry
from jetsonx.device.render import Row
from jetsonx.errors import JetsonxError
from jetsonx.rootfs.ssh import Address
from jetsonx.runner import Runner


def known_rows(registry: Registry) -> tuple[Row, ...]:
    """What each said when it was last asked. Raises ConfigError for a file that cannot be read."""
    return tuple(map(_row, registry.load().values()))


def ask_rows(registry: Registry, *, runner: Runner, environ: Mapping[str, str], limit_s: float) -> tuple[Row, ...]:
    """Ask all at once and keep what they say; those that do not answer within ``limit_s`` have a trouble."""
    devices = tuple(registry.load().values())
    addresses = [_address(registry, device) for device in devices]
    there = [address for address in addresses if isinstance(address, Address)]
    answers = iter(probe_all(there, runner=runner, environ=environ, limit_s=limit_s))
    rows = []
    for device, address in zip(devices, addresses, strict=True):
        answer = next(answers) if isinstance(address, Address) else address
        if isinstance(answer, JetsonxError):
            rows.append(replace(_row(device), answered=False, trouble=_in_short(answer)))
            continue
        registry.remember(device.name, answer.said, answer.asked_s)
        said = replace(device, said=answer.said, asked_s=answer.asked_s)
        rows.append(replace(_row(said), answered=True))
    return tuple(rows)


def _address(registry: Registry, device: Named) -> Address | JetsonxError:
    """Where it is; the error for a virtual machine that was removed."""
    try:
        return registry.address(device.address)
    except JetsonxError as error:
        return error


def _row(device: Named) -> Row:
    known = Answer(said=device.said, asked_s=device.asked_s) if device.said else None
    assessment = assess(known.device, load_catalog()) if known else None
    return Row(name=device.name, address=device.address, assessment=assessment, seen=device.seen, tags=device.tags)


def _in_short(error: JetsonxError) -> str:
    """The message, the other program's last words and what to do, on one line."""
    words = (error.details or "").strip().splitlines()
    said = f"{error.message}: {words[-1].strip()}" if words else error.message
    return f"{said}; {error.hint}" if error.hint else said
