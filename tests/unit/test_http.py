"""Getting things: what is tried again, what is given up, what is never sent to strangers."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
from pathlib import Path

import pytest
import requests
import urllib3

from jetsonx.console import Console
from jetsonx.errors import DownloadError
from jetsonx.net.faults import parse_retry_after
from jetsonx.net.http import DeniedError, Http, NotFoundError, Refused, UnreachableError
from jetsonx.net.part import Part
from tests.unit.http_script import Says, Script

URL = "https://files.example/some/file"
DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()


def refused() -> requests.ConnectionError:
    error = requests.ConnectionError(urllib3.exceptions.NewConnectionError("pool", "failed"))  # type: ignore[arg-type]
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return error


class Counted:
    """Downloads ``DATA`` into a part and notes the progress."""

    def __init__(self, script: Script, part: Path) -> None:
        self.script = script
        self.part = part
        self.count = 0
        self.restarts = 0

    def advance(self, amount: int) -> None:
        self.count += amount

    def restarted(self) -> None:
        assert self.part.stat().st_size == 0
        self.restarts += 1

    def run(self, size_bytes: int | None = len(DATA), sha256: str = SHA256) -> None:
        self.script.http().download(
            URL,
            self.part,
            sha256=sha256,
            size_bytes=size_bytes,
            what="a layer",
            advance=self.advance,
            restarted=self.restarted,
        )


def ranged(start: int, *, data: bytes = DATA, reset_after: int | None = None) -> Says:
    headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
    return Says(status=206, body=data[start:], headers=headers, reset_after=reset_after)


# ---- small things ----------------------------------------------------------------------------------------------------


def test_get_json() -> None:
    assert Script(Says(body=b'{"a": 1}')).http().get_json(URL) == {"a": 1}


def test_a_login_page_is_no_json() -> None:
    with pytest.raises(DownloadError, match=r"files\.example.*no JSON"):
        Script(Says(body=b"<html>")).http().get_json(URL)


def test_mirrors_apply() -> None:
    script = Script(Says(body=b"1"))
    script.http({"files.example": "http://m.example:1/x"}).get_json(URL)
    assert script.asked[0].url == "http://m.example:1/x/some/file"


def test_the_limit_holds() -> None:
    assert Script(Says(body=b"x" * 10)).http().get_bytes(URL, 10) == b"x" * 10
    with pytest.raises(DownloadError, match="sane"):
        Script(Says(body=b"x" * 11)).http().get_bytes(URL, 10)


def test_what_comes_is_not_decoded() -> None:
    # some servers call a .tar.gz a gzip encoding; its digest is of the bytes as they are
    script = Script(Says(body=b"\x1f\x8b not gzip", headers={"Content-Encoding": "gzip"}))
    assert script.http().get_bytes(URL, 100) == b"\x1f\x8b not gzip"
    assert script.asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFoundError), (401, DeniedError), (403, DeniedError), (400, DownloadError)]
)
def test_final_answers_are_not_asked_again(status: int, kind: type[DownloadError]) -> None:
    script = Script(Says(status=status, headers={"Content-Type": "text/plain"}, body=b"because"))
    with pytest.raises(kind, match=str(status)) as caught:
        script.http().get_bytes(URL, 10)
    assert type(caught.value) is kind
    assert caught.value.details == "because"
    assert script.waits == []


def test_a_registrys_own_words_are_shown() -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "you have reached your limit"}]}'
    script = Script(*[Says(status=429, body=body, headers={"Content-Type": "application/json"})] * 6)
    with pytest.raises(DownloadError) as caught:
        script.http().get_bytes(URL, 10)
    assert caught.value.details == "TOOMANYREQUESTS: you have reached your limit"
    assert "docker login" in (caught.value.hint or "")


@pytest.mark.parametrize("body", [b"", b"{", b'{"errors": 5}', b'{"errors": [1]}', b"[]", b"\xff"])
def test_nonsense_in_an_error_does_no_harm(body: bytes) -> None:
    with pytest.raises(NotFoundError) as caught:
        Script(Says(status=404, body=body, headers={"Content-Type": "application/json"})).http().get_bytes(URL, 10)
    assert caught.value.details is None


# ---- trying again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Says(status=503), Says(status=500), Says(body=b"12345", reset_after=2), refused()])
def test_what_may_pass_is_tried_again(fault: Says | Exception) -> None:
    script = Script(fault, Says(body=b"yes"))
    err = io.StringIO()
    assert script.http(console=Console(err=err)).get_bytes(URL, 10) == b"yes"
    assert len(script.waits) == 1
    assert "trying again" in err.getvalue()


def test_waits_grow_and_differ_and_end() -> None:
    script = Script(*[Says(status=503)] * 6)
    with pytest.raises(DownloadError, match="503"):
        script.http().get_bytes(URL, 10)
    assert len(script.waits) == 5
    for failures, wait_s in enumerate(script.waits):
        assert 0.25 * 2**failures <= wait_s <= 0.5 * 2**failures


def test_retry_after_is_obeyed() -> None:
    script = Script(Says(status=429, headers={"Retry-After": "7"}), Says(body=b"yes"))
    assert script.http().get_bytes(URL, 10) == b"yes"
    assert script.waits == [7.0]


def test_but_not_for_hours() -> None:
    script = Script(Says(status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(DownloadError, match="429"):
        script.http().get_bytes(URL, 10)
    assert script.waits == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("-1", None),
        ("soon", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_retry_after(value: str | None, expected: float | None) -> None:
    assert parse_retry_after(value, now_s=1445412480.0) == expected


def test_nobody_there() -> None:
    script = Script(refused(), refused(), refused())
    with pytest.raises(UnreachableError, match=r"files\.example cannot be reached: Connection refused"):
        script.http().get_bytes(URL, 10)
    assert len(script.waits) == 2


def test_who_answered_before_is_waited_for_longer(tmp_path: Path) -> None:
    job = Counted(
        Script(Says(body=DATA, reset_after=10), *[refused() for _ in range(4)], ranged(10)), tmp_path / "part"
    )
    job.run()
    assert job.part.read_bytes() == DATA


def test_the_words_of_a_refusal_are_kept() -> None:
    answer = Says(status=401, body=b"your key ran out", headers={"Content-Type": "text/plain"})
    with pytest.raises(DeniedError) as caught:
        Script(answer).http().get(URL, limit_bytes=10, authorize=lambda refused: None)
    assert caught.value.details == "your key ran out"


def test_a_wrong_certificate_is_said_at_once() -> None:
    inner = urllib3.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    script = Script(requests.exceptions.SSLError(inner))
    with pytest.raises(DownloadError, match="not trusted") as caught:
        script.http().get_bytes(URL, 10)
    assert "certs.d/files.example/ca.crt" in (caught.value.hint or "")
    assert not isinstance(caught.value, UnreachableError)


def test_plain_http_where_tls_was_expected() -> None:
    script = Script(*[requests.exceptions.SSLError("[SSL: WRONG_VERSION_NUMBER]")] * 3)
    with pytest.raises(UnreachableError, match="no TLS") as caught:
        script.http().get_bytes(URL, 10)
    assert "JETSONX_MIRRORS=files.example=http://files.example" in (caught.value.hint or "")


# ---- redirects and secrets -------------------------------------------------------------------------------------------


def secret(refused: Refused | None) -> str:
    return "Bearer secret"


def test_authorization_does_not_follow_to_another_host() -> None:
    script = Script(
        Says(status=307, headers={"Location": "/elsewhere"}),
        Says(status=302, headers={"Location": "https://files.example:444/x"}),
        Says(status=302, headers={"Location": "https://blobs.example/x?signed"}),
        Says(body=b"yes"),
    )
    assert script.http().get(URL, limit_bytes=10, authorize=secret).url == "https://blobs.example/x?signed"
    assert [request.headers.get("Authorization") for request in script.asked] == [
        "Bearer secret",
        "Bearer secret",
        None,
        None,
    ]


def test_no_login_is_taken_out_of_a_redirects_url() -> None:
    script = Script(Says(status=302, headers={"Location": "https://me:pw@blobs.example/"}), Says())
    script.http().get(URL, limit_bytes=10, authorize=secret)
    assert script.asked[1].headers.get("Authorization") is None


def test_a_stranger_is_not_told_who_we_are() -> None:
    calls = []

    def authorize(refused: Refused | None) -> str | None:
        calls.append(refused)
        return "Bearer secret"

    script = Script(Says(status=302, headers={"Location": "https://evil.example/"}), Says(status=401))
    with pytest.raises(DeniedError):
        script.http().get(URL, limit_bytes=10, authorize=authorize)
    assert calls == [None]


@pytest.mark.parametrize("location", ["http://files.example/", "file:///etc/passwd", "ftp://a/b"])
def test_redirects_that_are_not_safe(location: str) -> None:
    with pytest.raises(DownloadError, match="not safe"):
        Script(Says(status=302, headers={"Location": location})).http().get_bytes(URL, 10)


def test_redirects_without_end() -> None:
    script = Script(*[Says(status=302, headers={"Location": URL})] * 11)
    with pytest.raises(DownloadError, match="redirected 10 times"):
        script.http().get_bytes(URL, 10)


def test_a_challenge_is_answered_and_the_answer_sent() -> None:
    seen: list[Refused | None] = []

    def authorize(refused: Refused | None) -> str | None:
        seen.append(refused)
        return None if refused is None else "Bearer new"

    script = Script(Says(status=401, headers={"WWW-Authenticate": "Bearer x"}), Says(body=b"yes"))
    assert script.http().get(URL, limit_bytes=10, authorize=authorize).body == b"yes"
    assert seen == [None, Refused(url=URL, sent=None, challenge="Bearer x")]
    assert script.asked[1].headers["Authorization"] == "Bearer new"


def test_a_server_that_is_never_content() -> None:
    numbers = itertools.count()
    script = Script(*[Says(status=401)] * 3)
    with pytest.raises(DeniedError):
        script.http().get(URL, limit_bytes=10, authorize=lambda refused: f"Bearer {next(numbers)}")
    assert script.answers == []


# ---- downloads -------------------------------------------------------------------------------------------------------


def test_download(tmp_path: Path) -> None:
    job = Counted(Script(Says(body=DATA)), tmp_path / "part")
    job.run()
    assert job.part.read_bytes() == DATA
    assert (job.count, job.restarts) == (len(DATA), 0)
    assert "Range" not in job.script.asked[0].headers


def test_a_reset_connection_goes_on_where_it_stopped(tmp_path: Path) -> None:
    script = Script(Says(body=DATA, reset_after=100), ranged(100, reset_after=50), Says(status=502), ranged(150))
    job = Counted(script, tmp_path / "part")
    job.run()
    assert job.part.read_bytes() == DATA
    assert [request.headers.get("Range") for request in script.asked] == [
        None,
        "bytes=100-",
        "bytes=150-",
        "bytes=150-",
    ]
    assert (job.count, job.restarts) == (len(DATA), 0)


def test_failures_that_got_further_do_not_add_up(tmp_path: Path) -> None:
    answers = [ranged(start, reset_after=10) for start in range(10, 400, 10)]
    job = Counted(Script(Says(body=DATA, reset_after=10), *answers, ranged(400)), tmp_path / "part")
    job.run()
    assert max(job.script.waits) <= 0.5


def test_no_progress_is_given_up_and_kept(tmp_path: Path) -> None:
    job = Counted(Script(Says(body=DATA, reset_after=10), *[ranged(10, reset_after=0)] * 6), tmp_path / "part")
    with pytest.raises(DownloadError, match="Connection reset by peer"):
        job.run()
    assert job.part.read_bytes() == DATA[:10]


def test_an_early_end_that_looks_right(tmp_path: Path) -> None:
    job = Counted(Script(Says(body=DATA[:500]), ranged(500)), tmp_path / "part")
    job.run()
    assert job.part.read_bytes() == DATA


def test_a_later_process_goes_on(tmp_path: Path) -> None:
    job = Counted(Script(ranged(3000)), tmp_path / "part")
    job.part.write_bytes(DATA[:3000])
    job.run()
    assert job.part.read_bytes() == DATA
    assert (job.count, job.restarts) == (len(DATA), 0)


@pytest.mark.parametrize("size_bytes", [len(DATA), None])
def test_a_whole_part_needs_no_more(tmp_path: Path, size_bytes: int | None) -> None:
    script = Script(Says(status=416)) if size_bytes is None else Script()
    job = Counted(script, tmp_path / "part")
    job.part.write_bytes(DATA)
    job.run(size_bytes)
    assert job.count == len(DATA)


def test_a_server_that_knows_no_ranges(tmp_path: Path) -> None:
    job = Counted(Script(Says(body=DATA, reset_after=4000), Says(body=DATA)), tmp_path / "part")
    job.run()
    assert job.part.read_bytes() == DATA
    assert (job.count, job.restarts) == (len(DATA), 0)


def test_an_earlier_range_than_asked_is_used(tmp_path: Path) -> None:
    job = Counted(Script(ranged(0)), tmp_path / "part")
    job.part.write_bytes(DATA[:77])
    job.run()
    assert job.part.read_bytes() == DATA


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 200-300/9000"}, {"Content-Range": "items 1"}, {}])
def test_a_later_range_than_asked_is_not(tmp_path: Path, headers: dict[str, str]) -> None:
    job = Counted(Script(Says(status=206, body=b"xx", headers=headers), ranged(100)), tmp_path / "part")
    job.part.write_bytes(DATA[:100])
    job.run()
    assert job.part.read_bytes() == DATA


@pytest.mark.parametrize("old", [b"wrong" * 7, DATA + b"more", DATA[:-1] + b"x"])
def test_a_damaged_part_is_made_anew(tmp_path: Path, old: bytes) -> None:
    answers = [ranged(len(old))] if len(old) < len(DATA) else []
    job = Counted(Script(*answers, Says(body=DATA)), tmp_path / "part")
    job.part.write_bytes(old)
    job.run()
    assert job.part.read_bytes() == DATA
    assert (job.count, job.restarts) == (len(DATA), 1)


@pytest.mark.parametrize("body", [DATA[:-1] + b"x", DATA + b"more"])
def test_wrong_content_is_deleted_and_told(tmp_path: Path, body: bytes) -> None:
    job = Counted(Script(Says(body=body)), tmp_path / "part")
    with pytest.raises(DownloadError, match=f"a layer: expected sha256 {SHA256}.*got [0-9a-f]{{64}}"):
        job.run()
    assert not job.part.exists()


def test_wrong_content_twice_after_a_damaged_part(tmp_path: Path) -> None:
    job = Counted(Script(ranged(1), Says(body=b"y" * len(DATA))), tmp_path / "part")
    job.part.write_bytes(b"?")
    with pytest.raises(DownloadError, match="expected"):
        job.run()
    assert not job.part.exists()


def test_an_unknown_size(tmp_path: Path) -> None:
    job = Counted(Script(Says(body=DATA)), tmp_path / "part")
    job.run(None)
    assert job.part.read_bytes() == DATA


def test_an_empty_file(tmp_path: Path) -> None:
    job = Counted(Script(), tmp_path / "part")
    job.run(0, hashlib.sha256().hexdigest())
    assert job.part.read_bytes() == b""


def test_who_stops_listening_ends_it_and_what_came_stays(tmp_path: Path) -> None:
    part = tmp_path / "part"

    def advance(amount: int) -> None:
        raise KeyboardInterrupt

    http: Http = Script(Says(body=DATA)).http()
    with pytest.raises(KeyboardInterrupt):
        http.download(URL, part, sha256=SHA256, size_bytes=len(DATA), what="x", advance=advance)
    assert part.read_bytes() == DATA


def test_a_full_disk_is_not_the_networks_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Part, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Part, "write", full)
    job = Counted(Script(Says(body=DATA)), tmp_path / "part")
    with pytest.raises(OSError, match="No space left"):
        job.run()
    assert job.script.waits == []
