"""What is held against each other: a run or one arm of a study, and the conditions it had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from pydantic import Field

from laptime.errors import SettingsError
from laptime.record import EnvironmentRecord, EpochTimes, RunRecord
from laptime.replicate import Block, Design, NoiseRecord, Replicate, Stage, TrainedReplicate
from laptime.settings import Frozen, suggestion
from laptime.statistics.accuracy import ZONES, last_values
from laptime.statistics.summary import arm_results, measured
from laptime.study import Arm, Estimate, Plan
from laptime.units import seconds

DEVICE = ("device", "device_name", "cuda", "cudnn", "driver")

TIME_CONDITIONS = (
    "cpu", "cpus_usable", "cpus_total", "platform", "python", "torch", "laptime", "threads",
    "interop_threads", "start_method", "variables", *DEVICE, "data", "data_sha256", "samples",
)  # fmt: skip
"""What must be the same where times are compared.

Not among them: free memory, which other programs change, and git, which a comparison of the code
before with the code after must not refuse.
"""

LEARNING_CONDITIONS = ("torch", "laptime", "device", "data", "data_sha256", "samples")
"""What must be the same where losses and accuracies are compared."""

LEARNING_ZONES = ZONES
"""Differences of losses and accuracies within these count as none."""


class Difference(Frozen):
    """A setting or a condition in which two sides differ."""

    name: str
    a: Any
    b: Any


class Side(Frozen):
    """One of two that are compared, in the form that runs and arms share."""

    id: str
    directory: str
    study: str | None = None
    arm: str | None = None
    status: str
    reason: str | None = None
    settings: Mapping[str, Any]
    conditions: Mapping[str, Any] = Field(default_factory=dict)
    git_sha: str | None = None
    command: str | None = None
    """Of a script; it stands for settings that nobody but the script knows."""
    epochs: tuple[EpochTimes, ...] = ()
    """Of a run; an arm has blocks."""
    step_s: Estimate | None = None
    """Of a run: steady wall time over steps."""
    epoch_s: Estimate | None = None
    loading_s: Estimate | None = None
    training_s: Estimate | None = None
    other_s: Estimate | None = None
    """Of a run."""
    loss: Estimate | None = None
    accuracy: Estimate | None = None
    outcomes: Mapping[str, int] = Field(default_factory=dict)
    """How many replicates ended in which way."""
    trained_outcomes: Mapping[str, int] = Field(default_factory=dict)
    """The same of the training runs of an arm alone."""
    started: str | None = None
    """UTC, ISO 8601: of the first block."""
    design: Design = "turns"
    blocks: int = 0
    turns: int = 0
    contaminated_turns: int = 0
    sentinel_ns: float | None = None
    """Of one repetition of the sentinel's work, median over all turns of the stage."""
    clock_mhz: float | None = None

    @property
    def steady(self) -> list[EpochTimes]:
        """The epochs that may be compared: whole, in one piece, not the first of a process."""
        return [e for e in self.epochs if e.complete and e.is_whole and not e.cold]

    def document(self) -> dict[str, Any]:
        """Return what is printed of it as JSON."""
        kept = self.model_dump(mode="json", exclude={"epochs"})
        return {**kept, "epochs": [epoch.document() for epoch in self.epochs]}


def run_side(record: RunRecord) -> Side:
    """Return a run as one side: means over its steady epochs, each from one process only."""
    data, last = record.data, record.epochs[-1] if record.epochs else None
    side = Side(
        id=record.id,
        directory=record.directory,
        status=record.status,
        reason=record.reason,
        settings=record.settings,
        conditions=_conditions(
            record.environment, data.label, data.sha256, data.train_samples, record.settings
        ),
        git_sha=record.environment.git_sha,
        epochs=record.epochs,
        loss=once(last.loss if last and last.complete else None),
        accuracy=once(last.accuracy if last and last.complete else None),
        outcomes={record.status: 1},
    )
    return with_means(side)


def with_means(side: Side) -> Side:
    """Return a single run with the means of its steady epochs."""
    timed = [epoch for epoch in side.steady if epoch.mode != "off"]
    steps = sum(epoch.steps for epoch in side.steady)
    wall_s = seconds(sum(epoch.wall_ns for epoch in side.steady))
    times = {
        "step_s": side.step_s or once(wall_s / steps if steps else None),
        "epoch_s": _once_s([epoch.wall_ns for epoch in side.steady]),
        **{
            f"{name}_s": _once_s([getattr(epoch, f"{name}_ns") for epoch in timed])
            for name in ("loading", "training", "other")
        },
    }
    return side.model_copy(update=times)


def _once_s(durations_ns: list[int]) -> Estimate | None:
    return once(seconds(sum(durations_ns)) / len(durations_ns) if durations_ns else None)


def once(value: float | None) -> Estimate | None:
    """Return the value of a single run: epochs of one process are no replicates of each other."""
    return None if value is None else Estimate(estimate=value, low=None, high=None, n=1)


@dataclass(frozen=True, slots=True)
class StudyEvidence:
    """All that a study's directory holds."""

    id: str
    directory: str
    plan: Plan
    blocks: tuple[Block, ...] = ()
    trained: tuple[TrainedReplicate, ...] = ()
    confirmation: Plan | None = None
    """Of the stage that runs a few arms on fresh blocks."""
    sentinel_repetitions: int | None = None
    """How long the sentinel works: each study calibrates its own."""
    trained_run: RunRecord | None = None
    """A training run that left a record: where and on what they were made."""


@dataclass(frozen=True, slots=True)
class ArmEvidence:
    """One arm of a study in one stage."""

    study: StudyEvidence
    arm: Arm
    stage: Stage = "main"

    @property
    def plan(self) -> Plan:
        """The plan of the stage."""
        if self.stage == "confirmation" and self.study.confirmation:
            return self.study.confirmation
        return self.study.plan

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the stage."""
        return [block for block in self.study.blocks if block.stage == self.stage]

    @property
    def replicates(self) -> list[Replicate]:
        """The replicates of the arm that have a time."""
        return measured(self.blocks, self.arm.name)

    def learned(self, quantity: str) -> dict[str, list[float]]:
        """Return the last epoch's loss or accuracy of every arm of the plan, one a seed."""
        return last_values(self.plan, self.study.trained, quantity)

    def is_paired_with(self, other: ArmEvidence) -> bool:
        """Return whether both arms took turns in the same blocks."""
        return (self.study.directory, self.stage) == (other.study.directory, other.stage)


def find_arm(study: StudyEvidence, name: str | None) -> ArmEvidence:
    """Return an arm of a study by its name; without one, its baseline.

    Raises:
        SettingsError: There is no such arm, or it cannot be compared.
    """
    name = study.plan.baseline if name is None else name
    plans: dict[Stage, Plan | None] = {"main": study.plan, "confirmation": study.confirmation}
    known = {
        arm.name: ArmEvidence(study, arm, stage)
        for stage, plan in reversed(plans.items())
        for arm in (plan.arms if plan else ())
    }
    if name not in known:
        usable = tuple(one for one, found in known.items() if found.arm.feed == "loader")
        raise SettingsError(f"{name[:60]!r} is no arm of {study.id}.{suggestion(name, usable)}")
    if known[name].arm.feed != "loader":
        raise SettingsError(
            f"arm {name!r} of {study.id} takes batches that are in memory already: a bound, which "
            f"is compared with nothing. Use another arm."
        )
    return known[name]


def on_fresh_blocks(a: ArmEvidence, b: ArmEvidence) -> tuple[ArmEvidence, ArmEvidence]:
    """Return two arms of one study in its fresh blocks, where both of them were run there.

    The main blocks chose one of them for its low mean, and so speak too well of it.
    """
    plan = a.study.confirmation
    if a.study.directory != b.study.directory or plan is None:
        return a, b
    found = tuple(
        ArmEvidence(a.study, arm, "confirmation")
        for side in (a, b)
        for arm in plan.arms
        if arm.name == side.arm.name
    )
    return (found[0], found[1]) if len(found) == 2 and found[0].blocks else (a, b)


def arm_side(evidence: ArmEvidence) -> Side:
    """Return an arm as one side: means over blocks, loss and accuracy over seeds."""
    study, plan, arm, blocks = evidence.study, evidence.plan, evidence.arm, evidence.blocks
    results = arm_results(plan, blocks, study.trained, stage=evidence.stage)
    result = next(found for found in results if found.name == arm.name)
    turns = [turn for block in blocks for r in block.replicates for turn in r.turns]
    noises = [turn.noise for turn in turns if turn.noise]
    environment, conditions = _where(evidence)
    return Side(
        id=study.id,
        directory=study.directory,
        study=plan.study,
        arm=arm.name,
        status="completed" if len(blocks) >= plan.blocks else "incomplete",
        reason=None if len(blocks) >= plan.blocks else f"{len(blocks)} of {plan.blocks} blocks",
        settings=arm.settings.flat(),
        conditions=conditions,
        git_sha=environment.git_sha if environment else None,
        epoch_s=result.epoch_s,
        loading_s=result.loading_s,
        training_s=result.training_s,
        loss=result.loss,
        accuracy=result.accuracy,
        outcomes=result.outcomes(),
        trained_outcomes=Counter(run.status for run in result.trained),
        started=min((block.started for block in blocks), default=None),
        design="turns" if all(block.design == "turns" for block in blocks) else "sequential",
        blocks=len(blocks),
        turns=len(turns),
        contaminated_turns=sum(turn.contaminated for turn in turns),
        sentinel_ns=_sentinel_ns(noises, study.sentinel_repetitions),
        clock_mhz=_clock_mhz(noises),
    )


def _sentinel_ns(noises: list[NoiseRecord], repetitions: int | None) -> float | None:
    if not noises or not repetitions:
        return None
    return median(noise.sentinel_ns for noise in noises) / repetitions


def _clock_mhz(noises: list[NoiseRecord]) -> float | None:
    clocks = [noise.clock_mhz for noise in noises if noise.clock_mhz is not None]
    return fmean(clocks) if clocks else None


def _where(evidence: ArmEvidence) -> tuple[EnvironmentRecord | None, dict[str, Any]]:
    """Return what an arm was measured under: by its blocks, without any by a training run."""
    settings, run = evidence.arm.settings, evidence.study.trained_run
    first = next((r for r in evidence.replicates if r.environment), None)
    flat = settings.flat()
    if first and first.environment:
        samples = round(first.steps_per_epoch * settings.loader.batch_size)
        return first.environment, _conditions(
            first.environment, first.data_label, first.data_sha256, samples, flat
        )
    if run is None:
        return None, {}
    data = run.data
    return run.environment, _conditions(
        run.environment, data.label, data.sha256, data.train_samples, flat
    )


def _conditions(
    environment: EnvironmentRecord,
    label: str,
    sha256: str | None,
    samples: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return every condition by its name, in the order in which differences are listed."""
    data = {
        "data": label,
        "data_sha256": sha256 or f"unknown: {settings['data']}",
        "samples": samples,
    }
    machine = {name: getattr(environment, name) for name in TIME_CONDITIONS if name not in data}
    words = " ".join(f"{name}={value}" for name, value in environment.variables)
    return {**machine, "variables": words, **data}


def settings_differ(a: Side, b: Side) -> tuple[Difference, ...]:
    """Return the settings in which two sides differ."""
    return _differences(a.settings, b.settings, tuple({**a.settings, **b.settings}))


def conditions_differ(
    a: Side, b: Side, names: tuple[str, ...], factors: tuple[str, ...] = ()
) -> tuple[Difference, ...]:
    """Return the conditions in which two sides differ; a factor's own changes are none."""
    if not a.conditions or not b.conditions:
        return ()
    expected = {*factors, *(DEVICE if "device" in factors else ())}
    wanted = tuple(name for name in names if name not in expected)
    return _differences(a.conditions, b.conditions, wanted)


def _differences(
    a: Mapping[str, Any], b: Mapping[str, Any], names: tuple[str, ...]
) -> tuple[Difference, ...]:
    values = [(name, a.get(name), b.get(name)) for name in names]
    return tuple(Difference(name=n, a=of_a, b=of_b) for n, of_a, of_b in values if of_a != of_b)
