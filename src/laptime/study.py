"""A study: its plan, what its replicates amount to, and the schema of what is printed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from laptime.record import EnvironmentRecord
from laptime.replicate import Design, Replicate, TrainedReplicate
from laptime.settings import Frozen, RunSettings

SCHEMA = 1
"""Number of the schema of a study's files."""

Feed = Literal["loader", "resident"]
"""Batches from the loader, or a few that are on the device already: the rate of the steps alone."""


class Arm(Frozen):
    """One setting compared."""

    name: str
    settings: RunSettings
    feed: Feed = "loader"
    again_of: str | None = None
    """The arm whose settings these are once more: the A/A check."""

    @property
    def looks(self) -> tuple[str, ...]:
        """What is asked of its process when its turns are over."""
        return () if self.feed == "resident" else ("memory",)

    def in_flight(self, facts: Mapping[str, Any]) -> int:
        """Return the batches that were under way when the workers were last stopped."""
        return int(facts["num_workers"]) * self.settings.loader.prefetch_factor


class TurnPolicy(Frozen):
    """How long a turn is and when a block has enough of them; declared before the first run."""

    min_steps: Annotated[int, Field(ge=1)] = 20
    min_s: Annotated[float, Field(ge=0)] = 0.5
    min_turns: Annotated[int, Field(ge=1)] = 4
    max_turns: Annotated[int, Field(ge=1)] = 24
    target_se: float = 0.0075
    """Standard error of the log ratio to the baseline at which a block ends."""


class StudyRequest(Frozen):
    """What was asked for: written first, so that a study goes on without being asked again."""

    study: str
    settings: RunSettings
    grid: tuple[int, ...] | None = None
    """Worker counts to run exactly as given; None ascends."""
    most_workers: int | None = None
    optimizers: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    tune_lr: bool = False
    blocks: Annotated[int, Field(ge=0)] = 5
    turns: TurnPolicy = TurnPolicy()
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    table_epochs: Annotated[int, Field(ge=0)] = 5
    """Epochs, at most, of the whole runs that per-epoch tables show; 0: no such runs."""
    full: RunSettings | None = None
    """The model to predict for, where the study's own is smaller."""


class Plan(Frozen):
    """A study before its first run: what is compared, how often, in which order."""

    schema_number: int = SCHEMA
    study: str
    arms: tuple[Arm, ...]
    baseline: str
    factors: tuple[str, ...]
    """The settings in which arms may differ; a difference in any other is a refusal."""
    blocks: Annotated[int, Field(ge=0)]
    """Of timing; 0 where only accuracy is asked for."""
    seeds: tuple[int, ...] = ()
    """One training run an arm each, for loss and accuracy."""
    seed: int = 0
    """Of the orders below."""
    orders: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Of each block, of each round of turns: the arms, by their place in ``arms``."""
    design: Design = "turns"
    zone: float = 0.03
    """Differences within this are of no practical use; declared before the first run."""
    turns: TurnPolicy = TurnPolicy()
    timeout_s: float = 600.0
    """An arm that answers nothing for so long is ended, and counts as timed out."""
    budget_s: float | None = None

    def arm(self, name: str) -> Arm:
        """Return the arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


class Estimate(Frozen):
    """A mean with its 95 % interval over n replicates; no interval from fewer than two."""

    estimate: float
    low: float | None
    high: float | None
    n: int


VerdictWord = Literal[
    "faster", "slower", "equivalent", "small difference", "inconclusive", "not measurable",
    "higher", "lower",
]  # fmt: skip
"""``faster`` describes a; ``higher`` and ``lower`` are for accuracies."""


class Comparison(Frozen):
    """Two arms and what may be said about them; ratio is time of a over time of b."""

    a: str
    b: str
    quantity: str = "epoch_s"
    ratio: float | None
    low: float | None
    high: float | None
    n: int
    verdict: VerdictWord
    reason: str
    """A code: interval_outside_zone, interval_inside_zone, too_few_blocks ..."""
    blocks_needed: int | None = None
    """Blocks that would decide, where the verdict is inconclusive."""


class Refusal(Frozen):
    """Why nothing is concluded: the code, what was seen, and the cheapest next step."""

    code: str
    evidence: str
    next: str
    arms: tuple[str, ...] = ()
    """Those it is about; empty: the whole study."""


class ArmResult(Frozen):
    """What is known of one arm."""

    name: str
    settings: RunSettings
    replicates: tuple[Replicate, ...] = ()
    trained: tuple[TrainedReplicate, ...] = ()
    epoch_s: Estimate | None = None
    loading_s: Estimate | None = None
    training_s: Estimate | None = None
    loader_alone_s: Estimate | None = None
    optimizer_s: Estimate | None = None
    """Seconds an epoch in the optimizer phase."""
    loss: Estimate | None = None
    accuracy: Estimate | None = None
    worker_bytes: int | None = None
    worker_cpu_s: float | None = None
    """CPU-seconds of the workers an epoch."""

    def outcomes(self) -> dict[str, int]:
        """Return how many replicates ended in which way."""
        ends = [r.status for r in self.replicates] + [r.status for r in self.trained]
        return {status: ends.count(status) for status in dict.fromkeys(ends)}


class StudyRecord(Frozen):
    """Everything a study says of itself; computed from its plan, blocks and runs."""

    id: str
    directory: str
    plan: Plan
    status: Literal["completed", "interrupted", "running"]
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...] = ()
    resolution: float | None = None
    """The smallest relative difference that these blocks see with 80 % power."""
    explanation: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    fresh_arms: tuple[ArmResult, ...] = ()
    """Of the fresh blocks that a recommendation is proved on; numbered from 1 again."""
    fresh_refusals: tuple[Refusal, ...] = ()
    environment: EnvironmentRecord | None = None
    data_label: str = ""
    wall_s: float = 0.0
    blocks: int = 0
    turns: int = 0
    contaminated_turns: int = 0
    details: Mapping[str, Any] = MappingProxyType({})
    """What only one kind of study has: plateau, recommended, confirmation, fit, predicted."""

    def result(self, name: str) -> ArmResult:
        """Return what is known of an arm."""
        return next(arm for arm in self.arms if arm.name == name)

    def document(self) -> dict[str, Any]:
        """Return the one JSON document that ``laptime study --json`` prints."""
        return {
            "schema": SCHEMA,
            "study": self.plan.study,
            "id": self.id,
            "directory": self.directory,
            "status": self.status,
            "baseline": self.plan.baseline,
            "zone": self.plan.zone,
            "design": self.plan.design,
            "blocks": self.blocks,
            "turns": self.turns,
            "contaminated_turns": self.contaminated_turns,
            "wall_s": self.wall_s,
            "arms": [_arm_document(arm) for arm in self.arms],
            "comparisons": [row.model_dump(mode="json") for row in self.comparisons],
            "resolution": self.resolution,
            "explanation": list(self.explanation),
            "refusals": [refusal.model_dump(mode="json") for refusal in self.refusals],
            "fresh_arms": [_arm_document(arm) for arm in self.fresh_arms],
            "fresh_refusals": [refusal.model_dump(mode="json") for refusal in self.fresh_refusals],
            "environment": self.environment and self.environment.model_dump(mode="json"),
            "data": self.data_label,
            **self.details,
        }


def _arm_document(arm: ArmResult) -> dict[str, Any]:
    estimates = (
        "epoch_s", "loading_s", "training_s", "loader_alone_s", "optimizer_s", "loss", "accuracy",
    )  # fmt: skip
    values = {name: getattr(arm, name) for name in estimates}
    return {
        "name": arm.name,
        "settings": arm.settings.flat(),
        "outcomes": arm.outcomes(),
        "replicates": [_timed(r) for r in arm.replicates] + [_trained(r) for r in arm.trained],
        **{name: value and value.model_dump(mode="json") for name, value in values.items()},
        "worker_bytes": arm.worker_bytes,
        "worker_cpu_s": arm.worker_cpu_s,
        "epochs": _mean_epochs(arm.trained),
    }


def _timed(replicate: Replicate) -> dict[str, Any]:
    return {
        "kind": "timing",
        "block": replicate.block,
        "seed": None,
        "status": replicate.status,
        "reason": replicate.reason,
        "epoch_s": replicate.epoch_s,
        "loading_s": replicate.loading_s,
        "training_s": replicate.training_s,
        "loss": None,
        "accuracy": None,
        "contaminated": replicate.contaminated,
    }


def _trained(replicate: TrainedReplicate) -> dict[str, Any]:
    last = replicate.last
    return {
        "kind": "accuracy",
        "block": None,
        "seed": replicate.seed,
        "status": replicate.status,
        "reason": replicate.reason,
        "epoch_s": None,
        "loading_s": None,
        "training_s": None,
        "loss": last and last.loss,
        "accuracy": last and last.accuracy,
        "contaminated": 0,
    }


def _mean_epochs(trained: tuple[TrainedReplicate, ...]) -> list[dict[str, Any]]:
    """Return loss and accuracy an epoch, averaged over the runs that completed."""
    done = [replicate.epochs for replicate in trained if replicate.status == "completed"]
    rows = zip(*done, strict=False)
    return [
        {
            "epoch": row[0].epoch,
            "loss": _mean([epoch.loss for epoch in row]),
            "accuracy": _mean([epoch.accuracy for epoch in row]),
            "n": len(row),
        }
        for row in rows
    ]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
