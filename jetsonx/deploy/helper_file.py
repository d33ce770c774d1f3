"""Programs of ours on a device: files named by their content in ~/.cache/jetsonx, sent once, replaced by newer ones.

``call`` is what runs one. Whether it is there is seen in the same round trip: when it is not, the call says so, it is
installed, and called again.
"""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.device.link import Link
from jetsonx.errors import DeviceError

MISSING = "jetsonx-program-missing"
"""What a call says, as its first line and with exit status 66, when its program is not on the device."""
_MISSING_STATUS = 66
# In one line and without "!": the login shell there may be a csh.
_CALL = (
    'f="$HOME/.cache/jetsonx/$1"; i=$2; shift 2; if [ -f "$f" ]; then exec "$i" "$f" "$@"; fi; '
    f"echo {MISSING}; exit {_MISSING_STATUS}"
)
_KEPT = 3  # other versions of jetsonx may be at work
_INSTALL = (
    'umask 077; d="$HOME/.cache/jetsonx"; mkdir -p "$d" && t=$(mktemp "$d/.new.XXXXXX") || exit 1; '
    "trap 'rm -f \"$t\"' EXIT; "
    'cat >"$t" && s=$(sha256sum <"$t") && [ "${s%% *}" = "$2" ] && mv "$t" "$d/$1" || exit 1; '
    f'cd "$d" && ls -t | grep "^${{1%%-*}}-" | tail -n +{_KEPT + 1} | while read -r f; do rm -f "$f"; done'
)
_START = b"import sys\nfrom jetsonx.deploy.helper.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A file to be run on devices by ``interpreter``. ``kind``: a word without "-" that its versions share."""

    kind: str
    suffix: str
    interpreter: str
    data: bytes

    @property
    def sha256(self) -> str:
        """Of the data, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def name(self) -> str:
        """The file's, in ~/.cache/jetsonx."""
        return f"{self.kind}-{self.sha256}{self.suffix}"

    def call(self, *words: str) -> tuple[str, ...]:
        """What runs it on a device with ``words``; see :data:`MISSING`."""
        return ("sh", "-c", _CALL, "sh", self.name, self.interpreter, *words)


@functools.cache
def helper() -> Program:
    """The modules of ``jetsonx.deploy.helper`` in one file that Python runs: the same bytes wherever it is made."""
    folder = Path(__file__).with_name("helper")
    files = {f"jetsonx/deploy/helper/{path.name}": path.read_bytes() for path in folder.glob("*.py")}
    files |= {"jetsonx/__init__.py": b"", "jetsonx/deploy/__init__.py": b""}  # those of the host are for newer Pythons
    files["__main__.py"] = (
        b"import sys\nfrom jetsonx.deploy.helper.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix
            archive.writestr(info, data)
    return Program(kind="helper", suffix=".pyz", interpreter="python3", data=made.getvalue())


def script(path: Path) -> Program:
    """A shell script of ours as a program: too long, and with lines, for the command line of every login shell."""
    return Program(kind=path.stem, suffix=".sh", interpreter="sh", data=path.read_bytes())


def install(program: Program, link: Link) -> None:
    """Put a program on the device: whole and as it is here, or not at all.

    Raises DeviceError when it cannot be written there.
    """
    done = link.run(("sh", "-c", _INSTALL, "sh", program.name, program.sha256), stdin=program.data)
    if not done.ok:
        raise DeviceError(
            f"{link.address.host}: ~/.cache/jetsonx/{program.name} cannot be written",
            details=done.tail.strip(),
            hint="see that there is room in the home directory there and that it is the user's own",
        )


def run(program: Program, words: Sequence[str], link: Link) -> str:
    """What a program prints on the device, where it is installed first if need be; it reads nothing.

    Raises DeviceError when it fails.
    """
    done = link.run(program.call(*words))
    if done.status == _MISSING_STATUS and done.stdout.startswith(MISSING):
        install(program, link)
        done = link.run(program.call(*words))
    if not done.ok:
        raise DeviceError(f"{link.address.host}: {program.kind} {words[0]} failed", details=done.tail.strip())
    return done.stdout
