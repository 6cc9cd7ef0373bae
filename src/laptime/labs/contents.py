"""What stands in a lab's directory: its run, its studies."""

from __future__ import annotations

from laptime.lab import LabPart
from laptime.lab_store import LabDirectory
from laptime.store import RunDirectory, list_runs
from laptime.study_store import StudyDirectory


def run_of(directory: LabDirectory) -> RunDirectory | None:
    """Return the run of C1 and C2, the newest one; None before it has begun."""
    return next(reversed(list_runs(directory.runs)), None)


def study_of(directory: LabDirectory, part: LabPart) -> StudyDirectory | None:
    """Return the study of a part; None where it left none."""
    path = directory.path / part.path if part.path else None
    return StudyDirectory(path) if path and path.is_dir() else None
