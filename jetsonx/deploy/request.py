"""What is asked of a device's switch.sh, as text that its shell reads: pure.

All words of a release, whatever they hold, become the shell's by one function, :func:`_quote`. They travel on standard
input, so that none of them is ever part of a command line there, but those that ``docker`` itself needs.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jetsonx.deploy.values import Form, Release
from jetsonx.errors import ConfigError

Kind = Literal["switch", "rollback", "stop", "prune", "recover", "sync", "debug"]

_APP = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_MOST_CHARACTERS = 63
_OURS = (".next", ".prev", ".debug")
_OP = re.compile(r"[0-9a-f]{16}")
_RELEASE = re.compile(r"[0-9a-f]{6,64}")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._/-]{0,200}:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_SECRET = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(?::[0-9]{1,6})?")
_URL = re.compile(r"https?://[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What a sync brings: ``archive`` is the sha256 of the tar in the staging directory, whose members are named from
    the root. ``contents`` are the files of the app's directory ``folder`` after it, by name, with their sha256.
    """

    archive: str
    folder: str
    contents: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Debugger:
    """How a program is started under gdbserver: ``tools`` names the directory of it on the device, ``loader`` is the
    container's first word and ``words`` follow it, the program's own among them.
    """

    tools: str
    loader: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One operation on an app of a device.

    ``op`` names it, sixteen hexadecimal digits that no other has: sent twice, it is done once. ``who`` and ``when``
    (this host's time) are for people who find the lock held, and for histories. ``release`` is what to switch to,
    ``form`` that of the app; ``entry`` the operation in histories, without how it ended; ``expected`` is the container
    that a rollback goes to, or that a sync or a debugger works on.
    """

    kind: Kind
    app: str
    op: str
    who: str
    when: str
    release: Release | None = None
    form: Form = "container"
    entry: Mapping[str, str] | None = None
    expected: str = ""
    is_dry_run: bool = False
    files: Files | None = None
    debugger: Debugger | None = None


def is_app(name: str) -> bool:
    """True when an app, which is a container and an image repository, can be called that."""
    return (
        2 <= len(name) <= _MOST_CHARACTERS
        and bool(_APP.fullmatch(name))
        and not name.endswith(_OURS)
        and ".old." not in name
    )


def check_app(app: str) -> None:
    """Raise ConfigError unless an app can be called that."""
    if not is_app(app):
        raise ConfigError(
            f"{app!r} cannot be the name of an app on a device",
            hint="two to 63 lower-case letters, digits, and dots, dashes or underscores between them; "
            "names that end with .next, .prev or .debug are taken",
        )


def check_release(release: Release) -> None:
    """Raise ConfigError for what can be no release, whatever came of a project's file."""
    check_app(release.app)
    for what, text, pattern in (
        ("name of a release", release.id, _RELEASE),
        ("image ID", release.image_id, _IMAGE),
        ("image reference", release.reference, _REFERENCE),
        ("restart policy", release.restart, _RESTART),
        *(("name of a secret", name, _SECRET) for name in release.secrets),
        *(("name of an environment variable", name, _VARIABLE) for name in release.env),
        *((("URL to ask for health", release.health.url, _URL),) if release.health.kind == "http" else ()),
    ):
        if not pattern.fullmatch(text):
            raise ConfigError(f"{text!r} is no {what}")
    if release.form == "files" and (release.is_blue_green or release.health.kind == "image"):
        raise ConfigError("a release of files is neither started beside the old one nor judged by an image")
    if release.health.kind == "command" and not release.health.command:
        raise ConfigError("the health check by a command has no command", hint="say health.command in jetsonx.toml")
    words = (*release.options, *release.command, *release.health.command, *_label_words(release))
    for word in (*words, *release.env.values(), *release.library_dirs):
        if "\0" in word:
            raise ConfigError(f"{word!r} holds a NUL, which no program can be given")


def render_request(request: Request) -> str:
    """The request as assignments and functions. Raises ConfigError as the checks above do."""
    check_app(request.app)
    if not _OP.fullmatch(request.op):
        raise ValueError(request.op)
    entry = json.dumps(dict(request.entry), ensure_ascii=True)[:-1] if request.entry else ""
    values = {
        "app": request.app,
        "op": request.op,
        "kind": request.kind,
        "backend": request.form,
        "who": _one_line(request.who),
        "stamp": _one_line(request.when),
        "entry": entry,
        "expected": request.expected,
        "dry_run": str(int(request.is_dry_run)),
        "blue_green": str(int(request.release is not None and request.release.is_blue_green)),
        "release_text": "",
    }
    secrets: Mapping[str, bytes] = {}
    functions = ""
    if request.files is not None:
        values |= {"archive": request.files.archive, "folder": request.files.folder}
        values["contents"] = "".join(f"file={digest} {name}\n" for name, digest in request.files.contents.items())
    if request.debugger is not None:
        values |= {"tools": request.debugger.tools, "loader": request.debugger.loader}
        functions = _function("with_program", request.debugger.words)
    if request.release is not None:
        check_release(request.release)
        values["release_text"] = render_release(request.release)
        values["release"] = request.release.id
        values["reference"] = request.release.reference
        secrets = request.release.secrets
    puts = [f"put_secret {_quote(name)} {base64.b64encode(data).decode()}" for name, data in sorted(secrets.items())]
    body = " &&\n".join(puts) or ":"
    assigned = "".join(f"{name}={_quote(value)}\n" for name, value in values.items())
    return f"{assigned}{functions}put_secrets() {{\n{body}\n}}\n"


def render_release(release: Release) -> str:
    """How the release's container is made and judged; it stays on the device beside it, for rollbacks."""
    health = release.health
    values = {
        "release": release.id,
        "reference": release.reference,
        "restart": release.restart,
        "stop_timeout": release.stop_timeout_s,
        "keep": release.keep,
        "health": health.kind,
        "health_url": health.url,
        "health_stays": health.stays_s,
        "health_timeout": max(health.timeout_s, health.stays_s + 5 if health.kind == "stays" else 1),
    }
    words = (*release.options, *_label_words(release), release.image_id, *release.command)
    more = ""
    if release.form == "files":
        values |= _values_of_files(release)
        words = release.command
        env = tuple(f"{name}={value}" for name, value in release.env.items())
        more = _function("with_env", env) + _function("with_libraries", release.library_dirs)
    lines = [f"{name}={_quote(str(value))}\n" for name, value in values.items()]
    return "".join([*lines, _function("with_words", words), _function("with_health", health.command), more])


def _values_of_files(release: Release) -> dict[str, object]:
    """What files.sh reads of a release; without a unit nothing of ours starts it, and nothing starts it again."""
    policy = release.restart.partition(":")[0]
    return {
        "payload": release.image_id.removeprefix("sha256:"),
        "unit": int(release.has_unit),
        "unit_restart": policy if policy in ("no", "on-failure") else "always",
        **({} if release.has_unit else {"restart": "no", "health_stays": 0}),
    }


def _label_words(release: Release) -> tuple[str, ...]:
    return tuple(word for name, value in sorted(release.labels.items()) for word in ("--label", f"{name}={value}"))


def _function(name: str, words: Sequence[str]) -> str:
    """A shell function that calls its own words with ``words`` after them."""
    return f'{name}() {{ "$@" {" ".join(map(_quote, words))}; }}\n'


def _quote(word: str) -> str:
    """One word for a shell; the only place where text becomes part of a script."""
    return shlex.quote(word)


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)[:200]
