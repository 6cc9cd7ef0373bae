from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FAMILIES = (
    "lognormal", "bimodal", "autoregressive", "drift", "spikes", "spiked_turns", "level_shift",
)  # fmt: skip
FEW = 300
"""Studies a cell here: a share of 0.95 is known to 0.04, hence the margins below."""
MARGIN = 0.04


@pytest.fixture(scope="module", autouse=True)
def _scripts() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield


@pytest.fixture
def studies() -> ModuleType:
    return importlib.import_module("simulate_studies")


@pytest.fixture
def searches() -> ModuleType:
    return importlib.import_module("simulate_searches")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sd", [0.01, 0.05])
def test_intervals_cover_and_verdicts_are_rarely_wrong(
    studies: ModuleType, family: str, sd: float
) -> None:
    found = studies.judged(family, sd, 5, FEW)

    assert found["coverage"] >= 0.93 - MARGIN
    assert found["false_verdicts"] <= 0.05
    assert found["false_equivalent"] <= 0.05


def test_all_families_are_simulated(studies: ModuleType) -> None:
    assert tuple(studies.FAMILIES) == FAMILIES


def test_ten_blocks_cover_and_see_more_than_five(studies: ModuleType) -> None:
    five, ten = (studies.judged("lognormal", 0.05, blocks, FEW) for blocks in (5, 10))

    assert ten["coverage"] >= 0.93 - MARGIN
    assert ten["power_10"] > five["power_10"] + 0.2


def test_five_blocks_of_a_usual_machine_see_ten_per_cent(studies: ModuleType) -> None:
    found = studies.judged("lognormal", 0.025, 5, FEW)

    assert found["power_10"] >= 0.9
    assert found["power_7.5"] == pytest.approx(0.75, abs=0.1)
    assert found["equivalent"] == pytest.approx(0.4, abs=0.1)


def test_one_arm_after_the_other_does_not_survive_drift(studies: ModuleType) -> None:
    interleaved = studies.judged("drift", 0.025, 5, FEW)
    sequential = studies.sequential_control(0.025, FEW)

    assert interleaved["coverage"] >= 0.93 - MARGIN
    assert sequential["coverage"] < 0.1
    assert sequential["false_verdicts"] > 0.5


def test_many_equal_arms_make_few_claims_with_holm(studies: ModuleType) -> None:
    found = studies.many_arms(6, FEW)

    assert found["plain"] > 0.15
    assert found["holm"] <= 0.05 + MARGIN / 2


def test_the_smallest_gap_is_seen_as_often_as_promised(studies: ModuleType) -> None:
    found = studies.accuracies(5, FEW)

    assert found["smallest_gap_seen"] == pytest.approx(0.8, abs=0.1)
    assert found["false_claims"] <= 0.05 + MARGIN / 2


def test_recommended_workers_are_within_the_zone_of_the_best(searches: ModuleType) -> None:
    found = searches.simulate_searches(banks=1, flat_curves=100)

    for turn_sd, bank in found.items():
        assert bank["curves"] == 200
        assert bank["all"]["within_zone"] >= 0.95, turn_sd
        assert bank["all"]["bound_holds"] >= 0.95, turn_sd
        assert bank["all"]["cost"] <= 0.6, turn_sd
        assert bank["flat_smallest"] >= 0.95, turn_sd


def test_the_stored_results_are_of_the_families_and_meet_the_bars(studies: ModuleType) -> None:
    stored = json.loads((BENCHMARKS / "results" / "simulation.json").read_text())

    assert {row["family"] for row in stored["verdicts"]} == set(studies.FAMILIES)
    assert stored["n"] == studies.STUDIES
    _meets_the_bars(stored["verdicts"])


def _meets_the_bars(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert row["coverage"] >= 0.93, row
        assert row["false_verdicts"] <= 0.05, row
        assert row["false_equivalent"] <= 0.05, row


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("blocks", [5, 10])
@pytest.mark.parametrize("family", FAMILIES)
def test_ten_thousand_studies_a_family_and_spread_meet_the_bars(
    studies: ModuleType, family: str, blocks: int
) -> None:
    _meets_the_bars([studies.judged(family, sd, blocks, studies.STUDIES) for sd in studies.SDS])


@pytest.mark.slow
def test_a_thousand_curves_meet_the_bars(searches: ModuleType) -> None:
    for turn_sd, found in searches.simulate_searches().items():
        assert found["all"]["within_zone"] >= 0.95, turn_sd
        assert found["flat_smallest"] >= 0.95, turn_sd
        assert found["all"]["cost"] <= 0.6, turn_sd
