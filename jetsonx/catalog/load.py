"""Reads the catalog's TOML files, which are shipped inside the package. An unknown key in them is a TypeError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from jetsonx.catalog.filters import Filter
from jetsonx.catalog.values import (
    BaseImage,
    Catalog,
    CpuFlag,
    CudaFacts,
    DriverCuda,
    Interchangeable,
    Line,
    Module,
    Release,
    Suite,
)
from jetsonx.toml import load_toml

LINES = ("r32", "r34", "r35", "r36", "r38", "r39")

# Plain files, not importlib.resources: that import alone takes longer than reading all of them. The second package is
# named in words because its directory stands elsewhere in a checkout than in an installation.
_CATALOG = Path(__file__).parent
_SYSROOTS = Path(import_module("jetsonx.sysroots").__path__[0])

_Row = dict[str, Any]
_T = TypeVar("_T")


@lru_cache(maxsize=1)
def load_catalog() -> Catalog:
    """Everything jetsonx knows about modules, releases, CUDA toolkits and suites. Read once per process."""
    modules = _read(_CATALOG / "modules.toml")
    common = _read(_SYSROOTS / "common.toml")
    suites = tuple(_value(Suite, row) for row in _read(_SYSROOTS / "suites.toml")["suite"])
    ubuntu = {suite.codename: suite for suite in suites if suite.distribution == "ubuntu"}
    return Catalog(
        modules={row["id"]: _module(row, modules["soc"][row["soc"]]) for row in modules["module"]},
        lines={name: _line(_read(_SYSROOTS / f"{name}.toml"), common, ubuntu) for name in LINES},
        cuda=_cuda(_read(_CATALOG / "cuda.toml")),
        suites=suites,
        sources=modules["sources"],
        interchangeable=tuple(
            _value(Interchangeable, row) for row in _read(_CATALOG / "images.toml")["interchangeable"]
        ),
    )


def _module(row: _Row, soc: _Row) -> Module:
    flags = [_value(CpuFlag, flag) for flag in soc["gcc_flags"]]
    return _value(Module, {**soc, **row, "gcc_flags": flags, "sources": [*row["sources"], *soc["sources"]]})


def _line(row: _Row, common: _Row, ubuntu: Mapping[str, Suite]) -> Line:
    suite = ubuntu[row["ubuntu"]]
    tables = {"ubuntu", "driver", "image", "release"}
    given = {key: value for key, value in {**common, **row}.items() if key not in tables}
    images = [_value(BaseImage, image) for image in row.get("image", ())]
    image_of = {l4t: image for image in images for l4t in image.releases}
    fixed = {"line": row["id"], "ubuntu": suite.codename}
    built = {
        "suite": suite,
        "driver_libraries": [*common["driver_libraries"], *row["driver_libraries"]],
        "filter": _value(Filter, given["filter"]),
        "drivers": [_value(DriverCuda, driver) for driver in row["driver"]],
        "releases": [_value(Release, {**fixed, "image": image_of.get(it["l4t"]), **it}) for it in row["release"]],
    }
    return _value(Line, {**given, **built})


def _cuda(data: _Row) -> dict[str, CudaFacts]:
    clang = data["zig_clang"]
    rows = ({**row, "zig_clang": clang[row["zig"]]} if "zig" in row else row for row in data["cuda"])
    return {row["version"]: _value(CudaFacts, row) for row in rows}


def _read(path: Path) -> _Row:
    data: _Row = load_toml(path.read_text(encoding="utf-8"))
    return data


def _value(cls: Callable[..., _T], row: _Row) -> _T:
    return cls(**{key: _frozen(value) for key, value in row.items()})


def _frozen(value: object) -> object:
    if isinstance(value, list):
        return tuple(value)
    return tuple(value.items()) if isinstance(value, dict) else value
