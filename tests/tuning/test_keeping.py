from __future__ import annotations

from typing import Any

import pytest

from laptime.replicate import Replicate
from laptime.study import Comparison
from laptime.tune import LoaderFacts, LossFinding
from laptime.tuning.judging.keeping import decide, epochs_trouble


def row(verdict: str = "faster", **more: Any) -> Comparison:
    given = {"a": "x", "b": "unchanged", "ratio": 0.8, "low": 0.75, "high": 0.85, "n": 5}
    return Comparison.model_validate({**given, "verdict": verdict, "reason": "given", **more})


def replicate(**more: Any) -> Replicate:
    given = {"arm": "x", "block": 1, "status": "completed", "steps_per_epoch": 100.0}
    return Replicate.model_validate({**given, **more})


EQUAL = LossFinding(reason="equal")
OFF = LossFinding(reason="beyond_spread", difference=0.5, allowed=0.1)


def test_faster_with_equal_losses_is_kept() -> None:
    assert decide(row(), EQUAL, "same numbers", [replicate()], None) == ("kept", "equal losses")


@pytest.mark.parametrize(
    "verdict", ["slower", "equivalent", "small difference", "inconclusive", "not measurable"]
)
def test_whatever_is_not_faster_is_not_kept(verdict: str) -> None:
    outcome, why = decide(row(verdict), EQUAL, "same numbers", [replicate()], None)

    assert outcome == "not kept"
    assert why


def test_faster_with_other_losses_is_refused_with_how_far_they_are_off() -> None:
    outcome, why = decide(row(), OFF, "same numbers", [replicate()], None)

    assert outcome == "refused"
    assert "0.50" in why
    assert "0.10" in why


def test_without_losses_only_what_changes_no_number_is_kept() -> None:
    unknown = LossFinding(reason="no_losses")

    assert decide(row(), unknown, "same numbers", [replicate()], None)[0] == "kept"
    assert decide(row(), unknown, "same up to rounding", [replicate()], None)[0] == "refused"


def test_an_arm_of_which_one_process_failed_is_not_kept() -> None:
    bad = replicate(status="out_of_memory", reason="no more")

    outcome, why = decide(row(), EQUAL, "same numbers", [replicate(), bad], None)

    assert (outcome, why) == ("failed", "out of memory: no more")


def test_epochs_of_other_lengths_are_refused() -> None:
    loader = LoaderFacts(is_iterable=True)
    doubled = [replicate(steps_per_epoch=200.0, num_workers=2)]

    trouble = epochs_trouble(doubled, [replicate()], loader)

    assert trouble == (
        "an epoch has 200 steps with it and 100 without: each worker repeats the whole dataset"
    )
    assert epochs_trouble([replicate()], [replicate()], loader) is None


def test_an_iterable_dataset_whose_epochs_did_not_end_is_not_trusted_with_workers() -> None:
    loader = LoaderFacts(is_iterable=True)
    unknown = replicate(steps_per_epoch=0.0)
    with_workers = replicate(steps_per_epoch=0.0, num_workers=2)

    assert epochs_trouble([with_workers], [unknown], loader) is not None
    assert (
        epochs_trouble([replicate(steps_per_epoch=0.0, num_workers=1)], [unknown], loader) is None
    )
    assert epochs_trouble([with_workers], [unknown], LoaderFacts()) is None
