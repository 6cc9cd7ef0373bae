"""A tuning: what was asked for, what a pilot saw, what was tried, and what is printed of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from laptime.record import Nanoseconds, PhasesNs
from laptime.replicate import Block, Design
from laptime.settings import Frozen, RunSettings
from laptime.study import Comparison, Refusal, TurnPolicy

SCHEMA = 1
"""Number of the schema of a tuning's files."""

ZONE = 0.03
"""Gains within this are of no practical use; declared before the first run."""

ROUNDING_TOLERANCE = 1e-3
"""How far the mean loss of an arm that only rounds may be off, relatively, whatever the seeds do.

Summing in another order is off by 1e-7 a step at first; a training makes more of it, but a wrong
result is off by far more at once.
"""

Value = bool | int | str
Changes = tuple[tuple[str, Value], ...]
"""Overrides by name: what an arm has otherwise than the unchanged job."""

Numbers = Literal["same numbers", "same up to rounding", "other numbers"]
"""What an override does to what is computed."""

BASELINE, AGAIN = "unchanged", "unchanged again"
"""The arm that all others are compared with, and the same once more: the A/A check."""

TURNS = TurnPolicy(min_turns=4, max_turns=12, target_se=0.015)
"""Of blocks that a verdict rests on.

A pair of processes is off by some 2 % however long it is watched: with turns that tell it to 1.5 %
intervals are a sixth wider than with 0.75 %, for a quarter of the turns.
"""


class TuneRequest(Frozen):
    """What was asked for."""

    command: tuple[str, ...] = ()
    """Somebody's script; empty: the built-in job."""
    settings: RunSettings | None = None
    """Of the built-in job."""
    cwd: str = ""
    budget_s: Annotated[float, Field(gt=0)] = 600.0
    allow_numerics: bool = False
    blocks: Annotated[int, Field(ge=1)] = 5
    only: tuple[str, ...] = ()
    """Names of overrides to try; empty: all."""
    turns: TurnPolicy = TURNS
    timeout_s: Annotated[float, Field(gt=0)] = 600.0


class TuneArm(Frozen):
    """One way to run the job: its overrides."""

    name: str
    changes: Changes = ()
    again_of: str | None = None
    """The arm whose overrides these are once more: the A/A check."""

    @property
    def looks(self) -> tuple[str, ...]:
        """What is asked of its process when its turns are over."""
        return ("edges", "losses", "memory")

    def in_flight(self, facts: Mapping[str, Any]) -> int:
        """Return the batches that were under way when the workers were last stopped."""
        return int(facts.get("num_workers", 0)) * int(facts.get("prefetch_factor") or 2)


class LoaderFacts(Frozen):
    """The loader that training reads from, as the unchanged job makes it."""

    place: str | None = None
    """``train.py:42``."""
    kind: str = ""
    """Of the built-in job: sample, batch."""
    num_workers: int = 0
    prefetch_factor: int | None = None
    persistent_workers: bool = False
    pin_memory: bool = False
    is_iterable: bool = False
    """Whether its dataset is an IterableDataset: each worker then has a copy of all of it."""
    num_loaders: int = 1
    """Loaders that training reads from; overrides go to the one that it reads most."""


class OptimizerFacts(Frozen):
    """An optimizer of the job."""

    name: str
    fused: bool | None = None
    foreach: bool | None = None


class PilotRecord(Frozen):
    """What one look at the unchanged job showed."""

    device: str = "cpu"
    device_name: str = ""
    cpus: int = 1
    """That the job may use."""
    cores: int = 1
    """Physical ones among them."""
    threads: int = 1
    torch: str = ""
    step_s: float
    steps_per_epoch: float | None = None
    """None where no epoch's length is known: then steps are compared, not epochs."""
    total_steps: int | None = None
    """Known only of a job that ended within the pilot."""
    edges_s: float = 0.0
    """Loader start and end of an epoch; of a warm one where there was one."""
    has_warm_start: bool = False
    """Whether a loader was started more than once."""
    wall_ns: Nanoseconds
    phases_ns: PhasesNs
    """Of the turns; on a device its own attribution of the steps."""
    loader: LoaderFacts | None = None
    optimizers: tuple[OptimizerFacts, ...] = ()
    is_compiled: bool = False
    worker_bytes: int | None = None
    resident_bytes: int = 0
    has_losses: bool = True
    overhead_share: float = 0.0
    start_s: float
    """From nothing to the first step."""
    prepare_s: float
    """Warm-up steps."""
    notes: tuple[str, ...] = ()

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch; of a step where no epoch is known."""
        return self.edges_s + (self.steps_per_epoch or 1.0) * self.step_s

    @property
    def unit(self) -> str:
        """What is compared."""
        return "epoch" if self.steps_per_epoch else "step"


class TuneBlock(Frozen):
    """A block with what its arms are: one line of the log."""

    arms: tuple[TuneArm, ...]
    block: Block


LossReason = Literal[
    "equal", "within_spread", "beyond_spread", "not_finite", "no_losses", "too_few_blocks",
    "rounding",
]  # fmt: skip


class LossFinding(Frozen):
    """Whether an arm's losses are those of the unchanged job, but for chance."""

    reason: LossReason
    steps: int = 0
    """Common to all: means are over these."""
    difference: float | None = None
    """Arm less unchanged job: the mean over blocks of the difference of their mean losses."""
    allowed: float | None = None
    """How far apart two sets of runs with other seeds would be in 95 of 100 cases."""
    mean: float | None = None
    """Of the unchanged job."""
    is_seeded: bool = True
    """Whether the unchanged job, run twice with one seed, has equal losses."""

    @property
    def agrees(self) -> bool:
        """Whether nothing speaks against the arm; with no losses to look at nothing does."""
        return self.reason in {"equal", "within_spread", "rounding"}


Outcome = Literal["kept", "not kept", "refused", "failed", "screened out", "budget"]
"""What became of an arm; ``refused``: faster, but not the same training."""


class Tried(Frozen):
    """One arm and what was found of it: losers too, with why."""

    name: str
    changes: Changes
    numbers: Numbers
    note: str = ""
    """What it does to the numbers, in words."""
    stage: Literal["scout", "main", "together", "confirmation"]
    """The last that it came to."""
    row: Comparison | None = None
    """Against the unchanged job, or against ``row.b``."""
    losses: LossFinding | None = None
    outcome: Outcome
    why: str
    worker_bytes: int | None = None
    break_even_steps: int | None = None
    """Steps after which a longer start is earned back."""


class NotTried(Frozen):
    """An override that was left alone, and why."""

    name: str
    numbers: Numbers
    why: str


class Change(Frozen):
    """What to change, and where."""

    path: str | None = None
    line: int | None = None
    words: str
    diff: str | None = None
    """A unified diff, where one can be made safely."""


class Gain(Frozen):
    """What the winner saves, from fresh blocks alone."""

    name: str
    changes: Changes
    numbers: Numbers
    row: Comparison
    """Winner against the unchanged job."""
    losses: LossFinding | None = None
    before_s: float
    after_s: float


Conclusion = Literal["gain", "nothing to gain", "not verified", "refused", "interrupted"]


class TuneRecord(Frozen):
    """Everything a tuning says of itself."""

    schema_number: int = SCHEMA
    id: str
    directory: str
    request: TuneRequest
    pilot: PilotRecord
    conclusion: Conclusion
    gain: Gain | None = None
    """Only of a gain that fresh blocks have shown."""
    tried: tuple[Tried, ...] = ()
    not_tried: tuple[NotTried, ...] = ()
    together: tuple[Comparison, ...] = ()
    """The best at once, each step against the one before."""
    again: Comparison | None = None
    """The A/A check."""
    resolution: float | None = None
    refusals: tuple[Refusal, ...] = ()
    changes: tuple[Change, ...] = ()
    diff: str = ""
    """One patch for all of them that have a diff; paths are relative to where it was run."""
    design: Design = "turns"
    blocks: int = 0
    turns: int = 0
    contaminated_turns: int = 0
    wall_s: float = 0.0
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Return the one JSON document that ``laptime tune --json`` prints."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude={"schema_number"})
        return {"schema": SCHEMA, "zone": ZONE, **found}


def overrides_of(changes: Changes) -> dict[str, Value]:
    """Return the overrides by name."""
    return dict(changes)
