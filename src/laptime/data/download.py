"""Fetch the official CIFAR-10 archive: https only, resumed when cut, checked before it is named."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from laptime.data.archive import BINARY_ARCHIVE, OfficialFile
from laptime.errors import DataError
from laptime.files import locked, sha256_of
from laptime.timing.clock import sleep_s

BINARY_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"

Report = Callable[[int, int], None]
"""Told of progress: bytes there, bytes in all."""

_MAX_ATTEMPTS = 5
_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 18
_WORTH_RETRYING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


def no_report(bytes_done: int, bytes_total: int) -> None:
    """Tell nobody."""


def download_cifar10(
    directory: Path,
    *,
    url: str = BINARY_URL,
    report: Report = no_report,
    expected: OfficialFile = BINARY_ARCHIVE,
    scheme: str = "https",
    pause_s: Callable[[float], None] = sleep_s,
) -> Path:
    """Return the archive in that directory, fetched unless it is already there.

    What was fetched stays in a ``.part`` file until its size and SHA-256 are right, so that a
    download that is cut goes on where it stopped.

    Args:
        directory: Created if it is not there.
        url: Where to fetch it; a mirror must hold the same bytes.
        report: Told how far it is.
        expected: Size and checksum; others only in tests.
        scheme: Of the address and every redirect; another only in tests.
        pause_s: Waits between attempts.

    Raises:
        DataError: It cannot be fetched or stored, or is not the official file.
    """
    target = directory / expected.name
    with _disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory) as is_ours:
            if not is_ours:
                raise DataError(
                    f"{directory} is in use by another download. Wait until that one has ended."
                )
            if not target.exists():
                _fetch_patiently(_Download(url, scheme, target, expected, report), pause_s)
            elif not _is_official(target, expected):
                raise DataError(
                    f"{target} is there, but is not the official file. Move it away, or use "
                    f"another --data-dir."
                )
    report(expected.num_bytes, expected.num_bytes)
    return target


class _CutError(Exception):
    """Say why an attempt failed that is worth another one."""


def _fetch_patiently(download: _Download, pause_s: Callable[[float], None]) -> None:
    for attempt in range(_MAX_ATTEMPTS):
        if attempt:
            pause_s(2.0**attempt)
        try:
            return download.fetch()
        except _CutError as cut:
            reason = str(cut)
    raise DataError(
        f"{download.url} could not be fetched in {_MAX_ATTEMPTS} attempts (last: {reason}). "
        f"Run it again to go on from there."
    )


class _Download:
    """One file on its way: what is there already, and the bytes to come."""

    def __init__(
        self, url: str, scheme: str, target: Path, expected: OfficialFile, report: Report
    ) -> None:
        self.url = url
        self._target = target
        self._part = target.with_name(target.name + ".part")
        self._expected = expected
        self._report = report
        self._scheme = scheme

    def fetch(self) -> None:
        """Fetch what is missing and give the file its name, if it is the right one."""
        done = self._bytes_there()
        self._check_space(self._expected.num_bytes - done)
        if done < self._expected.num_bytes:
            with self._open(done) as response:
                start = self._accepted_start(response, done)
                self._receive(response, start)
        if not _is_official(self._part, self._expected):
            self._part.unlink()
            if done:
                raise _CutError("the part that was there does not fit")
            raise DataError(
                f"{self.url} is not the official file: its SHA-256 differs, and nothing was kept. "
                f"Try again later, or from another network."
            )
        self._part.replace(self._target)

    def _bytes_there(self) -> int:
        """Return the size of the part; one that is too long cannot be right."""
        there = self._part.stat().st_size if self._part.exists() else 0
        if there > self._expected.num_bytes:
            self._part.unlink()
            return 0
        return there

    def _check_space(self, num_bytes: int) -> None:
        free = shutil.disk_usage(self._target.parent).free
        if free < num_bytes:
            raise DataError(
                f"{self._target.parent} has {free:,} bytes free, but {num_bytes:,} are needed. "
                f"Free space, or use another --data-dir."
            )

    def _open(self, start: int) -> Any:
        """Ask for the bytes from ``start`` on."""
        if urlsplit(self.url).scheme != self._scheme:
            raise DataError(f"{self.url} is refused: it is not {self._scheme}. Use another url.")
        request = urllib.request.Request(self.url, headers={"User-Agent": "laptime"})  # noqa: S310 - the scheme is checked above
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            return _opener(self._scheme).open(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                self._refuse_status(error.code, str(error.reason))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._refuse_failure(error)

    def _refuse_status(self, code: int, reason: str) -> NoReturn:
        if code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._part.unlink(missing_ok=True)
            raise _CutError("the server cannot go on from the part that was there")
        if code in _WORTH_RETRYING or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _CutError(f"status {code} {reason}")
        raise DataError(
            f"{self.url} answers with status {code} ({reason}). Check the address in a browser, "
            f"and try again later."
        )

    def _refuse_failure(self, error: Exception) -> NoReturn:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise DataError(
                f"{self.url} has no certificate that this machine trusts "
                f"({cause.verify_message}). Check the clock and the proxy."
            ) from error
        raise _CutError(str(cause) or type(cause).__name__) from error

    def _accepted_start(self, response: Any, asked: int) -> int:
        """Return where the bytes that come begin: where asked, or at 0 if the server cannot."""
        total = self._expected.num_bytes
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            found = re.fullmatch(
                r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or ""
            )
            if (
                not asked
                or not found
                or int(found[1]) != asked
                or found[2] not in {str(total), "*"}
            ):
                self._part.unlink(missing_ok=True)
                raise _CutError("the server sent another part than asked for")
            return asked
        length = response.headers["Content-Length"]
        if length is not None and length != str(total):
            raise DataError(
                f"{self.url} has {length} bytes, but the official file has {total:,}. "
                f"Try again later, or from another network."
            )
        return 0

    def _receive(self, response: Any, start: int) -> None:
        """Append the bytes that come, and reach the disk with all of them."""
        total = self._expected.num_bytes
        with self._part.open("ab") as file:
            file.truncate(start)
            done = start
            self._report(done, total)
            while chunk := _chunk(response, total + 1 - done):
                done += len(chunk)
                if done > total:
                    break
                file.write(chunk)
                self._report(done, total)
            file.flush()
            os.fsync(file.fileno())
        if done > total:
            self._part.unlink()
            raise DataError(
                f"{self.url} is longer than the official file of {total:,} bytes. "
                f"Try again later, or from another network."
            )
        if done < total:
            raise _CutError(f"cut after {done:,} of {total:,} bytes")


def _chunk(response: Any, max_bytes: int) -> bytes:
    """Read from the network, whose failures must not pass for those of the disk."""
    try:
        chunk: bytes = response.read(min(_CHUNK_BYTES, max_bytes))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _CutError(str(error) or type(error).__name__) from error
    return chunk


def _is_official(path: Path, expected: OfficialFile) -> bool:
    return path.stat().st_size == expected.num_bytes and sha256_of(path) == expected.sha256


@contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{directory} cannot be written: {error.strerror or error}. Free space, or name a "
            f"--data-dir that can be written."
        ) from error


def _opener(scheme: str) -> urllib.request.OpenerDirector:
    """Return an opener that knows no other scheme: no file, no ftp, and http in tests only."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(
        urllib.request.HTTPHandler() if scheme == "http" else urllib.request.HTTPSHandler()
    )
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    opener.add_handler(urllib.request.HTTPErrorProcessor())
    opener.add_handler(_SameSchemeRedirects(scheme))
    return opener


class _SameSchemeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects within one scheme."""

    def __init__(self, scheme: str) -> None:
        self._scheme = scheme

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != self._scheme:
            fp.close()
            raise DataError(
                f"{req.full_url} redirects to {newurl[:200]}, which is refused: it is not "
                f"{self._scheme}. Try from another network."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
