"""One training run of a study: its process, its signs of life, and how it ended."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from laptime.errors import StoreError, printable
from laptime.files import make_directory, remove_file
from laptime.record import EpochRecord, RunRecord
from laptime.replicate import Outcome, TrainedReplicate
from laptime.store import RunDirectory, list_runs
from laptime.studies.ending import REFUSED, ending
from laptime.study import Arm
from laptime.study_store import StudyDirectory
from laptime.timing.clock import ReadNs, read_ns
from laptime.units import seconds

_LONGEST_REASON = 400


class TrainingHandle(Protocol):
    """A training run in progress; the real one is a process, that of a test is not."""

    refused: bool
    """Whether it ended because its settings, its data or its model cannot be used."""

    def poll(self) -> TrainedReplicate | None:
        """Return how it ended, once it has."""

    def kill(self) -> None:
        """End it, whatever it is doing."""


@dataclass(frozen=True)
class TrainingTask:
    """A training run to be made: of which arm, with which seed, where, how patiently."""

    arm: Arm
    seed: int
    directory: StudyDirectory
    timeout_s: float
    threads: int | None = None
    """Of the process; None leaves the choice to torch."""

    def new_folder(self) -> Path:
        """Return a folder for the run that no former attempt has used."""
        word = re.sub(r"[^A-Za-z0-9._+-]+", "-", self.arm.name).strip("-.")[:80]
        first = self.directory.runs / f"{word}-s{self.seed}"
        others = (first.with_name(f"{first.name}-{attempt}") for attempt in itertools.count(2))
        return next(path for path in itertools.chain([first], others) if not path.exists())

    def words(self, folder: Path) -> list[str]:
        """Return the command line after ``laptime``: every setting, so that no default decides."""
        flat = {**self.arm.settings.flat(), "seed": self.seed}
        given = [
            f"--{name.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
            for name, value in flat.items()
            if value is not None
        ]
        return ["train", "--json", f"--runs-dir={folder}", *given]

    def environ(self) -> Mapping[str, str]:
        """Return the variables that the process gets."""
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        return {**os.environ, **threads}


class Pulse:
    """How long a folder has shown no sign of life, by a clock that no calendar moves."""

    def __init__(self, folder: Path, clock: ReadNs = read_ns) -> None:
        self._folder, self._clock = folder, clock
        self._seen = self._signs()
        self._since_ns = clock()

    def silent_s(self) -> float:
        """Return the seconds since a file in the folder was last seen to change."""
        seen = self._signs()
        if seen != self._seen:
            self._seen, self._since_ns = seen, self._clock()
        return seconds(self._clock() - self._since_ns)

    def _signs(self) -> frozenset[tuple[str, int, int]]:
        found = set()
        for parent, _, names in os.walk(self._folder):
            for name in names:
                path = os.path.join(parent, name)  # noqa: PTH118 - a Path a file is what takes long
                with contextlib.suppress(OSError):  # a temporary file that has just been renamed
                    status = os.stat(path)  # noqa: PTH116 - the same
                    found.add((path, status.st_size, status.st_mtime_ns))
        return frozenset(found)


class TrainingProcess:
    """``laptime train`` in a process of its own, with a group of its own, that dies with the study.

    Its checkpoints are removed when it has ended: nothing resumes it, and those of a whole study
    would fill a disk.
    """

    def __init__(self, task: TrainingTask, clock: ReadNs = read_ns) -> None:
        self.refused = False
        self._task, self._clock = task, clock
        self._folder = task.new_folder()
        self._log = task.directory.logs / f"{self._folder.name}.txt"
        make_directory(self._folder)
        make_directory(self._log.parent)
        self._start_ns = clock()
        self._pulse = Pulse(self._folder, clock)
        with self._log.open("ab") as said:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves, with checked settings
                [
                    *(sys.executable, "-m", "laptime.studies.trainee", str(os.getpid())),
                    *task.words(self._folder),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
                env=task.environ(),
            )

    def poll(self) -> TrainedReplicate | None:
        """Return how it ended, once it has; end it when it has been silent for too long."""
        code = self._process.poll()
        if code is None and self._pulse.silent_s() <= self._task.timeout_s:
            return None
        self.kill()
        if code is None:
            reason = f"it wrote nothing for {self._task.timeout_s:g} s, and was ended"
            return self._replicate("timed_out", reason)
        return self._ended(code)

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _ended(self, code: int) -> TrainedReplicate:
        try:
            record = self._record()
        except StoreError as error:
            return self._replicate("failed", str(error))
        if record is None:
            return self._never_began(code)
        status = _OUTCOMES.get(record.status)
        if status is not None:
            return self._replicate(status, record.reason, record.epochs)
        return self._replicate(*ending(code), record.epochs)

    def _never_began(self, code: int) -> TrainedReplicate:
        """Return the outcome of a process that left no run: it was refused, or it broke."""
        said = self._last_line()
        if code < 0 or not said:
            return self._replicate(*ending(code))
        self.refused = code == REFUSED
        return self._replicate(_status_of(said), said)

    def _last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or [""]
        return printable(lines[-1].removeprefix("laptime: "))[:_LONGEST_REASON]

    def _run(self) -> RunDirectory | None:
        return next(iter(list_runs(self._folder)), None)

    def _record(self) -> RunRecord | None:
        run = self._run()
        return run.read_record() if run else None

    def _replicate(
        self, status: Outcome, reason: str | None, epochs: tuple[EpochRecord, ...] = ()
    ) -> TrainedReplicate:
        run = self._run()
        if run is not None:
            for checkpoint in sorted(run.checkpoints.glob("*")):
                remove_file(checkpoint)
        return TrainedReplicate(
            arm=self._task.arm.name,
            seed=self._task.seed,
            status=status,
            reason=reason,
            run=run and run.path.relative_to(self._task.directory.path).as_posix(),
            epochs=epochs,
            wall_ns=self._clock() - self._start_ns,
        )


_OUTCOMES: Mapping[str, Outcome] = {
    "completed": "completed",
    "diverged": "diverged",
    "failed": "failed",
    "out_of_memory": "out_of_memory",
}
"""What a run says of its own end. One that says nothing, or was stopped, did not choose its end."""


def _status_of(said: str) -> Outcome:
    """Tell memory that ran out before the run began from every other failure."""
    from laptime.training.outcome import status_of  # torch comes with it: only in this rare case

    return "out_of_memory" if "MemoryError" in said else status_of(RuntimeError(said))
