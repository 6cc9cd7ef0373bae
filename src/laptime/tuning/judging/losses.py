"""Whether an arm trains the same: its losses against the unchanged job's, but for the seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from laptime.statistics.intervals import moments, t_quantile
from laptime.tune import ROUNDING_TOLERANCE, LossFinding, Numbers

Losses = Sequence[float | None]

EQUAL = 1e-6
"""Relative: losses that differ by less are printed alike."""


def judge_losses(
    arm: Mapping[int, Losses],
    baseline: Mapping[int, Losses],
    again: Mapping[int, Losses],
    numbers: Numbers = "same numbers",
) -> LossFinding:
    """Compare the mean loss over the steps that all have, block by block.

    All arms of a block share its seed, and each block has another: so the baseline's own means
    spread as seeds do. With s their standard deviation over n blocks, two sets of n runs with
    other seeds differ by less than t s sqrt(2 / n) in 95 of 100 cases, and so may the arm from the
    baseline. A job that is not seeded differs from its own repetition within a block: its
    repetitions count as further runs.

    Args:
        arm: Of each block, the losses of its steps; None where one is not finite.
        baseline: The same of the unchanged job.
        again: The same of the unchanged job, run once more.
        numbers: What the override does to numbers. Where no seed reaches the job, rounding may
            not be told from a real difference by its spread; then it may be so large.
    """
    blocks = [block for block in arm if block in baseline]
    rows = [arm[b] for b in blocks] + [baseline[b] for b in blocks]
    twins = [again[b] for b in blocks if b in again]
    steps = min(map(len, [*rows, *twins]), default=0)
    if not steps or all(loss is None for b in blocks for loss in baseline[b][:steps]):
        return LossFinding(reason="no_losses", steps=steps)
    if any(_lost(arm[b][:steps], baseline[b][:steps]) for b in blocks):
        return LossFinding(reason="not_finite", steps=steps)
    usable = [b for b in blocks if _mean(baseline[b][:steps]) is not None]
    own = [_known(baseline[b][:steps]) for b in usable]
    difference = fmean(_known(arm[b][:steps]) - mean for b, mean in zip(usable, own, strict=True))
    repeated = [_known(again[b][:steps]) for b in usable if b in again]
    is_seeded = all(_equal(a, b) for a, b in zip(own, repeated, strict=False))
    runs = own if is_seeded else [*own, *repeated]
    found = {
        "steps": steps,
        "difference": difference,
        "mean": fmean(own),
        "is_seeded": is_seeded,
    }
    if _equal(fmean(own) + difference, fmean(own)):
        return LossFinding(reason="equal", **found)
    if len(runs) < 2:
        return LossFinding(reason="too_few_blocks", **found)
    allowed = _allowed(runs, len(usable))
    if abs(difference) <= allowed:
        return LossFinding(reason="within_spread", allowed=allowed, **found)
    if numbers == "same up to rounding" and _is_rounding(difference, fmean(own)):
        return LossFinding(reason="rounding", allowed=allowed, **found)
    return LossFinding(reason="beyond_spread", allowed=allowed, **found)


def _allowed(runs: Sequence[float], blocks: int) -> float:
    sample = moments(runs)
    return t_quantile(0.975, sample.n - 1) * sample.sd * math.sqrt(2 / blocks)


def _is_rounding(difference: float, mean: float) -> bool:
    return abs(difference) <= ROUNDING_TOLERANCE * abs(mean)


def _equal(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=EQUAL, abs_tol=1e-12)


def _lost(arm: Losses, baseline: Losses) -> bool:
    """Tell whether the arm has a loss that is not finite where the baseline's is."""
    return any(a is None and b is not None for a, b in zip(arm, baseline, strict=False))


def _mean(losses: Losses) -> float | None:
    known = [loss for loss in losses if loss is not None]
    return fmean(known) if known else None


def _known(losses: Losses) -> float:
    mean = _mean(losses)
    assert mean is not None
    return mean
