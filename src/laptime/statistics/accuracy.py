"""What training runs say together: accuracies compared, runs that learned nothing counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from laptime.record import EpochRecord
from laptime.replicate import TrainedReplicate
from laptime.statistics.intervals import moments, smallest_gap
from laptime.statistics.verdict import judge_accuracies
from laptime.study import Arm, ArmResult, Comparison, Plan

ENOUGH_SAMPLES = 500
"""Fewer samples in an epoch say nothing about learning."""

ENOUGH_STEPS = 100
"""A run of fewer steps has hardly begun: that it has not learned says nothing."""

ZONES = {"accuracy": 0.003, "test_accuracy": 0.003, "loss": 0.01}
"""Differences within these are of no practical use: 0.3 percentage points, 0.01 nats."""

_VALUES: Mapping[str, Callable[[EpochRecord], float | None]] = {
    "accuracy": lambda epoch: epoch.accuracy,
    "test_accuracy": lambda epoch: epoch.test_accuracy,
    "loss": lambda epoch: epoch.loss,
}


def trained_arms(plan: Plan) -> list[Arm]:
    """Return the arms that are trained: a twin would repeat its runs bit by bit."""
    return [arm for arm in plan.arms if arm.again_of is None and arm.feed == "loader"]


def accuracy_comparisons(plan: Plan, trained: Sequence[TrainedReplicate]) -> list[Comparison]:
    """Return all pairs of trained arms by accuracy, loss and, where it is known, test accuracy.

    Of the last epoch, over the runs that completed: those that diverged are counted elsewhere.
    """
    if not plan.seeds:
        return []
    found = {quantity: last_values(plan, trained, quantity) for quantity in _VALUES}
    return [
        row
        for quantity, values in found.items()
        if any(values.values())
        for row in judge_accuracies(values, quantity=quantity, zone=ZONES[quantity])
    ]


def last_values(
    plan: Plan, trained: Sequence[TrainedReplicate], quantity: str
) -> dict[str, list[float]]:
    """Return of each trained arm the last epoch's values, one a run that completed."""
    found: dict[str, list[float]] = {arm.name: [] for arm in trained_arms(plan)}
    for run in trained:
        value = _VALUES[quantity](run.last) if run.last else None
        if value is not None and run.arm in found:
            found[run.arm].append(value)
    return found


def smallest_gaps(plan: Plan, trained: Sequence[TrainedReplicate]) -> list[dict[str, Any]]:
    """Return, beside each comparison, the smallest gap that so many seeds see with 80 % power.

    None where an arm has fewer than two runs. The spread is pooled over the two arms.
    """
    rows = []
    for quantity in _VALUES:
        values = last_values(plan, trained, quantity)
        for a, b in combinations(values, 2) if any(values.values()) else ():
            gap = _smallest_gap(values[a], values[b])
            rows.append({"a": a, "b": b, "quantity": quantity, "gap": gap})
    return rows


def visible_gap(gaps: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return of each quantity the gap that every pair with an estimate could have shown."""
    known = [(row["quantity"], row["gap"]) for row in gaps if row["gap"] is not None]
    return {quantity: max(gap for q, gap in known if q == quantity) for quantity, _ in known}


def _smallest_gap(a: Sequence[float], b: Sequence[float]) -> float | None:
    of_a, of_b = moments(a), moments(b)
    if min(of_a.n, of_b.n) < 2:
        return None
    squares = (of_a.n - 1) * of_a.sd**2 + (of_b.n - 1) * of_b.sd**2
    return smallest_gap(math.sqrt(squares / (of_a.n + of_b.n - 2)), of_a.n, of_b.n)


def is_guessing(epoch: EpochRecord, num_classes: int) -> bool:
    """Return whether an epoch shows no learning, by its loss and by its accuracy.

    The loss is no better than that of guessing, ln(classes), and the accuracy within three
    standard errors (of a binomial count) of chance. Few samples show neither.
    """
    if epoch.loss is None or epoch.samples < ENOUGH_SAMPLES:
        return False
    chance = 1 / num_classes
    error = math.sqrt(chance * (1 - chance) / epoch.samples)
    return epoch.loss >= 0.98 * math.log(num_classes) and epoch.accuracy <= chance + 3 * error


def not_learned(replicate: TrainedReplicate, num_classes: int | None) -> bool:
    """Return whether a run came to its end and is still guessing."""
    if replicate.last is None or num_classes is None:
        return False
    steps = sum(epoch.steps for epoch in replicate.epochs)
    return steps >= ENOUGH_STEPS and is_guessing(replicate.last, num_classes)


def counted_runs(
    plan: Plan, trained: Sequence[TrainedReplicate], counts: Callable[[TrainedReplicate], bool]
) -> dict[str, int]:
    """Return of each trained arm how many of its runs a rule is true for."""
    found = [run.arm for run in trained if counts(run)]
    return {arm.name: found.count(arm.name) for arm in trained_arms(plan)}


def best_arm(arms: Sequence[ArmResult], rows: Sequence[Comparison]) -> dict[str, Any] | None:
    """Return the arm of the highest mean accuracy, and those that it is not shown to exceed.

    Arms whose runs all completed come first: a mean over the runs that happened to survive is no
    recommendation. None where no run completed.
    """
    valid = [arm for arm in arms if arm.accuracy is not None]
    whole = [arm for arm in valid if all(run.status == "completed" for run in arm.trained)]
    if not valid:
        return None
    best = max(whole or valid, key=lambda arm: arm.accuracy.estimate if arm.accuracy else 0.0)
    assert best.accuracy is not None
    judged = [row for row in rows if row.quantity == "accuracy"]
    exceeded = {row.b for row in judged if (row.a, row.verdict) == (best.name, "higher")}
    exceeded |= {row.a for row in judged if (row.b, row.verdict) == (best.name, "lower")}
    others = [arm.name for arm in valid if arm.name not in {best.name, *exceeded}]
    return {
        "arm": best.name,
        "accuracy": best.accuracy.model_dump(mode="json"),
        "not_exceeded": others,
    }
