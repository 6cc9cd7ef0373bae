"""What a recorder leaves on disk: lines that are whole or absent, and one file of facts."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any, Dict, List

FACTS = "recorder.json"


class Journal:
    """The directory of one training process.

    The first training process of a command writes into the run's own directory, the others below
    ``processes``. Whatever the disk refuses is given up: the script goes on.
    """

    def __init__(self, run: str, rank: int) -> None:
        self.path = _claim(run, rank)
        self.failed = ""

    def append(self, name: str, rows: List[Dict[str, Any]]) -> None:
        """Add rows to a log in one write."""
        self.append_lines(name, [json.dumps(row) for row in rows])

    def append_lines(self, name: str, lines: List[str]) -> None:
        """Add lines, each of them JSON, to a log in one write."""
        if lines and not self.failed:
            text = "".join(line + "\n" for line in lines)
            with self._forgiving():
                descriptor = os.open(
                    os.path.join(self.path, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
                )
                try:
                    os.write(descriptor, text.encode())
                finally:
                    os.close(descriptor)

    def write_facts(self, facts: Dict[str, Any]) -> None:
        """Replace the facts: readers see the old ones or the new, never a part."""
        if self.failed:
            return
        with self._forgiving():
            temporary = os.path.join(self.path, f".recorder.{os.getpid()}.tmp")
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(facts, file)
            os.replace(temporary, os.path.join(self.path, FACTS))

    @contextlib.contextmanager
    def _forgiving(self) -> Any:
        try:
            yield
        except OSError as error:
            self.failed = str(error)


class Slate:
    """A small document that is written over in place: its process may be killed at any time."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        self._descriptor = _create(os.path.join(folder, str(os.getpid())))
        self._size = 0

    def write(self, document: Dict[str, Any]) -> None:
        """Replace the document, in one write that covers all of the former one."""
        text = json.dumps(document)
        self._size = max(self._size, len(text))
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, text.ljust(self._size).encode(), 0)


def read_slates(folder: str) -> List[Dict[str, Any]]:
    """Read the documents that processes left; one that is not whole is left out."""
    documents = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError, ValueError), open(path) as file:
                documents.append(json.load(file))
    return documents


def trace(run: str, event: str, **details: Any) -> None:
    """Add a line to what the command's processes did: how far the recorder came in each."""
    line = json.dumps({"event": event, "pid": os.getpid(), **details}) + "\n"
    with contextlib.suppress(OSError):
        descriptor = os.open(
            os.path.join(run, "trace.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
        )
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def _claim(run: str, rank: int) -> str:
    """Return a directory that no other process of the command writes to."""
    if rank == 0 and _made(os.path.join(run, ".claimed")):
        return run
    parent = os.path.join(run, "processes")
    os.makedirs(parent, exist_ok=True)
    number = rank or 2
    while True:
        path = os.path.join(parent, str(number))
        if _made(path):
            return path
        number += 1


def _create(path: str) -> int:
    """Create a file that nobody else has: a process may have had this name before."""
    number = 1
    while True:
        with contextlib.suppress(FileExistsError):
            return os.open(f"{path}-{number}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        number += 1


def _made(path: str) -> bool:
    try:
        os.mkdir(path)
    except FileExistsError:
        return False
    return True
