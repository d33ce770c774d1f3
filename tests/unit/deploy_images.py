"""Images for the tests of deployments: OCI layouts of given layers, and what a container of them would show."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

from jetsonx.deploy.image import LocalImage, load_image
from jetsonx.image.layer import Blob, Compression
from jetsonx.image.oci import write_documents


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A layer of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def image_in(
    folder: Path,
    tars: Sequence[bytes],
    *,
    compression: Compression = "gzip",
    labels: Mapping[str, str] | None = None,
    architecture: str = "arm64",
) -> LocalImage:
    """The image of these layers, in an OCI layout at ``folder``."""
    blobs = []
    (folder / "blobs/sha256").mkdir(parents=True)
    for tar in tars:
        packed = {"gzip": lambda data: gzip.compress(data, 1, mtime=0), "zstd": zstandard.compress, "none": bytes}
        data = packed[compression](tar)
        digest = hashlib.sha256(data).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(data)
        blobs.append(
            Blob(
                digest=f"sha256:{digest}",
                diff_id=f"sha256:{hashlib.sha256(tar).hexdigest()}",
                size_bytes=len(data),
                compression=compression,
            )
        )
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Labels": dict(labels or {}), "Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in blobs]},
    }
    write_documents(folder, json.dumps(config).encode(), blobs, reference="app:1", key="")
    return load_image(folder)


def merged(tars: Sequence[bytes]) -> dict[bytes, bytes]:
    """Contents of the files that a container of these layers shows, by normal path; symbolic links not followed."""
    shown: dict[bytes, bytes] = {}
    for tar in tars:
        own: dict[bytes, bytes] = {}
        hidden: list[bytes] = []
        with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
            for info in archive:
                parts = [
                    part for part in info.name.encode("utf-8", "surrogateescape").split(b"/") if part not in (b"", b".")
                ]
                path, name = b"/".join(parts), parts[-1] if parts else b""
                if name == b".wh..wh..opq":
                    hidden += [each for each in shown if each.startswith(b"/".join([*parts[:-1], b""]))]
                    continue
                if name.startswith(b".wh."):
                    path = b"/".join([*parts[:-1], name[4:]])
                    hidden += [each for each in shown if each == path or each.startswith(path + b"/")]
                    continue
                own.pop(path, None)
                if info.isreg():
                    file = archive.extractfile(info)
                    assert file is not None
                    own[path] = file.read()
                elif info.islnk() and info.linkname.encode() in own:
                    own[path] = own[info.linkname.encode()]
                if not info.isdir():
                    hidden += [each for each in shown if each == path or each.startswith(path + b"/")]
        for each in hidden:
            shown.pop(each, None)
        shown.update(own)
    return shown
