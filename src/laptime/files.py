"""The one disk door: atomic writes, appends that survive a torn tail, checksums."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from laptime.errors import StoreError

Model = TypeVar("Model", bound=BaseModel)

_CHUNK_BYTES = 1 << 20

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free space, or use another --runs-dir.",
    errno.EDQUOT: "The disk quota is used up: free space, or use another --runs-dir.",
    errno.EFBIG: "Files may not grow so large here (ulimit -f): raise the limit.",
    errno.EROFS: "The file system is read-only: use another --runs-dir.",
    errno.EACCES: "No permission: use another --runs-dir.",
    errno.EPERM: "No permission: use another --runs-dir.",
    errno.ENOTDIR: "Part of the path is a file: use another --runs-dir.",
    errno.EEXIST: "A file is in the way: use another --runs-dir.",
}


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new, never a part.

    Raises:
        StoreError: The disk refuses; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)


def write_json(path: Path, document: object) -> None:
    """Replace a JSON file atomically; NaN and infinity are refused, they are not JSON."""
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StoreError: The file is missing, unreadable or not JSON.
    """
    with disk_errors(path, "cannot be read"):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON ({error}). Remove it, or use another run.") from error


def append_lines(path: Path, rows: list[str], *, durable: bool) -> None:
    """Append whole lines in one write; durable ones have reached the disk on return.

    A tail without a newline, left by a crash, is cut off first: gluing a row to it would lose
    both. Lines that are not durable survive the end of the process, not a power failure; call
    :func:`sync_file` before something else relies on them.
    """
    if not rows:
        return
    with disk_errors(path), path.open("ab+") as file:
        end = _end_of_last_line(file)
        file.truncate(end)
        try:
            file.write("".join(row + "\n" for row in rows).encode())
            file.flush()
            if durable:
                os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def sync_file(path: Path) -> None:
    """Bring to the disk what was appended to a file; a missing file has nothing to bring."""
    if not path.exists():
        return
    with disk_errors(path), path.open("rb") as file:
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[str]:
    """Return the complete lines of a file; a torn last one is left out, a missing file is empty."""
    if not path.exists():
        return []
    with disk_errors(path, "cannot be read"):
        content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1].decode(errors="replace").split("\n")[:-1]


def keep_lines(path: Path, num_lines: int) -> None:
    """Shorten a file to its first lines, atomically."""
    lines = read_lines(path)
    if path.exists() and len(lines) >= num_lines:
        write_atomically(path, "".join(line + "\n" for line in lines[:num_lines]).encode())


def is_marked(path: Path, marker: str) -> bool:
    """Return whether a directory holds the file that tells its kind from others."""
    try:
        return (path / marker).is_file()
    except OSError:  # longer than a path may be
        return False


def marked_directories(parent: Path, marker: str) -> list[Path]:
    """Return the directories of a kind, by name; what is of another kind is passed over."""
    with disk_errors(parent, "cannot be read"):
        if not parent.is_dir():
            return []
        found = [path for path in parent.iterdir() if is_marked(path, marker)]
    return sorted(found, key=lambda path: path.name)


def with_name(paths: Iterable[Path], word: str) -> list[Path]:
    """Return what has this name; else what has a name that begins or ends so."""
    known = list(paths)
    return [path for path in known if path.name == word] or [
        path for path in known if path.name.startswith(word) or path.name.endswith(word)
    ]


def only_one(
    paths: list[Path],
    name: str | None,
    parent: Path,
    one: str,
    many: str,
    remedy: str = "Leave --resume out, or name another --runs-dir.",
) -> Path:
    """Return the directory that a name means, or the newest without a name.

    Args:
        paths: Those that there are, oldest first.
        name: Of one, or the beginning or end of its name.
        parent: Where they stand.
        one: What one of them is called.
        many: What several are called.
        remedy: What can be done where the name means none, or several.

    Raises:
        StoreError: There is none, or more than one.
    """
    matches = with_name(paths, name) if name else paths[-1:]
    if len(matches) != 1:
        count = f"no {one}" if not matches else f"{len(matches)} {many}"
        asked = f"{name[:200]!r} names {count} in {parent}" if name else f"{parent} holds {count}"
        raise StoreError(f"{asked}. {remedy}")
    return matches[0]


def checked(model: type[Model], document: object, path: Path, kind: str) -> Model:
    """Return a document as a model.

    Raises:
        StoreError: It does not fit; the remedy is another run, or another study.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        what = error.errors()[0]
        field = ".".join(map(str, what["loc"])) or "document"
        raise StoreError(
            f"{path} is damaged or of another version of laptime ({field}: {what['msg']}). "
            f"Use another {kind}."
        ) from error


def checked_lines(model: type[Model], path: Path, kind: str) -> list[Model]:
    """Return the whole lines of a log as models.

    Raises:
        StoreError: A line does not fit.
    """
    found = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            found.append(model.model_validate_json(line))
        except ValidationError as error:
            raise StoreError(f"{path} is damaged in line {number}. Use another {kind}.") from error
    return found


def make_directory(path: Path) -> None:
    """Create a directory and its parents.

    Raises:
        StoreError: The disk refuses.
    """
    with disk_errors(path, "cannot be created"):
        path.mkdir(parents=True, exist_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file if it is there."""
    with disk_errors(path, "cannot be removed"):
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove a directory and all that is in it."""
    with disk_errors(path, "cannot be removed"):
        shutil.rmtree(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with disk_errors(path, "cannot be read"), path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Lock a directory for this process; yield whether it is ours.

    The lock ends with the process, whatever ends it. A file system without locks is used without.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


@contextmanager
def disk_errors(path: Path, what: str = "cannot be written") -> Iterator[None]:
    """Turn what the disk refuses into one line with the path and the remedy."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "Check the path.")
        raise StoreError(f"{path} {what}: {error.strerror or error}. {remedy}") from error


def _end_of_last_line(file: Any) -> int:
    """Return the offset after the last newline, reading back from the end."""
    end: int = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - _CHUNK_BYTES)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return int(start + newline + 1)
        position = start
    return 0


def _sync_directory(path: Path) -> None:
    """Make a rename durable; a file system that cannot sync a directory is left as it is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(descriptor)
