"""Intervals, resolutions and tests on a handful of replicates.

Values that are not finite are no replicates, and do not count.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from laptime.study import Estimate

MOST_BLOCKS = 1000
"""More than nobody runs: where a decision needs more, none is in sight."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, mean and standard deviation of a sample; the last is NaN for fewer than two."""

    n: int
    mean: float
    sd: float

    @property
    def se(self) -> float:
        """Standard error of the mean; infinite for fewer than two values."""
        return self.sd / math.sqrt(self.n) if self.n > 1 else math.inf

    def half_width(self, confidence: float) -> float:
        """Return half of the two-sided t interval; infinite for fewer than two values."""
        if self.n < 2:
            return math.inf
        return t_quantile((1 + confidence) / 2, self.n - 1) * self.se

    def two_sided_p(self, edge: float = 0.0) -> float:
        """Return the p of a mean that lies at most ``edge`` away from 0, on its side."""
        if self.n < 2:
            return 1.0
        beyond = abs(self.mean) - edge
        if self.se == 0:
            return 0.0 if beyond > 0 else 1.0
        return min(1.0, 2 * t_tail(beyond / self.se, self.n - 1))


def moments(values: Sequence[float]) -> Moments:
    """Summarise the finite values; exact sums, so that order and sign change nothing."""
    finite = [float(value) for value in values if math.isfinite(value)]
    n = len(finite)
    if n == 0:
        return Moments(0, math.nan, math.nan)
    # A sum of equal values divided by their count need not be that value in the last bit.
    mean = finite[0] if min(finite) == max(finite) else math.fsum(finite) / n
    if n == 1:
        return Moments(1, mean, math.nan)
    return Moments(n, mean, math.sqrt(math.fsum((value - mean) ** 2 for value in finite) / (n - 1)))


@lru_cache(maxsize=4096)
def t_quantile(probability: float, degrees: float) -> float:
    """Return Student's t below which a probability lies."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def t_tail(t: float, degrees: float) -> float:
    """Return the probability above t."""
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; infinite for fewer than two values."""
    return moments(values).se


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the mean with its Student t interval.

    Raises:
        ValueError: There is no finite value.
    """
    return _estimate(_some(values), confidence, log=False)


def geometric_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the geometric mean of times with the t interval of their logs.

    Times that are 0 (waits that a device hid) have no log: then it is the plain mean.

    Raises:
        ValueError: There is no finite value.
    """
    if any(value <= 0 for value in values):
        return mean_interval(values, confidence)
    return _estimate(_some([math.log(value) for value in values]), confidence, log=True)


def ratio_interval(log_ratios: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the ratio whose log is the mean log ratio, with its t interval.

    Raises:
        ValueError: There is no finite value.
    """
    return _estimate(_some(log_ratios), confidence, log=True)


def _some(values: Sequence[float]) -> Moments:
    sample = moments(values)
    if sample.n == 0:
        raise ValueError("An estimate needs at least one finite value; there is none.")
    return sample


def _estimate(sample: Moments, confidence: float, *, log: bool) -> Estimate:
    plain = exponential if log else float
    if sample.n < 2:
        return Estimate(estimate=plain(sample.mean), low=None, high=None, n=sample.n)
    half = sample.half_width(confidence)
    return Estimate(
        estimate=plain(sample.mean),
        low=plain(sample.mean - half),
        high=plain(sample.mean + half),
        n=sample.n,
    )


def exponential(log_value: float) -> float:
    """Return e to that power; what would not fit in a float is cut to what does."""
    return math.exp(min(log_value, 700.0))


def bootstrap_interval(
    values: Sequence[float], confidence: float = 0.95, seed: int = 0
) -> Estimate:
    """Return the mean with its BCa bootstrap interval (Efron 1987).

    The values are sorted, and turned so that their mean is positive, before they are resampled:
    neither their order nor which arm is called a changes the interval.

    Raises:
        ValueError: There is no finite value.
    """
    import numpy as np

    sample = _some(values)
    if sample.n < 2 or sample.sd == 0:
        return _estimate(sample, confidence, log=False)
    sign = -1.0 if sample.mean < 0 else 1.0
    turned = np.sort(sign * np.array([value for value in values if math.isfinite(value)]))
    low, high = sorted(sign * edge for edge in _bca(turned.tolist(), confidence, seed))
    return Estimate(estimate=sample.mean, low=low, high=high, n=sample.n)


def _bca(values: list[float], confidence: float, seed: int) -> tuple[float, float]:
    import warnings

    import numpy as np
    from scipy.stats import bootstrap

    def interval(method: Literal["BCa", "percentile"]) -> tuple[float, float]:
        found = bootstrap(
            (values,),
            np.mean,
            confidence_level=confidence,
            n_resamples=1999,
            method=method,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
        return float(found.low), float(found.high)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of samples too uniform for BCa: answered below
        low, high = interval("BCa")
        return (low, high) if math.isfinite(low + high) else interval("percentile")


def signed_rank_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the centre that Wilcoxon's signed rank test does not reject.

    From the ordered means of all pairs (Hollander and Wolfe, Nonparametric Statistical Methods);
    exact, hence infinite for samples too small for the confidence (fewer than 6 for 95 %).
    """
    import numpy as np

    finite = np.array([value for value in values if math.isfinite(value)])
    rows, columns = np.triu_indices(len(finite))
    means = np.sort((finite[rows] + finite[columns]) / 2)
    outside = _ranks_outside(len(finite), confidence)
    if outside == 0:
        return -math.inf, math.inf
    return float(means[outside - 1]), float(means[-outside])


@lru_cache(maxsize=256)
def _ranks_outside(n: int, confidence: float) -> int:
    """Return how many pairwise means lie outside the interval on each side."""
    counts = [1]  # ways in which some of the ranks 1 to n sum to 0, 1, 2 ...
    for rank in range(1, n + 1):
        longer = [0] * rank
        counts = [
            without + having
            for without, having in zip(counts + longer, longer + counts, strict=True)
        ]
    allowed, below = (1 - confidence) / 2 * 2**n, 0
    for outside, count in enumerate(counts):
        below += count
        if below > allowed:
            return outside
    return 0


def resolution(log_ratios: Sequence[float]) -> float | None:
    """Return the smallest relative difference seen with 80 % power; None for fewer than two.

    Seen means that the 95 % interval excludes 0. As if the spread were known: since few blocks
    only estimate it, effects of this size are seen by 68 % of studies with five blocks, and by
    74 % with ten (benchmarks/results/simulation.json).
    """
    sample = moments(log_ratios)
    if sample.n < 2:
        return None
    degrees = sample.n - 1
    return math.expm1((t_quantile(0.975, degrees) + t_quantile(0.8, degrees)) * sample.se)


def blocks_needed(log_ratios: Sequence[float], zone: float) -> int | None:
    """Return the number of blocks at which this mean and spread would decide.

    That is: faster, slower or equivalent. A forecast with about even odds, since the mean of more
    blocks will be another. None if more than 1,000, or if there are fewer than two ratios.
    """
    return forecast(moments(log_ratios), zone)


def forecast(sample: Moments, zone: float, alpha: float = 0.05, least: int = 2) -> int | None:
    """Return ``blocks_needed`` of a summary, at another level of faster and slower."""
    if sample.n < 2:
        return None
    edge, size = math.log1p(zone), abs(sample.mean)

    def decides(n: int) -> bool:
        later = Moments(n, sample.mean, sample.sd)
        outside = size - later.half_width(1 - alpha) > edge
        return outside or size + later.half_width(0.9) <= edge

    counts = range(max(2, least), MOST_BLOCKS + 1)
    found = bisect_left(counts, True, key=decides)  # intervals only shrink with more blocks
    return counts[found] if found < len(counts) else None


def smallest_gap(sd: float, n_a: int, n_b: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest gap of two means that Welch's test sees with this power.

    ``sd`` is that of one replicate, in both arms. About 3.0 sd for 3 a side, 2.0 for 5, 1.3 for
    10. Infinite for fewer than two a side.
    """
    if min(n_a, n_b) < 2:
        return math.inf
    degrees = _welch_degrees(1 / n_a, 1 / n_b, n_a, n_b)
    reach = t_quantile(1 - alpha / 2, degrees) + t_quantile(power, degrees)
    return reach * sd * math.sqrt(1 / n_a + 1 / n_b)


@dataclass(frozen=True, slots=True)
class WelchResult:
    """Difference of two means with its interval, and the p of no difference."""

    difference: float
    low: float
    high: float
    p: float


def welch(a: Sequence[float], b: Sequence[float], confidence: float = 0.95) -> WelchResult:
    """Compare the means of two arms whose replicates are not paired (Welch 1947).

    The interval is infinite and p is 1 if an arm has fewer than two finite values.
    """
    of_a, of_b = moments(a), moments(b)
    difference = of_a.mean - of_b.mean
    if min(of_a.n, of_b.n) < 2:
        return WelchResult(difference, -math.inf, math.inf, 1.0)
    variance_a, variance_b = of_a.se**2, of_b.se**2
    se = math.sqrt(variance_a + variance_b)
    if se == 0:
        return WelchResult(difference, difference, difference, float(difference == 0))
    degrees = _welch_degrees(variance_a, variance_b, of_a.n, of_b.n)
    half = t_quantile((1 + confidence) / 2, degrees) * se
    p = min(1.0, 2 * t_tail(abs(difference) / se, degrees))
    return WelchResult(difference, difference - half, difference + half, p)


def _welch_degrees(variance_a: float, variance_b: float, n_a: int, n_b: int) -> float:
    # Shares first: squares of tiny variances would be 0.
    share = variance_a / (variance_a + variance_b)
    return 1 / (share**2 / (n_a - 1) + (1 - share) ** 2 / (n_b - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted so that 5 % bounds the chance of any false claim (Holm 1979)."""
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, p_values[place] * (len(order) - rank)))
        adjusted[place] = highest
    return adjusted
