from __future__ import annotations

import pytest
from tests.tuning.scripts import Script, request

from laptime.errors import SettingsError
from laptime.study import TurnPolicy
from laptime.tune import NotTried, TuneArm
from laptime.tuning.findings import Findings
from laptime.tuning.ground.costs import COMPILE_S, Costs
from laptime.tuning.ground.price import SCREENING, check_budget, estimate, proof_s, unchanged

POLICY = TurnPolicy(min_turns=4, max_turns=12)


def costs() -> Costs:
    pilot = Script().pilot().model_copy(update={"start_s": 4.0, "prepare_s": 0.7})
    return Costs(pilot, turn_s=0.93)


def test_a_block_is_its_starts_and_its_turns() -> None:
    assert costs().block_s(unchanged(3), 4) == pytest.approx(4 + 2 * 2 + 3 * (1.0 + 4 * 1.0))


def test_blocks_that_took_longer_correct_what_is_predicted() -> None:
    known = costs()
    known.took(unchanged(3), 4, 2 * known.block_s(unchanged(3), 4), POLICY)

    assert known.block_s(unchanged(3), 4) == pytest.approx(2 * costs().block_s(unchanged(3), 4))


def test_what_others_took_is_what_the_next_block_is_expected_to_take() -> None:
    known = costs()
    known.took(unchanged(2), 12, known.block_s(unchanged(2), 12), POLICY)

    assert known.usual_s(unchanged(2), POLICY) == pytest.approx(known.block_s(unchanged(2), 12))


def test_turns_are_as_many_as_fit_and_never_fewer_than_the_fewest() -> None:
    known = costs()

    assert known.most_turns(unchanged(2), POLICY, known.block_s(unchanged(2), 7)) == 7
    assert known.most_turns(unchanged(2), POLICY, 0.0) == 4


def test_a_budget_that_holds_no_proof_says_the_least_that_does() -> None:
    asked = request(budget_s=30.0)

    with pytest.raises(SettingsError, match=r"budget is 30 s.*Give --budget (\d+)s") as refused:
        check_budget(costs(), asked, 30.0)

    enough_s = float(str(refused.value).rpartition("--budget ")[2].rstrip("s."))
    check_budget(costs(), request(budget_s=enough_s), enough_s)


def test_the_price_spans_from_nothing_found_to_a_lot() -> None:
    price = estimate(costs(), request(), counts=4, candidates=unchanged(5))

    assert 0 < price.least_s < price.most_s
    assert proof_s(costs(), request()) < price.most_s
    assert price.words().startswith("between ")


COMPILED = [*unchanged(1), TuneArm(name="compile", changes=(("compile", True),))]


def test_what_compiles_costs_more_and_how_much_is_learnt_apart() -> None:
    known = costs()
    plain_s = known.block_s(unchanged(2), 4)
    assert known.block_s(COMPILED, 4) == pytest.approx(plain_s + COMPILE_S)

    known.took(COMPILED, 4, plain_s + 20.0, POLICY)

    assert known.block_s(COMPILED, 4) == pytest.approx(plain_s + 20.0)
    assert known.block_s(unchanged(2), 4) == pytest.approx(plain_s)


def test_arms_of_a_short_job_start_one_after_another() -> None:
    pilot = Script().pilot().model_copy(update={"start_s": 4.0, "prepare_s": 0.7})
    short = TurnPolicy(min_turns=1, max_turns=1, min_steps=40, min_s=0.0)

    known = Costs(pilot, turn_s=0.93, short=short)

    assert known.least_s(unchanged(3), POLICY) == pytest.approx(3 * (4 + 1.0 + 1.0))


def test_the_least_budget_holds_the_first_block_of_an_ascent() -> None:
    asked = request()
    least_s = costs().least_s(unchanged(2), SCREENING) + proof_s(costs(), asked)

    check_budget(costs(), asked, least_s)
    with pytest.raises(SettingsError, match="to try and prove one override"):
        check_budget(costs(), asked, least_s, first=4)


def test_what_the_budget_did_not_hold_is_not_called_nothing_to_gain() -> None:
    found = Findings()
    assert not found.lacks_verdicts
    found.not_tried.append(NotTried(name="num_workers", numbers="same numbers", why="budget"))
    assert found.lacks_verdicts
