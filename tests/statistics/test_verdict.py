from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from laptime.statistics.verdict import judge_accuracies, judge_all, judge_times
from laptime.study import Comparison

SPREAD = [-0.012, 0.004, 0.010, -0.006, 0.004]
"""Five blocks without an effect: mean 0, sd about 1 %."""

OPPOSITE = {"faster": "slower", "slower": "faster"}


def around(mean: float, spread: float = 1.0) -> list[float]:
    return [mean + spread * value for value in SPREAD]


@pytest.mark.parametrize(
    ("log_ratios", "verdict", "reason"),
    [
        (around(0.10), "slower", "interval_outside_zone"),
        (around(-0.10), "faster", "interval_outside_zone"),
        (around(0.0), "equivalent", "interval_inside_zone"),
        (around(0.016, 0.5), "equivalent", "interval_inside_zone"),
        (around(0.03), "small difference", "excludes_zero_meets_zone"),
        (around(0.01, 4.0), "inconclusive", "interval_too_wide"),
        (around(0.10)[:4], "inconclusive", "too_few_blocks"),
        ([0.1], "inconclusive", "too_few_blocks"),
        ([], "not measurable", "no_estimate"),
        ([math.nan, math.inf], "not measurable", "no_estimate"),
        ([*around(0.10), math.nan], "slower", "interval_outside_zone"),
        ([0.0] * 5, "equivalent", "interval_inside_zone"),
        ([0.1] * 5, "slower", "interval_outside_zone"),
        ([0.1] * 12, "slower", "interval_outside_zone"),
        ([1e4] * 5, "slower", "interval_outside_zone"),
    ],
)
def test_a_verdict_follows_from_where_the_interval_lies(
    log_ratios: list[float], verdict: str, reason: str
) -> None:
    found = judge_times("a", "b", log_ratios)

    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_small_effect_that_is_surely_within_the_zone_is_equivalent_first() -> None:
    found = judge_times("a", "b", around(0.016, 0.5))

    assert found.low is not None
    assert found.low > 1
    assert found.verdict == "equivalent"


def test_the_ratio_is_that_of_the_times_of_a_and_b() -> None:
    found = judge_times("a", "b", around(math.log(1.2)))

    assert found.ratio == pytest.approx(1.2)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 1.2 < found.high
    assert (found.a, found.b, found.n, found.quantity) == ("a", "b", 5, "epoch_s")


def test_only_what_is_inconclusive_needs_more_blocks() -> None:
    assert judge_times("a", "b", around(0.10)).blocks_needed is None
    assert judge_times("a", "b", [0.1]).blocks_needed == 5
    assert judge_times("a", "b", around(0.10)[:3]).blocks_needed == 5
    needed = judge_times("a", "b", around(0.0, 4.0)).blocks_needed
    assert needed is not None
    assert needed > 5


def test_the_zone_and_the_least_number_of_blocks_are_the_callers() -> None:
    assert judge_times("a", "b", around(0.10), 0.2).verdict == "equivalent"
    assert judge_times("a", "b", around(0.10)[:3], min_blocks=3).verdict == "slower"


def test_ten_blocks_that_only_the_t_interval_puts_outside_are_inconclusive() -> None:
    found = judge_times("a", "b", [0.029, *[0.03] * 9])

    assert found.low is not None
    assert found.low > 1.03
    assert (found.verdict, found.reason) == ("inconclusive", "robust_test_disagrees")
    assert found.blocks_needed is None


def test_an_objection_needs_both_robust_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = around(0.10) * 2
    module = "laptime.statistics.verdict."
    monkeypatch.setattr(module + "signed_rank_interval", lambda *_: (-math.inf, math.inf))
    assert judge_times("a", "b", ratios).verdict == "slower"

    monkeypatch.setattr(module + "bootstrap_interval", lambda *_: judged(low=-1.0, high=1.0))
    found = judge_times("a", "b", ratios)
    assert (found.verdict, found.reason) == ("inconclusive", "robust_test_disagrees")
    assert judge_times("a", "b", ratios[:9]).verdict == "slower"


def judged(low: float, high: float) -> Comparison:
    return Comparison(
        a="", b="", ratio=0, low=low, high=high, n=10, verdict="inconclusive", reason=""
    )


blocks = st.lists(st.floats(-0.3, 0.3), min_size=0, max_size=14)


@settings(deadline=None)  # scipy is imported by the first call
@given(blocks)
def test_swapping_the_arms_inverts_the_verdict(log_ratios: list[float]) -> None:
    assume(math.fsum(log_ratios) != 0)
    one = judge_times("a", "b", log_ratios)
    other = judge_times("b", "a", [-value for value in log_ratios])

    assert other.verdict == OPPOSITE.get(one.verdict, one.verdict)
    assert (other.reason, other.blocks_needed) == (one.reason, one.blocks_needed)


@settings(deadline=None)  # scipy is imported by the first call
@given(blocks, st.randoms(use_true_random=False))
def test_the_order_of_the_blocks_changes_nothing(
    log_ratios: list[float], order: random.Random
) -> None:
    mixed = order.sample(log_ratios, len(log_ratios))

    assert judge_times("a", "b", mixed) == judge_times("a", "b", log_ratios)


@settings(deadline=None)  # scipy is imported by the first call
@given(
    st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.8, 1.25)), min_size=5, max_size=9),
    st.floats(1e-3, 1e3),
)
def test_another_unit_of_time_changes_nothing(
    times: list[tuple[float, float]], unit: float
) -> None:
    one = judge_times("a", "b", [math.log(s * ratio / s) for s, ratio in times])
    other = judge_times("a", "b", [math.log(unit * s * ratio / (unit * s)) for s, ratio in times])
    assert one.ratio == pytest.approx(other.ratio)
    assert one.low == pytest.approx(other.low)
    for edge in (one.low, one.high):  # a last bit may decide on the edge itself
        assert edge is not None
        assume(abs(abs(math.log(edge)) - math.log(1.03)) > 1e-9)
        assume(abs(math.log(edge)) > 1e-9)

    assert one.verdict == other.verdict


@settings(deadline=None)  # scipy is imported by the first call
@given(blocks)
def test_a_verdict_says_no_more_than_its_interval(log_ratios: list[float]) -> None:
    found = judge_times("a", "b", log_ratios)

    if found.verdict in {"faster", "slower", "small difference", "equivalent"}:
        assert found.n >= 5
        assert found.low is not None
        assert found.high is not None
        assert (found.verdict == "slower") == (found.low > 1.03 * (1 + 1e-12))
        assert (found.verdict == "faster") == (found.high * 1.03 * (1 + 1e-12) < 1)
        assert found.verdict != "small difference" or not found.low <= 1 <= found.high
        assert found.verdict != "equivalent" or 1 / 1.03 <= (found.ratio or 0) <= 1.03


def test_one_pair_is_judged_as_it_is_alone() -> None:
    for ratios in (around(0.1), around(0.0), around(0.03), around(0.01, 4.0), [0.1], []):
        assert judge_all([("a", "b", ratios)]) == [judge_times("a", "b", ratios)]


def test_a_claim_that_chance_explains_among_many_is_taken_back() -> None:
    claim = around(0.0475)
    nothing = [(f"x{i}", "b", around(0.0, 4.0)) for i in range(9)]
    assert judge_times("a", "b", claim).verdict == "slower"

    found = judge_all([("a", "b", claim), *nothing])[0]

    assert (found.verdict, found.reason) == ("small difference", "holm")
    assert found.low == judge_times("a", "b", claim).low


def test_a_small_difference_that_chance_explains_is_inconclusive() -> None:
    some = around(0.045, 3.0)
    assert judge_times("a", "b", some).verdict == "small difference"

    found = judge_all([("a", "b", some), *[("x", "b", around(0.0, 4.0))] * 9])[0]

    assert (found.verdict, found.reason) == ("inconclusive", "holm")
    assert found.blocks_needed is not None
    assert found.blocks_needed > 5


def test_a_large_effect_stands_among_many() -> None:
    rows = judge_all([("a", "b", around(0.3)), *[("x", "b", around(0.0))] * 30])

    assert [row.verdict for row in rows] == ["slower"] + ["equivalent"] * 30


def test_what_is_equivalent_stays_so_among_many() -> None:
    near = around(0.016, 0.5)
    rows = judge_all([("a", "b", near), *[("x", "b", around(0.0, 4.0))] * 60])

    assert rows[0] == judge_times("a", "b", near)


def test_pairs_with_too_few_blocks_cost_the_others_nothing() -> None:
    rows = judge_all([("a", "b", around(0.0475)), *[("x", "b", [0.0, 0.1])] * 30])

    assert rows[0].verdict == "slower"
    assert {row.reason for row in rows[1:]} == {"too_few_blocks"}


NEAR = [0.900, 0.901, 0.899, 0.9005, 0.8995]
FAR = [0.870, 0.871, 0.869, 0.8705, 0.8695]
WIDE = [0.85, 0.95, 0.90, 0.88, 0.92]


def accuracies(**arms: list[float]) -> list[Comparison]:
    return judge_accuracies(arms, quantity="accuracy")


@pytest.mark.parametrize(
    ("a", "b", "verdict", "reason"),
    [
        (NEAR, FAR, "higher", "welch_holm"),
        (FAR, NEAR, "lower", "welch_holm"),
        (NEAR, NEAR, "equivalent", "interval_inside_zone"),
        (NEAR, [value + 0.0015 for value in NEAR], "equivalent", "interval_inside_zone"),
        (NEAR, WIDE, "inconclusive", "not_distinguishable"),
        (NEAR[:4], FAR, "inconclusive", "too_few_seeds"),
        ([0.9], [0.8], "inconclusive", "too_few_seeds"),
        ([], FAR, "not measurable", "no_estimate"),
        ([0.9] * 5, [0.9] * 5, "equivalent", "interval_inside_zone"),
        ([0.9] * 5, [0.8] * 5, "higher", "welch_holm"),
    ],
)
def test_accuracies_are_compared_unpaired(
    a: list[float], b: list[float], verdict: str, reason: str
) -> None:
    (found,) = accuracies(a=a, b=b)

    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_comparison_of_accuracies_holds_the_difference() -> None:
    (found,) = accuracies(a=NEAR, b=[*FAR, 0.87])

    assert found.quantity == "accuracy"
    assert found.ratio == pytest.approx(0.03)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.03 < found.high
    assert found.n == 5


def test_all_pairs_of_arms_are_compared_and_their_number_is_paid_for() -> None:
    near = [value + 0.012 * (-1) ** i for i, value in enumerate(NEAR)]
    far = [value - 0.025 for value in near]
    assert accuracies(a=near, b=far)[0].verdict == "higher"

    rows = accuracies(a=near, b=far, c=WIDE, d=WIDE[::-1], e=WIDE, f=WIDE)

    assert len(rows) == 15
    assert rows[0].verdict == "inconclusive"


def test_the_order_of_seeds_means_nothing() -> None:
    assert accuracies(a=NEAR, b=WIDE) == accuracies(a=NEAR, b=sorted(WIDE))
