"""Reads images from a registry by the OCI distribution protocol 1.1 (docker.io, nvcr.io, and any of one's own)."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.net.http import Answer, DeniedError, Http, NotFoundError
from jetsonx.registry import manifest as manifests
from jetsonx.registry.authorization import Authorization
from jetsonx.registry.credentials import Credentials
from jetsonx.registry.manifest import Blob, ImageManifest
from jetsonx.registry.reference import Reference

# The size that registries must take (OCI distribution 1.1, "Pushing Manifests"); real ones are of some kB.
_MANIFEST_LIMIT_BYTES = 4 << 20
_TAGS_LIMIT_BYTES = 16 << 20
_MOST_PAGES = 100
_DEEPEST_INDEX = 3
_SHOWN_TAGS = 6


class Registry:
    """Every registry there is, each image by its own. Safe to share between threads.

    Raises ConfigError for images that are not there or not for the platform, DownloadError for all that can go wrong
    on the way.
    """

    def __init__(self, http: Http, credentials: Credentials) -> None:
        self._http = http
        self._credentials = credentials
        self._authorizations: dict[tuple[str, str], Authorization] = {}
        self._origins: dict[str, str] = {}
        self._configs: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def manifest(self, reference: Reference, platform: str = "linux/arm64") -> ImageManifest:
        """What the image for ``platform`` is made of, by the digests that everything after it is checked with."""
        raw, kind, document = self._document(reference, reference.digest or reference.tag or "latest")
        for _ in range(_DEEPEST_INDEX):
            if kind not in (manifests.OCI_INDEX, manifests.DOCKER_INDEX):
                break
            choices = manifests.parse_index(document, what=str(reference))
            chosen = manifests.choose(choices, platform, what=str(reference)).digest
            raw, kind, document = self._document(reference, chosen)
        else:
            raise DownloadError(f"{reference}: an index of indexes of indexes; no image was found in it")
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        image = manifests.parse_manifest(document, reference=reference, digest=digest, raw=raw)
        manifests.check_platform(self.config(image), platform, what=str(reference))
        return image

    def config(self, image: ImageManifest) -> Mapping[str, Any]:
        """The image's configuration: ``architecture``, ``rootfs.diff_ids``, ``config.Env``…, as the registry has it."""
        blob, what = image.config, f"{image.reference}: its configuration"
        if blob.digest not in self._configs:
            try:
                answer = self._get(image.reference, f"blobs/{blob.digest}", _MANIFEST_LIMIT_BYTES)
            except NotFoundError as error:
                raise self._lost(image.reference, blob, error) from error
            _check_digest(answer.body, blob.digest, what)
            self._configs[blob.digest] = answer.body
        try:
            config = json.loads(self._configs[blob.digest])
        except (ValueError, RecursionError) as error:
            raise DownloadError(f"{what} is no JSON: {error}") from error
        if not isinstance(config, dict):
            raise DownloadError(f"{what} is no JSON object")
        return config

    def tags(self, reference: Reference) -> tuple[str, ...]:
        """The tags of the repository, as the registry orders them."""
        found: list[str] = []
        path = "tags/list?n=1000"
        for _ in range(_MOST_PAGES):
            answer = self._get(reference, path, _TAGS_LIMIT_BYTES)
            try:
                found += map(str, json.loads(answer.body)["tags"] or ())
            except (ValueError, TypeError, KeyError) as error:
                raise DownloadError(f"{answer.url}: what came is no list of tags") from error
            following = _next_page(answer)
            if following is None:
                break
            path = f"tags/list?{following}"
        return tuple(found)

    def download(
        self,
        reference: Reference,
        blob: Blob,
        part: Path,
        advance: Callable[[int], None],
        restarted: Callable[[], None] | None = None,
    ) -> None:
        """Fill ``part`` with a blob of the image and check it; see :meth:`Http.download` for how."""
        authorization = self._authorization(reference)
        try:
            self._http.download(
                self._url(reference, f"blobs/{blob.digest}"),
                part,
                sha256=blob.sha256,
                size_bytes=blob.size_bytes,
                what=f"{reference}: {blob.digest[:19]}",
                advance=advance,
                authorize=authorization,
                restarted=restarted,
            )
        except DeniedError as error:
            raise self._denied(reference, authorization, error) from error
        except NotFoundError as error:
            raise self._lost(reference, blob, error) from error

    def _document(self, reference: Reference, name: str) -> tuple[bytes, str, Mapping[str, Any]]:
        """A manifest or an index by tag or digest, checked against the digest."""
        try:
            answer = self._get(reference, f"manifests/{name}", _MANIFEST_LIMIT_BYTES, accept=manifests.ACCEPTED)
        except NotFoundError as error:
            raise self._unknown(reference, error) from error
        digest = name if name.startswith("sha256:") else answer.headers.get("Docker-Content-Digest", "")
        if digest.startswith("sha256:"):
            _check_digest(answer.body, digest, f"{reference}: its manifest")
        what, media_type = str(reference), answer.headers.get("Content-Type", "")
        return (answer.body, *manifests.parse_document(answer.body, media_type, what=what))

    def _get(self, reference: Reference, path: str, limit_bytes: int, *, accept: tuple[str, ...] = ()) -> Answer:
        authorization = self._authorization(reference)
        try:
            return self._http.get(
                self._url(reference, path),
                limit_bytes=limit_bytes,
                headers={"Accept": ", ".join(accept)} if accept else {},
                authorize=authorization,
            )
        except DeniedError as error:
            raise self._denied(reference, authorization, error) from error

    def _url(self, reference: Reference, path: str) -> str:
        return f"{self._origin(reference.registry)}/v2/{reference.repository}/{path}"

    def _origin(self, registry: str) -> str:
        """https, but for a registry on this very machine that speaks plain HTTP: the rule of Docker."""
        if registry == "docker.io":
            return "https://registry-1.docker.io"
        with self._lock:
            if registry not in self._origins:
                plain = (
                    _is_loopback(registry)
                    and self._http.mirrors.base(registry) is None
                    and not self._http.speaks_tls(registry)
                )
                self._origins[registry] = f"{'http' if plain else 'https'}://{registry}"
            return self._origins[registry]

    def _authorization(self, reference: Reference) -> Authorization:
        with self._lock:
            return self._authorizations.setdefault(
                (reference.registry, reference.repository),
                Authorization(self._http, self._credentials, reference.repository),
            )

    def _unknown(self, reference: Reference, error: NotFoundError) -> ConfigError:
        """Not there: say which of the two, repository or tag, and what there is instead."""
        try:
            tags = self.tags(reference)
        except NotFoundError:
            return ConfigError(
                f"{reference.registry} has no repository {reference.repository}",
                hint="check its name; a registry may also hide what needs a login (docker login)",
                details=error.details,
            )
        except DownloadError:
            tags = ()
        name = reference.digest or reference.tag
        hint = f"it has {', '.join(near)}" if (near := near_tags(reference.tag or "", tags)) else "check its tags"
        return ConfigError(
            f"{reference.registry}/{reference.repository} has no {name}", hint=hint, details=error.details
        )

    def _lost(self, reference: Reference, blob: Blob, error: NotFoundError) -> NotFoundError:
        """A part of the image is gone: a mirror lost it, or the tag has moved on since it was locked."""
        moved = ""
        try:
            _, _, document = self._document(reference, reference.digest or reference.tag or "latest")
        except (ConfigError, DownloadError):
            moved = "; the image itself is not there any more either"
        else:
            if "layers" in document and blob.digest not in json.dumps(document):
                moved = "; it is no part of what the tag names today"
        return NotFoundError(
            f"{reference}: its part {blob.digest} is not there ({error.message}){moved}",
            hint="take the image as it is today (--refresh), or ask another place: JETSONX_MIRRORS",
        )

    def _denied(self, reference: Reference, authorization: Authorization, error: DeniedError) -> DeniedError:
        host = urlsplit(self._http.mirrors.url(self._url(reference, ""))).netloc
        host = "docker.io" if host == "registry-1.docker.io" else host
        tried = "; ".join(authorization.tried) or f"no login for {host} was found"
        hint = f"log in: docker login {host}"
        if host == "nvcr.io":
            hint += " (user name $oauthtoken, password an API key of NGC)"
        return DeniedError(
            f"{host} does not give {reference} to us ({tried})",
            hint=f"{hint}; many registries also answer so when there is no such repository",
            details="\n".join(filter(None, (error.message, error.details))),
        )


def near_tags(tag: str, tags: tuple[str, ...]) -> tuple[str, ...]:
    """The tags most like ``tag``, the nearest first; a few of the last when none is like it."""
    near = difflib.get_close_matches(tag, tags, n=_SHOWN_TAGS, cutoff=0.6)
    return tuple(near or tags[-_SHOWN_TAGS:])


def _next_page(answer: Answer) -> str | None:
    """The query of the next page (RFC 8288 Link header), or None on the last one."""
    address, _, relation = answer.headers.get("Link", "").partition(";")
    if 'rel="next"' not in relation.replace("'", '"') and "rel=next" not in relation:
        return None
    return urlsplit(urljoin(answer.url, address.strip().strip("<>"))).query


def _check_digest(data: bytes, digest: str, what: str) -> None:
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if found != digest:
        raise DownloadError(
            f"{what}: expected {digest}, got {found}",
            hint="something on the way changes what it passes on: try again, or another network or mirror",
        )


def _is_loopback(registry: str) -> bool:
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
