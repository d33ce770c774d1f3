"""requests, set up once: the host's own certificates, those that Docker keeps per registry, no cookies.

Imported late, because requests takes its time.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from jetsonx import __version__
from jetsonx.errors import ConfigError

_CONNECTIONS = 16
CERTIFICATES = (
    Path("/etc/docker/certs.d"),
    Path("~/.docker/certs.d"),
    Path("~/.config/docker/certs.d"),
    Path("/etc/containers/certs.d"),
    Path("~/.config/containers/certs.d"),
)
"""Where Docker (with and without root) and podman look for a folder named as the registry, ``HOST[:PORT]``."""


class TlsAdapter(HTTPAdapter):
    """Connections that trust what ``context`` trusts, beside the bundle that requests has."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Give the pools our context."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """The same behind a proxy."""
        return super().proxy_manager_for(*args, **kwargs, ssl_context=self._context)


class Session(requests.Session):
    """A session that trusts what this host trusts, and for a host with a folder of certificates those as well."""

    def __init__(self, certificates: Sequence[Path]) -> None:
        super().__init__()
        self._certificates = [folder.expanduser() for folder in certificates]
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self.headers["User-Agent"] = f"jetsonx/{__version__}"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("http://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
        self.mount("https://", TlsAdapter(ssl.create_default_context()))

    def get_adapter(self, url: str) -> BaseAdapter:
        """The adapter for ``url``; certificates of a host are read when it is first asked."""
        scheme, host = urlsplit(url)[:2]
        with self._lock:
            if scheme == "https" and host not in self._seen:
                self._seen.add(host)
                files = [path for folder in self._certificates for path in sorted((folder / host).glob("*"))]
                if files:
                    self.mount(f"https://{host}/", TlsAdapter(load_context(files)))
        return super().get_adapter(url)


def load_context(files: Sequence[Path]) -> ssl.SSLContext:
    """TLS as ``docker pull`` does it: ``*.crt`` are authorities, ``*.cert`` with ``*.key`` show who we are.

    Raises ConfigError for a file that is none.
    """
    context = ssl.create_default_context()
    path = None
    try:
        for path in files:
            if path.suffix == ".crt":
                context.load_verify_locations(path)
            elif path.suffix == ".cert":
                context.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"{path}: not a usable certificate: {error}") from error
    return context
