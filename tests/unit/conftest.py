"""Unit tests start no process and open no connection: whoever tries fails the test."""

from __future__ import annotations

import socket
import subprocess
from typing import NoReturn

import pytest
from hypothesis import settings

# A machine that has other things to do is no reason to fail.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _no_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail(f"a unit test must not start a process or open a connection: {args}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("JETSONX_CACHE", str(tmp_path_factory.mktemp("cache")))
