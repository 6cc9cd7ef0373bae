from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from tests.tuning.scripts import losses_of

from laptime.tuning.judging.losses import judge_losses

BLOCKS = range(1, 6)


def runs(shift: int = 0, off: float = 0.0, factor: float = 1.0) -> dict[int, list[float | None]]:
    return {b: [loss * factor + off for loss in losses_of(b + shift)] for b in BLOCKS}


def test_equal_losses_agree() -> None:
    found = judge_losses(runs(), runs(), runs())

    assert found.reason == "equal"
    assert found.agrees
    assert found.is_seeded


def test_losses_of_another_seed_agree() -> None:
    found = judge_losses(runs(shift=1000), runs(), runs())

    assert found.reason == "within_spread"
    assert found.agrees


def test_losses_that_are_off_by_more_than_seeds_do_not_agree() -> None:
    found = judge_losses(runs(off=0.3), runs(), runs())

    assert found.reason == "beyond_spread"
    assert not found.agrees
    assert found.difference == pytest.approx(0.3)


def test_a_loss_that_is_not_finite_is_no_agreement() -> None:
    broken = runs()
    broken[3][10] = None

    assert judge_losses(broken, runs(), runs()).reason == "not_finite"


def test_a_loss_that_the_unchanged_job_loses_too_is_left_out() -> None:
    both = runs()
    both[3][10] = None

    assert judge_losses(both, both, both).agrees


def test_only_the_steps_that_all_have_are_compared() -> None:
    longer: Mapping[int, list[float | None]] = {b: [*rows, 99.0] for b, rows in runs().items()}

    found = judge_losses(longer, runs(), {})

    assert found.reason == "equal"
    assert found.steps == 120


def test_a_job_that_is_not_seeded_is_measured_by_its_own_repetitions() -> None:
    found = judge_losses(runs(shift=500), runs(), runs(shift=900))

    assert not found.is_seeded
    assert found.agrees


def test_rounding_is_no_difference_where_no_seed_reaches_the_job() -> None:
    fixed: dict[int, list[float | None]] = {b: list(losses_of(7)) for b in BLOCKS}
    rounded: dict[int, list[float | None]] = {
        b: [loss * (1 + 3e-5) for loss in losses_of(7)] for b in BLOCKS
    }

    assert judge_losses(rounded, fixed, fixed, "same up to rounding").reason == "rounding"
    assert judge_losses(rounded, fixed, fixed, "same numbers").reason == "beyond_spread"


def test_without_losses_nothing_is_said() -> None:
    nothing: dict[int, list[float | None]] = {b: [None] * 5 for b in BLOCKS}

    assert judge_losses({}, {}, {}).reason == "no_losses"
    assert judge_losses(nothing, nothing, nothing).reason == "no_losses"


def test_one_block_does_not_tell_what_chance_does() -> None:
    one = {1: runs()[1]}

    assert judge_losses({1: runs(off=0.1)[1]}, one, one).reason == "too_few_blocks"


def test_of_arms_that_are_another_seed_about_one_in_twenty_is_called_different() -> None:
    drawn = random.Random(3)
    wrong = 0
    for _ in range(400):
        first, second = drawn.randrange(10**6), drawn.randrange(10**6)
        wrong += not judge_losses(runs(shift=first), runs(shift=second), {}).agrees

    assert wrong / 400 == pytest.approx(0.05, abs=0.03)
