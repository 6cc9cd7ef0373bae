from __future__ import annotations

import pytest
from tests.tuning.scripts import Script, request

from laptime.errors import SettingsError
from laptime.study import TurnPolicy
from laptime.tuning.ground.price import Costs, check_budget, estimate, proof_s

POLICY = TurnPolicy(min_turns=4, max_turns=12)


def costs() -> Costs:
    pilot = Script().pilot().model_copy(update={"start_s": 4.0, "prepare_s": 0.7})
    return Costs(pilot, turn_s=0.93)


def test_a_block_is_its_starts_and_its_turns() -> None:
    assert costs().block_s(3, 4) == pytest.approx(4 + 2 * 2 + 3 * (1.0 + 4 * 1.0))


def test_blocks_that_took_longer_correct_what_is_predicted() -> None:
    known = costs()
    known.took(3, 4, 2 * known.block_s(3, 4), POLICY)

    assert known.block_s(3, 4) == pytest.approx(2 * costs().block_s(3, 4))


def test_what_others_took_is_what_the_next_block_is_expected_to_take() -> None:
    known = costs()
    known.took(2, 12, known.block_s(2, 12), POLICY)

    assert known.usual_s(2, POLICY) == pytest.approx(known.block_s(2, 12))


def test_turns_are_as_many_as_fit_and_never_fewer_than_the_fewest() -> None:
    known = costs()

    assert known.most_turns(2, POLICY, known.block_s(2, 7)) == 7
    assert known.most_turns(2, POLICY, 0.0) == 4


def test_a_budget_that_holds_no_proof_says_the_least_that_does() -> None:
    asked = request(budget_s=30.0)

    with pytest.raises(SettingsError, match=r"budget is 30 s.*Give --budget (\d+)s") as refused:
        check_budget(costs(), asked, 30.0)

    enough_s = float(str(refused.value).rpartition("--budget ")[2].rstrip("s."))
    check_budget(costs(), request(budget_s=enough_s), enough_s)


def test_the_price_spans_from_nothing_found_to_a_lot() -> None:
    price = estimate(costs(), request(), counts=4, candidates=5)

    assert 0 < price.least_s < price.most_s
    assert proof_s(costs(), request()) < price.most_s
    assert price.words().startswith("between ")
