"""What a run leaves behind: raw measurements with units, and the schema of what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from laptime.phase import LOADING, REMAINING, Phase
from laptime.settings import Frozen
from laptime.units import seconds

SCHEMA = 1
"""Number of the schema; it grows when a field changes its meaning or goes away."""

Status = Literal["running", "completed", "diverged", "failed", "interrupted", "out_of_memory"]
Mode = Literal["host", "events", "sync", "off"]
Nanoseconds = Annotated[int, Field(ge=0)]


def _every_phase(given: Mapping[Phase, int]) -> Mapping[Phase, int]:
    """Freeze the mapping, with 0 for the phases that did not occur."""
    return MappingProxyType({phase: given.get(phase, 0) for phase in Phase})


def _by_name(phases_ns: Mapping[Phase, int]) -> dict[str, int]:
    return {phase.value: spent for phase, spent in phases_ns.items()}


PhasesNs = Annotated[
    Mapping[Phase, Nanoseconds],
    AfterValidator(_every_phase),
    PlainSerializer(_by_name),
]
"""Integer nanoseconds of every phase; frozen."""


class DeviceTimes(Frozen):
    """Device time of the steps inside windows, from events on the compute stream.

    ``transfer`` to ``optimizer`` are E1-E0 to E4-E3; the gap between steps is ``stall``
    (device idle and host blocked in next()) plus ``host_gap`` (device idle, host busy).
    """

    windows: int
    steps: int
    wall_ns: Nanoseconds
    """Host time from the synchronised start to the synchronised end of each window, summed."""
    transfer_ns: Nanoseconds
    forward_ns: Nanoseconds
    backward_ns: Nanoseconds
    optimizer_ns: Nanoseconds
    stall_ns: Nanoseconds
    host_gap_ns: Nanoseconds
    hidden_ns: Nanoseconds
    """Host waited in next() while the device was busy: costs nothing, part of no sum."""
    closure_ns: int
    """Host wall minus device sum; signed."""
    invalid_windows: int
    """Windows whose closure exceeds max(1 ms, 0.5 %): their attribution cannot be trusted."""
    host_phases_ns: PhasesNs
    """What the host ledger charged inside windows; the naive stopwatch reads these."""


class TimedSteps(Frozen):
    """Some steps in a row of one epoch, and where their time went: raw, no summaries."""

    epoch: int
    steps: int
    wall_ns: Nanoseconds
    phases_ns: PhasesNs
    device_ns: DeviceTimes | None = None

    @property
    def loading_ns(self) -> int:
        """Exposed wait for data: on a device, waits that it did not hide."""
        return self.outside_ns(*LOADING) + (self.device_ns.stall_ns if self.device_ns else 0)

    @property
    def other_ns(self) -> int:
        """Evaluation, checkpoints, logging and the rest; on a device, outside of windows."""
        return self.outside_ns(*REMAINING)

    @property
    def training_ns(self) -> int:
        """All else: transfer, forward, backward, optimizer and waits for the device.

        Waits that a busy device hid count here.
        """
        return self.wall_ns - self.loading_ns - self.other_ns

    def outside_ns(self, *phases: Phase) -> int:
        """Return the host's time in some phases, without what lies inside a device's windows."""
        inside = self.device_ns.host_phases_ns if self.device_ns else dict.fromkeys(Phase, 0)
        return sum(self.phases_ns[phase] - inside[phase] for phase in phases)


class EpochTimes(TimedSteps):
    """A whole epoch, or what there was of it: its times, its loss, and what to make of them.

    Raises:
        ValueError: The phases do not sum to the wall time; such an epoch cannot be stored.
    """

    epoch: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=0)]
    loss: float | None
    """Mean training loss; null when not finite. Of ours each batch is weighed by its size."""
    mode: Mode
    cold: bool = False
    """The first of its process: it pays for what later ones find ready."""
    complete: bool = True
    """Whether every step was taken; not where the loss ceased to be finite."""

    @model_validator(mode="after")
    def _phases_sum_to_wall(self) -> Self:
        if sum(self.phases_ns.values()) != self.wall_ns:
            raise ValueError(
                f"phases sum to {sum(self.phases_ns.values())} ns, the wall to {self.wall_ns} ns"
            )
        return self

    @property
    def is_whole(self) -> bool:
        """Whether a mean over epochs may rest on it."""
        return self.complete

    def document(self) -> dict[str, Any]:
        """Return the epoch with its derived columns, as printed by ``--json``."""
        timed = self.mode != "off"
        return {
            **self.model_dump(mode="json"),
            "loading_s": seconds(self.loading_ns) if timed else None,
            "training_s": seconds(self.training_ns) if timed else None,
            "other_s": seconds(self.other_ns) if timed else None,
            "total_s": seconds(self.wall_ns),
        }


class EpochRecord(EpochTimes):
    """What one epoch of ours left behind."""

    samples: Annotated[int, Field(ge=0)]
    correct: Annotated[int, Field(ge=0)]
    test_loss: float | None = None
    test_correct: int | None = None
    test_samples: int | None = None
    segments: Annotated[int, Field(ge=1)] = 1
    """Pieces this epoch was run in; more than 1 after a resume, and then left out of means."""

    @property
    def is_whole(self) -> bool:
        """Whether it was run in one piece."""
        return self.segments == 1

    @property
    def accuracy(self) -> float:
        """Fraction of training samples that the step's own weights got right, before the update."""
        return self.correct / self.samples if self.samples else 0.0

    @property
    def test_accuracy(self) -> float | None:
        """Fraction of test samples right after the epoch; None without evaluation."""
        if self.test_correct is None or not self.test_samples:
            return None
        return self.test_correct / self.test_samples

    @property
    def samples_per_s(self) -> float:
        """Throughput over the whole epoch."""
        return self.samples / seconds(self.wall_ns) if self.wall_ns else 0.0

    def document(self) -> dict[str, Any]:
        """Return the record with its derived columns, as printed by ``--json``."""
        derived = {
            "accuracy": self.accuracy,
            "test_accuracy": self.test_accuracy,
            "samples_per_s": self.samples_per_s,
        }
        return {**super().document(), **derived}


class WindowRecord(TimedSteps):
    """Steps between two readings of the ledger: what shares and intervals are computed from."""

    first_step: int
    """1-based within the epoch."""


class StepRecord(Frozen):
    """One optimizer step: what the assignment asks to be logged."""

    epoch: int
    step: int
    """1-based within the epoch."""
    loss: float | None
    """Mean over the batch; null when not finite."""
    correct: int
    samples: int


class DataRecord(Frozen):
    """What was trained on and where it came from."""

    name: str
    source: str
    """The path, the factory or the generator."""
    verified: bool
    """The official bytes, by checksum, or a generator whose checksum matches."""
    label: str
    """In words: official copy, unverified copy, embedded set, your own."""
    sha256: str | None
    train_samples: int
    test_samples: int
    num_classes: int | None


class EnvironmentRecord(Frozen):
    """Facts of machine and software that a timing depends on."""

    cpu: str
    cpus_usable: int
    """Whole CPUs that affinity and the cgroup quota leave to this process."""
    cpus_total: int
    memory_bytes: int
    memory_usable_bytes: int
    shm_bytes: int | None
    platform: str
    python: str
    torch: str
    laptime: str
    device: str
    device_name: str
    threads: int
    interop_threads: int
    start_method: str
    """How loader workers are started: fork, forkserver or spawn."""
    variables: tuple[tuple[str, str], ...] = ()
    """Environment variables that change timing, such as OMP_NUM_THREADS."""
    cuda: str | None = None
    cudnn: str | None = None
    driver: str | None = None
    git_sha: str | None = None
    git_dirty: bool | None = None
    clock_resolution_ns: int = 1


class Overhead(Frozen):
    """What laptime's own bookkeeping costs a step, calibrated on this machine."""

    per_step_us: float
    share: float
    """Of the mean step in this run; 0 to 1."""


class RunRecord(Frozen):
    """Everything a run says of itself: the waist between measuring and reporting."""

    id: str
    directory: str
    status: Status
    reason: str | None = None
    """Why it did not complete, in one line."""
    settings: Mapping[str, Any]
    environment: EnvironmentRecord
    data: DataRecord
    parameters: int
    setup_ns: Nanoseconds
    epochs: tuple[EpochRecord, ...] = ()
    weights_sha256: str | None = None
    overhead: Overhead | None = None
    resumed: int = 0
    """How often the run was continued after a stop."""

    @property
    def best(self) -> EpochRecord | None:
        """The complete epoch with the highest training accuracy; the first of equals."""
        complete = [epoch for epoch in self.epochs if epoch.complete]
        return max(complete, key=lambda epoch: epoch.accuracy, default=None)

    @property
    def epochs_ns(self) -> int:
        """Wall time of all epochs."""
        return sum(epoch.wall_ns for epoch in self.epochs)

    def document(self) -> dict[str, Any]:
        """Return the one JSON document that ``laptime train --json`` prints."""
        best = self.best
        return {
            "schema": SCHEMA,
            "run": {
                "id": self.id,
                "directory": self.directory,
                "status": self.status,
                "reason": self.reason,
                "resumed": self.resumed,
            },
            "settings": dict(self.settings),
            "environment": self.environment.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
            "parameters": self.parameters,
            "setup_s": seconds(self.setup_ns),
            "total_s": seconds(self.setup_ns + self.epochs_ns),
            "epochs": [epoch.document() for epoch in self.epochs],
            "best": best
            and {
                "epoch": best.epoch,
                "accuracy": best.accuracy,
                "correct": best.correct,
                "samples": best.samples,
            },
            "weights_sha256": self.weights_sha256,
            "overhead": self.overhead and self.overhead.model_dump(),
        }
