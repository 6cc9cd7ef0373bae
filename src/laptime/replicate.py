"""What a fresh process of one arm leaves behind in a block: turns, loader starts, outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from laptime.phase import LOADING, REMAINING, Phase
from laptime.record import (
    DataRecord,
    DeviceTimes,
    EnvironmentRecord,
    EpochRecord,
    Nanoseconds,
    PhasesNs,
)
from laptime.settings import Frozen
from laptime.units import seconds

Outcome = Literal["completed", "diverged", "failed", "out_of_memory", "timed_out", "killed"]
"""How a replicate ended; each is recorded, and only completed ones are averaged."""

Stage = Literal["main", "scout", "together", "confirmation"]
"""Declared comparison, search, what was found at once, or the recommended arm on fresh blocks."""

Design = Literal["turns", "sequential"]
"""Arms of a block side by side taking turns, or one after another."""


class NoiseRecord(Frozen):
    """What the machine did around and during one turn, apart from the turn's own work."""

    sentinel_before_ns: Nanoseconds
    sentinel_after_ns: Nanoseconds
    foreign_cores: float | None = None
    """CPUs, on average, that other programs used meanwhile; None where it cannot be read."""
    steal: float | None = None
    """Share of CPU time that the hypervisor gave to others; 0 to 1."""
    pressure: float | None = None
    """Share of the time in which some task waited for a CPU (PSI); 0 to 1."""
    clock_mhz: float | None = None

    @property
    def sentinel_ns(self) -> float:
        """Mean of the two readings beside the turn."""
        return (self.sentinel_before_ns + self.sentinel_after_ns) / 2


class Turn(Frozen):
    """Some counted steps of one arm while all others stood still."""

    round: int
    """1-based in the block; every arm has one turn in a round."""
    discarded: int
    """Steps run first and not counted: what was under way when the arm was last stopped."""
    steps: Annotated[int, Field(ge=1)]
    wall_ns: Annotated[int, Field(ge=1)]
    phases_ns: PhasesNs
    device_ns: DeviceTimes | None = None
    worker_cpu_ns: Nanoseconds = 0
    """CPU time of the loader's workers: work, not exposed time."""
    noise: NoiseRecord | None = None
    contaminated: bool = False

    @property
    def step_s(self) -> float:
        """Seconds a counted step."""
        return seconds(self.wall_ns) / self.steps

    @property
    def loading_ns(self) -> int:
        """Exposed wait for data: on a device, waits that it did not hide."""
        return self._outside(LOADING) + (self.device_ns.stall_ns if self.device_ns else 0)

    @property
    def other_ns(self) -> int:
        """Logging and the rest; on a device, outside of its window."""
        return self._outside(REMAINING)

    @property
    def training_ns(self) -> int:
        """All that is neither loading nor other."""
        return self.wall_ns - self.loading_ns - self.other_ns

    def _outside(self, phases: tuple[Phase, ...]) -> int:
        """Return the host's time in some phases, without what lies inside a device window."""
        inside = self.device_ns.host_phases_ns if self.device_ns else dict.fromkeys(Phase, 0)
        return sum(self.phases_ns[phase] - inside[phase] for phase in phases)


class Replicate(Frozen):
    """One fresh process of one arm in one block: raw times, and how it ended.

    An epoch is composed: loader start, whole steps at the pace of the turns, loader end. The
    first batch of each worker is there when the first step begins, so that an epoch of N steps
    waits N - max(1, workers) times. A short last batch counts for what it holds.
    """

    arm: str
    block: int
    status: Outcome
    reason: str | None = None
    steps_per_epoch: float = 0.0
    """Samples over batch size."""
    num_workers: int = 0
    setup_ns: Nanoseconds = 0
    cold_start_ns: Nanoseconds = 0
    """The first loader start of the process: not part of any mean."""
    loader_start_ns: tuple[Nanoseconds, ...] = ()
    loader_end_ns: tuple[Nanoseconds, ...] = ()
    turns: tuple[Turn, ...] = ()
    alone_batches: int = 0
    """Batches taken from the loader by a consumer that does nothing ..."""
    alone_ns: Nanoseconds = 0
    """... in this time, after the queue was drained."""
    worker_bytes: int | None = None
    """Memory of the workers: proportional set size, shared pages divided by their users."""
    first_losses: tuple[float | None, ...] = ()
    """Of the first steps, before any turn: arms of the same work must agree in them."""
    losses: tuple[float | None, ...] = ()
    """Of every step, where the process was asked for them; None where not finite."""
    environment: EnvironmentRecord | None = None
    parameters: int = 0
    data_sha256: str | None = None
    data_label: str = ""
    overhead_share: float = 0.0
    flops_per_step: float | None = None

    @property
    def counted(self) -> tuple[Turn, ...]:
        """The turns that estimates rest on: the clean ones, if they are four or more."""
        clean = tuple(turn for turn in self.turns if not turn.contaminated)
        return clean if len(clean) >= min(4, len(self.turns)) else self.turns

    @property
    def step_s(self) -> float | None:
        """Geometric mean over the turns of the seconds a step."""
        turns = self.counted
        if self.status != "completed" or not turns:
            return None
        return math.exp(sum(math.log(turn.step_s) for turn in turns) / len(turns))

    def share(self, name: Literal["loading", "training", "other"]) -> float:
        """Return the share of a column in the wall of the counted turns."""
        wall_ns = sum(turn.wall_ns for turn in self.counted)
        spent_ns = sum(getattr(turn, f"{name}_ns") for turn in self.counted)
        return float(spent_ns / wall_ns) if wall_ns else 0.0

    @property
    def edges_s(self) -> float:
        """Mean loader start plus mean loader end, without the cold one."""
        return _mean_s(self.loader_start_ns) + _mean_s(self.loader_end_ns)

    @property
    def loading_s(self) -> float | None:
        """Exposed seconds an epoch that training waits for the loader."""
        if self.step_s is None:
            return None
        return self.edges_s + self._waits * self.step_s * self.share("loading")

    @property
    def training_s(self) -> float | None:
        """Seconds of training in an epoch."""
        if self.step_s is None:
            return None
        return self.steps_per_epoch * self.step_s * self.share("training")

    @property
    def epoch_s(self) -> float | None:
        """Seconds of an epoch, composed."""
        if self.step_s is None:
            return None
        return self._composed_s(self.step_s, self.share("loading"))

    def epoch_of(self, turn: Turn) -> float:
        """Return the seconds of an epoch at the pace of one turn."""
        return self._composed_s(turn.step_s, turn.loading_ns / turn.wall_ns)

    def _composed_s(self, step_s: float, loading: float) -> float:
        steps = self.steps_per_epoch * (1 - loading) + self._waits * loading
        return self.edges_s + steps * step_s

    @property
    def _waits(self) -> float:
        """Steps of an epoch that wait at the steady pace."""
        return max(0.0, self.steps_per_epoch - max(1, self.num_workers))

    @property
    def loader_alone_s(self) -> float | None:
        """Seconds in which the loader makes an epoch's batches for a consumer that does nothing."""
        if self.status != "completed" or not self.alone_batches:
            return None
        return seconds(self.alone_ns) / self.alone_batches * self.steps_per_epoch

    @property
    def contaminated(self) -> int:
        """Turns during which the machine was not ours alone."""
        return sum(turn.contaminated for turn in self.turns)


class Block(Frozen):
    """Fresh processes, one an arm: the unit of replication, kept whole or not at all."""

    block: int
    stage: Stage = "main"
    design: Design = "turns"
    started: str
    """UTC, ISO 8601."""
    wall_ns: Nanoseconds
    replicates: tuple[Replicate, ...]


class TrainedReplicate(Frozen):
    """One training run of one arm with one seed: for loss and accuracy, never for time."""

    arm: str
    seed: int
    status: Outcome
    reason: str | None = None
    run: str | None = None
    """Its directory, relative to the study's."""
    epochs: tuple[EpochRecord, ...] = ()
    wall_ns: Nanoseconds = 0

    @property
    def last(self) -> EpochRecord | None:
        """The last epoch of a run that completed."""
        return self.epochs[-1] if self.status == "completed" and self.epochs else None


def _mean_s(durations_ns: tuple[int, ...]) -> float:
    return seconds(sum(durations_ns)) / len(durations_ns) if durations_ns else 0.0


AsideName = Literal["usable_cpus", "full_step_s", "first_step", "missing_device", "first_run"]
"""What is known besides, by name."""

Layers = tuple[tuple[str, float], ...]
"""A layer's name and its figure, in the order of the model; finite ones only."""


class FirstStep(Frozen):
    """How large gradients and activations are in the first step, by arm and layer."""

    gradients: Mapping[str, Layers]
    activations: Mapping[str, Layers]


class FirstRun(Frozen):
    """Where a training run was made, and on which data."""

    environment: EnvironmentRecord
    data: DataRecord


class Aside(Frozen):
    """What a study learns besides blocks and training runs; what is not set is not known yet."""

    usable_cpus: int | None = None
    """Of the process that began the study."""
    full_step_s: float | None = None
    """A step of the model that is predicted for; None: its process ended before there was one."""
    first_step: FirstStep | None = None
    missing_device: str | None = None
    """What a comparison of devices would need; None: there were two."""
    first_run: FirstRun | None = None
    """Of the first training run that left a record: it may stand in another study's directory."""

    def knows(self, name: AsideName) -> bool:
        """Tell what is known, None included, from what was not looked at yet."""
        return name in self.model_fields_set
