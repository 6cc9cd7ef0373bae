"""Two arms of a study block by block: differences and shares with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from laptime.report.words.verdicts import spelled
from laptime.statistics.intervals import holm, mean_interval, moments
from laptime.statistics.summary import Quantity, value_of
from laptime.statistics.verdict import ALPHA, MIN_BLOCKS, judge_times
from laptime.study import ArmResult, Comparison, Estimate, StudyRecord

Pair = tuple[float, float]
"""What two arms took in one block."""


def find_arm(record: StudyRecord, name: str) -> ArmResult | None:
    """Return what is known of an arm, or None where the study has none of that name."""
    return next((arm for arm in record.arms if arm.name == name), None)


def pairs(record: StudyRecord, a: str, b: str, quantity: Quantity) -> list[Pair]:
    """Return the times of two arms in the blocks in which both were measured."""
    of_a, of_b = (_by_block(find_arm(record, name), quantity) for name in (a, b))
    return [(of_a[block], of_b[block]) for block in of_a if block in of_b]


def _by_block(arm: ArmResult | None, quantity: Quantity) -> dict[int, float]:
    replicates = arm.replicates if arm else ()
    values = {replicate.block: value_of(replicate, quantity) for replicate in replicates}
    return {block: value for block, value in values.items() if value is not None}


def are_enough(found: Sequence[object]) -> bool:
    """Return whether so many blocks carry a statement."""
    return len(found) >= MIN_BLOCKS


def difference(found: Sequence[Pair]) -> Estimate | None:
    """Return a - b in seconds with its paired 95 % interval; None without a block."""
    return mean_interval([a - b for a, b in found]) if found else None


def reversed_sign(value: Estimate) -> Estimate:
    """Return b - a for a - b."""
    estimate, low, high = -value.estimate, value.high, value.low
    ends = {"low": None if low is None else -low, "high": None if high is None else -high}
    return value.model_copy(update={"estimate": estimate, **ends})


def change_words(what: str, found: Sequence[Pair], *, is_different: bool) -> str:
    """Say by how many seconds b is shorter or longer than a, or that it cannot be told."""
    less = difference(found)
    if less is None:
        return f"{what} not measured"
    if not is_different:
        once = corrected(less.low, less.high)
        return f"{what} not distinguishably different{once} ({spelled(reversed_sign(less))})"
    if less.estimate > 0:
        return f"{what} {spelled(less)} shorter"
    return f"{what} {spelled(reversed_sign(less))} longer"


def corrected(low: float | None, high: float | None) -> str:
    """Return why an interval that leaves out 0 is not enough: it is one of several."""
    if low is None or high is None or low <= 0 <= high:
        return ""
    return " once corrected for all that is asked here"


def are_different(families: Sequence[Sequence[Pair]]) -> list[bool]:
    """Return of each set of pairs whether a and b differ, corrected over all that are asked."""
    differences = [[a - b for a, b in found] for found in families]
    adjusted = holm([moments(values).two_sided_p() for values in differences])
    return [p < ALPHA and are_enough(found) for p, found in zip(adjusted, families, strict=True)]


def share(parts: Sequence[float], wholes: Sequence[float]) -> Estimate | None:
    """Return part / whole over the blocks with its 95 % interval; None where a whole is 0."""
    if not wholes or any(whole == 0 for whole in wholes):
        return None
    return mean_interval([part / whole for part, whole in zip(parts, wholes, strict=True)])


def judged(record: StudyRecord, a: str, b: str, quantity: Quantity) -> Comparison | None:
    """Return the verdict on two arms that the study itself did not compare, or None."""
    found = pairs(record, a, b, quantity)
    logs = [math.log(of_a / of_b) for of_a, of_b in found if of_a > 0 and of_b > 0]
    if not logs:
        return None
    row = judge_times(a, b, logs, record.plan.zone)
    return row.model_copy(update={"quantity": quantity})
