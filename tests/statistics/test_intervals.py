from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from laptime.statistics.intervals import (
    blocks_needed,
    bootstrap_interval,
    geometric_interval,
    holm,
    mean_interval,
    ratio_interval,
    resolution,
    signed_rank_interval,
    smallest_gap,
    standard_error,
    welch,
)

VALUES = [9.8, 10.1, 10.4, 9.9, 10.3]
SKEWED = [0.01, 0.02, 0.02, 0.03, 0.03, 0.04, 0.05, 0.05, 0.06, 0.30]

ordinary = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=12)


def test_the_interval_of_a_mean_is_students() -> None:
    found = mean_interval(VALUES)
    low, high = stats.t.interval(0.95, 4, np.mean(VALUES), stats.sem(VALUES))

    assert (found.estimate, found.n) == (pytest.approx(10.1), 5)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval_and_an_infinite_standard_error() -> None:
    found = mean_interval([3.0])

    assert (found.estimate, found.low, found.high, found.n) == (3.0, None, None, 1)
    assert standard_error([3.0]) == math.inf
    assert resolution([0.1]) is None
    assert blocks_needed([0.1], 0.03) is None


def test_no_value_is_no_estimate() -> None:
    with pytest.raises(ValueError, match="at least one finite value"):
        mean_interval([math.nan])


def test_what_is_not_finite_does_not_count() -> None:
    assert mean_interval([*VALUES, math.nan, math.inf]) == mean_interval(VALUES)


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = mean_interval([0.1] * 7)

    assert found.low == found.estimate == found.high == 0.1


def test_times_are_averaged_as_logs() -> None:
    found = geometric_interval([1.0, 4.0])

    assert found.estimate == pytest.approx(2)
    assert found.low is not None
    assert found.high is not None
    assert found.estimate / found.low == pytest.approx(found.high / found.estimate)


def test_times_of_zero_are_averaged_as_they_are() -> None:
    assert geometric_interval([0.0, 1.0]).estimate == 0.5


def test_a_ratio_comes_from_mean_logs() -> None:
    found = ratio_interval([math.log(1.1)] * 2 + [math.log(1.3)] * 2)

    assert found.estimate == pytest.approx(math.sqrt(1.1 * 1.3))


def test_a_larger_confidence_makes_a_wider_interval() -> None:
    wide, narrow = mean_interval(VALUES, 0.99), mean_interval(VALUES, 0.9)

    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < narrow.low


def test_the_bootstrap_is_scipys_and_not_symmetric_for_skewed_values() -> None:
    found = bootstrap_interval(SKEWED)
    expected = stats.bootstrap((SKEWED,), np.mean, n_resamples=50_000, rng=1).confidence_interval

    assert found.low == pytest.approx(expected.low, abs=0.004)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.estimate > found.estimate - found.low


def test_the_bootstrap_survives_samples_too_uniform_for_it() -> None:
    assert bootstrap_interval([0.2, 0.2, 0.2]).high == 0.2
    assert bootstrap_interval([0.2, 0.3]).n == 2
    assert bootstrap_interval([0.1]).low is None


@settings(deadline=None)  # scipy is imported by the first call
@given(ordinary, st.randoms(use_true_random=False))
def test_order_and_sign_only_mirror_an_interval(values: list[float], order: random.Random) -> None:
    mixed = [-value for value in values]
    order.shuffle(mixed)
    for interval in (mean_interval, bootstrap_interval):
        one, other = interval(values), interval(mixed)
        assert one.low is not None
        assert one.high is not None
        if one.estimate != 0:  # of a mean of 0 no side is the positive one
            assert (other.low, other.high) == (-one.high, -one.low)


@pytest.mark.parametrize("n", [6, 10, 17])
def test_the_signed_rank_interval_is_what_wilcoxon_does_not_reject(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1, n)
    low, high = signed_rank_interval(values.tolist())

    def p(centre: float) -> float:
        return float(stats.wilcoxon(values - centre, method="exact").pvalue)

    assert p(low + 1e-9) > 0.05 >= p(low - 1e-9)
    assert p(high - 1e-9) > 0.05 >= p(high + 1e-9)


def test_five_values_are_too_few_for_signed_ranks() -> None:
    assert signed_rank_interval(VALUES) == (-math.inf, math.inf)


def test_the_resolution_is_what_80_per_cent_of_studies_see() -> None:
    ratios = [-0.02, 0.01, 0.03, -0.01, 0.02]
    reach = stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)

    assert resolution(ratios) == pytest.approx(math.expm1(reach * stats.sem(ratios)))


def test_blocks_needed_is_the_first_count_that_decides() -> None:
    wide = [0.09, -0.02, 0.06, 0.12, 0.0]
    needed = blocks_needed(wide, 0.03)
    mean, sd, edge = np.mean(wide), np.std(wide, ddof=1), math.log(1.03)

    def outside(n: int) -> bool:
        return bool(mean - stats.t.ppf(0.975, n - 1) * sd / math.sqrt(n) > edge)

    assert needed is not None
    assert outside(needed)
    assert not outside(needed - 1)


def test_no_number_of_blocks_decides_on_the_edge_of_the_zone() -> None:
    edge = math.log(1.03)

    assert blocks_needed([edge - 0.05, edge + 0.05], 0.03) is None


@pytest.mark.parametrize(("n", "gap"), [(3, 3.0), (5, 2.0), (10, 1.3), (20, 0.9)])
def test_the_smallest_gap_shrinks_with_seeds(n: int, gap: float) -> None:
    assert smallest_gap(1.0, n, n) == pytest.approx(gap, abs=0.05)
    assert smallest_gap(0.5, n, n) == pytest.approx(smallest_gap(1.0, n, n) / 2)


def test_one_seed_sees_nothing() -> None:
    assert smallest_gap(1.0, 1, 20) == math.inf
    assert welch([1.0], VALUES).p == 1.0


def test_welch_is_scipys() -> None:
    other = [9.0, 9.9, 9.3, 10.2]
    found, expected = welch(VALUES, other), stats.ttest_ind(VALUES, other, equal_var=False)
    interval = expected.confidence_interval()

    assert found.difference == pytest.approx(np.mean(VALUES) - np.mean(other))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_arms_without_spread_differ_surely_or_not_at_all() -> None:
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1.0
    assert welch([1.0, 1.0], [2.0, 2.0]).p == 0.0


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


@settings(deadline=None)  # scipy is imported by the first call
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_makes_a_p_smaller_nor_larger_than_one(p_values: list[float]) -> None:
    adjusted = holm(p_values)

    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
