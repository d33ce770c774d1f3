"""The first-boot configuration of Fedora CoreOS."""

from __future__ import annotations

import json
from dataclasses import replace
from urllib.parse import unquote

import pytest

from jetsonx.errors import ConfigError
from jetsonx.vm.ignition import FirstBoot, HostKey, render_ignition

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVl3sGxYX8MiB9lzTMgy+ZoMvcWNugLOxWrLArRlPHt ada@desk"
WANTED = FirstBoot(hostname="isolated", user="core", keys=(KEY,))


def test_a_user_with_a_key_docker_and_no_password() -> None:
    config = json.loads(render_ignition(WANTED))
    assert config["ignition"]["version"] == "3.3.0"
    (user,) = config["passwd"]["users"]
    assert user == {"name": "core", "groups": ["docker", "wheel"], "sshAuthorizedKeys": [KEY]}
    assert {"name": "docker.service", "enabled": True} in config["systemd"]["units"]
    assert "password" not in json.dumps(config).lower().replace("passwordauthentication%20no", "")


def test_files_come_through_as_they_are() -> None:
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\na+b/c%=\n"
    config = json.loads(render_ignition(replace(WANTED, host_key=HostKey(private=private, public=KEY))))
    files = {each["path"]: each for each in config["storage"]["files"]}
    assert unquote(files["/etc/hostname"]["contents"]["source"]) == "data:,isolated\n"
    key = files["/etc/ssh/ssh_host_ed25519_key"]
    assert (unquote(key["contents"]["source"]), key["mode"]) == (f"data:,{private}", 0o600)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(WANTED, user="Core"), "cannot be a user"),
        (replace(WANTED, hostname="a.b"), "cannot be a host"),
        (replace(WANTED, keys=()), "nobody could log in"),
        (replace(WANTED, keys=("hello",)), "is no public key"),
        (replace(WANTED, keys=(f"{KEY}\nssh-rsa AAAA",)), "is no public key"),
        (replace(WANTED, keys=("-----BEGIN OPENSSH PRIVATE KEY-----",)), "a private key"),
    ],
)
def test_what_would_lock_everybody_out_is_refused(wrong: FirstBoot, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        render_ignition(wrong)
    assert error.value.hint
