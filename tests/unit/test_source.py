"""The copy of the source that make builds in, and the search for outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetsonx.build.source import Redirect, find_image_files, find_outputs, redirect_makefile, sync_source
from jetsonx.errors import ConfigError
from jetsonx.project import parse_project

REDIRECT = Redirect(toolkit=Path("/sdk/cuda"), programs=Path("/sdk/bin"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("NVCC = /usr/local/cuda/bin/nvcc", "NVCC = /sdk/cuda/bin/nvcc"),
        ("NVCC=/usr/local/cuda-10.2/bin/nvcc", "NVCC=/sdk/cuda/bin/nvcc"),
        ("CUDA := /usr/local/cuda-11", "CUDA := /sdk/cuda"),
        ("CFLAGS += -I/usr/local/cuda/include", "CFLAGS += -I/usr/local/cuda/include"),  # the compiler shim's business
        ("L = -Wl,-rpath=/usr/local/cuda/lib64", "L = -Wl,-rpath=/sdk/cuda/lib64"),
        ('ifneq ("$(wildcard /usr/local/cuda/bin/nvcc)", "")', 'ifneq ("$(wildcard /sdk/cuda/bin/nvcc)", "")'),
        ("\t/usr/local/cuda/bin/nvcc -c a.cu; true", "\t/sdk/cuda/bin/nvcc -c a.cu; true"),
        ("CXX = /usr/bin/g++-9", "CXX = /sdk/bin/g++-9"),
        ("CC ?= /usr/bin/gcc", "CC ?= /sdk/bin/gcc"),
        ("T = /usr/bin/gcc-ar /usr/bin/gccgo", "T = /usr/bin/gcc-ar /usr/bin/gccgo"),
        ("P = $(ROOT)/usr/local/cuda ./usr/local/cuda", "P = $(ROOT)/usr/local/cuda ./usr/local/cuda"),
        ("P = /usr/local/cudatoolkit /usr/local/cuda_old", "P = /usr/local/cudatoolkit /usr/local/cuda_old"),
        # `ifneq ($(wildcard /usr/bin/nvcc), "")` asks whether CUDA lies in /usr; it does not
        ("N = /usr/bin/nvcc", "N = /usr/bin/nvcc"),
    ],
)
def test_absolute_paths_in_makefiles(line: str, expected: str) -> None:
    assert redirect_makefile(f"{line}\n", REDIRECT) == f"{expected}\n"
    assert redirect_makefile(line, REDIRECT) == expected


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Path, Path]:
    source, copy = tmp_path / "source", tmp_path / "build/src"
    (source / "sub").mkdir(parents=True)
    (source / "Makefile").write_text("NVCC = /usr/local/cuda/bin/nvcc\n")
    (source / "sub/rules.mk").write_bytes(b"# caf\xe9\nCUDA = /usr/local/cuda\n")
    (source / "notes.txt").write_text("/usr/local/cuda\n")
    return source, copy


def test_makefiles_of_the_copy_are_redirected_and_the_source_is_not(tree: tuple[Path, Path]) -> None:
    source, copy = tree
    (source / "Makefile").chmod(0o444)
    os.utime(source / "Makefile", ns=(1, 10**18))
    synced = sync_source(source, copy, exclude=source / "out", redirect=REDIRECT)
    assert synced.redirected == ("Makefile", "sub/rules.mk")
    assert (copy / "Makefile").read_text() == "NVCC = /sdk/cuda/bin/nvcc\n"
    assert (copy / "Makefile").stat().st_mtime_ns == 10**18
    assert (copy / "Makefile").stat().st_mode & 0o777 == 0o444
    assert (copy / "sub/rules.mk").read_bytes() == b"# caf\xe9\nCUDA = /sdk/cuda\n"
    assert (copy / "notes.txt").read_text() == "/usr/local/cuda\n"
    assert (source / "Makefile").read_text() == "NVCC = /usr/local/cuda/bin/nvcc\n"


def test_a_second_sync_copies_what_changed_only(tree: tuple[Path, Path]) -> None:
    source, copy = tree
    assert sync_source(source, copy, exclude=source / "out", redirect=REDIRECT).copied == 3
    (copy / "main.o").write_text("made by make")
    (source / "notes.txt").write_text("other\n")
    (source / "sub/rules.mk").unlink()
    synced = sync_source(source, copy, exclude=source / "out", redirect=REDIRECT)
    assert (synced.copied, synced.removed, synced.redirected) == (1, 1, ())
    assert (copy / "main.o").exists()
    assert not (copy / "sub/rules.mk").exists()
    assert (copy / "Makefile").read_text() == "NVCC = /sdk/cuda/bin/nvcc\n"


def test_links_are_copied_as_links_and_the_output_directory_not_at_all(tree: tuple[Path, Path]) -> None:
    source, copy = tree
    (source / "link.mk").symlink_to("sub/rules.mk")
    (source / "out").mkdir()
    (source / "out/old").write_text("")
    (source / ".git").mkdir()
    (source / ".git/config").write_text("")
    sync_source(source, copy, exclude=source / "out", redirect=REDIRECT)
    assert (copy / "link.mk").readlink() == Path("sub/rules.mk")
    assert not (copy / "out").exists()
    assert not (copy / ".git").exists()


def test_an_output_is_found_by_its_name_below_the_directory(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/saxpy").write_text("")
    assert find_outputs(tmp_path, ["saxpy"]) == {"saxpy": tmp_path / "bin/saxpy"}
    assert find_outputs(tmp_path, ["bin/*"]) == {"bin/saxpy": tmp_path / "bin/saxpy"}


def test_a_missing_output_is_an_error_that_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF" + bytes(12) + b"\x03\x00")
    with pytest.raises(ConfigError, match=r"no saxpy, libx\.so") as caught:
        find_outputs(tmp_path, ["saxpy", "libx.so", "program"])
    assert caught.value.hint == "executables and libraries there: program"


def test_two_files_of_one_name_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saxpy").write_text("")
    with pytest.raises(ConfigError):
        find_outputs(tmp_path, ["saxpy"])


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("models/**", {"models/a", "models/deep/b"}),
        ("**", {"jetsonx.toml", "models/a", "models/deep/b"}),
        ("models/*", {"models/a"}),
        ("models/deep/b", {"models/deep/b"}),
    ],
)
def test_files_of_the_image(tmp_path: Path, glob: str, expected: set[str]) -> None:
    (tmp_path / "models/deep").mkdir(parents=True)
    for name in ("models/a", "models/deep/b"):
        (tmp_path / name).write_text("x")
    text = f'[project]\nname = "x"\n[build]\nsystem = "cuda"\n[image]\nfiles = ["{glob}"]\n'
    (tmp_path / "jetsonx.toml").write_text(text)
    project = parse_project(text, tmp_path / "jetsonx.toml")
    assert set(find_image_files(project, exclude=tmp_path / "out")) == expected
