"""A run directory: what is in it, written through the disk door; read, listed, repaired."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import psutil

from laptime.errors import SettingsError, StoreError, printable
from laptime.files import (
    append_lines,
    checked,
    checked_lines,
    disk_errors,
    is_marked,
    keep_lines,
    make_directory,
    marked_directories,
    read_json,
    sync_file,
    with_name,
    write_json,
)
from laptime.record import (
    SCHEMA,
    DataRecord,
    EnvironmentRecord,
    EpochRecord,
    Overhead,
    RunRecord,
    Status,
    StepRecord,
    WindowRecord,
)
from laptime.settings import Frozen, RunSettings, build_settings
from laptime.timing.clock import calendar_now

SILENCE_S = 3600
"""A run of another host that has written nothing for so long is taken for dead."""

_KIND, _MARKER = "run", "status.json"
"""What a run is called in errors, and the file that every run has."""


class Owner(Protocol):
    """A process that wrote down who it is."""

    @property
    def host(self) -> str:
        """Where it runs."""

    @property
    def process(self) -> int:
        """Its number."""

    @property
    def process_started_s(self) -> float:
        """When it was created, in seconds since the epoch: numbers are used again."""


class StatusRecord(Frozen):
    """What changes during a run: written whenever it does."""

    schema_number: int = SCHEMA
    status: Status = "running"
    reason: str | None = None
    parameters: int = 0
    setup_ns: int = 0
    resumed: int = 0
    weights_sha256: str | None = None
    overhead: Overhead | None = None
    host: str
    process: int
    process_started_s: float


class RunDirectory:
    """One run's files.

    A line of a log is whole or absent; every other file is replaced atomically. Readers never
    change anything.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.steps = path / "steps.jsonl"
        self.windows = path / "windows.jsonl"
        self.epochs = path / "epochs.jsonl"

    @property
    def id(self) -> str:
        """The name of the run: the name of its directory."""
        return self.path.name

    def write_start(
        self, settings: RunSettings, environment: EnvironmentRecord, data: DataRecord
    ) -> None:
        """Write what is known before the first step."""
        write_json(self.path / "settings.json", settings.flat())
        write_json(self.path / "environment.json", environment.model_dump(mode="json"))
        write_json(self.path / "data.json", data.model_dump(mode="json"))

    def write_status(self, status: StatusRecord) -> None:
        """Replace the status."""
        reason = printable(status.reason) if status.reason else None
        document = {**status.model_dump(mode="json", exclude={"reason"}), "reason": reason}
        write_json(self.path / _MARKER, document)

    def append_steps(self, rows: Sequence[StepRecord]) -> None:
        """Add steps, in order; :meth:`sync_logs` makes them durable."""
        append_lines(self.steps, [row.model_dump_json() for row in rows], durable=False)

    def append_window(self, row: WindowRecord) -> None:
        """Add a window; :meth:`sync_logs` makes it durable."""
        append_lines(self.windows, [row.model_dump_json()], durable=False)

    def append_epoch(self, row: EpochRecord) -> None:
        """Add an epoch; its phases have been checked to sum to its wall time."""
        append_lines(self.epochs, [row.model_dump_json()], durable=True)

    def sync_logs(self) -> None:
        """Make steps and windows durable: before a checkpoint declares that they are there."""
        sync_file(self.steps)
        sync_file(self.windows)

    def rewind(self, *, epochs: int, step_rows: int, window_rows: int) -> None:
        """Cut the logs back to a checkpoint: what came after it will be run again."""
        kept = [row.epoch for row in self.read_epochs() if row.epoch <= epochs]
        keep_lines(self.epochs, len(kept))
        keep_lines(self.steps, step_rows)
        keep_lines(self.windows, window_rows)

    def read_settings(self) -> RunSettings:
        """Read the settings that the run was started with."""
        document = read_json(self.path / "settings.json")
        try:
            return build_settings(
                checked(_Document, {"content": document}, self.path, _KIND).content
            )
        except SettingsError as error:
            raise StoreError(
                f"{self.path} was made with other settings than this version of laptime has "
                f"({error}) Use another run."
            ) from error

    def read_status(self) -> StatusRecord:
        """Read the status as written."""
        status = checked(StatusRecord, read_json(self.path / _MARKER), self.path, _KIND)
        if status.schema_number > SCHEMA:
            raise StoreError(
                f"{self.path} was made by a later version of laptime (schema "
                f"{status.schema_number}, here {SCHEMA}). Use that version."
            )
        return status

    def silent_s(self) -> float:
        """Return the seconds since anything was written about the run."""
        return silence_s(self.path / _MARKER, self.steps, self.epochs)

    def read_data(self) -> DataRecord:
        """Read what the run was trained on."""
        return checked(DataRecord, read_json(self.path / "data.json"), self.path, _KIND)

    def read_epochs(self) -> list[EpochRecord]:
        """Read the finished epochs."""
        return checked_lines(EpochRecord, self.epochs, _KIND)

    def read_steps(self) -> list[StepRecord]:
        """Read the steps."""
        return checked_lines(StepRecord, self.steps, _KIND)

    def read_windows(self) -> list[WindowRecord]:
        """Read the windows."""
        return checked_lines(WindowRecord, self.windows, _KIND)

    def read_record(self) -> RunRecord:
        """Read everything as one record.

        A run whose process is gone without a word is ``interrupted``, whatever its file says.

        Raises:
            StoreError: A file is missing or damaged.
        """
        status = self.read_status()
        gone = status.status == "running" and not is_alive(status, self.silent_s())
        return RunRecord(
            id=self.id,
            directory=str(self.path),
            status="interrupted" if gone else status.status,
            reason="its process ended without a word" if gone else status.reason,
            settings=self.read_settings().flat(),
            environment=checked(
                EnvironmentRecord, read_json(self.path / "environment.json"), self.path, _KIND
            ),
            data=self.read_data(),
            parameters=status.parameters,
            setup_ns=status.setup_ns,
            epochs=tuple(self.read_epochs()),
            weights_sha256=status.weights_sha256,
            overhead=status.overhead,
            resumed=status.resumed,
        )


def new_status() -> StatusRecord:
    """Return the status of a run that this process is beginning."""
    return StatusRecord(**this_process())


def this_process() -> dict[str, Any]:
    """Return what an :class:`Owner` says of itself, for this process."""
    return {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "process_started_s": psutil.Process().create_time(),
    }


def is_alive(status: Owner, silent_s: float = 0.0) -> bool:
    """Return whether the process that wrote the status still runs, as far as this host can tell.

    Args:
        status: What it wrote of itself.
        silent_s: How long its run has written nothing: all there is to go by on another host.
    """
    if status.host != socket.gethostname():
        return silent_s < SILENCE_S
    try:
        process = psutil.Process(status.process)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        started_s = process.create_time()
    except (psutil.Error, ValueError):  # gone, or a number that no process can have
        return False
    # Derived from the time of boot, which moves a little when the calendar is set.
    return bool(abs(started_s - status.process_started_s) < 30)


def silence_s(*paths: Path) -> float:
    """Return the seconds since any of some files was written."""
    written_s = max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)
    return max(0.0, calendar_now().timestamp() - written_s)


def create_run(runs_dir: Path, model: str) -> RunDirectory:
    """Create a run directory with a name of its own.

    Raises:
        StoreError: The disk refuses.
    """
    run = RunDirectory(runs_dir / new_name(model))
    make_directory(run.checkpoints)
    return run


def new_name(subject: str) -> str:
    """Return a name that no other run has: when it began, a word of what it is, random digits."""
    word = re.sub(r"[^a-z0-9]+", "-", Path(subject).name.lower()).strip("-")[:40]
    stamp = calendar_now().strftime("%Y-%m-%dT%H-%M-%S")
    return f"{stamp}_{word}_{secrets.token_hex(3)}"


def check_free_space(directory: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk could not hold.

    Raises:
        StoreError: Less is free on the file system of the directory.
    """
    make_directory(directory)
    with disk_errors(directory, "cannot be read"):
        free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise StoreError(
            f"{directory} has {free / 1e6:,.0f} MB free, but the checkpoints of this run need "
            f"{needed_bytes / 1e6:,.0f} MB. Free space, or use another --runs-dir."
        )


def is_run(path: Path) -> bool:
    """Tell a run's directory from others: it has a status."""
    return is_marked(path, _MARKER)


def list_runs(runs_dir: Path) -> list[RunDirectory]:
    """Return the runs in a directory, oldest first; what is no run is passed over."""
    return [RunDirectory(path) for path in marked_directories(runs_dir, _MARKER)]


def find_run(runs_dir: Path, name: str | None) -> RunDirectory:
    """Return a run by its path, its name or the beginning or end of it; without one, the newest.

    Raises:
        StoreError: There is none, or more than one.
    """
    if name and is_run(Path(name)):
        return RunDirectory(Path(name).resolve())
    runs = list_runs(runs_dir)
    if not runs:
        asked = f", and {name[:200]!r} is none" if name else ""
        raise StoreError(
            f"{runs_dir} holds no run to resume{asked}. Leave --resume out, or name another "
            f"--runs-dir."
        )
    if name is None:
        return runs[-1]
    matches = with_name([run.path for run in runs], name)
    if len(matches) != 1:
        count = "no run" if not matches else f"{len(matches)} runs"
        raise StoreError(f"{name[:200]!r} names {count} in {runs_dir}. `laptime list` shows them.")
    return RunDirectory(matches[0])


class _Document(Frozen):
    """Any JSON object."""

    content: dict[str, Any]
