"""The initial RAM disk of a virtual machine: busybox, the drivers of its disk, and one script. Pure.

The format is cpio's "newc", as the kernel documents it (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Mapping, Sequence

_FILE, _FOLDER, _DEVICE = 0o100000, 0o040000, 0o020000
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def pack_initrd(busybox: bytes, modules: Mapping[str, bytes], script: bytes) -> bytes:
    """The compressed archive. ``modules``: the kernel's by file name, in the order that they are loaded."""
    parts = [_entry(folder, _FOLDER | 0o755) for folder in ("bin", "dev", "modules", "proc", "root", "sys")]
    # The kernel opens /dev/console for the first program before that could mount anything.
    parts.append(_entry("dev/console", _DEVICE | 0o600, device=(5, 1)))
    parts.append(_entry("bin/busybox", _FILE | 0o755, busybox))
    parts += [_entry(f"modules/{name}", _FILE | 0o644, data) for name, data in modules.items()]
    parts.append(_entry("modules/order", _FILE | 0o644, "".join(f"{name}\n" for name in modules).encode()))
    parts.append(_entry("init", _FILE | 0o755, script))
    parts.append(_entry("TRAILER!!!", 0))
    return gzip.compress(b"".join(parts), compresslevel=1, mtime=0)


def _entry(name: str, mode: int, data: bytes = b"", *, device: tuple[int, int] = (0, 0)) -> bytes:
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def order_modules(wanted: Iterable[str], files: Mapping[str, bytes]) -> Sequence[str]:
    """The names of ``wanted`` and of what they need, each after what it needs. ``files``: the kernel's modules by name.

    Names are as modules call each other, with underscores. A name without a file is built into the kernel.
    """
    order: dict[str, None] = {}

    def add(name: str) -> None:
        if name in files and name not in order:
            for need in needed_modules(files[name]):
                add(need)
            order[name] = None

    for name in wanted:
        add(name)
    return tuple(order)


def needed_modules(module: bytes) -> tuple[str, ...]:
    """What a kernel module says that it needs, in its section .modinfo."""
    found = _DEPENDS.search(module)
    return tuple(filter(None, found[1].decode().split(","))) if found else ()
