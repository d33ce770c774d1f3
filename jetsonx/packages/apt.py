"""Debian and Ubuntu packages for the target, by the host's own apt with a state of its own: no root, no emulation.

apt resolves, downloads and checks signatures; what it fetched is hashed here once more and kept by that hash.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from jetsonx.console import Bar, Console
from jetsonx.errors import ConfigError, DownloadError, HostError
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.mirrors import Source, parse_ports_uri, render_sources
from jetsonx.packages.package import Package
from jetsonx.runner import Command, Completed, Runner
from jetsonx.store.store import Store
from jetsonx.store.tree import file_sha256

_URI_LINE = re.compile(r"'([^']+)' (\S+\.deb) (\d+) SHA256:([0-9a-f]{64})")
_DETAIL_LINES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Apt:
    """A private apt: ``conf`` is its configuration file; ``missing`` says why it cannot serve ("" when it can).

    ``status`` is a dpkg status file that says what is installed already, None when nothing is.
    """

    conf: Path
    codename: str
    status: Path | None = None
    missing: str = ""
    details: str = ""

    @property
    def archives(self) -> Path:
        """Where it puts the packages it downloads."""
        return self.conf.parent / "cache" / "archives"

    def command(self, program: str, *words: str) -> Command:
        """A call of ``apt-get`` or ``apt-cache`` with this state."""
        installed = ("-o", f"Dir::State::status={self.status}") if self.status else ()
        return Command(argv=(program, "-q", "-c", str(self.conf), *installed, *words), env={"LC_ALL": "C.UTF-8"})


def render_conf(folder: Path, debian_arch: str, keys: Path | None = None) -> str:
    """The configuration file: everything under ``folder``, one architecture, no hooks and no pins of the host.

    ``keys``: an ``etc/apt`` whose trusted keys count instead of the host's.

    Container images switch apt's index cache off and keep its lists packed; both are undone, as apt is called three
    times here and would read the lists three times.
    """
    return f"""\
#clear APT::Architectures;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{debian_arch}";
APT::Architectures {{ "{debian_arch}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::GzipIndexes "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "{folder}/state/";
Dir::State::status "{folder}/state/status";
Dir::Cache "{folder}/cache/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/etc/";
Dir::Etc::preferences "{folder}/etc/preferences";
Dir::Etc::preferencesparts "/dev/null";
""" + (f'Dir::Etc::trusted "{keys}/trusted.gpg";\nDir::Etc::trustedparts "{keys}/trusted.gpg.d/";\n' if keys else "")


def fetch_lists(
    sources: Sequence[Source],
    codename: str,
    *,
    debian_arch: str,
    store: Store,
    runner: Runner,
    console: Console,
    status: bytes = b"",
    keys: Path | None = None,
    preferences: str = "",
) -> Apt:
    """Bring the package lists of a suite up to date.

    ``status`` is what dpkg says is installed already, ``keys`` as for :func:`render_conf`; with them some sources may
    fail as long as one answers: an image names what its maker could reach. ``preferences``: apt_preferences(5), where
    the sources are of more than one suite.

    A suite that the mirror does not have, or not for this architecture, gives an Apt with ``missing`` set. Raises
    DownloadError when the mirror cannot be reached or its signature is not right.
    """
    text = render_sources(sources)
    folder = store.folder("apt") / f"{codename}-{debian_arch}-{_short_digest(text.encode())}"
    # Beside the lists and not part of the folder's name: what is installed changes more often than they do.
    installed = folder / "state" / f"status-{_short_digest(status)}" if status else None
    apt = Apt(conf=folder / "apt.conf", codename=codename, status=installed)
    for name in ("state/lists/partial", "cache/archives/partial", "etc"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "state" / "status").write_bytes(b"")
    if installed is not None:
        installed.write_bytes(status)
    (folder / "etc" / "target.sources").write_text(text)
    (folder / "etc" / "preferences").write_text(preferences)
    apt.conf.write_text(render_conf(folder, debian_arch, keys))
    console.say(f"{codename}: reading the package lists for {debian_arch}")
    done = runner.run(apt.command("apt-get", "update", "-o", "APT::Update::Error-Mode=any"))
    lists = folder / "state" / "lists"
    if any(lists.glob(f"*_binary-{debian_arch}_Packages*")):
        if done.ok:
            return apt
        if keys is None:
            raise _failed(f"the package lists of {codename} could not be read", done, store)
        console.warn(f"some package lists of {codename} could not be read:\n{_last_words(done)}")
        return apt
    missing = _why_missing(done, lists, codename, debian_arch)
    if not missing:
        raise _failed(f"the package lists of {codename} could not be read", done, store)
    return Apt(conf=apt.conf, codename=codename, missing=missing, details=_last_words(done))


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]


def _why_missing(done: Completed, lists: Path, codename: str, debian_arch: str) -> str:
    if any(lists.glob("*Release")):
        return f"the mirror has {codename} but not for {debian_arch}"
    # apt has no other way to tell "not there" from "not reachable": this text has been the same since 1.1.
    return f"the mirror has no {codename}" if "does not have a Release file" in done.tail else ""


def resolve_packages(apt: Apt, names: Sequence[str], *, store: Store, runner: Runner) -> tuple[Package, ...]:
    """The packages that ``names`` (each ``name`` or ``name=version``) and their dependencies come to, sorted by name.

    Raises ConfigError for names the suite does not have, DownloadError when they cannot be installed together.
    """
    _clear(apt.archives)  # apt leaves out what lies there already
    done = runner.run(
        apt.command("apt-get", "-y", "-o", "Acquire::ForceHash=SHA256", "install", "--print-uris", *names)
    )
    if not done.ok:
        _explain_names(apt, names, runner)
        raise _failed(f"the packages {', '.join(names)} cannot be had together from {apt.codename}", done, store)
    packages = parse_uris(done.stdout)
    if not packages:
        raise _failed(f"apt named no packages for {', '.join(names)}", done, store)
    return packages


def parse_uris(text: str) -> tuple[Package, ...]:
    """The packages of ``apt-get --print-uris`` with SHA256 asked for, by name. Lines without it are no answer."""
    found = {}
    for line in text.splitlines():
        match = _URI_LINE.match(line)
        if match:
            name, version, _ = match[2].split("_", 2)
            found[name] = Package(
                name=name,
                version=unquote(version),
                filename=match[2],
                sha256=match[4],
                size_bytes=int(match[3]),
                url=match[1],
            )
    return tuple(found[name] for name in sorted(found))


def _explain_names(apt: Apt, names: Sequence[str], runner: Runner) -> None:
    """Raise the error that names what the suite lacks, if that is why apt refused."""
    plain = [name.partition("=")[0] for name in names]
    shown = runner.run(apt.command("apt-cache", "show", *plain)).stdout
    versions: dict[str, set[str]] = {}
    name = ""
    for line in shown.splitlines():
        field, _, value = line.partition(": ")
        if field == "Package":
            name = value
        elif field == "Version":
            versions.setdefault(name, set()).add(value)
    unknown = [name for name in plain if name not in versions]
    if unknown:
        known = runner.run(apt.command("apt-cache", "pkgnames")).stdout.split()
        near = [f"{name}: did you mean {', '.join(close)}?" for name in unknown if (close := _near(name, known))]
        raise ConfigError(
            f"{apt.codename} has no package named {', '.join(unknown)}",
            hint="; ".join(near) or f"look for the package of {apt.codename} that holds what you need (headers: -dev)",
        )
    gone = [name for name in names if "=" in name and name.partition("=")[2] not in versions[name.partition("=")[0]]]
    if gone:
        raise DownloadError(
            f"the mirror's {apt.codename} no longer has what jetsonx.lock pins: {', '.join(gone)}",
            hint="build once without --locked to take the versions of today into jetsonx.lock",
        )


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, [other for other in known if other[:3] == name[:3]], n=3, cutoff=0.7)


def fetch_packages(
    apt: Apt, packages: Sequence[Package], *, store: Store, runner: Runner, console: Console
) -> dict[str, Path]:
    """Download what the store does not hold yet; the path of each package by its sha256.

    Raises DownloadError when one cannot be had or is not what the lists say, HostError when the disk is too small.
    """
    lacking = [package for package in packages if store.download(package.sha256) is None]
    size = sum(package.size_bytes for package in lacking)
    if size > store.free_bytes():
        raise store.disk_full(f"downloading {len(lacking)} packages", needed_bytes=size)
    if lacking:
        _clear(apt.archives)
        _offer(apt, packages, store)
        wanted = [f"{package.name}={package.version}" for package in packages]
        with console.bar(f"{len(lacking)} packages of {apt.codename}", size) as bar:
            words = ("-y", "-o", "APT::Status-Fd={status_fd}", "install", "--download-only", *wanted)
            done = runner.run(apt.command("apt-get", *words), status_fd=lambda line: _advance(bar, size, line))
            if done.ok:
                bar.reach(size)
        if not done.ok and store.is_full(done.tail, needed_bytes=size):
            raise store.disk_full(f"downloading {len(lacking)} packages", needed_bytes=size)
        for package in lacking:
            _keep(apt, package, done, store)
    paths = {package.sha256: store.download(package.sha256) for package in packages}
    return {sha256: path for sha256, path in paths.items() if path is not None}


def _advance(bar: Bar, size: int, line: str) -> None:
    # dlstatus:<item>:<percent>:<text>
    words = line.split(":")
    if words[0] == "dlstatus" and len(words) > 2:
        bar.reach(int(size * float(words[2]) / 100))


def _offer(apt: Apt, packages: Sequence[Package], store: Store) -> None:
    """Show apt what the store holds, so that it fetches only the rest."""
    for package in packages:
        path = store.download(package.sha256)
        if path is not None:
            place = apt.archives / package.filename
            try:
                os.link(path, place)
            except OSError:
                shutil.copyfile(path, place)


def _keep(apt: Apt, package: Package, done: Completed, store: Store) -> None:
    path = apt.archives / package.filename
    if not path.is_file():
        raise _failed(f"{package.name} {package.version} could not be downloaded from {apt.codename}", done, store)
    found = file_sha256(path)
    if found != package.sha256:
        path.unlink()
        raise DownloadError(
            f"{package.filename}: its sha256 is {found}, the package lists say {package.sha256}",
            hint="the mirror or a proxy on the way is broken; try again, or set JETSONX_APT_MIRROR to another one",
        )
    store.keep_download(path, package.sha256)


def fetch_ports_uri(*, store: Store, runner: Runner) -> str:
    """Ubuntu's archive for the other architectures, from its package python-apt-common; "" when it cannot be had."""
    with store.scratch() as scratch:
        runner.run(Command(argv=("apt-get", "-q", "download", "python-apt-common"), cwd=scratch))
        for path in scratch.glob("python-apt-common_*.deb"):
            for info, content in iter_deb(path):
                if content is not None and info.name.endswith("/templates/Ubuntu.info"):
                    return parse_ports_uri(content.read().decode("utf-8", "replace"))
    return ""


def _clear(archives: Path) -> None:
    for path in archives.glob("*.deb"):
        path.unlink()


def _last_words(done: Completed) -> str:
    lines = [line for line in done.tail.splitlines() if line.startswith(("E:", "W:", "Err:"))]
    return "\n".join((lines or done.tail.splitlines())[-_DETAIL_LINES:])


def _failed(message: str, done: Completed, store: Store) -> DownloadError | HostError:
    if store.is_full(done.tail):
        return store.disk_full(message)
    return DownloadError(
        message,
        details=_last_words(done),
        hint=f"check the network and the mirror of this host (JETSONX_APT_MIRROR overrides it); "
        f"what is in {store.root} already can be used with --offline",
    )
