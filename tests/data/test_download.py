"""The download, against a server that lies, cuts and redirects."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from laptime.data.archive import BINARY_ARCHIVE, OfficialFile
from laptime.data.download import BINARY_URL, download_cifar10
from laptime.errors import DataError

CONTENT = bytes(range(256)) * 3000
EXPECTED = OfficialFile("some.tar.gz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())

Answer = Callable[["Handler", int], None]


class Handler(BaseHTTPRequestHandler):
    """Answer each request with the next of the server's answers, the last one for ever."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers["Range"])
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        start = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        self.close_connection = True
        answer(self, int(start[1]) if start else 0)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server(ThreadingHTTPServer):
    """A server on this machine with a list of answers, and what it was asked for."""

    answers: list[Answer]
    ranges: list[str | None]

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some.tar.gz"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    with Server(("127.0.0.1", 0), Handler) as server:
        server.answers, server.ranges = [serve()], []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def serve(content: bytes = CONTENT, *, cut: int | None = None, resumes: bool = True) -> Answer:
    """Send the content, at most ``cut`` bytes of it, from the start that was asked for."""

    def answer(handler: Handler, start: int) -> None:
        start = start if resumes else 0
        body = content[start:]
        if start:
            found = f"bytes {start}-{len(content) - 1}/{len(content)}"
            handler.head(206, Content_Length=len(body), Content_Range=found)
        else:
            handler.head(200, Content_Length=len(body))
        handler.wfile.write(body[:cut])

    return answer


def status(code: int, **headers: object) -> Answer:
    return lambda handler, _: handler.head(code, Content_Length=0, **headers)


def unmeasured(content: bytes) -> Answer:
    """Send the content without saying how much it is."""

    def answer(handler: Handler, _: int) -> None:
        handler.head(200)
        handler.wfile.write(content)

    return answer


def fetch(server: Server, directory: Path, **given: Any) -> Path:
    options = {"url": server.url, "expected": EXPECTED, "scheme": "http", "pause_s": lambda _: None}
    return download_cifar10(directory, **{**options, **given})


def assert_refused(server: Server, directory: Path, match: str, **given: Any) -> None:
    with pytest.raises(DataError, match=match) as refused:
        fetch(server, directory, **given)
    assert "\n" not in str(refused.value)
    assert not (directory / EXPECTED.name).exists()


def test_the_official_file_is_stored_and_progress_is_told(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(server, tmp_path / "new" / "data", report=lambda *it: seen.append(it))
    assert path == tmp_path / "new" / "data" / EXPECTED.name
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_what_is_already_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / EXPECTED.name).write_bytes(CONTENT)
    fetch(server, tmp_path)
    assert server.ranges == []


def test_a_file_of_that_name_that_is_not_official_stays_as_it_is(
    server: Server, tmp_path: Path
) -> None:
    mine = tmp_path / EXPECTED.name
    for content in (b"mine", CONTENT[:-1] + b"x"):
        mine.write_bytes(content)
        with pytest.raises(DataError, match="Move it away"):
            fetch(server, tmp_path)
        assert mine.read_bytes() == content


@pytest.mark.parametrize("cut", [0, 1, 1000, 262_144, len(CONTENT) - 1])
def test_a_download_that_is_cut_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, cut: int
) -> None:
    server.answers = [serve(cut=cut), serve()]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={cut}-" if cut else None]


def test_a_download_that_is_cut_again_and_again_keeps_its_part(
    server: Server, tmp_path: Path
) -> None:
    server.answers = [serve(cut=100_000)]
    pauses: list[float] = []
    assert_refused(server, tmp_path, "5 attempts.*Run it again", pause_s=pauses.append)
    assert (tmp_path / "some.tar.gz.part").read_bytes() == CONTENT[:500_000]
    assert pauses == [2, 4, 8, 16]
    server.answers = [serve()]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.answers = [serve(cut=5000), serve(resumes=False)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "stale", [b"x" * 5000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 9)], ids=len
)
def test_a_part_of_something_else_is_thrown_away(
    server: Server, tmp_path: Path, stale: bytes
) -> None:
    (tmp_path / "some.tar.gz.part").write_bytes(stale)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "found", ["bytes 0-9/10", "bytes 4999-9/768000", "bytes 5000-767999/9", "nonsense", ""]
)
def test_another_part_than_asked_for_is_not_glued_on(
    server: Server, tmp_path: Path, found: str
) -> None:
    (tmp_path / "some.tar.gz.part").write_bytes(CONTENT[:5000])
    wrong = status(206, Content_Range=found) if found else status(206)
    server.answers = [wrong, serve()]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_range_that_the_server_refuses_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "some.tar.gz.part").write_bytes(CONTENT[:5000])
    server.answers = [status(416), serve()]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("at", [0, 400_000, len(CONTENT) - 1])
def test_wrong_bytes_are_refused_and_nothing_is_kept(
    server: Server, tmp_path: Path, at: int
) -> None:
    wrong = bytearray(CONTENT)
    wrong[at] ^= 1
    server.answers = [serve(bytes(wrong))]
    assert_refused(server, tmp_path, "SHA-256 differs")
    assert list(tmp_path.iterdir()) == []
    assert len(server.ranges) == 1


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"<html>login</html>"])
def test_another_length_is_refused_before_anything_is_stored(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.answers = [serve(content)]
    assert_refused(server, tmp_path, "but the official file has 768,000")
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_does_not_end_is_left_at_the_expected_length(
    server: Server, tmp_path: Path
) -> None:
    server.answers = [unmeasured(CONTENT + b"x" * 10_000)]
    assert_refused(server, tmp_path, "longer than the official file")
    assert list(tmp_path.iterdir()) == []


def test_a_body_of_unknown_length_may_be_right(server: Server, tmp_path: Path) -> None:
    server.answers = [unmeasured(CONTENT)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_a_refusal_is_not_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    server.answers = [status(code)]
    assert_refused(server, tmp_path, f"status {code}")
    assert len(server.ranges) == 1


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503])
def test_a_passing_failure_is_asked_again(server: Server, tmp_path: Path, code: int) -> None:
    server.answers = [status(code), status(code), serve()]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_failure_that_stays_is_asked_a_few_times(server: Server, tmp_path: Path) -> None:
    server.answers = [status(500)]
    assert_refused(server, tmp_path, "5 attempts.*status 500")
    assert len(server.ranges) == 5


@pytest.mark.parametrize(
    "place", ["https://example.invalid/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "data:,x"]
)
def test_a_redirect_to_another_scheme_is_refused(
    server: Server, tmp_path: Path, place: str
) -> None:
    server.answers = [status(302, Location=place)]
    assert_refused(server, tmp_path, r"redirect|status 302")
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_within_the_scheme_is_followed(server: Server, tmp_path: Path) -> None:
    server.answers = [status(301, Location="/moved"), serve()]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_redirect_in_a_circle_ends(server: Server, tmp_path: Path) -> None:
    server.answers = [status(302, Location="/some.tar.gz")]
    assert_refused(server, tmp_path, "status 302")


def test_without_further_words_only_https_is_fetched(server: Server, tmp_path: Path) -> None:
    for url in (server.url, "file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd"):
        with pytest.raises(DataError, match="it is not https"):
            download_cifar10(tmp_path, url=url, expected=EXPECTED)
    assert server.ranges == []
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_reported(server: Server, tmp_path: Path) -> None:
    assert_refused(server, tmp_path, "5 attempts", url="http://127.0.0.1:1/x")


def test_a_full_disk_is_found_before_the_download_starts(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert_refused(server, tmp_path, "1,000 bytes free, but 768,000 are needed")
    assert server.ranges == []


def test_a_directory_that_cannot_be_made_is_reported(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written"):
        fetch(server, tmp_path / "file" / "data")


def test_two_downloads_do_not_share_a_directory(server: Server, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert_refused(server, tmp_path, "in use by another download")
    finally:
        os.close(descriptor)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_the_official_file_is_the_one_that_is_published() -> None:
    assert BINARY_URL == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    assert BINARY_ARCHIVE.num_bytes == 170_052_171
    assert BINARY_ARCHIVE.sha256 == (
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    )
