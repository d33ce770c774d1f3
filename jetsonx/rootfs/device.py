"""A root file system on a device, over the user's own ssh; only sshd and GNU tar are needed there.

1. list      ``tar`` says what the directories of interest hold, names and sizes and links, without reading contents
2. choose    which contents a sysroot needs is worked out here, from the listing
3. identify  the release file and the C library come first: the wrong device is refused before the rest is fetched
4. fetch     one stream of exactly the files that the store does not hold from an earlier time

What came completely is kept whatever happens then, so that the next run fetches only the rest. As with rsync, a file of
the same size and time is taken to be the same.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO

from jetsonx.catalog import Filter, Target
from jetsonx.console import amount
from jetsonx.effects import Effects
from jetsonx.errors import DeviceError, DownloadError
from jetsonx.rootfs.gather import add_selection, choose, report_unreadable, wanted_paths
from jetsonx.rootfs.identity import check_identity, identity_paths
from jetsonx.rootfs.listing import LISTING_OPTIONS, Listing, parse_listing, parse_troubles, plan_places
from jetsonx.rootfs.ssh import Address, check_connection, parse_address, ssh_command
from jetsonx.rootfs.tar import Member, TarReader
from jetsonx.runner import Completed, Runner
from jetsonx.store.tree import Objects, TreeWriter

_READ_BYTES = 1 << 20
_SMALL_BYTES = 1 << 20
_REMEMBER_S = 1.0
_ALL_WELL = (0, 1, 2)  # tar's: 1 for files that changed meanwhile, 2 for some that it could not read
_KIND = "device"  # of the references that the store keeps


def add_device(
    destination: str,
    writer: TreeWriter,
    wanted: Filter | None,
    *,
    target: Target,
    effects: Effects,
) -> None:
    """Add the files of the device at ``destination`` (``jetson@host``, ``jetson@host:/other/root``) to a tree.

    ``wanted`` None takes everything that can be read. Raises ConfigError for an address that is none and for a device
    of another L4T release or processor than the target's, DeviceError when it cannot be reached or does not give what
    is needed, DownloadError when offline.
    """
    address = parse_address(destination)
    if effects.offline:
        raise DownloadError(f"offline: {address} cannot be asked", hint="run it once with the device at hand")
    listing = list_device(address, plan_places(wanted), runner=effects.runner)
    selection = choose(listing, wanted, what=str(address))
    with effects.store.scratch() as scratch:
        files = _Files(address, listing, Objects(effects.store.folder("objects"), scratch), effects)
        files.take(identity_paths(files.names))
        check_identity(files.names, files.read, target, what=str(address))
        unreadable = files.take(wanted_paths(selection))
    report_unreadable((*listing.unreadable, *unreadable), wanted, what=str(address), console=effects.console)
    add_selection(selection, files.contents, writer)


def list_device(address: Address, places: Sequence[str], *, runner: Runner) -> Listing:
    """What ``places`` on the device hold.

    Raises DeviceError when it cannot be reached, and when its ``tar`` cannot list.
    """
    words = ("tar", "-C", address.root, "-cvvf", "/dev/null", *LISTING_OPTIONS, "--one-file-system", "--", *places)
    members: list[Member] = []
    stamps: dict[str, str] = {}

    def read(stream: IO[bytes]) -> None:
        found, times = parse_listing(line.decode("ascii", "replace") for line in stream)
        members.extend(found)
        stamps.update(times)

    said: list[str] = []
    done = runner.run(ssh_command(address, words, os.environ), stdout=read, on_line=said.append)
    check_connection(address, done, os.environ)
    if not members or done.status not in _ALL_WELL:
        raise DeviceError(
            f"{address}: tar there could not list {address.root}",
            details=done.tail.strip(),
            hint=f"GNU tar is needed on the device (BusyBox's lists no times), and a directory {address.root}",
        )
    troubles = (it for it in parse_troubles(said) if it[0] not in places)  # not every system has all of them
    return Listing(members=tuple(members), stamps=stamps, unreadable=tuple(troubles))


class _Files:
    """The contents of a device's files in the store, by sha256; those that an earlier run left count too."""

    def __init__(self, address: Address, listing: Listing, objects: Objects, effects: Effects) -> None:
        self._address = address
        self._members = {member.name: member for member in listing.members if member.kind == "file"}
        self._stamps = listing.stamps
        self._objects = objects
        self._effects = effects
        self._remembered_s = time.monotonic()
        self.contents = dict(self._recall())

    @property
    def names(self) -> Iterable[str]:
        """The paths of all files that the device listed."""
        return self._members

    def read(self, path: str) -> bytes:
        """The content of a file that was taken; nothing when it could not be."""
        if (sha256 := self.contents.get(path)) is None:
            return b""
        return self._objects.path(sha256, executable=self._is_executable(path)).read_bytes()

    def take(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Fetch those of ``paths`` that the store does not hold; (path, why) of those that cannot be read."""
        wanted = [path for path in paths if path not in self.contents]
        if not wanted:
            return []
        size = sum(self._members[path].size_bytes for path in wanted)
        said: list[str] = []
        with self._effects.console.bar(f"{len(wanted)} files from {self._address}", size) as bar:
            try:
                done, cut = self._fetch(wanted, bar.advance, said.append)
            finally:
                self._remember()
        lacking = [path for path in wanted if path not in self.contents]
        troubles = dict(parse_troubles(said))
        if cut is not None or done.status not in _ALL_WELL or any(path not in troubles for path in lacking):
            raise self._broken(done, cut, wanted, lacking)
        return [(path, troubles[path]) for path in lacking]

    def _fetch(
        self, wanted: Sequence[str], advance: Callable[[int], None], on_line: Callable[[str], None]
    ) -> tuple[Completed, DownloadError | None]:
        words = (
            *("tar", "-C", self._address.root, "-cf", "-", "--quoting-style=c", "--hard-dereference"),
            *("--no-recursion", "--null", "-T", "-"),
        )
        names = b"".join(os.fsencode(path) + b"\0" for path in wanted)
        cut: list[DownloadError] = []

        def read(stream: IO[bytes]) -> None:
            try:
                self._receive(stream, advance)
            except DownloadError as error:  # what ssh says next tells more than how the stream looks
                cut.append(error)

        command = ssh_command(self._address, words, os.environ)
        done = self._effects.runner.run(command, stdin=names, stdout=read, on_line=on_line)
        return done, cut[0] if cut else None

    def _receive(self, stream: IO[bytes], advance: Callable[[int], None]) -> None:
        archive = TarReader(iter(lambda: stream.read(_READ_BYTES), b""), name=f"what {self._address} sends")
        for member in archive:
            if member.kind != "file" or member.name not in self._members:
                continue
            executable = self._is_executable(member.name)
            if member.size_bytes <= _SMALL_BYTES:
                sha256, size = self._objects.put(archive.read(), executable=executable)
            else:
                sha256, size = self._objects.put_pieces(archive.pieces(), executable=executable)
            self.contents[member.name] = sha256
            advance(size)
            if time.monotonic() - self._remembered_s > _REMEMBER_S:
                self._remember()

    def _broken(
        self, done: Completed, cut: DownloadError | None, wanted: Sequence[str], lacking: Sequence[str]
    ) -> DeviceError:
        came = sum(self._members[path].size_bytes for path in wanted if path in self.contents)
        total = sum(self._members[path].size_bytes for path in wanted)
        return DeviceError(
            f"the connection to {self._address} broke after {amount(came)} of {amount(total)}: "
            f"{len(lacking)} of {len(wanted)} files are lacking",
            details=done.tail.strip() or (cut.message if cut else None),
            hint="what came is kept: run the same command again to fetch the rest",
        )

    def _is_executable(self, path: str) -> bool:
        return bool(self._members[path].mode & 0o111)

    def _recall(self) -> Iterator[tuple[str, str]]:
        text = self._effects.store.recall(_KIND, str(self._address)) or "{}"
        for path, (stamp, sha256) in json.loads(text).items():
            if self._stamps.get(path) == stamp and path in self._members:
                size, executable = self._members[path].size_bytes, self._is_executable(path)
                if self._objects.has(sha256, size, executable=executable):
                    yield path, sha256

    def _remember(self) -> None:
        held = {path: (self._stamps[path], sha256) for path, sha256 in self.contents.items()}
        self._effects.store.remember(_KIND, str(self._address), json.dumps(held))
        self._remembered_s = time.monotonic()
