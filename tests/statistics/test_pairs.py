from __future__ import annotations

import math
from random import Random

import pytest

from laptime.statistics.pairs import judge_learning, judge_paired, judge_unpaired

TEN = (10.0, 10.1, 9.9, 10.05, 9.95)


def scaled(factor: float, spread: float = 1.0) -> list[float]:
    return [factor * (10 + spread * (value - 10)) for value in TEN]


@pytest.mark.parametrize(
    ("a", "verdict", "reason"),
    [
        (scaled(0.8), "faster", "unpaired_interval_outside_zone"),
        (scaled(1.2), "slower", "unpaired_interval_outside_zone"),
        (scaled(1.001), "equivalent", "unpaired_interval_inside_zone"),
        (scaled(1.03), "small difference", "unpaired_excludes_zero_meets_zone"),
        (scaled(1.02, spread=8), "inconclusive", "unpaired_interval_too_wide"),
        (scaled(0.5)[:4], "inconclusive", "too_few_blocks"),
        ([], "not measurable", "no_estimate"),
        ([0.0, *scaled(0.5)], "not measurable", "no_estimate"),
    ],
)
def test_unpaired_times_are_judged_by_the_interval_of_their_ratio_and_the_zone(
    a: list[float], verdict: str, reason: str
) -> None:
    row = judge_unpaired(a, TEN, 0.03).row

    assert (row.verdict, row.reason) == (verdict, reason)


def test_the_ratio_is_the_time_of_a_over_that_of_b_with_its_interval() -> None:
    found = judge_unpaired(scaled(0.8), TEN, 0.03)

    assert found.row.ratio == pytest.approx(0.8)
    assert found.row.low is not None
    assert found.row.high is not None
    assert found.row.low < 0.8 < found.row.high
    assert (found.n_a, found.n_b) == (5, 5)


def test_turned_around_the_ratio_is_inverted_and_the_verdict_opposite() -> None:
    row, turned = judge_unpaired(scaled(0.8), TEN, 0.03), judge_unpaired(TEN, scaled(0.8), 0.03)

    assert turned.row.verdict == "slower"
    assert turned.row.ratio == pytest.approx(1 / (row.row.ratio or 0))
    assert turned.row.high == pytest.approx(1 / (row.row.low or 0))


def test_an_undecided_pair_says_how_many_blocks_would_decide() -> None:
    needed = judge_unpaired(scaled(1.06, spread=8), TEN, 0.03).row.blocks_needed

    assert needed is not None
    assert 5 < needed < 1000


def test_one_block_a_side_needs_the_five_that_a_verdict_takes() -> None:
    assert judge_unpaired(scaled(0.5)[:1], TEN[:1], 0.03).row.blocks_needed == 5


def test_the_resolution_grows_with_the_spread() -> None:
    quiet, noisy = (judge_unpaired(scaled(1, spread), TEN, 0.03).resolution for spread in (1, 5))

    assert quiet is not None
    assert noisy is not None
    assert 0 < quiet < noisy


def test_studies_that_do_not_differ_are_called_different_in_at_most_one_of_twenty() -> None:
    random = Random(0)

    def study() -> list[float]:
        return [random.lognormvariate(2, 0.025) for _ in range(5)]

    # Without a zone, so that nothing but the interval protects from a false verdict.
    verdicts = [judge_unpaired(study(), study(), 0.0).row.verdict for _ in range(600)]

    assert sum(verdict in {"faster", "slower"} for verdict in verdicts) <= 0.05 * 600 + 10


def test_a_pair_is_corrected_for_those_that_could_have_been_asked_for_instead() -> None:
    random = Random(4)
    noise = [[random.gauss(0, 0.05) for _ in range(5)] for _ in range(9)]
    ratios = [0.050, 0.060, 0.095, 0.105, 0.045]
    alone = judge_paired(("a", "b", ratios), [], 0.03).row
    picked = judge_paired(("a", "b", ratios), [("c", "b", n) for n in noise], 0.03).row

    assert alone.verdict == "slower"
    assert picked.reason == "holm"
    assert picked.ratio == alone.ratio


def test_learning_is_judged_by_the_difference_of_a_and_b_in_that_order() -> None:
    values = {"x": [0.1] * 5, "b": [0.50, 0.51, 0.52, 0.50, 0.51], "a": [0.6, 0.61, 0.62, 0.6, 0.6]}

    found = judge_learning("a", "b", values, quantity="accuracy", zone=0.003)

    assert found.row.verdict == "higher"
    assert found.row.ratio == pytest.approx(0.098)
    assert found.n_a == found.n_b == 5


def test_too_few_seeds_are_no_verdict() -> None:
    row = judge_learning("a", "b", {"a": [0.5], "b": [0.6]}, quantity="accuracy", zone=0.003).row

    assert (row.verdict, row.reason) == ("inconclusive", "too_few_seeds")
    assert row.ratio == pytest.approx(-0.1)
    assert row.low is None
    assert not math.isnan(row.ratio or 0)
