from __future__ import annotations

from typing import Any

import pytest

from laptime.statistics.contrast import Contrast
from laptime.statistics.requirement import EXIT_STATUS, REQUIREMENTS, Requirement, outcome_of
from laptime.statistics.sides import Side

SIDE = Side(id="x", directory="runs/x", status="completed", settings={})

OUTCOMES = {"m": "met", "c": "contradicted", "u": "undecided"}


def contrast(
    verdict: Any, low: float | None = 0.9, high: float | None = 1.1, **given: Any
) -> Contrast:
    values = {
        "kind": "arms",
        "quantity": "epoch",
        "a": SIDE,
        "b": SIDE,
        "ratio": 1.0,
        "low": low,
        "high": high,
        "n_a": 5,
        "n_b": 5,
        "verdict": verdict,
        "reason": "interval_too_wide" if verdict == "inconclusive" else "interval_outside_zone",
    }
    return Contrast(**{**values, **given})


@pytest.mark.parametrize(
    ("found", "row"),
    [
        (contrast("faster", 0.80, 0.90), "mmcc"),
        (contrast("slower", 1.10, 1.20), "cccm"),
        (contrast("equivalent", 0.98, 1.01), "mcmm"),
        (contrast("small difference", 0.975, 0.99), "muum"),
        (contrast("small difference", 0.94, 0.99), "muuu"),
        (contrast("small difference", 1.01, 1.025), "mcum"),
        (contrast("small difference", 1.01, 1.06), "ucum"),
        (contrast("inconclusive", 0.93, 1.01), "muuu"),
        (contrast("inconclusive", 0.99, 1.08), "uuum"),
        (contrast("inconclusive", 0.90, 1.10), "uuuu"),
        (contrast("inconclusive", 0.93, 1.01, reason="unpaired_interval_too_wide"), "muuu"),
        (contrast("inconclusive", 0.93, 1.01, reason="holm"), "uuuu"),
        (contrast("inconclusive", 0.93, 1.01, reason="too_few_blocks"), "uuuu"),
        (contrast("inconclusive", 0.93, 1.01, reason="robust_test_disagrees"), "uuuu"),
        (contrast("inconclusive", low=None, high=None, ratio=0.5, reason="single_runs"), "uuuu"),
        (contrast("not measurable", 0.80, 0.90), "uuuu"),
        (contrast(None, 0.80, 0.90, uncontrolled=True), "uuuu"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.verdict} {value.reason}",
)
def test_what_is_required_is_met_contradicted_or_undecided_by_verdict_and_interval(
    found: Contrast, row: str
) -> None:
    outcomes = [outcome_of(found, requirement) for requirement in REQUIREMENTS]

    assert REQUIREMENTS == ("not-slower", "faster", "equivalent", "not-faster")
    assert outcomes == [OUTCOMES[letter] for letter in row]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("equivalent", "met"), ("higher", "contradicted"), ("lower", "contradicted"),
     ("inconclusive", "undecided")],
)  # fmt: skip
def test_of_accuracies_only_equivalence_can_be_required(verdict: str, expected: str) -> None:
    found = contrast(verdict, -0.01, 0.01, quantity="accuracy", reason="welch_holm")

    assert outcome_of(found, "equivalent") == expected


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_a_wider_interval_never_turns_undecided_into_met(requirement: Requirement) -> None:
    for low, high in ((0.98, 1.02), (0.9, 1.02), (0.98, 1.1), (0.9, 1.1)):
        narrow = contrast("inconclusive", low, high)
        wide = contrast("inconclusive", low / 1.02, high * 1.02)
        if outcome_of(narrow, requirement) == "undecided":
            assert outcome_of(wide, requirement) == "undecided"


def test_exit_statuses_tell_contradicted_from_undecided() -> None:
    assert EXIT_STATUS == {"met": 0, "contradicted": 1, "undecided": 3}
