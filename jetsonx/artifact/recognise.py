"""What a path most likely holds, by its first bytes and names."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 512
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh")
"""How gzip, zstd, xz and bzip2 begin."""
_TAR_MAGIC_AT = 257
_DEB_MAGIC = b"!<arch>\ndebian-binary"


def is_layout(path: Path) -> bool:
    """True when ``path`` is a directory that holds an OCI image layout."""
    return (path / "oci-layout").is_file() and (path / "index.json").is_file()


def looks_like_tar(head: bytes) -> bool:
    """True when a file that begins so may be a tar file, plain or compressed."""
    return head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar" or head.startswith(COMPRESSED)


def is_deb(head: bytes) -> bool:
    """True when a file that begins so is a Debian package."""
    return head.startswith(_DEB_MAGIC)


def is_wheel(head: bytes, path: Path) -> bool:
    """True when a file of that name that begins so is a wheel."""
    return head.startswith(b"PK") and path.suffix == ".whl"
