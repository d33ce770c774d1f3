"""Names of images, as Docker reads them."""

from __future__ import annotations

import pytest

from jetsonx.errors import ConfigError
from jetsonx.registry.reference import Reference, parse_reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nvcr.io/nvidia/l4t-jetpack:r36.4.0", "nvcr.io/nvidia/l4t-jetpack:r36.4.0"),
        ("debian", "docker.io/library/debian:latest"),
        ("debian:bookworm", "docker.io/library/debian:bookworm"),
        ("nvidia/cuda:13.2.1-devel-ubuntu24.04", "docker.io/nvidia/cuda:13.2.1-devel-ubuntu24.04"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/a/b", "docker.io/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x/y:1", "localhost:5000/x/y:1"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("Registry.Example/x", "registry.example/x:latest"),
        (f"nvcr.io/a/b@{DIGEST}", f"nvcr.io/a/b@{DIGEST}"),
        (f"nvcr.io/a/b:1@{DIGEST}", f"nvcr.io/a/b:1@{DIGEST}"),
        ("a__b/c-d--e.f:_T", "docker.io/a__b/c-d--e.f:_T"),
    ],
)
def test_parse_reference(text: str, expected: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == expected
    assert parse_reference(str(reference)) == reference


def test_the_parts() -> None:
    assert parse_reference(f"localhost:5000/x/y@{DIGEST}") == Reference(
        registry="localhost:5000", repository="x/y", tag=None, digest=DIGEST
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no repository"),
        (":", "is no tag"),
        ("nvcr.io/", "is no repository"),
        ("nvcr.io/a/../b", "is no repository"),
        ("nvcr.io/a//b", "is no repository"),
        ("nvcr.io/a/b?x=1", "is no repository"),
        ("nvcr.io/a b", "is no repository"),
        ("nvcr.io/a\n", None),
        ("nvcr.io/a%2f", "is no repository"),
        ("nvcr.io/a:", "is no tag"),
        ("nvcr.io/a:-x", "is no tag"),
        ("nvcr.io/a:" + "x" * 129, "is no tag"),
        ("nvcr.io/" + "a" * 256, "is no repository"),
        ("nvcr.io/a@sha256:ab", "is no digest"),
        ("nvcr.io/a@", "is no digest"),
        ("nvcr.io/a@sha512:" + "ab" * 64, "is no digest"),
        ("https://nvcr.io/a", "is no"),
        ("nvcr.io:99999999/a", "is no registry"),
        ("-x.io/a", "is no registry"),
    ],
)
def test_what_is_no_image(text: str, words: str | None) -> None:
    if words is None:  # spaces around it come from copying
        assert parse_reference(text).repository == "a"
        return
    with pytest.raises(ConfigError, match=words):
        parse_reference(text)


def test_upper_case_is_explained() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_reference("nvcr.io/nvidia/L4T-Jetpack:r36.4.0")
    assert caught.value.hint == "names of repositories are lower case"
