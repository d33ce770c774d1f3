"""What jetsonx knows about Jetson modules, L4T releases, CUDA toolkits and distributions, and the Target made of it."""

from __future__ import annotations

from jetsonx.catalog.filters import Filter
from jetsonx.catalog.load import load_catalog
from jetsonx.catalog.suites import is_runtime, rank_runtime_suites, rank_suites
from jetsonx.catalog.target import Target, common_cpu, find_module, resolve_target
from jetsonx.catalog.values import BaseImage, Catalog, CpuFlag, CudaFacts, DriverCuda, Line, Module, Release, Suite

__all__ = [
    "BaseImage",
    "Catalog",
    "CpuFlag",
    "CudaFacts",
    "DriverCuda",
    "Filter",
    "Line",
    "Module",
    "Release",
    "Suite",
    "Target",
    "common_cpu",
    "find_module",
    "is_runtime",
    "load_catalog",
    "rank_runtime_suites",
    "rank_suites",
    "resolve_target",
]
