"""The sorts of strings that jetsonx.toml holds, each with the rule it must keep."""

from __future__ import annotations

import re

from jetsonx.project.kinds import Flag, Many, Table, Text, like


def slug(text: str) -> str:
    """The nearest valid project name: ``slug("My Demo!")`` is ``my-demo``; ``app`` when nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "app"


def is_requirement(text: str) -> bool:
    """True for a PEP 508 requirement, as pip takes them."""
    from packaging.requirements import InvalidRequirement, Requirement  # imported late: few projects name wheels

    try:
        Requirement(text)
    except InvalidRequirement:
        return False
    return True


def is_inside(text: str) -> bool:
    """True for a relative path or glob that names something below where it starts.

    ``**`` must stand alone between slashes: Python before 3.13 refuses other uses, and no one agrees on their meaning.
    """
    parts = [part for part in text.split("/") if part not in ("", ".")]
    keeps_inside = all(part == "**" or (part != ".." and "**" not in part) for part in parts)
    return bool(parts) and keeps_inside and not text.startswith("/")


FLAG = Flag()
WORD = Text("a string that is not empty", like(r"[\s\S]+"))
WORDS = Many(WORD)
PATH = Text('a path or glob such as "src/**/*.cu", without a leading / and without ..', is_inside)
PATHS = Many(PATH, "paths or globs")
ENV = Table(Text("the name of an environment variable", like(r"[A-Za-z_][A-Za-z0-9_]*")))

# What Docker takes as one component of a repository name, and as a tag.
NAME = Text("lower-case letters and digits, with single . _ or - between", like(r"[a-z0-9]+([._-][a-z0-9]+)*"), slug)
VERSION = Text("letters, digits, . _ and -, as in an image tag", like(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"))

MODULE = Text('a module without a release, such as "orin-nano"', like(r"[A-Za-z0-9][A-Za-z0-9._-]*"))
L4T = Text('an L4T release such as "39.2" or "jetpack-7.2"', like(r"[A-Za-z0-9][A-Za-z0-9.-]*"))
TARGET = Text('module@release, such as "orin-nano@39.2"', like(r"[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*"))

RELATIVE = Text("a directory relative to this file", like(r"[^/\s][\s\S]*"))
LINK = Text('a linker flag such as "-lcublas", or a .a, .o or .so file', like(r"-.+|.+\.(a|o|so(\.[0-9]+)*)"))
CUDA = Text('a CUDA version such as "12.4" or "12.4.1"', like(r"[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?"))
CUDA_LIBRARY = Text('a CUDA library such as "libcublas" or "cudnn"', like(r"[a-z][a-z0-9_]*"))
SOURCE = Text(
    "apt, image, image:REFERENCE, device:ADDRESS, tarball:FILE, dir:PATH or auto",
    like(r"auto|apt|image(:[a-z0-9]\S*)?|device:[A-Za-z0-9_\[]\S*|(tarball|dir):[\s\S]+"),
)
# Debian policy 5.6.1 (names) and 5.6.12 (versions).
PACKAGE = Text(
    'a Debian package such as "libopencv-dev" or "zlib1g-dev=1:1.2.13"',
    like(r"[a-z0-9][a-z0-9+.-]+(=[0-9][A-Za-z0-9.+:~-]*)?"),
)
WHEEL = Text('a requirement as pip takes it, such as "nvidia-cublas" or "nvidia-cudnn-cu13>=9"', is_requirement)

IMAGE = Text('"minimal" or an image reference', like(r"[a-z0-9][A-Za-z0-9._:/@-]*"))
USER = Text('a user or user:group, such as "1000:1000"', like(r"[A-Za-z0-9_][\w.-]*(:[A-Za-z0-9_][\w.-]*)?"))
ABSOLUTE = Text("an absolute path in the image", like(r"/[\s\S]*"))
LABELS = Table(Text("a label such as com.example.team", like(r"[A-Za-z0-9][A-Za-z0-9._/-]*")))

# A leading "-" would be read as an option by ssh and docker.
DEVICE = Text('an SSH address such as "jetson@192.168.55.1"', like(r"[A-Za-z0-9_\[]\S*"))
NETWORK = Text("the name of a network", like(r"[A-Za-z0-9][A-Za-z0-9_.:-]*"))
URL = Text("an http:// or https:// address", like(r"https?://\S+"))
VOLUME = Text('"SOURCE:PATH", such as "/data:/data:ro"', like(r"[^:\s-][^:]*:/[^:]*(:[a-zA-Z,]+)?"))
PUBLISH = Text('"HOST:CONTAINER", such as "8080:80"', like(r"([0-9.]+:)?[0-9]{1,5}:[0-9]{1,5}(/(tcp|udp))?"))
DEVICE_NODE = Text(
    'a device node such as "/dev/video0" or "/dev/ttyTHS1:/dev/gps"',
    like(r"/dev/[^\s:,]+(:/dev/[^\s:,]+)?(:[rwm]{1,3})?"),
)
GROUP = Text('a group such as "20" or "dialout"', like(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"))
CAPABILITY = Text('a capability such as "SYS_NICE"', like(r"(CAP_)?[A-Z][A-Z0-9_]*"))
SIZE = Text('a size such as "512m" or "2g"', like(r"[1-9][0-9]{0,8}[kmg]?"))
SECRETS = Table(Text("the name of a file such as token", like(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")))
