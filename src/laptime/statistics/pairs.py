"""Two samples, paired by block or not, to a verdict, its interval and what could have been seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from laptime.statistics.intervals import (
    MOST_BLOCKS,
    Moments,
    WelchResult,
    exponential,
    moments,
    resolution,
    smallest_gap,
    t_quantile,
    welch,
)
from laptime.statistics.verdict import ALPHA, MIN_BLOCKS, judge_accuracies, judge_all, judge_times
from laptime.study import Comparison, VerdictWord

UNPAIRED = "unpaired_"
"""What the reason of a verdict begins with where no block holds both."""

Pair = tuple[str, str, Sequence[float]]
"""Two arms and ln(time of the first / time of the second) of each block."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict on a pair, with the replicates of each side."""

    row: Comparison
    n_a: int
    n_b: int
    resolution: float | None = None
    """The smallest difference seen with 80 % power: relative, or in the unit of an accuracy."""


def judge_paired(pair: Pair, family: Sequence[Pair], zone: float) -> Judgement:
    """Judge one pair of a study whose arms took turns in the same blocks.

    Args:
        pair: What is asked for.
        family: The other pairs that could have been asked for: Holm's correction is over all.
        zone: Differences within this are of no practical use.
    """
    row = judge_all([pair, *family], zone)[0] if family else judge_times(*pair, zone)
    return Judgement(row, row.n, row.n, resolution(pair[2]))


def judge_unpaired(a: Sequence[float], b: Sequence[float], zone: float) -> Judgement:
    """Judge two sets of blocks that have no hour in common, by Welch's test on log times.

    The words mean what they mean for pairs: faster, slower: the 95 % interval of the ratio lies
    outside the zone. equivalent: the 90 % interval lies inside. small difference: the 95 %
    interval excludes 1 and meets the zone. A time of 0 has no ratio: then there is no estimate.
    """
    logs = [[math.log(value) for value in side if value > 0] for side in (a, b)]
    of_a, of_b = moments(logs[0]), moments(logs[1])
    if not of_a.n or not of_b.n or min(*a, *b) <= 0:
        return Judgement(_row(None, 0, ("not measurable", "no_estimate"), None), of_a.n, of_b.n)
    found = _finding(logs[0], logs[1], math.log1p(zone))
    needed = _needed(of_a, of_b, zone) if found[0] == "inconclusive" else None
    row = _row(welch(logs[0], logs[1]), min(of_a.n, of_b.n), found, needed)
    return Judgement(row, of_a.n, of_b.n, _resolution(of_a, of_b))


def _finding(a: Sequence[float], b: Sequence[float], edge: float) -> tuple[VerdictWord, str]:
    if min(len(a), len(b)) < MIN_BLOCKS:
        return "inconclusive", "too_few_blocks"
    wide, narrow = welch(a, b, 1 - ALPHA), welch(a, b, 1 - 2 * ALPHA)
    if wide.low > edge or wide.high < -edge:
        return "slower" if wide.low > edge else "faster", f"{UNPAIRED}interval_outside_zone"
    if -edge <= narrow.low and narrow.high <= edge:
        return "equivalent", f"{UNPAIRED}interval_inside_zone"
    if wide.low > 0 or wide.high < 0:
        return "small difference", f"{UNPAIRED}excludes_zero_meets_zone"
    return "inconclusive", f"{UNPAIRED}interval_too_wide"


def _row(
    found: WelchResult | None, n: int, finding: tuple[VerdictWord, str], needed: int | None
) -> Comparison:
    ends = (None, None, None) if found is None else (found.difference, found.low, found.high)
    ratio, low, high = (
        exponential(end) if end is not None and math.isfinite(end) else None for end in ends
    )
    return Comparison(
        a="A", b="B", ratio=ratio, low=low, high=high, n=n, verdict=finding[0], reason=finding[1],
        blocks_needed=needed,
    )  # fmt: skip


def _needed(a: Moments, b: Moments, zone: float) -> int | None:
    """Return the blocks of each side at which these means and spreads would decide."""
    if min(a.n, b.n) < 2:
        return MIN_BLOCKS
    edge, size, variance = math.log1p(zone), abs(a.mean - b.mean), a.sd**2 + b.sd**2
    share = a.sd**2 / variance if variance else 0.5
    for n in range(max(MIN_BLOCKS, min(a.n, b.n)), MOST_BLOCKS + 1):
        degrees = (n - 1) / (share**2 + (1 - share) ** 2)
        se = math.sqrt(variance / n)
        outside = size - t_quantile(1 - ALPHA / 2, degrees) * se > edge
        if outside or size + t_quantile(1 - ALPHA, degrees) * se <= edge:
            return n
    return None


def _resolution(a: Moments, b: Moments) -> float | None:
    gap = _smallest_gap(a, b)
    return None if gap is None else math.expm1(gap)


def _smallest_gap(a: Moments, b: Moments) -> float | None:
    if min(a.n, b.n) < 2:
        return None
    squares = (a.n - 1) * a.sd**2 + (b.n - 1) * b.sd**2
    return smallest_gap(math.sqrt(squares / (a.n + b.n - 2)), a.n, b.n)


def judge_learning(
    a: str, b: str, values: Mapping[str, Sequence[float]], *, quantity: str, zone: float
) -> Judgement:
    """Judge losses or accuracies of two arms, one value a seed; ``ratio`` is the difference a - b.

    Args:
        a: The first of the two.
        b: The second.
        values: Of these and of all arms that could have been asked for: Holm's correction is over
            their pairs.
        quantity: What the values are.
        zone: Differences within this count as none.
    """
    ordered = {a: values[a], b: values[b], **values}  # the first pair is then a against b
    row = judge_accuracies(ordered, quantity=quantity, zone=zone)[0]
    of_a, of_b = moments(values[a]), moments(values[b])
    return Judgement(row, of_a.n, of_b.n, _smallest_gap(of_a, of_b))
