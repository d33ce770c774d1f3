"""``jetsonx env`` without its command line: an SDK for people who drive the compilers themselves."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from shlex import quote

from jetsonx.catalog import load_catalog, resolve_target
from jetsonx.effects import Effects
from jetsonx.sysroot.pull import Sysroot, pull_sysroot
from jetsonx.sysroot.request import Request
from jetsonx.toolchain.resolve import Host, resolve_sdk
from jetsonx.toolchain.sdk import Sdk
from jetsonx.toolchain.toolkit import choose_toolkit
from jetsonx.toolchain.tools import Fetcher


def load_sdk(
    target: str, request: Request, effects: Effects, *, compiler: str, cuda: str | None = None
) -> tuple[Sysroot, Sdk]:
    """The sysroot and SDK of one target. ``cuda``: another CUDA version than the release's.

    Raises ConfigError, HostError and DownloadError.
    """
    host = Host(environ=os.environ)
    resolved, toolkit = choose_toolkit(resolve_target(load_catalog(), target), host, runner=effects.runner, asked=cuda)
    sysroot = pull_sysroot(resolved, replace(request, toolkit=toolkit), effects)
    sdk = resolve_sdk(
        (resolved,), sysroot, compiler=compiler, fetcher=Fetcher(effects=effects), host=host, toolkit=toolkit
    )
    return sysroot, sdk


def render_shell(sysroot: Sysroot, sdk: Sdk) -> str:
    """Shell exports, with the reasons as comments."""
    lines = [f"# {line}" for line in (sysroot.why, *sdk.why)]
    for name, value in _variables(sdk).items():
        if name == "PATH":
            lines.append(f"export PATH={quote(str(sdk.path / 'bin'))}:$PATH")
        else:
            lines.append(f"export {name}={quote(value)}")
    return "\n".join(lines)


def render_json(sysroot: Sysroot, sdk: Sdk) -> str:
    """``environment``, ``toolchain_file``, ``meson_cross_file``, ``sysroot``, ``sysroot_digest``, ``sms``, ``why``."""
    return json.dumps(
        {
            "schema": 1,
            "sysroot": str(sdk.sysroot),
            "sysroot_digest": sysroot.digest,
            "toolchain_file": str(sdk.path / "toolchain.cmake"),
            "meson_cross_file": str(sdk.path / "meson.ini"),
            "nvcc": str(sdk.cuda / "bin/nvcc"),
            "cc": str(sdk.cc),
            "cxx": str(sdk.cxx),
            "cpu_flags": sdk.cpu_flags,
            "sms": list(sdk.device_code.sms),
            "gencode": list(sdk.device_code.gencode),
            "emulator": sdk.emulator,
            "environment": {**_variables(sdk), "PATH": str(sdk.path / "bin")},
            "why": [sysroot.why, *sdk.why],
        },
        indent=2,
    )


def _variables(sdk: Sdk) -> dict[str, str]:
    return {**sdk.environment(), "JETSONX_SYSROOT": str(sdk.sysroot)}
