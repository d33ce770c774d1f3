"""The mirrors of jetsonx for a BuildKit on another machine: pure.

Sources: moby/buildkit, docs/buildkitd.toml.md (`mirrors`, `http`); docker/buildx, docs (driver-opt `image`, and
`moby/buildkit:buildx-stable-1` as the image that is taken without it).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from jetsonx.net.mirrors import Mirrors

_IMAGE = "moby/buildkit:buildx-stable-1"
_HUB = "docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMirrors:
    """``config`` is the text of a buildkitd.toml, ``driver_opts`` are buildx's; both empty without mirrors.

    ``left_out``: hosts whose mirror is of no use there, with the reason.
    """

    config: str = ""
    driver_opts: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def resolve_mirrors(mirrors: Mirrors) -> NodeMirrors:
    """What of ``mirrors`` a BuildKit elsewhere can use."""
    places: dict[str, str] = {}
    plain: set[str] = set()
    left_out = []
    for host, url in mirrors.table:
        parts = urlsplit(url)
        if reason := _reason(parts):
            left_out.append((host, f"{url} {reason}"))
            continue
        places[host] = parts.netloc + parts.path.removeprefix("/v2")
        if parts.scheme == "http":
            plain.add(parts.netloc)
    image = (f"image={places[_HUB]}/{_IMAGE}",) if _HUB in places else ()
    return NodeMirrors(config="\n".join(_render(places, plain)), driver_opts=image, left_out=tuple(left_out))


def _reason(parts: SplitResult) -> str:
    if parts.path and not (parts.path + "/").startswith("/v2/"):
        return "has a path before /v2, which BuildKit cannot ask for"
    host = parts.hostname or ""
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost" or host.endswith(".localhost")
    return "is this machine, and means the node itself when asked there" if is_loopback else ""


def _render(places: dict[str, str], plain: set[str]) -> Iterator[str]:
    for host, place in places.items():
        yield f"[registry.{json.dumps(host)}]"
        yield f"mirrors = [{json.dumps(place)}]"
        if host in plain:  # a mirror in its own name: the same table may not stand there twice
            yield "http = true"
    for host in sorted(plain - set(places)):
        yield f"[registry.{json.dumps(host)}]"
        yield "http = true"
