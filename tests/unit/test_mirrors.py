"""Which place is asked in place of which."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.errors import ConfigError
from jetsonx.net.mirrors import Mirrors, load_mirrors


def mirrors(tmp_path: Path, variable: str = "", file: str | None = None) -> Mirrors:
    path = tmp_path / "config.toml"
    path.write_text(file or "")
    return load_mirrors({"JETSONX_MIRRORS": variable, "JETSONX_CONFIG": str(path)})


def test_without_a_mirror_nothing_changes(tmp_path: Path) -> None:
    url = "https://nvcr.io/v2/nvidia/cuda/manifests/x?n=1"
    assert mirrors(tmp_path).url(url) == url
    assert mirrors(tmp_path, "docker.io=http://m").url(url) == url


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/v2/a/b?n=1"),
        ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/v2/a/b?n=1"),
        ("https://cache.example/nvcr", "https://cache.example/nvcr/v2/a/b?n=1"),
        ("https://harbor.example/v2/nvcr", "https://harbor.example/v2/nvcr/a/b?n=1"),
    ],
)
def test_the_base_url_takes_the_place_of_scheme_and_host(tmp_path: Path, base: str, expected: str) -> None:
    assert mirrors(tmp_path, f"nvcr.io={base}").url("https://NVCR.io/v2/a/b?n=1") == expected


def test_a_path_of_v2_elsewhere_is_kept(tmp_path: Path) -> None:
    found = mirrors(tmp_path, "files.example=http://m/v2").url("https://files.example/a/v2/b")
    assert found == "http://m/v2/a/v2/b"


def test_docker_io_is_known_by_the_host_that_serves_it(tmp_path: Path) -> None:
    for name in ("docker.io", "registry-1.docker.io", "index.docker.io"):
        assert mirrors(tmp_path, f"{name}=http://m").url("https://registry-1.docker.io/v2/x") == "http://m/v2/x"


def test_a_port_belongs_to_the_host(tmp_path: Path) -> None:
    table = mirrors(tmp_path, "r.example:5000=http://m")
    assert table.url("https://r.example:5000/x") == "http://m/x"
    assert table.url("https://r.example/x") == "https://r.example/x"


def test_the_variable_wins_over_the_file_host_by_host(tmp_path: Path) -> None:
    file = '[mirrors]\n"nvcr.io" = "http://file"\ndocker.io = "http://hub"\n"a.example:1" = "http://a"\n'
    table = mirrors(tmp_path, "nvcr.io = http://variable ,", file).table
    assert dict(table) == {"nvcr.io": "http://variable", "docker.io": "http://hub", "a.example:1": "http://a"}


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("nvcr.io", "names no URL"),
        ("=http://m", "is no host name"),
        ("https://nvcr.io=http://m", "is no host name"),
        ("nvcr.io=m.example", "no http or https URL"),
        ("nvcr.io=ftp://m", "no http or https URL"),
        ("nvcr.io=http://", "no http or https URL"),
        ("nvcr.io=http://m:port", "no http or https URL"),
        ("nvcr.io=http://m?x=1", "no http or https URL"),
        ("nvcr.io=http://[::1", "no http or https URL"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, variable: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        mirrors(tmp_path, variable)
    assert caught.value.message.startswith("JETSONX_MIRRORS")


def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="login") as caught:
        mirrors(tmp_path, "nvcr.io=http://me:secret@m.example")
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("file", ["mirrors = 1", "[mirrors]\na = 5", "[mirrors", '[mirrors]\n"a b" = "http://m"'])
def test_errors_of_the_file_name_it(tmp_path: Path, file: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml"):
        mirrors(tmp_path, file=file)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        load_mirrors({"JETSONX_CONFIG": str(tmp_path / "none.toml")})


def test_the_default_file_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_mirrors({}).table == ()
    (tmp_path / "jetsonx").mkdir()
    (tmp_path / "jetsonx" / "config.toml").write_text('[mirrors]\nnvcr.io = "http://m"')
    assert load_mirrors({}).base("nvcr.io") == "http://m"
