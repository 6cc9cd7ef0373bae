"""A tuning's directory: what was asked for, the pilot, the blocks, each whole, and the result."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from laptime.files import (
    append_lines,
    checked,
    checked_lines,
    is_marked,
    make_directory,
    marked_directories,
    only_one,
    read_json,
    remove_tree,
    write_json,
)
from laptime.timing.clock import calendar_now
from laptime.tune import SCHEMA, PilotRecord, TuneBlock, TuneRecord, TuneRequest

_REMEDY = "Name another one, or another --runs-dir."
_KIND, _MARKER = "tuning", "tune.json"
"""What a tuning is called in errors, and the file that every tuning has."""


class TuneDirectory:
    """One tuning's files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks = path / "blocks.jsonl"
        self.recorder = path / "recorder.json"
        self.logs = path / "logs"

    @property
    def id(self) -> str:
        """The name of the tuning: the name of its directory."""
        return self.path.name

    @property
    def result(self) -> Path:
        """The file of what is printed."""
        return self.path / "tuned.json"

    def write_request(self, request: TuneRequest, pilot: PilotRecord | None = None) -> None:
        """Write what was asked for; once there was a pilot, what it saw, too."""
        document: dict[str, Any] = {
            "schema_number": SCHEMA,
            "request": request.model_dump(mode="json"),
            "pilot": pilot and pilot.model_dump(mode="json"),
        }
        write_json(self.path / _MARKER, document)

    def read_request(self) -> TuneRequest:
        """Read what was asked for."""
        return checked(TuneRequest, read_json(self.path / _MARKER)["request"], self.path, _KIND)

    def write_recorder(self, facts: dict[str, Any]) -> None:
        """Keep what the recorder saw in the pilot: places are looked up in it."""
        write_json(self.recorder, facts)

    def append_block(self, block: TuneBlock) -> None:
        """Add a finished block; it has reached the disk on return."""
        append_lines(self.blocks, [block.model_dump_json()], durable=True)

    def read_blocks(self) -> list[TuneBlock]:
        """Read the finished blocks."""
        return checked_lines(TuneBlock, self.blocks, _KIND)

    def write_record(self, record: TuneRecord) -> None:
        """Write what the tuning found."""
        write_json(self.result, record.model_dump(mode="json"))

    def read_record(self) -> TuneRecord:
        """Read what the tuning found.

        Raises:
            StoreError: It has not ended, or a file is damaged.
        """
        return checked(TuneRecord, read_json(self.result), self.path, _KIND)

    def discard(self) -> None:
        """Remove a tuning that measured nothing: what was refused leaves nothing behind."""
        remove_tree(self.path)


def create_tuning(runs_dir: Path, request: TuneRequest, word: str) -> TuneDirectory:
    """Create a directory with a name of its own, and write down what was asked for.

    Args:
        runs_dir: Where it stands.
        request: What was asked for.
        word: What is tuned, in letters that a file name may have.

    Raises:
        StoreError: The disk refuses.
    """
    stamp = calendar_now().strftime("%Y-%m-%dT%H-%M-%S")
    directory = TuneDirectory(runs_dir / f"{stamp}_tune_{word}_{secrets.token_hex(3)}")
    make_directory(directory.logs)
    directory.write_request(request)
    return directory


def is_tuning(path: Path) -> bool:
    """Tell a tuning's directory from others: it says what was asked for."""
    return is_marked(path, _MARKER)


def list_tunings(runs_dir: Path) -> list[TuneDirectory]:
    """Return the tunings in a directory, oldest first."""
    return [TuneDirectory(path) for path in marked_directories(runs_dir, _MARKER)]


def find_tuning(runs_dir: Path, name: str | None) -> TuneDirectory:
    """Return a tuning by its path, its name or the beginning or end of it; else the newest.

    Raises:
        StoreError: There is none, or more than one.
    """
    if name and is_tuning(Path(name)):
        return TuneDirectory(Path(name).resolve())
    paths = [found.path for found in list_tunings(runs_dir)]
    return TuneDirectory(only_one(paths, name, runs_dir, "tuning", "tunings", _REMEDY))
