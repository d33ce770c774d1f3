"""The readers against what others say of the same files: a whole arm64 root file system, and NVIDIA's libraries.

What is downloaded, some 200 MB, stays in the user's cache directory.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from jetsonx.artifact.load import Options, load_artifact
from jetsonx.artifact.tree import Tree
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.elf.facts import FileFacts
from jetsonx.elf.load import BRIEF, load_file, parse_elf, read_elf
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from tests.elf import oracles
from tests.elf.real import CACHE, CUOBJDUMP, cuda_libraries, fetched, root_tar
from tests.integration.conftest import Need


def iter_elves(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            data = content.read() if content is not None and content.read(4) == b"\x7fELF" else b""
            if data:
                yield member.name, b"\x7fELF" + data


_ATOMIC = re.compile(
    r"\t(?:(?:ld|st)(?:add|clr|eor|set|[su]max|[su]min)|swp|casp?)(?:al?|l)?[bh]?\t"
)  # store forms are loads into the zero register


def differences(ours: oracles.Facts, theirs: oracles.Facts) -> dict[str, tuple[object, object]]:
    return {key: (ours[key], value) for key, value in theirs.items() if ours[key] != value}


def test_every_elf_file_of_a_root_file_system_is_what_pyelftools_and_lief_say(need: Need) -> None:
    import lief

    need("mmdebstrap")
    lief.logging.disable()
    count = symbols = 0
    for name, data in iter_elves(root_tar()):
        facts = parse_elf(data)
        assert not differences(oracles.ours(facts), oracles.by_pyelftools(data)), name
        assert not differences(oracles.ours_for_lief(facts), oracles.by_lief(data)), name
        brief = parse_elf(data, options=BRIEF)
        assert (brief.needed, brief.soname, brief.loads) == (facts.needed, facts.soname, facts.loads), name
        assert [(x.library, x.version) for x in brief.version_needs] == [
            (x.library, x.version) for x in facts.version_needs
        ]
        count, symbols = count + 1, symbols + len(facts.imports) + len(facts.exports)
    assert count >= 700
    assert symbols > 100_000


def test_the_root_file_system_is_the_same_out_of_every_container(need: Need, tmp_path: Path, store: Store) -> None:
    """As a directory and as a layer: the same files, the same facts."""
    need("mmdebstrap")
    folder = tmp_path / "root"
    folder.mkdir()
    subprocess.run(["tar", "-C", folder, "--no-same-owner", "--exclude=./dev", "-xf", root_tar()], check=True)
    effects = Effects(store=Store(tmp_path / "cache", Console(-1)), runner=Runner(), console=Console(-1))
    trees = [load_artifact(str(folder), Options(), effects), as_layer(root_tar(), tmp_path / "oci", effects)]
    found = [{node.path: node.facts for node in tree.iter_files()} for tree in trees]
    assert found[0] == found[1]
    assert all(tree.is_root for tree in trees)
    assert {facts.kind for facts in found[0].values() if facts} >= {"elf", "script"}
    assert not [facts for facts in found[0].values() if facts and facts.kind == "unreadable"]


def as_layer(path: Path, folder: Path, effects: Effects) -> Tree:
    """An OCI layout of one plain layer."""
    from tests.images.layout import pack_layer, write_layout

    folder.mkdir()
    copy = folder / "layer.tar"
    os.link(path, copy)
    write_layout(folder / "image", "x:latest", [pack_layer(copy, "zstd")])
    return load_artifact(str(folder / "image"), Options(), effects)


def test_instructions_are_what_objdump_says(need: Need) -> None:
    """In libraries with code for SVE and atomics behind tests: SVE words, and atomic instructions in all."""
    objdump = need("aarch64-linux-gnu-objdump")
    wanted = ("libc.so.6", "libgcrypt.so.20")
    seen = 0
    for name, data in iter_elves(root_tar()):
        if not Path(name).name.startswith(wanted):
            continue
        file = CACHE / f"{os.getpid()}.so"
        file.write_bytes(data)
        try:
            text = subprocess.run([objdump, "-d", "--no-show-raw-insn", file], capture_output=True, text=True).stdout
            counts = read_elf(file, options=Options()).instructions
        finally:
            file.unlink()
        assert counts is not None
        atomic = re.findall(
            r"\t(?:ld(?:add|clr|eor|set|[su]max|[su]min)|st(?:add|clr|eor|set)|swp|casp?)(?:al?|l)?[bh]?\t", text
        )
        assert counts.lse + counts.lse_guarded == len(atomic), name
        seen += 1
    assert seen >= 1


def ours(facts: FileFacts) -> Counter[tuple[str, str]]:
    """What cuobjdump has a list option for; it shows the cubins of a family without their letter."""
    found: Counter[tuple[str, str]] = Counter()
    for fatbin in facts.fatbins:
        for entry in fatbin.entries:
            letter = "" if entry.kind == "cubin" and entry.variant == "f" else entry.variant
            kind = {"cubin": "ELF", "ptx": "PTX"}.get(entry.kind)
            if kind and not fatbin.is_outside:
                found[kind, f"sm_{entry.sm}{letter}"] += 1
    return found


def test_device_code_of_nvidias_libraries_is_what_cuobjdump_lists() -> None:
    cuobjdump = next(fetched(CUOBJDUMP, platform="x86_64").rglob("bin/cuobjdump"))
    cuobjdump.chmod(0o755)
    paths = cuda_libraries()
    assert sum(path.stat().st_size for path in paths) >= 400 << 20
    for path in paths:
        listed = subprocess.run(
            [cuobjdump, "--list-elf", "--list-ptx", "-all", path], capture_output=True, text=True, check=False
        ).stdout
        theirs = Counter(re.findall(r"^(ELF|PTX) file .*?\.(sm_\d+[af]?)\.", listed, re.MULTILINE))
        assert ours(load_file(path, path.name)) == theirs, path.name


def test_device_code_outside_of_its_sections_is_found() -> None:
    outside = {
        path.name: sum(x.is_outside for x in load_file(path, path.name, Options(deep=True)).fatbins)
        for path in cuda_libraries()
    }
    assert outside["libcurand.so.10"] == 1747
    assert outside["libcusparse.so.12"] == 36


def test_the_toolkit_that_made_the_machine_code_is_told() -> None:
    for path in cuda_libraries():
        facts = load_file(path, path.name, Options(deep=True))
        told = {fatbin.toolkit for fatbin in facts.fatbins} - {None}
        assert told <= {(13, 4), (13, 5), (12, 8)}, path.name
        assert told, path.name
