"""SSH addresses, and what is said when ssh cannot connect."""

from __future__ import annotations

import pytest

from jetsonx.errors import ConfigError, DeviceError
from jetsonx.rootfs.ssh import (
    Address,
    HostKeyError,
    check_connection,
    parse_address,
    parse_machine_address,
    ssh_command,
)
from jetsonx.runner import Completed


@pytest.mark.parametrize(
    ("text", "host", "root"),
    [
        ("jetson@192.168.55.1", "jetson@192.168.55.1", "/"),
        ("jetson", "jetson", "/"),
        ("jetson@host:/media/APP/", "jetson@host", "/media/APP"),
        ("jetson@host:/", "jetson@host", "/"),
        ("ssh://jetson@host:2222", "ssh://jetson@host:2222", "/"),
        ("ssh://jetson@host:2222/media/APP", "ssh://jetson@host:2222", "/media/APP"),
        ("jetson@fe80::1%eth0", "jetson@fe80::1%eth0", "/"),
        ("jetson@[fe80::1]:/a b", "jetson@fe80::1", "/a b"),
    ],
)
def test_addresses(text: str, host: str, root: str) -> None:
    address = parse_address(text)
    assert (address.host, address.root) == (host, root)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", " ", "-oProxyCommand=reboot", "ssh://-oProxyCommand=x", "jetson@", "a b", "a\nb", ":/root"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="no SSH address"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["$(reboot)@host", "jetson@`reboot`", "jetson@host;reboot", "me@h|x", "me@-oProxyCommand=x", "me\\\\@host"]
)
def test_what_a_shell_on_the_way_would_run_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no SSH address"):
        parse_address(text)


def test_odd_but_harmless_users_are_taken() -> None:
    for user in ("DOMAIN\\jetson", "jet son".replace(" ", "."), "jetson+ci", "me@example.com", "größe"):
        assert parse_machine_address(f"{user}@host", what="a device").host == f"{user}@host"


def test_a_machine_has_no_directory() -> None:
    with pytest.raises(ConfigError, match="a device has no directory") as error:
        parse_machine_address("jetson@host:/media", what="a device")
    assert error.value.hint == "write it as for ssh: jetson@host"


def test_a_user_that_is_an_option_is_refused() -> None:
    with pytest.raises(ConfigError):
        parse_address("-l@host")


def test_a_port_after_a_colon_is_explained() -> None:
    with pytest.raises(ConfigError) as error:
        parse_address("jetson@host:2222")
    assert error.value.hint == "write ssh://jetson@host:2222"


def test_the_command_is_quoted_for_the_shell_there_and_never_asks() -> None:
    command = ssh_command(Address(host="jetson"), ["tar", "-C", "/a b"], {"JETSONX_SSH_CONFIG": "/c"})
    assert command.argv[:3] == ("ssh", "-F", "/c")
    assert "BatchMode=yes" in command.argv
    assert command.argv[-3:] == ("--", "jetson", "env LC_ALL=C tar -C '/a b'")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("Host key verification failed.", "accept it once: ssh -F /c me@host"),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.", "ssh-keygen -R host"),
        ("me@host: Permission denied (publickey).", "ssh-copy-id me@host"),
        ("ssh: connect to host host port 22: Connection refused", "answers: ssh -F /c me@host"),
    ],
)
def test_a_failed_connection_shows_what_ssh_said(words: str, hint: str) -> None:
    address, environ = Address(host="me@host"), {"JETSONX_SSH_CONFIG": "/c"}
    done = Completed(command=ssh_command(address, ["x"], environ), status=255, stdout="", tail=words)
    with pytest.raises(DeviceError, match="cannot reach me@host") as error:
        check_connection(address, done, environ)
    assert error.value.details == words
    assert error.value.hint is not None
    assert error.value.hint.endswith(hint)


def test_a_changed_key_is_forgotten_where_ssh_found_it() -> None:
    words = (
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending ED25519 key in /home/me/my keys:3\n"
        "Host key for [10.0.0.1]:22022 has changed and you have requested strict checking.\n"
        "Host key verification failed."
    )
    done = Completed(command=ssh_command(Address(host="orin"), ["x"], {}), status=255, stdout="", tail=words)
    with pytest.raises(DeviceError) as error:
        check_connection(Address(host="orin"), done, {})
    assert not isinstance(error.value, HostKeyError)
    assert (error.value.hint or "").endswith("ssh-keygen -f '/home/me/my keys' -R '[10.0.0.1]:22022'")


def test_a_port_is_named_as_each_program_takes_it() -> None:
    address = Address(host="ssh://me@host:2222")
    for words, hint in (
        ("Permission denied (publickey).", "ssh-copy-id -p 2222 me@host"),
        ("IDENTIFICATION HAS CHANGED", "ssh-keygen -R '[host]:2222'"),
    ):
        done = Completed(command=ssh_command(address, ["x"], {}), status=255, stdout="", tail=words)
        with pytest.raises(DeviceError) as error:
            check_connection(address, done, {})
        assert (error.value.hint or "").endswith(hint)


def test_a_program_that_failed_there_is_no_failed_connection() -> None:
    address = Address(host="me@host")
    check_connection(address, Completed(command=ssh_command(address, ["x"], {}), status=2, stdout="", tail=""), {})
