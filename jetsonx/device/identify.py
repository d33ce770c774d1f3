"""Which module and release of the catalog a device is: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from jetsonx.catalog import Catalog, Module, Target, resolve_target
from jetsonx.device.values import Device
from jetsonx.errors import ConfigError

_SOC = re.compile(r"nvidia,tegra[0-9]+")  # the last entry, which all modules of a SoC share
_PART = re.compile(r"p[0-9]{4}-[0-9]{4}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """``module`` is None when the device tree names none; ``siblings`` are then those of its SoC.

    ``target`` is the module with the device's release; None when the catalog does not know that pair, and ``why`` says
    what is in the way.
    """

    module: Module | None = None
    siblings: tuple[Module, ...] = ()
    target: Target | None = None
    why: str = ""

    @property
    def sms(self) -> tuple[int, ...]:
        """Machine code that its GPU runs: one number, as of the release's CUDA; none for what is no Jetson."""
        if self.target is not None:
            return (self.target.sm,)
        modules = (self.module,) if self.module else self.siblings
        return tuple(sorted({module.sm for module in modules}))


def identify(device: Device, catalog: Catalog) -> Identity:
    """Find the module, by the device tree or a virtual machine's own word, and the target, by the release it runs."""
    modules = tuple(catalog.modules.values())
    module = _module(device, modules) or catalog.modules.get(device.virtual)
    if module is None:
        socs = {name for name in device.compatible if _SOC.fullmatch(name)}
        siblings = tuple(each for each in modules if socs & set(each.detect_compatible))
        why = "the catalog does not know the module" if device.compatible else ""
        return Identity(siblings=siblings, why=why)
    if device.l4t is None:
        return Identity(module=module, why="the device does not say which L4T release it runs")
    try:
        return Identity(module=module, target=resolve_target(catalog, f"{module.id}@{device.l4t}"))
    except ConfigError as error:
        return Identity(module=module, why=error.message)


def _module(device: Device, modules: tuple[Module, ...]) -> Module | None:
    """By the board's name, else by the module's part number on another maker's carrier, else by the model's words."""
    named = [name for name in device.compatible if not _SOC.fullmatch(name)]
    for name in named:
        if found := _only(module for module in modules if name in module.detect_compatible):
            return found
    for part in (part for name in named for part in reversed(_PART.findall(name))):
        if found := _only(module for module in modules if part in dict(module.part_numbers)):
            return found
    return _only(module for module in modules if device.model in module.model_strings)


def _only(found: Iterable[Module]) -> Module | None:
    modules = list(found)
    return modules[0] if len(modules) == 1 else None
