"""A real registry (Debian's docker-registry) on loopback, with or without TLS, passwords and tokens.

with serve_registry(tmp_path) as registry:
    registry.push(layout, "nvidia/l4t-jetpack:r36.4.0")
    environ = {"JETSONX_MIRRORS": f"nvcr.io={registry.url}"}
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "someone", "s3cr:et"
_OCI = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    """``host`` is ``127.0.0.1:PORT``, ``url`` the same with its scheme; ``ca`` is the authority behind its TLS."""

    host: str
    url: str
    folder: Path
    ca: Path | None
    login: str = ""

    def push(self, layout: Path, name: str, *, docker: bool = False) -> None:
        """Send an OCI layout that holds one image or index; ``docker`` makes Docker's schema 2 of it."""
        words = ["skopeo", "copy", "--insecure-policy", "--quiet", "--all"]
        words += ["--format", "v2s2"] if docker else ["--preserve-digests"]
        words += ["--dest-creds", self.login] if self.login else []
        words += ["--dest-cert-dir", str(self.ca.parent)] if self.ca else ["--dest-tls-verify=false"]
        subprocess.run([*words, f"oci:{layout}", f"docker://{self.host}/{name}"], check=True)


@contextmanager
def serve_registry(
    folder: Path, *, tls: bool = False, passwords: bool = False, tokens: TokenServer | None = None
) -> Iterator[RunningRegistry]:
    """Start a registry whose data lies in ``folder``, on a port of its own; it is stopped at the end.

    ``passwords`` asks for Basic (:data:`USER`, :data:`PASSWORD`), ``tokens`` for Bearer with a token of that server.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", "headers": {"X-Content-Type-Options": ["nosniff"]}},
    }
    ca = None
    if tls:
        ca, key = make_certificate(folder / "tls")
        config["http"]["tls"] = {"certificate": str(ca), "key": str(key)}
    if passwords:
        secrets = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True).stdout
        (folder / "htpasswd").write_bytes(secrets)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    if tokens:
        config["auth"] = {"token": tokens.registry_options}
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    log = folder / "log"
    with log.open("wb") as sink:
        argv = [shutil.which("docker-registry") or "docker-registry", "serve", str(folder / "config.yml")]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
    try:
        host = _wait_for_address(process, log)
        yield RunningRegistry(
            host=host,
            url=f"{'https' if tls else 'http'}://{host}",
            folder=folder,
            ca=ca,
            login=f"{USER}:{PASSWORD}" if passwords or tokens else "",
        )
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace")):
            return match[1]
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry did not start: {log.read_text(errors='replace')}")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and localhost that is its own authority: (``ca.crt``, key)."""
    folder.mkdir(parents=True)
    ca, key = folder / "ca.crt", folder / "server.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=jetsonx test"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    words += ["-addext", "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign"]
    subprocess.run([*words, "-out", str(ca), "-keyout", str(key)], check=True, capture_output=True)
    return ca, key


class TokenServer:
    """Gives out tokens that a registry believes (distribution's docs/spec/auth/jwt.md), signed by openssl.

    To a refresh token it answers by POST. ``asked`` has, for each request, who came with what.
    """

    IDENTITY = "an-identity-token"

    def __init__(self, folder: Path, *, anonymous: bool = True, life_s: float = 300) -> None:
        self.anonymous = anonymous
        self.life_s = life_s
        self.asked: list[str] = []
        self._ca, self._key = make_certificate(folder)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        self.registry_options = {
            "realm": self.url,
            "service": "test-registry",
            "issuer": "test-issuer",
            "rootcertbundle": str(self._ca),
        }

    def __enter__(self) -> TokenServer:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sign(self, scope: str) -> str:
        """A token for ``repository:NAME:pull``."""
        kind, name, actions = scope.split(":")
        now = int(time.time())
        body = {
            "iss": "test-issuer",
            "sub": USER,
            "aud": "test-registry",
            "exp": int(now + self.life_s),
            "nbf": now - 10,
            "iat": now,
            "jti": hashlib.sha256(str(time.monotonic_ns()).encode()).hexdigest()[:16],
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }
        pem = self._ca.read_text().partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
        head = {"alg": "RS256", "typ": "JWT", "x5c": ["".join(pem.split())]}
        text = b".".join(_base64url(json.dumps(part).encode()) for part in (head, body))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(self._key)], input=text, check=True, capture_output=True
        ).stdout
        return (text + b"." + _base64url(signature)).decode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                authorization = self.headers.get("Authorization", "")
                expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                tokens.asked.append(authorization or "anonymous")
                allowed = authorization == expected or (not authorization and tokens.anonymous)
                self.answer(tokens.sign(query["scope"][0]) if allowed else None)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                tokens.asked.append(form["grant_type"][0])
                allowed = form.get("refresh_token") == [tokens.IDENTITY]
                self.answer(tokens.sign(form["scope"][0]) if allowed else None)

            def answer(self, token: str | None) -> None:
                body = json.dumps({"access_token": token} if token else {"details": "no"}).encode()
                self.send_response(200 if token else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name for it
                pass

        return Handler


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """An OCI layout being written for a test; :meth:`image` and :meth:`index` give descriptors."""

    path: Path

    def blob(self, data: bytes, media_type: str) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        place = self.path / "blobs" / "sha256" / sha256
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": len(data)}

    def image(
        self, layers: Sequence[tuple[bytes, str]], *, architecture: str = "arm64", diff_ids: Sequence[str] = ()
    ) -> dict[str, Any]:
        """``layers`` are (blob, ending of its media type: "", "+gzip" or "+zstd")."""
        config = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids) or [_diff_id(data) for data, _ in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": self.blob(json.dumps(config).encode(), f"{_OCI}.config.v1+json"),
            "layers": [self.blob(data, f"{_OCI}.layer.v1.tar{ending}") for data, ending in layers],
        }
        return self.blob(json.dumps(manifest).encode(), f"{_OCI}.manifest.v1+json")

    def index(self, images: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """``images`` by platform, ``linux/arm64``."""
        entries = []
        for platform, image in images.items():
            system, architecture = platform.split("/")[:2]
            entries.append({**image, "platform": {"os": system, "architecture": architecture}})
        document = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": entries}
        return self.blob(json.dumps(document).encode(), f"{_OCI}.index.v1+json")

    def finish(self, top: dict[str, Any]) -> Path:
        """Make ``top`` the one thing the layout holds; gives its path."""
        (self.path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
        return self.path


def _diff_id(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
