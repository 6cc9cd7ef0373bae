"""A plan and its blocks to what is printed: results of arms, verdicts, the resolution reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Literal, TypeVar

from laptime.phase import Phase
from laptime.replicate import Block, Replicate, Stage, TrainedReplicate, Turn
from laptime.statistics.intervals import geometric_interval, mean_interval, resolution
from laptime.statistics.verdict import judge_all, judge_times
from laptime.study import Arm, ArmResult, Comparison, Estimate, Plan, Refusal
from laptime.units import seconds

Value = TypeVar("Value", int, float)

Quantity = Literal[
    "epoch_s", "loading_s", "training_s", "loader_alone_s", "optimizer_s", "step_s"
]  # fmt: skip
"""What two arms can be compared in; all are times."""

ACCURACY_ONLY = frozenset({"seeds"})
"""Codes of refusals that are about accuracy and leave times alone."""

EXPLANATION_ONLY = frozenset({"unconfirmed_explanation"})
"""Codes of refusals that are about the words beside the figures, and leave figures alone."""

BOTH = frozenset({"arms_differ"})
"""Codes of refusals that are about times and accuracies; all others are about times."""


def is_measured(replicate: Replicate) -> bool:
    """Tell whether a replicate completed and left turns that a time can be computed from."""
    return (
        replicate.status == "completed" and replicate.steps_per_epoch > 0 and bool(replicate.turns)
    )


def measured(blocks: Sequence[Block], arm: str) -> list[Replicate]:
    """Return the replicates of an arm that estimates rest on."""
    found = [r for block in blocks for r in block.replicates if r.arm == arm]
    return [replicate for replicate in found if is_measured(replicate)]


def of_stage(blocks: Sequence[Block], stage: Stage) -> list[Block]:
    """Return the blocks of one stage: those of a search never mix with those it leads to."""
    return [block for block in blocks if block.stage == stage]


def baseline_of(plan: Plan) -> Arm | None:
    """Return the arm that others are compared with; None where a plan names one it has not."""
    return next((arm for arm in plan.arms if arm.name == plan.baseline), None)


def twin_pairs(plan: Plan) -> list[tuple[Arm, Arm]]:
    """Return the A/A pairs: an arm that is there once more, and the arm itself."""
    arms = {arm.name: arm for arm in plan.arms}
    return [(arm, arms[arm.again_of]) for arm in plan.arms if arm.again_of in arms]


def optimizer_s(replicate: Replicate) -> float | None:
    """Return seconds an epoch in the optimizer phase, where events saw it the device's own."""
    steps = sum(turn.steps for turn in replicate.counted)
    if not is_measured(replicate) or not steps:
        return None
    spent_ns = sum(_optimizer_ns(turn) for turn in replicate.counted)
    return seconds(spent_ns) / steps * replicate.steps_per_epoch


def _optimizer_ns(turn: Turn) -> int:
    # What the host ledger says of a device's optimizer is the time that handing it over took.
    return turn.device_ns.optimizer_ns if turn.device_ns else turn.phases_ns[Phase.OPTIMIZER]


def worker_cpu_s(replicate: Replicate) -> float | None:
    """Return CPU-seconds of the loader's workers an epoch."""
    steps = sum(turn.steps for turn in replicate.counted)
    if not is_measured(replicate) or not steps:
        return None
    spent_ns = sum(turn.worker_cpu_ns for turn in replicate.counted)
    return seconds(spent_ns) / steps * replicate.steps_per_epoch


def value_of(replicate: Replicate, quantity: Quantity) -> float | None:
    """Return a time of a replicate in seconds; None where it was not measured."""
    if not is_measured(replicate):
        return None
    if quantity == "optimizer_s":
        return optimizer_s(replicate)
    value: float | None = getattr(replicate, quantity)
    return value


def arm_results(
    plan: Plan,
    blocks: Sequence[Block],
    trained: Sequence[TrainedReplicate] = (),
    *,
    stage: Stage = "main",
) -> tuple[ArmResult, ...]:
    """Return what is known of each arm, in the order of the plan.

    Times are means over blocks, loss and accuracy over the seeds that completed. An arm that
    never completed has outcomes and no estimates.
    """
    chosen = of_stage(blocks, stage)
    return tuple(_arm_result(arm, chosen, trained) for arm in plan.arms)


def _arm_result(
    arm: Arm, blocks: Sequence[Block], trained: Sequence[TrainedReplicate]
) -> ArmResult:
    done = measured(blocks, arm.name)
    runs = tuple(run for run in trained if run.arm == arm.name)
    last = [epoch for run in runs if (epoch := run.last)]

    def over_blocks(quantity: Quantity) -> Estimate | None:
        return _estimate([value_of(r, quantity) for r in done], geometric_interval)

    # In mode off nothing but the wall is known: 0 s of loading would be a lie.
    timed = arm.settings.training.timing != "off"
    return ArmResult(
        name=arm.name,
        settings=arm.settings,
        replicates=tuple(r for block in blocks for r in block.replicates if r.arm == arm.name),
        trained=runs,
        epoch_s=over_blocks("epoch_s"),
        loading_s=over_blocks("loading_s") if timed else None,
        training_s=over_blocks("training_s") if timed else None,
        loader_alone_s=over_blocks("loader_alone_s"),
        optimizer_s=over_blocks("optimizer_s") if timed else None,
        loss=_estimate([epoch.loss for epoch in last], mean_interval),
        accuracy=_estimate([epoch.accuracy for epoch in last], mean_interval),
        worker_bytes=max(_known([r.worker_bytes for r in done]), default=None),
        worker_cpu_s=_mean([worker_cpu_s(r) for r in done]),
    )


def block_log_ratios(
    blocks: Sequence[Block], a: str, b: str, quantity: Quantity = "epoch_s"
) -> list[float]:
    """Return ln(time of a / time of b) of each block in which both arms completed."""
    found = [_values(block, quantity) for block in blocks]
    pairs = [(values.get(a), values.get(b)) for values in found]
    return [math.log(of_a / of_b) for of_a, of_b in pairs if of_a and of_b]


def _values(block: Block, quantity: Quantity) -> dict[str, float | None]:
    return {replicate.arm: value_of(replicate, quantity) for replicate in block.replicates}


def comparisons(
    plan: Plan, blocks: Sequence[Block], *, stage: Stage = "main"
) -> tuple[Comparison, ...]:
    """Return every arm against the baseline, then the A/A pair.

    Holm's correction is over the arms. The A/A pair is outside of it: it is a check of the
    measurement, not a claim, and a correction would only make it easier to pass. Arms fed with
    resident batches are a bound and are compared with nothing.
    """
    chosen = of_stage(blocks, stage)
    if not plan.blocks:
        return ()
    pairs = [(arm.name, plan.baseline) for arm in plan.arms if _is_judged(arm, plan)]
    rows = judge_all([(a, b, block_log_ratios(chosen, a, b)) for a, b in pairs], plan.zone)
    for twin, original in twin_pairs(plan):
        ratios = block_log_ratios(chosen, twin.name, original.name)
        rows.append(judge_times(twin.name, original.name, ratios, plan.zone))
    return tuple(rows)


def _is_judged(arm: Arm, plan: Plan) -> bool:
    return arm.name != plan.baseline and arm.feed == "loader" and arm.again_of is None


def study_resolution(plan: Plan, blocks: Sequence[Block], *, stage: Stage = "main") -> float | None:
    """Return the smallest relative difference that these blocks see with 80 % power.

    From the A/A pair, which nothing but noise sets apart; without one, the median over the
    comparisons. None with fewer than two blocks.
    """
    chosen = of_stage(blocks, stage)
    pairs = [(arm.name, plan.baseline) for arm in plan.arms if _is_judged(arm, plan)]
    twins = [(twin.name, original.name) for twin, original in twin_pairs(plan)]
    for group in (twins, pairs):
        seen = _known([resolution(block_log_ratios(chosen, a, b)) for a, b in group])
        if seen:
            return median(seen)
    return None


def not_measurable(
    comparisons: Sequence[Comparison], refusals: Sequence[Refusal]
) -> tuple[Comparison, ...]:
    """Return the comparisons without the verdicts that a refusal forbids; ratios stay.

    A refusal without arms forbids all, one with arms those that involve them. Which codes are
    about times, accuracies or neither: ``ACCURACY_ONLY``, ``EXPLANATION_ONLY``, ``BOTH``. Of
    several the first gives the reason.
    """
    return tuple(_withheld(row, refusals) for row in comparisons)


def _withheld(row: Comparison, refusals: Sequence[Refusal]) -> Comparison:
    code = next((refusal.code for refusal in refusals if _forbids(refusal, row)), None)
    if code is None:
        return row
    changes = {"verdict": "not measurable", "reason": code, "blocks_needed": None}
    return row.model_copy(update=changes)


def _forbids(refusal: Refusal, row: Comparison) -> bool:
    if refusal.code in EXPLANATION_ONLY:
        return False
    if row.quantity.endswith("_s"):
        concerned = refusal.code not in ACCURACY_ONLY
    else:
        concerned = refusal.code in ACCURACY_ONLY | BOTH
    return concerned and (not refusal.arms or bool({row.a, row.b} & set(refusal.arms)))


def _estimate(
    values: Sequence[float | None], interval: Callable[[Sequence[float]], Estimate]
) -> Estimate | None:
    known = _known(values)
    return interval(known) if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = _known(values)
    return fmean(known) if known else None


def _known(values: Sequence[Value | None]) -> list[Value]:
    return [value for value in values if value is not None]
