"""The directory of a script's run: begun by the parent, filled by recorders; read and found."""

from __future__ import annotations

import re
from pathlib import Path

from laptime.errors import StoreError, printable
from laptime.files import (
    checked,
    checked_lines,
    disk_errors,
    is_marked,
    make_directory,
    marked_directories,
    only_one,
    read_json,
    read_lines,
    write_json,
)
from laptime.script import (
    SCHEMA,
    ProcessRecord,
    ScriptEpoch,
    ScriptRecord,
    ScriptStatus,
    ScriptStep,
    ScriptWindow,
)
from laptime.store import is_alive, new_name, silence_s, this_process
from laptime.timing.clock import calendar_now

_KIND, _MARKER, _FACTS = "run", "script.json", "recorder.json"
"""What it is called in errors; the files that every script's and every process's directory has."""

_NO_LOSS = re.compile(r'"loss":\s*(?:null|-?(?:NaN|Infinity))')


class ScriptDirectory:
    """One script's run: ``script.json`` is the parent's, all else its training processes'."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recorder = path / _FACTS
        self.epochs = path / "epochs.jsonl"
        self.windows = path / "windows.jsonl"
        self.steps = path / "steps.jsonl"
        self.processes = path / "processes"

    @property
    def id(self) -> str:
        """The name of the run: the name of its directory."""
        return self.path.name

    def write_status(self, status: ScriptStatus) -> None:
        """Replace what is said of the command and how it stands."""
        reason = printable(status.reason) if status.reason else None
        document = {**status.model_dump(mode="json"), "reason": reason}
        write_json(self.path / _MARKER, document)

    def read_status(self) -> ScriptStatus:
        """Read how the command stands. Where its parent is gone without a word, it does not run.

        Raises:
            StoreError: The file is missing, damaged, or of a later version.
        """
        status = checked(ScriptStatus, read_json(self.path / _MARKER), self.path, _KIND)
        _refuse_later(status.schema_number, self.path)
        written = (self.path / _MARKER, self.recorder, self.steps, self.epochs)
        if status.status != "running" or is_alive(status, silence_s(*written)):
            return status
        gone = {"status": "interrupted", "reason": "its process ended without a word"}
        return status.model_copy(update=gone)

    def read_steps(self) -> list[ScriptStep]:
        """Read the steps of the first training process."""
        return checked_lines(ScriptStep, self.steps, _KIND)

    def read_record(self) -> ScriptRecord:
        """Read everything as one record; nothing is changed.

        Raises:
            StoreError: A file is missing or damaged.
        """
        main, *others = map(_read_process, self.process_paths())
        return ScriptRecord(
            id=self.id,
            directory=str(self.path),
            status=self.read_status(),
            main=main,
            others=tuple(process for process in others if process),
            lost_loss=self._lost_loss(),
        )

    def process_paths(self) -> list[Path]:
        """Return the directories of training processes: that of the first is the run's own."""
        with disk_errors(self.processes, "cannot be read"):
            found = [path for path in self.processes.glob("*") if path.name.isdecimal()]
        return [self.path, *sorted(found, key=lambda path: int(path.name))]

    def _lost_loss(self) -> ScriptStep | None:
        """Return the first of the last steps whose losses are not finite, where others' were."""
        if not any(_NO_LOSS.search(line) for line in read_lines(self.steps)):
            return None
        steps = self.read_steps()
        finite = [place for place, step in enumerate(steps) if step.loss is not None]
        return steps[finite[-1] + 1] if finite and finite[-1] + 1 < len(steps) else None


def _read_process(path: Path) -> ProcessRecord | None:
    """Return what a training process left; None where it left no facts."""
    facts = path / _FACTS
    if not facts.is_file():
        return None
    logs = {
        "epochs": tuple(checked_lines(ScriptEpoch, path / "epochs.jsonl", _KIND)),
        "windows": tuple(checked_lines(ScriptWindow, path / "windows.jsonl", _KIND)),
    }
    process = checked(ProcessRecord, {"recorder": read_json(facts), **logs}, facts, _KIND)
    _refuse_later(process.recorder.schema_number, path)
    return process


def _refuse_later(schema: int, path: Path) -> None:
    if schema > SCHEMA:
        raise StoreError(
            f"{path} was made by a later version of laptime (schema {schema}, here {SCHEMA}). "
            f"Use that version."
        )


def new_script_status(command: tuple[str, ...], steps_asked: int | None = None) -> ScriptStatus:
    """Return the status of a command that this process is about to start, here and now."""
    return ScriptStatus(
        command=command,
        cwd=str(Path.cwd()),
        started=calendar_now().isoformat(timespec="seconds"),
        steps_asked=steps_asked,
        **this_process(),
    )


def create_script(runs_dir: Path, word: str) -> ScriptDirectory:
    """Create the directory of a script's run, with a name of its own.

    Args:
        runs_dir: Where run directories are kept.
        word: What the run is called after: the script, or the command.

    Raises:
        StoreError: The disk refuses.
    """
    is_named = re.search(r"[a-z0-9]", Path(word).name.lower())
    directory = ScriptDirectory(runs_dir / new_name(word if is_named else "script"))
    make_directory(directory.path)
    return directory


def is_script(path: Path) -> bool:
    """Tell the directory of a script's run from others: it says what was started."""
    return is_marked(path, _MARKER)


def list_scripts(runs_dir: Path) -> list[ScriptDirectory]:
    """Return the scripts' runs in a directory, oldest first."""
    return [ScriptDirectory(path) for path in marked_directories(runs_dir, _MARKER)]


def find_script(runs_dir: Path, name: str | None) -> ScriptDirectory:
    """Return a script's run by its path, its name or the beginning or end of it; else the newest.

    Raises:
        StoreError: There is none, or more than one.
    """
    if name and is_script(Path(name)):
        return ScriptDirectory(Path(name).resolve())
    paths = [found.path for found in list_scripts(runs_dir)]
    remedy = "`laptime list` shows what is there."
    found = only_one(paths, name, runs_dir, "run of a script", "runs of scripts", remedy)
    return ScriptDirectory(found)
