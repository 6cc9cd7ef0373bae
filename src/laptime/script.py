"""What a script's run says of itself: what was started, its training processes, their times."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from laptime.record import EpochTimes, Nanoseconds, TimedSteps, WindowRecord
from laptime.script_facts import Count, Finite, LoaderFact, RecorderRecord
from laptime.settings import Frozen
from laptime.units import seconds

SCHEMA = 1
"""Number of the schema of a script's files."""

ScriptEnd = Literal["running", "completed", "failed", "interrupted", "stopped"]
"""``stopped``: by ``--steps``; ``interrupted``: by a signal."""


class ScriptEpoch(EpochTimes):
    """A pass over a training loader; of a script without a loader all that it trained."""

    samples: Annotated[int, Field(ge=0)] | None
    loss: Finite
    """Mean over steps of the step's loss; null where none was seen or it was not finite."""
    loader: int | None
    """Which of the recorder's loaders."""
    evaluations: Count
    """Evaluation passes in it or after it."""

    @property
    def samples_per_s(self) -> float | None:
        """Throughput over the whole epoch; None where samples could not be counted."""
        return self.samples / seconds(self.wall_ns) if self.samples and self.wall_ns else None

    def document(self) -> dict[str, Any]:
        """Return the epoch with its derived columns, as printed by ``--json``."""
        return {**super().document(), "samples_per_s": self.samples_per_s}


class ScriptWindow(WindowRecord):
    """Some steps of a script in a row, half a second or more: what intervals are over."""


class ScriptStep(Frozen):
    """One step of a script."""

    epoch: int
    step: int
    """1-based within the epoch."""
    loss: Finite
    samples: int | None


class ScriptStatus(Frozen):
    """What was started and how it stands: the file that a script's run begins with."""

    schema_number: int = SCHEMA
    command: tuple[str, ...]
    cwd: str
    started: str
    """UTC, ISO 8601."""
    steps_asked: int | None = None
    """After how many steps it is to be stopped."""
    status: ScriptEnd = "running"
    exit_status: int | None = None
    """As the parent saw it: negative for a signal."""
    reason: str | None = None
    wall_ns: Nanoseconds = 0
    host: str
    process: int
    """Of the parent, which is ours."""
    process_started_s: float


class ProcessRecord(Frozen):
    """What one training process left: its facts, epochs and windows."""

    recorder: RecorderRecord
    epochs: tuple[ScriptEpoch, ...] = ()
    windows: tuple[ScriptWindow, ...] = ()

    @property
    def timed(self) -> tuple[TimedSteps, ...]:
        """All that was timed: epochs; where none came to be written, windows."""
        return self.epochs or self.windows

    @property
    def steps(self) -> int:
        """Steps that were timed."""
        return sum(one.steps for one in self.timed)

    @property
    def wall_ns(self) -> int:
        """Time of all of them, and of what lay between."""
        return sum(one.wall_ns for one in self.timed)

    @property
    def steady(self) -> tuple[ScriptEpoch, ...]:
        """The epochs that means rest on: whole, and not the first."""
        return tuple(epoch for epoch in self.epochs if epoch.is_whole and not epoch.cold)

    @property
    def loader(self) -> LoaderFact | None:
        """The loader that most epochs were passes over."""
        loaders = self.recorder.loaders
        used = [epoch.loader for epoch in self.epochs if epoch.loader is not None]
        known = [number for number in used if 0 <= number < len(loaders)]
        return loaders[max(known, key=known.count)] if known else None

    def document(self) -> dict[str, Any]:
        """Return what is printed of it as JSON."""
        return {
            "recorder": self.recorder.model_dump(mode="json", by_alias=True),
            "epochs": [epoch.document() for epoch in self.epochs],
            "windows": len(self.windows),
        }


class ScriptRecord(Frozen):
    """Everything a script's run says of itself."""

    id: str
    directory: str
    status: ScriptStatus
    main: ProcessRecord | None = None
    """The first training process; None where no process took an optimizer step."""
    others: tuple[ProcessRecord, ...] = ()
    """Other training processes, by rank."""
    lost_loss: ScriptStep | None = None
    """The first step whose loss was not finite, after one whose loss was."""

    @property
    def epochs(self) -> tuple[ScriptEpoch, ...]:
        """The epochs of the first training process."""
        return self.main.epochs if self.main else ()

    def document(self) -> dict[str, Any]:
        """Return the one JSON document of a script's run."""
        return {
            "schema": SCHEMA,
            "script": {
                "id": self.id,
                "directory": self.directory,
                **self.status.model_dump(mode="json", exclude={"schema_number"}),
            },
            "lost_loss": self.lost_loss and self.lost_loss.model_dump(mode="json"),
            **(self.main.document() if self.main else {"recorder": None, "epochs": []}),
            "processes": [process.document() for process in self.others],
        }
