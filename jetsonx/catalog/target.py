"""A target is one module on one L4T release; everything a build needs to know about it is derived here, once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from jetsonx.catalog.values import (
    Catalog,
    CudaFacts,
    DriverCuda,
    Line,
    Module,
    Release,
    compute_capability,
    worst_confidence,
)
from jetsonx.catalog.versions import parse_version, short_l4t
from jetsonx.errors import ConfigError

_JETPACK = re.compile(r"(?:jetpack|jp)-?([0-9]{1,4}(?:\.[0-9]{1,4})*)(-?dp)?")
_L4T = re.compile(r"(?:l4t-?)?r?([0-9]{1,4}(?:\.[0-9]{1,4})*)")
_LIST = "`jetsonx targets` lists them all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One (module, L4T release). ``cuda`` is None when the catalog holds no limits for the release's CUDA."""

    module: Module
    release: Release
    line: Line
    cuda: CudaFacts | None

    @property
    def name(self) -> str:
        """The full spelling, which resolves to this target again: ``"orin-nano@36.4.3"``."""
        return f"{self.module.id}@{self.release.l4t}"

    @property
    def triple(self) -> str:
        """GNU's and Debian's multiarch name of the architecture."""
        return "aarch64-linux-gnu"

    @property
    def debian_arch(self) -> str:
        """dpkg's name of the architecture."""
        return "arm64"

    @property
    def platform(self) -> str:
        """OCI's and Docker's name of the architecture."""
        return "linux/arm64"

    @property
    def interpreter(self) -> str:
        """The dynamic loader a program must name."""
        return "/lib/ld-linux-aarch64.so.1"

    @property
    def sm(self) -> int:
        """The SM number in this release's CUDA: 87; for Thor 110, and 101 under CUDA 12."""
        return self.module.sm_for_cuda(self.release.cuda)

    @property
    def compute_capability(self) -> str:
        """The same as NVIDIA writes it: ``"8.7"``."""
        return compute_capability(self.sm)

    @property
    def cuda_version(self) -> str:
        """CUDA's major.minor: ``"13.2"``."""
        return self.release.cuda_version

    @property
    def cuda_dir(self) -> str:
        """Where the toolkit lies in a sysroot: ``"usr/local/cuda-13.2"``."""
        return f"usr/local/cuda-{self.cuda_version}"

    @property
    def cuda_target(self) -> str:
        """Directory under ``targets/`` in the toolkit: ``"sbsa-linux"`` or ``"aarch64-linux"``."""
        return self.line.cuda_target

    @property
    def glibc(self) -> str:
        """The newest glibc a program may ask for: ``"2.39"``."""
        return self.line.glibc

    @property
    def glibcxx(self) -> str:
        """The newest libstdc++ symbol version a program may ask for: ``"GLIBCXX_3.4.33"``."""
        return self.line.glibcxx

    @property
    def driver(self) -> DriverCuda | None:
        """Which CUDA versions this release's driver runs; None when nothing is known of it."""
        version = parse_version(self.release.l4t)
        for driver in self.line.drivers:
            if parse_version(driver.l4t_min) <= version < parse_version(driver.l4t_below):
                return driver
        return None

    def with_cuda(self, cuda: CudaFacts, toolkit: str | None = None) -> Target:
        """The same device with another CUDA than its release ships; ``toolkit`` is the full version, if it is known.

        Raises ConfigError when that CUDA has another build of the Arm libraries than this release runs.
        """
        if cuda.cuda_target != self.line.cuda_target:
            raise ConfigError(
                f"{self.name} takes CUDA libraries built for {self.line.cuda_target}; those of CUDA {cuda.version} are "
                f"built for {cuda.cuda_target}",
                hint=f"leave [target] cuda out: the release has CUDA {self.cuda_version}",
            )
        release = replace(self.release, cuda=toolkit or cuda.version, cuda_toolkit=toolkit)
        return replace(self, release=release, cuda=cuda)

    @property
    def confidence(self) -> str:
        """How sure the pair is: no surer than its module and its release."""
        return worst_confidence(self.module.confidence, self.release.confidence)


def resolve_target(catalog: Catalog, text: str) -> Target:
    """The target that a user's ``module@release`` means.

    The module is an id or alias, in any case, with or without ``jetson-``. The release is an L4T version (``36.4.3``,
    ``r36.4.3``, a revision that the catalog lists under ``also``), a line (``36.4``, ``36``) or a JetPack version
    (``jetpack-6.1``, ``jp6``). A line means its newest release that runs on the module and whose contents are known
    (a release of confidence ``unverified`` has to be named in full); a JetPack version means the release of exactly
    that number if there is one.

    Raises ConfigError: unknown module, unknown release, no release given, or a release that does not run on the module.
    """
    module_text, _, release_text = text.partition("@")
    module = find_module(catalog, module_text)
    if not release_text.strip():
        raise ConfigError(f"target {text.strip()!r} names no L4T release", hint=_releases(catalog, module))
    matches = _match_release(catalog, release_text)
    if not matches:
        raise _unknown_release(catalog, module, text, release_text)
    supported = [release for release in matches if module.supports(release)]
    if not supported:
        raise _unsupported(catalog, module, text, matches[-1])
    known = [release for release in supported if release.confidence != "unverified"]
    release = (known or supported)[-1]
    line = catalog.lines[release.line]
    return Target(module=module, release=release, line=line, cuda=catalog.cuda.get(release.cuda_version))


def find_module(catalog: Catalog, text: str) -> Module:
    """The module that a user's spelling means: an id or alias, in any case, with or without ``jetson-``.

    Raises ConfigError with the nearest spellings when there is none.
    """
    spellings = {alias: module for module in catalog.modules.values() for alias in (module.id, *module.aliases)}
    wanted = _plain(text)
    bare = wanted.removeprefix("nvidia-").removeprefix("jetson-")
    if bare in spellings:
        return spellings[bare]
    what = f"unknown module {text.strip()!r}" if wanted else "a target needs a module, as in orin-nano@39.2"
    parts = [module.id for module in catalog.modules.values() if bare and bare in module.id]
    near = parts or difflib.get_close_matches(bare, spellings, n=3, cutoff=0.5)
    hint = f"did you mean {_or(near)}? {_LIST}" if near else f"known: {', '.join(catalog.modules)}; {_LIST}"
    raise ConfigError(what, hint=hint)


def common_cpu(targets: Iterable[Target]) -> Module:
    """The module whose CPU code runs on all of ``targets``: the one of lowest ``cpu_rank``.

    The order (ARMv8.0 < 8.2 Carmel < 8.2 Cortex-A78AE < 9 Neoverse-V3AE) is our inference from the architecture levels
    and unverified for instructions beyond them. Raises ValueError when ``targets`` is empty.
    """
    return min((target.module for target in targets), key=lambda module: module.cpu_rank)


def _plain(text: str) -> str:
    return re.sub(r"[\s_]+", "-", text.strip().lower())


def _match_release(catalog: Catalog, text: str) -> list[Release]:
    wanted = _plain(text)
    if found := _JETPACK.fullmatch(wanted):
        return _match_jetpack(catalog, parse_version(found[1]), is_preview=found[2] is not None)
    if found := _L4T.fullmatch(wanted):
        number = parse_version(found[1])
        return [
            release
            for release in catalog.releases
            if any(_starts(parse_version(l4t), number) for l4t in (release.l4t, *release.also))
        ]
    return []


def _match_jetpack(catalog: Catalog, number: tuple[int, ...], *, is_preview: bool) -> list[Release]:
    """The exact JetPack, else the newer ones of that line; a preview ("5.0 DP") only if named or nothing else fits."""
    previews = [release for release in catalog.releases if release.jetpack.endswith(" DP")]
    finals = [release for release in catalog.releases if release not in previews]
    for releases in (previews,) if is_preview else (finals, previews):
        exact = [release for release in releases if parse_version(release.jetpack) == number]
        found = exact or [release for release in releases if _starts(parse_version(release.jetpack), number)]
        if found:
            return found
    return []


def _starts(version: tuple[int, ...], prefix: tuple[int, ...]) -> bool:
    return version[: len(prefix)] == prefix


def _unknown_release(catalog: Catalog, module: Module, text: str, release_text: str) -> ConfigError:
    wanted = _plain(release_text)
    message = f"unknown L4T release {release_text.strip()!r} in {text.strip()!r}"
    if _L4T.fullmatch(wanted) and (same := _match_release(catalog, f"jetpack-{wanted}")):
        return ConfigError(message, hint=f"did you mean {module.id}@jetpack-{wanted} (L4T {short_l4t(same[-1].l4t)})?")
    if (found := _L4T.fullmatch(wanted)) and int(found[1].split(".")[0]) in module.earlier_l4t_majors:
        return ConfigError(f"{message}: it is older than what jetsonx covers", hint=_releases(catalog, module))
    version = wanted.removeprefix("l4t-").removeprefix("r")
    known = [l4t for release in catalog.releases_for(module) for l4t in (release.l4t, *release.also)]
    near = [f"{module.id}@{l4t}" for l4t in difflib.get_close_matches(version, known, n=3, cutoff=0.5)]
    return ConfigError(message, hint=f"did you mean {_or(near)}? {_LIST}" if near else _releases(catalog, module))


def _unsupported(catalog: Catalog, module: Module, text: str, wanted: Release) -> ConfigError:
    runs = catalog.releases_for(module)
    line = catalog.lines[wanted.line]
    later = [release for release in runs if parse_version(release.l4t) > parse_version(wanted.l4t)]
    instead = (later[:1] or list(runs[-1:]))[0]
    families = dict.fromkeys(it.family for it in catalog.modules.values() if any(map(it.supports, line.releases)))
    if module.family in families:
        reason = f"L4T {short_l4t(wanted.l4t)} does not support {module.name}"
    else:
        reason = f"L4T {line.id} does not support {module.family} ({' and '.join(families)} only)"
    return ConfigError(
        f"{text.strip()}: {reason}; {short_l4t(instead.l4t)} does",
        hint=f"write {module.id}@{instead.l4t.removesuffix('.0')}; {_LIST}",
    )


def _releases(catalog: Catalog, module: Module) -> str:
    known = [release.l4t for release in catalog.releases_for(module)]
    newest = resolve_target(catalog, f"{module.id}@{parse_version(known[-1])[0]}")
    return f"write {newest.name}, for one; {module.id} runs L4T {', '.join(known)}"


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
