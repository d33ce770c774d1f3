"""Which engine builds, and which way it goes in Docker."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.build.docker_options import NO_OPTIONS, DockerOptions
from jetsonx.build.strategy import Means, choose_engine, choose_strategy, runs_in_image
from jetsonx.errors import ConfigError, HostError
from jetsonx.project import Project, parse_project


def project(rest: str = "", strategy: str = "auto") -> Project:
    text = f'[project]\nname = "app"\n[build]\nsystem = "cuda"\nstrategy = "{strategy}"\n{rest}\n'
    return parse_project(text, Path("/p/jetsonx.toml"))


@pytest.mark.parametrize(
    ("of", "asks", "engine", "why"),
    [
        (project(), False, "local", ""),
        (project(strategy="cross"), False, "local", ""),
        (project(strategy="emulate"), False, "docker", "the strategy emulate needs it"),
        (project(strategy="native"), False, "docker", "the strategy native needs it"),
        (project('[image]\nbase = "ubuntu:22.04"'), False, "docker", "image.base is ubuntu:22.04"),
        (project(), True, "docker", "its options are given"),
    ],
)
def test_auto_takes_docker_only_for_what_only_docker_has(of: Project, asks: bool, engine: str, why: str) -> None:
    chosen, said = choose_engine("auto", of, asks_for_docker=asks)
    assert chosen == engine
    assert said == (f"building in Docker: {why}" if why else "")
    assert choose_engine("docker", of, asks_for_docker=asks) == ("docker", "")
    if why:
        with pytest.raises(ConfigError, match="--engine local: only Docker can do this"):
            choose_engine("local", of, asks_for_docker=asks)
    else:
        assert choose_engine("local", of, asks_for_docker=asks) == ("local", "")


def test_options_are_asked_for_when_one_is_set() -> None:
    assert DockerOptions() == NO_OPTIONS
    assert DockerOptions(push=True) != NO_OPTIONS


ALL = Means(node="jetson")


def test_auto_takes_the_fastest_that_can_be() -> None:
    assert choose_strategy("auto", ALL).strategy == "cross"
    assert choose_strategy("auto", Means(cross="no image", node="jetson")).strategy == "native"
    choice = choose_strategy("auto", Means(cross="no image", native="no node"))
    assert choice.strategy == "emulate"
    assert choice.why == "emulate: cross cannot be: no image; native cannot be: no node"
    with pytest.raises(ConfigError, match="cross: no image; native: no node; emulate: no QEMU"):
        choose_strategy("auto", Means(cross="no image", native="no node", emulate="no QEMU"))


@pytest.mark.parametrize(
    ("asked", "means", "kind", "hint"),
    [
        ("cross", Means(cross="no image"), ConfigError, "emulate or native"),
        ("native", Means(native="no node"), HostError, "jetsonx builder add"),
        ("emulate", Means(emulate="no QEMU"), HostError, "jetsonx binfmt install"),
    ],
)
def test_what_was_asked_is_taken_or_refused(asked: str, means: Means, kind: type[Exception], hint: str) -> None:
    assert choose_strategy(asked, ALL).strategy == asked
    with pytest.raises(kind) as caught:
        choose_strategy(asked, means)
    assert hint in str(getattr(caught.value, "hint", ""))


def test_a_cross_build_runs_what_the_image_asks_for() -> None:
    assert runs_in_image(project()) == ""
    assert runs_in_image(project('[image]\ntest = ["app"]')) == "image.test"
    assert runs_in_image(project('[image]\npackages = ["a1"]')) == ""
    assert runs_in_image(project('[image]\npackages = ["a1"]\nscripts = true')) == "image.scripts"
