"""Edits of scripts: the patch that shows them, and nothing but the patch applied."""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from laptime.errors import SettingsError, StoreError, printable
from laptime.files import disk_errors, write_atomically
from laptime.tuning.rewriting.script import Proposal, Script
from laptime.tuning.rewriting.source import EditError, Replacement, Source


@dataclass(frozen=True)
class Edit:
    """One thing to change in a script."""

    path: Path | None
    """The file, or None when no place is known."""
    line: int | None
    words: str
    """What to change where, for a reader; with the place."""
    diff: str | None
    """A unified diff of this edit alone, where the change can be made safely."""
    content: bytes = field(default=b"", repr=False)
    """The file's bytes that the diff was made from."""
    replacements: tuple[Replacement, ...] = field(default=(), repr=False)
    """What the diff changes in the file's text."""


def build_edit(proposal: Proposal, script: Script) -> Edit:
    """Return a proposal as an edit with its diff.

    Raises:
        EditError: The file would not parse, or would differ in more than was meant.
    """
    place, build_tree = proposal.place, proposal.tree
    assert place is not None
    assert build_tree is not None
    before = script.source
    after = before.changed(proposal.replacements)
    if ast.dump(after.tree) != ast.dump(build_tree()):
        raise EditError("cannot be changed there alone")
    diff = _file_diff(script.path, before.text, after.text)
    return Edit(place.path, place.line, proposal.words, diff, before.content, proposal.replacements)


def unified_diff(edits: Iterable[Edit]) -> str:
    """Return one patch for the edits of all files; empty when none of them has a diff.

    Paths are relative to the current directory: ``git apply`` and ``patch -p1`` read it there.

    Raises:
        SettingsError: Two edits do not go together.
    """
    return "".join(
        _file_diff(path, before.text, after.text) for path, before, after in _changed_files(edits)
    )


def apply(edits: Iterable[Edit]) -> tuple[Path, ...]:
    """Change the files as :func:`unified_diff` of the same edits shows; return their paths.

    All or nothing: no file is written before all have been read again, and when a disk refuses
    one, those before it are put back. Edits without a diff are left out.

    Raises:
        SettingsError: A file is not what it was when the diff was made.
        StoreError: A file cannot be read or written.
    """
    files = _changed_files(edits)
    for path, before, _ in files:
        _check_writable(path, before.content)
    written: list[tuple[Path, bytes]] = []
    try:
        for path, before, after in files:
            _write(path, after.content)
            written.append((path, before.content))
    except StoreError:
        for path, content in written:
            _write(path, content)
        raise
    return tuple(path for path, _, _ in files)


def _changed_files(edits: Iterable[Edit]) -> list[tuple[Path, Source, Source]]:
    """Return every file with its source before and after, in the order of the edits."""
    by_path: dict[Path, list[Edit]] = {}
    for edit in edits:
        if edit.path is not None and edit.diff is not None:
            by_path.setdefault(edit.path, []).append(edit)
    return [(path, *_sources(path, changes)) for path, changes in by_path.items()]


def _sources(path: Path, edits: Sequence[Edit]) -> tuple[Source, Source]:
    if any(edit.content != edits[0].content for edit in edits):
        raise SettingsError(f"{path} changed between two edits of it. Ask for the edits again.")
    before = Source(edits[0].content)
    try:
        return before, before.changed(change for edit in edits for change in edit.replacements)
    except EditError as error:
        raise SettingsError(f"{path} {error}. Apply one edit at a time.") from error


def _check_writable(path: Path, expected: bytes) -> None:
    with disk_errors(path, "cannot be read"):
        content, mode = path.read_bytes(), path.stat().st_mode
    if content != expected:
        raise SettingsError(
            f"{path} changed after the diff was made: nothing is written. Run tune once more, "
            "or apply the diff by hand."
        )
    # A superuser may write everything; a file that nobody may write is meant to stay as it is.
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(path, os.W_OK):
        raise StoreError(
            f"{path} is read-only ({stat.filemode(mode)}): nothing is written. Make it writable, "
            "or apply the diff by hand."
        )


def _write(path: Path, content: bytes) -> None:
    """Replace a file's content: the target of a link, its mode and its owner stay."""
    target = path.resolve()
    with disk_errors(path, "cannot be read"):
        before = target.stat()
    try:
        write_atomically(target, content)
    except StoreError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise StoreError(
            f"{path} cannot be written ({reason}). Make room or ask for permission in its folder, "
            "or apply the diff by hand."
        ) from error
    with contextlib.suppress(PermissionError):
        os.chown(target, before.st_uid, before.st_gid)
    with disk_errors(path):
        target.chmod(stat.S_IMODE(before.st_mode))


def _file_diff(path: Path, before: str, after: str) -> str:
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    name = printable(path.as_posix())
    # A tab ends a name with blanks, for patch and git alike.
    old, new = (f"{side}/{name}" + "\t" * (" " in name) for side in "ab")
    rows = difflib.unified_diff(_rows(before), _rows(after), old, new)
    return "".join(
        row if row.endswith("\n") else f"{row}\n\\ No newline at end of file\n" for row in rows
    )


def _rows(text: str) -> list[str]:
    """Return the lines with their newlines; the end of a line is what git takes for it."""
    rows = [row + "\n" for row in text.split("\n")]
    return rows[:-1] if text.endswith("\n") or not text else [*rows[:-1], rows[-1][:-1]]
