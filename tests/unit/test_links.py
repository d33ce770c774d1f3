"""Links that stay inside the sysroot."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.errors import DownloadError
from jetsonx.packages.links import alternative_links, clean_path, merge_usr, relative_link, unversioned_links


@pytest.mark.parametrize(
    ("path", "target", "link"),
    [
        ("usr/lib/x/libm.so", "/lib/x/libm.so.6", "libm.so.6"),
        ("usr/lib/x/libdl.so", "../../../lib/x/libdl.so.2", "libdl.so.2"),
        (
            "lib/ld-linux-aarch64.so.1",
            "aarch64-linux-gnu/ld-linux-aarch64.so.1",
            "aarch64-linux-gnu/ld-linux-aarch64.so.1",
        ),
        ("lib/x/liba.so", "../../usr/lib/x/liba.so.1", "liba.so.1"),
        ("usr/include/opencv", "opencv4/../opencv4", "opencv4/../opencv4"),
        ("usr/a", "/", ".."),
        ("usr/a", "../../../../etc/passwd", "../etc/passwd"),
        ("a", "/bin/sh", "usr/bin/sh"),
        ("etc/alternatives/cc", "/usr/bin/gcc", "../../usr/bin/gcc"),
    ],
)
def test_relative_link(path: str, target: str, link: str) -> None:
    assert relative_link(path, target) == link


_PATHS = st.lists(st.sampled_from(["lib", "usr", "bin", "a", "b"]), min_size=1, max_size=5).map("/".join)
_TARGETS = st.lists(st.sampled_from(["..", ".", "lib", "usr", "etc"]), min_size=1, max_size=8).map("/".join)


@given(_PATHS, _TARGETS, st.booleans())
def test_no_link_leaves_the_root(path: str, target: str, absolute: bool) -> None:
    link = relative_link(path, "/" + target if absolute else target)
    assert not link.startswith("/")
    reached = posixpath.normpath(posixpath.join(posixpath.dirname(merge_usr(path)), link))
    assert not reached.startswith("..")


@given(st.text())
def test_clean_path_gives_a_safe_name_or_refuses(name: str) -> None:
    try:
        clean = clean_path(name, source="x.deb")
    except DownloadError:
        return
    assert not clean.startswith("/")
    assert ".." not in clean.split("/")
    assert "\n" not in clean


def test_merge_usr() -> None:
    assert [merge_usr(path) for path in ("lib", "lib/a", "library/a", "usr/lib/a")] == [
        "usr/lib",
        "usr/lib/a",
        "library/a",
        "usr/lib/a",
    ]


def test_unversioned_links() -> None:
    files = ["l/liba.so.13", "l/liba.so.13.1", "l/libb.so", "l/libb.so.2", "l/libnvrtc-builtins.so.13.2", "l/c.so.1"]
    assert list(unversioned_links(files)) == [
        ("l/liba.so", "liba.so.13"),
        ("l/libnvrtc-builtins.so", "libnvrtc-builtins.so.13.2"),
    ]


def test_alternative_links_do_not_replace_what_is_there() -> None:
    files = [
        "usr/lib/t/blas/libblas.so.3",
        "usr/lib/t/lapack/liblapack.so.3",
        "usr/lib/t/liblapack.so.3",
        "opt/blas/liba.so",
    ]
    assert list(alternative_links(files)) == [("usr/lib/t/libblas.so.3", "blas/libblas.so.3")]
