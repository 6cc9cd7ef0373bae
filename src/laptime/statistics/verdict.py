"""What may be said of two arms: faster, slower, equivalent ..., each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from laptime.statistics.intervals import (
    Moments,
    bootstrap_interval,
    exponential,
    forecast,
    holm,
    moments,
    signed_rank_interval,
    welch,
)
from laptime.study import Comparison, VerdictWord

ALPHA = 0.05
MIN_BLOCKS = 5
MIN_SEEDS = 5
ROBUST_FROM = 10
"""Blocks from which tests that assume no shape have the power to object."""

Finding = tuple[VerdictWord, str]
"""Verdict and reason."""


def judge_times(
    a: str,
    b: str,
    log_ratios: Sequence[float],
    zone: float = 0.03,
    *,
    min_blocks: int = MIN_BLOCKS,
) -> Comparison:
    """Judge one pair from ln(time of a / time of b), one value a block.

    faster, slower: the 95 % interval lies outside the zone. equivalent: the 90 % interval lies
    inside (two one-sided tests, Schuirmann 1987). small difference: the 95 % interval excludes 0
    and meets the zone. inconclusive: otherwise, with the blocks that would decide.

    From ten blocks on a verdict needs a second vote, of Wilcoxon's signed rank test or of the BCa
    bootstrap: where both object, it is inconclusive.
    """
    sample = moments(log_ratios)
    outside, nonzero = _claims(sample, math.log1p(zone))
    found = _finding(sample, log_ratios, zone, min_blocks, outside=outside, nonzero=nonzero)
    return _comparison(a, b, sample, found, _needed(found, sample, zone, min_blocks))


def judge_all(
    pairs: Sequence[tuple[str, str, Sequence[float]]],
    zone: float = 0.03,
    *,
    min_blocks: int = MIN_BLOCKS,
) -> list[Comparison]:
    """Judge pairs of one study with Holm's correction over all pairs that have enough blocks.

    The claims "outside the zone" are one family, the claims "not 0" another; every pair counts,
    not only those that look like a claim. What the correction takes away falls to the next
    verdict, with the reason ``holm``. Equivalence needs no correction upwards: it is not what a
    search for winners finds by chance. The intervals stay plain 95 %.
    """
    edge = math.log1p(zone)
    samples = [moments(ratios) for _, _, ratios in pairs]
    outside = _adjusted(samples, edge, min_blocks)
    nonzero = _adjusted(samples, 0.0, min_blocks)
    size = sum(sample.n >= min_blocks for sample in samples)
    rows = []
    for (a, b, ratios), sample, p_outside, p_nonzero in zip(
        pairs, samples, outside, nonzero, strict=True
    ):
        plain = judge_times(a, b, ratios, zone, min_blocks=min_blocks)
        far, some = _claims(sample, edge)
        kept = {"outside": far and p_outside < ALPHA, "nonzero": some and p_nonzero < ALPHA}
        if kept == {"outside": far, "nonzero": some}:
            rows.append(plain)
            continue
        word, reason = _finding(sample, ratios, zone, min_blocks, **kept)
        if word == plain.verdict:
            rows.append(plain)
            continue
        found = (word, reason if reason == "robust_test_disagrees" else "holm")
        needed = _needed(found, sample, zone, min_blocks, ALPHA / size)
        rows.append(_comparison(a, b, sample, found, needed))
    return rows


def _adjusted(samples: Sequence[Moments], edge: float, min_blocks: int) -> list[float]:
    counted = [place for place, sample in enumerate(samples) if sample.n >= min_blocks]
    corrected = holm([samples[place].two_sided_p(edge) for place in counted])
    adjusted = [1.0] * len(samples)
    for place, p in zip(counted, corrected, strict=True):
        adjusted[place] = p
    return adjusted


def _claims(sample: Moments, edge: float) -> tuple[bool, bool]:
    """Return whether the 95 % interval lies outside the zone, and whether it excludes 0."""
    if sample.n < 2:
        return False, False
    nearest = abs(sample.mean) - sample.half_width(1 - ALPHA)
    return nearest > edge, nearest > 0


def _finding(
    sample: Moments,
    log_ratios: Sequence[float],
    zone: float,
    min_blocks: int,
    *,
    outside: bool,
    nonzero: bool,
) -> Finding:
    edge = math.log1p(zone)
    if sample.n == 0:
        return "not measurable", "no_estimate"
    if sample.n < max(2, min_blocks):
        return "inconclusive", "too_few_blocks"
    if outside:
        found: Finding = ("slower" if sample.mean > 0 else "faster", "interval_outside_zone")
    elif abs(sample.mean) + sample.half_width(1 - 2 * ALPHA) <= edge:
        found = ("equivalent", "interval_inside_zone")
    elif nonzero:
        found = ("small difference", "excludes_zero_meets_zone")
    else:
        return "inconclusive", "interval_too_wide"
    if sample.n >= ROBUST_FROM and not _seconded(found[0], log_ratios, edge):
        return "inconclusive", "robust_test_disagrees"
    return found


def _seconded(word: VerdictWord, log_ratios: Sequence[float], edge: float) -> bool:
    """Return whether one of two tests that assume no shape says the same."""
    confidence = 1 - 2 * ALPHA if word == "equivalent" else 1 - ALPHA
    says: dict[VerdictWord, Callable[[float, float], bool]] = {
        "faster": lambda _, high: high < -edge,
        "slower": lambda low, _: low > edge,
        "equivalent": lambda low, high: -edge <= low and high <= edge,
        "small difference": lambda low, high: low > 0 or high < 0,
    }
    if says[word](*signed_rank_interval(log_ratios, confidence)):
        return True
    resampled = bootstrap_interval(log_ratios, confidence)
    assert resampled.low is not None
    assert resampled.high is not None
    return says[word](resampled.low, resampled.high)


def _needed(
    found: Finding, sample: Moments, zone: float, min_blocks: int, alpha: float = ALPHA
) -> int | None:
    word, reason = found
    if word != "inconclusive" or reason == "robust_test_disagrees":
        return None
    return forecast(sample, zone, alpha, min_blocks) if sample.n > 1 else min_blocks


def _comparison(a: str, b: str, sample: Moments, found: Finding, needed: int | None) -> Comparison:
    half = sample.half_width(1 - ALPHA)
    has_interval = sample.n > 1
    return Comparison(
        a=a,
        b=b,
        ratio=exponential(sample.mean) if sample.n else None,
        low=exponential(sample.mean - half) if has_interval else None,
        high=exponential(sample.mean + half) if has_interval else None,
        n=sample.n,
        verdict=found[0],
        reason=found[1],
        blocks_needed=needed,
    )


def judge_accuracies(
    arms: Mapping[str, Sequence[float]],
    *,
    quantity: str,
    zone: float = 0.003,
    min_seeds: int = MIN_SEEDS,
) -> list[Comparison]:
    """Judge all pairs of arms by Welch's test with Holm's correction; one value a seed.

    Not paired: a shared seed does not make two trainings alike (arXiv 2103.04514). In the rows
    ``ratio``, ``low`` and ``high`` hold the **difference** a - b and its 95 % interval, in the
    unit of the values, and ``n`` the smaller number of seeds. equivalent: the 90 % interval lies
    within +- zone, whether or not it excludes 0. higher, lower: a against b, the adjusted p is
    under 5 %. Leave diverged runs out; they are outcomes, and counted elsewhere.
    """
    pairs = list(combinations(arms, 2))
    counts = {name: moments(values).n for name, values in arms.items()}
    counted = [pair for pair in pairs if min(counts[name] for name in pair) >= min_seeds]
    corrected = holm([welch(arms[a], arms[b]).p for a, b in counted])
    adjusted = dict(zip(counted, corrected, strict=True))
    return [_accuracies(a, b, arms, quantity, zone, adjusted.get((a, b)), counts) for a, b in pairs]


def _accuracies(
    a: str,
    b: str,
    arms: Mapping[str, Sequence[float]],
    quantity: str,
    zone: float,
    adjusted_p: float | None,
    counts: Mapping[str, int],
) -> Comparison:
    n = min(counts[a], counts[b])
    result = welch(arms[a], arms[b])
    verdict, reason = _accuracy_finding(arms[a], arms[b], zone, adjusted_p, n)
    return Comparison(
        a=a,
        b=b,
        quantity=quantity,
        ratio=result.difference if n else None,
        low=result.low if n > 1 else None,
        high=result.high if n > 1 else None,
        n=n,
        verdict=verdict,
        reason=reason,
    )


def _accuracy_finding(
    a: Sequence[float], b: Sequence[float], zone: float, adjusted_p: float | None, n: int
) -> Finding:
    if n == 0:
        return "not measurable", "no_estimate"
    if adjusted_p is None:
        return "inconclusive", "too_few_seeds"
    narrow = welch(a, b, 1 - 2 * ALPHA)
    if -zone <= narrow.low and narrow.high <= zone:
        return "equivalent", "interval_inside_zone"
    if adjusted_p < ALPHA:
        return "higher" if narrow.difference > 0 else "lower", "welch_holm"
    return "inconclusive", "not_distinguishable"
