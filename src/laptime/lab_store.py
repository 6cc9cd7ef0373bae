"""A lab's directory: one folder with its runs, its studies and how far each part is."""

from __future__ import annotations

import secrets
from pathlib import Path

import laptime
from laptime.census import Inspection
from laptime.errors import StoreError
from laptime.files import (
    checked,
    is_marked,
    locked,
    make_directory,
    marked_directories,
    only_one,
    read_json,
    remove_tree,
    write_json,
)
from laptime.lab import SCHEMA, LabPart, LabRecord, LabRequest, new_parts
from laptime.timing.clock import calendar_now

_KIND, _MARKER = "lab", "lab.json"
"""What a lab is called in errors, and the file that every lab has."""


class LabDirectory:
    """One lab's files: ``lab.json``, its run and its studies in ``runs``, ``inspection.json``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self.inspection = path / "inspection.json"

    @property
    def id(self) -> str:
        """The name of the lab: the name of its directory."""
        return self.path.name

    def write_record(self, record: LabRecord) -> None:
        """Replace what is known of the lab."""
        write_json(self.path / _MARKER, record.model_dump(mode="json"))

    def read_record(self) -> LabRecord:
        """Read how far the lab is. Where its process is gone, no part of it is running.

        Raises:
            StoreError: The file is missing, damaged, or of a later version.
        """
        record = checked(LabRecord, read_json(self.path / _MARKER), self.path, _KIND)
        if record.schema_number > SCHEMA:
            raise StoreError(
                f"{self.path} was made by a later version of laptime (schema "
                f"{record.schema_number}, here {SCHEMA}). Use that version."
            )
        if record.status == "running" and not self.is_in_use():
            record = record.model_copy(update={"parts": tuple(map(_ended, record.parts))})
        return record.model_copy(update={"id": self.id})

    def is_in_use(self) -> bool:
        """Return whether a process is working on the lab, as far as locks tell."""
        with locked(self.path) as is_ours:
            return not is_ours

    def write_inspection(self, inspection: Inspection) -> None:
        """Write what was counted of the assigned model."""
        write_json(self.inspection, inspection.model_dump(mode="json"))

    def read_inspection(self) -> Inspection | None:
        """Read what was counted of the assigned model; None before it is."""
        if not self.inspection.is_file():
            return None
        return checked(Inspection, read_json(self.inspection), self.inspection, _KIND)

    def is_untouched(self) -> bool:
        """Return whether no part has begun."""
        return all(part.status == "not_begun" for part in self.read_record().parts)

    def discard(self) -> None:
        """Remove a lab in which no part has begun: what was refused leaves nothing behind."""
        remove_tree(self.path)


def _ended(part: LabPart) -> LabPart:
    """Return a part as it is when its process has ended without a word."""
    if part.status != "running":
        return part
    gone = {"status": "interrupted", "reason": "its process ended without a word"}
    return part.model_copy(update=gone)


def create_lab(runs_dir: Path, request: LabRequest, command: str) -> LabDirectory:
    """Create a lab's directory with a name of its own, and write down what was asked for.

    Raises:
        StoreError: The disk refuses.
    """
    now = calendar_now()
    stamp = now.strftime("%Y-%m-%dT%H-%M-%S")
    directory = LabDirectory(runs_dir / f"{stamp}_lab_{secrets.token_hex(3)}")
    make_directory(directory.runs)
    record = LabRecord(
        id=directory.id,
        request=request,
        parts=new_parts(request),
        started=now.isoformat(timespec="seconds"),
        laptime=laptime.__version__,
        command=command,
    )
    directory.write_record(record)
    return directory


def is_lab(path: Path) -> bool:
    """Tell a lab's directory from others: it says how far its parts are."""
    return is_marked(path, _MARKER)


def list_labs(runs_dir: Path) -> list[LabDirectory]:
    """Return the labs in a directory, oldest first."""
    return [LabDirectory(path) for path in marked_directories(runs_dir, _MARKER)]


def find_lab(runs_dir: Path, name: str | None) -> LabDirectory:
    """Return a lab by its path, its name or the beginning or end of it; without one, the newest.

    Raises:
        StoreError: There is none, or more than one.
    """
    if name and is_lab(Path(name)):
        return LabDirectory(Path(name).resolve())
    paths = [found.path for found in list_labs(runs_dir)]
    return LabDirectory(only_one(paths, name, runs_dir, "lab", "labs"))
