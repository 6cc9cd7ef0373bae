"""What an official file is, and the members of an archive read in memory, nothing extracted."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from laptime.errors import DataError


@dataclass(frozen=True)
class OfficialFile:
    """A file as its authors hand it out."""

    name: str
    num_bytes: int
    sha256: str


BINARY_ARCHIVE = OfficialFile(
    name="cifar-10-binary.tar.gz",
    num_bytes=170_052_171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)

MAX_FILE_BYTES = 64 << 20
"""The most that one batch file may hold; the official ones have 31 MB."""

MAX_ARCHIVE_BYTES = 224 << 20
"""The most that an archive may unpack to; the official ones reach 187 MB."""

_MAX_MEMBERS = 100
_CHUNK_BYTES = 1 << 20

Folders = Mapping[str, Collection[str]]
"""Top folders that an archive may have, and the names wanted from each."""

_REMEDY = "Get it again with `laptime data cifar10`."

# What a damaged or hostile archive can make gzip, zlib and tarfile raise. Chained extended headers
# end in RecursionError.
_DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    tarfile.TarError,
    ValueError,
    IndexError,
    OverflowError,
    RecursionError,
)


def read_members(archive: Path, folders: Folders) -> tuple[str, dict[str, bytes]]:
    """Return the top folder of a tar.gz, one of ``folders``, and its members of the names listed.

    Other regular files in that folder are passed over. The caller decides what must be there.

    Raises:
        DataError: It is damaged or too large, or a member is a link, a device, a duplicate or
            lies outside the top folder.
    """
    try:
        with gzip.open(archive) as unpacked:
            stream = _CappedStream(unpacked, archive)
            members = _members(archive, stream, folders)
            while stream.read(_CHUNK_BYTES):  # the checksum stands at the very end
                pass
    except _DAMAGED as error:
        raise DataError(
            f"{archive} cannot be read ({str(error) or type(error).__name__}). {_REMEDY}"
        ) from error
    if not members:
        raise DataError(f"{archive} holds no {' and no '.join(folders)}. {_REMEDY}")
    folder = next(iter(members)).parts[0]
    expected = {PurePosixPath(folder, name) for name in folders[folder]}
    return folder, {path.name: members[path] for path in members if path in expected}


def _members(archive: Path, stream: _CappedStream, folders: Folders) -> dict[PurePosixPath, bytes]:
    """Return all files by path; those that nobody asked for are empty."""
    members: dict[PurePosixPath, bytes] = {}
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK_BYTES) as tar:
        for count, member in enumerate(tar):
            path = _checked_path(archive, member, folders)
            if count == _MAX_MEMBERS:
                raise _refused(archive, member.name, f"comes after {count} others")
            if path in members or any(path.parts[0] != other.parts[0] for other in members):
                raise _refused(archive, member.name, "is there twice, or lies in a second folder")
            if member.isdir():
                continue
            expected = len(path.parts) == 2 and path.name in folders[path.parts[0]]
            members[path] = _content(archive, tar, member) if expected else b""
    return members


def _checked_path(archive: Path, member: tarfile.TarInfo, folders: Folders) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise _refused(archive, member.name, "points outside the archive")
    if not member.isdir() and member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
        raise _refused(archive, member.name, "is no regular file")
    if member.issparse() or not 0 <= member.size <= MAX_FILE_BYTES:
        raise _refused(archive, member.name, f"has {member.size:,} bytes, sparse or too many")
    if not path.parts or path.parts[0] not in folders:
        raise _refused(archive, member.name, f"lies outside {' and '.join(folders)}")
    return path


def _content(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    content = file.read() if file else b""
    if len(content) != member.size:
        raise _refused(archive, member.name, "is cut short")
    return content


def _refused(archive: Path, member: str, why: str) -> DataError:
    return DataError(f"{archive} is refused: its member {member[:200]!r} {why}. {_REMEDY}")


class _CappedStream(io.RawIOBase):
    """Decompressed bytes, up to the cap: a small file may unpack to any size."""

    def __init__(self, unpacked: gzip.GzipFile, archive: Path) -> None:
        self._unpacked = unpacked
        self._archive = archive
        self._bytes_left = MAX_ARCHIVE_BYTES

    def read(self, size: int = -1) -> bytes:
        content = self._unpacked.read(_CHUNK_BYTES if size < 0 else min(size, _CHUNK_BYTES))
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            raise DataError(
                f"{self._archive} unpacks to more than {MAX_ARCHIVE_BYTES >> 20} MiB, "
                f"which CIFAR-10 does not. {_REMEDY}"
            )
        return content
