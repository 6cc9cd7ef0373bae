from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.studies.fakes import arm

from laptime.errors import SettingsError
from laptime.settings import build_settings
from laptime.studies.plan import block_orders, make_plan
from laptime.studies.worker_arms import plan_confirmation, plan_workers
from laptime.study import TurnPolicy


@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 2**63 - 1))
def test_every_round_gives_every_arm_one_turn(arms: int, block: int, seed: int) -> None:
    orders = block_orders(arms, block, TurnPolicy(), seed)

    assert len(orders) == TurnPolicy().max_turns
    assert all(sorted(order) == list(range(arms)) for order in orders)


def test_orders_depend_on_seed_and_block_and_on_nothing_else() -> None:
    policy = TurnPolicy()

    assert block_orders(5, 1, policy, 0) == block_orders(5, 1, policy, 0)
    assert block_orders(5, 1, policy, 0) != block_orders(5, 2, policy, 0)
    assert block_orders(5, 1, policy, 0) != block_orders(5, 1, policy, 1)


def test_no_arm_is_favoured_with_a_place_in_the_round() -> None:
    rounds = [o for seed in range(200) for o in block_orders(4, 1, TurnPolicy(), seed)]
    first = [sum(order[0] == place for order in rounds) / len(rounds) for place in range(4)]

    assert first == pytest.approx([0.25] * 4, abs=0.03)


def test_two_arms_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="'a' is there twice"):
        make_plan("workers", [arm("a"), arm("a")], "a", ())


def test_a_baseline_that_is_no_arm_is_refused() -> None:
    with pytest.raises(SettingsError, match="'z' is no arm"):
        make_plan("workers", [arm("a")], "z", ())


def test_a_grid_is_run_exactly_as_given_with_twin_and_bound() -> None:
    plan = plan_workers(build_settings({}), [0, 4, 8, 12, 16], 5, TurnPolicy())

    names = [arm.name for arm in plan.arms]
    assert names == ["0", "4", "8", "12", "16", "0 again", "resident"]
    counts = [arm.settings.loader.num_workers for arm in plan.arms[:5]]
    assert counts == [0, 4, 8, 12, 16]


def test_the_baseline_is_the_current_count_where_the_grid_has_it() -> None:
    base = build_settings({"num_workers": 4})

    assert plan_workers(base, [0, 4], 5, TurnPolicy()).baseline == "4"
    assert plan_workers(base, [0, 8], 5, TurnPolicy()).baseline == "0"


def test_fresh_blocks_hold_the_recommended_the_current_and_one_worker() -> None:
    base = build_settings({"num_workers": 2})

    plan = plan_confirmation(base, 4, [0, 2, 4], TurnPolicy(), 5)

    assert plan is not None
    assert [arm.name for arm in plan.arms] == ["2", "4", "1"]
    assert plan.orders != plan_workers(base, [0, 2, 4], 5, TurnPolicy()).orders


def test_nothing_is_confirmed_where_the_current_count_is_the_recommended_one() -> None:
    base = build_settings({"num_workers": 1})

    assert plan_confirmation(base, 1, [0, 1, 2], TurnPolicy(), 5) is None
