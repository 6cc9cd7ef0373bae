from __future__ import annotations

import math
from typing import Any

import pytest

from laptime.record import EpochRecord
from laptime.replicate import Outcome, TrainedReplicate
from laptime.settings import build_settings
from laptime.statistics.accuracy import (
    accuracy_comparisons,
    counted_runs,
    is_guessing,
    last_values,
    not_learned,
    smallest_gaps,
    trained_arms,
    visible_gap,
)
from laptime.study import Arm, Plan


def epoch(loss: float | None, correct: int, **given: Any) -> EpochRecord:
    values = {"epoch": 1, "samples": 5000, "steps": 100, "mode": "host", "phases_ns": {}}
    return EpochRecord(**{**values, "loss": loss, "correct": correct, "wall_ns": 0, **given})


def trained(arm: str, seed: int, *epochs: EpochRecord, status: Outcome = "completed") -> Any:
    return TrainedReplicate(arm=arm, seed=seed, status=status, epochs=epochs)


def plan_of(*names: str) -> Plan:
    arms = [Arm(name=name, settings=build_settings({})) for name in names]
    return Plan(study="x", arms=tuple(arms), baseline=names[0], factors=(), blocks=0, seeds=(0,))


@pytest.mark.parametrize(
    ("loss", "correct", "expected"),
    [
        (math.log(10), 500, True),
        (6.9, 480, True),
        (math.log(10), 563, True),
        (math.log(10), 564, False),  # three standard errors of a count of 5,000 are 63.6
        (2.25, 500, False),
        (None, 500, False),
    ],
)
def test_guessing_shows_in_the_loss_and_in_the_accuracy(
    loss: float | None, correct: int, expected: bool
) -> None:
    assert is_guessing(epoch(loss, correct), 10) is expected


def test_few_samples_or_few_steps_say_nothing_of_learning() -> None:
    few = epoch(math.log(10), 49, samples=499)
    short = trained("a", 0, epoch(math.log(10), 500, steps=99))

    assert not is_guessing(few, 10)
    assert not not_learned(short, 10)
    assert not_learned(trained("a", 0, epoch(math.log(10), 500)), 10)


def test_only_a_run_that_came_to_its_end_can_have_learned_nothing() -> None:
    last = epoch(math.log(10), 500)

    assert not not_learned(trained("a", 0, last, status="diverged"), 10)
    assert not not_learned(trained("a", 0, last), None)
    assert not not_learned(trained("a", 0), 10)


def test_values_are_those_of_the_last_epoch_of_runs_that_completed() -> None:
    runs = [
        trained("a", 0, epoch(2.0, 1000), epoch(1.0, 4000)),
        trained("a", 1, epoch(2.0, 1000), status="diverged"),
        trained("b", 0, epoch(None, 3000)),
        trained("c", 0, epoch(1.0, 3000)),
    ]

    assert last_values(plan_of("a", "b"), runs, "accuracy") == {"a": [0.8], "b": [0.6]}
    assert last_values(plan_of("a", "b"), runs, "loss") == {"a": [1.0], "b": []}


def test_twins_and_resident_arms_are_not_trained() -> None:
    plan = plan_of("a")
    (arm,) = plan.arms
    beside = [
        arm.model_copy(update={"name": "a again", "again_of": "a"}),
        arm.model_copy(update={"name": "resident", "feed": "resident"}),
    ]

    assert trained_arms(plan.model_copy(update={"arms": (arm, *beside)})) == [arm]


def test_a_plan_without_seeds_compares_no_accuracies() -> None:
    plan = plan_of("a", "b").model_copy(update={"seeds": ()})

    assert accuracy_comparisons(plan, []) == []


def test_the_smallest_gap_is_unknown_from_one_run_and_shrinks_with_more() -> None:
    def runs(count: int) -> list[TrainedReplicate]:
        return [
            trained(arm, seed, epoch(1.0, 3000 + 100 * (seed % 2)))
            for arm in ("a", "b")
            for seed in range(count)
        ]

    plan = plan_of("a", "b")
    gaps = [visible_gap(smallest_gaps(plan, runs(n))).get("accuracy") for n in (1, 4, 8)]

    assert gaps[0] is None
    assert gaps[1] is not None
    assert gaps[2] is not None
    assert gaps[2] < gaps[1]


def test_the_gap_that_is_shown_is_one_that_every_pair_could_have_shown() -> None:
    rows = [
        {"quantity": "loss", "gap": 0.5}, {"quantity": "loss", "gap": None},
        {"quantity": "loss", "gap": 0.7}, {"quantity": "accuracy", "gap": 0.1},
    ]  # fmt: skip

    assert visible_gap(rows) == {"loss": 0.7, "accuracy": 0.1}


def test_runs_are_counted_by_arm_and_zero_is_a_count() -> None:
    runs = [trained("a", 0), trained("a", 1, status="diverged"), trained("x", 0)]

    counted = counted_runs(plan_of("a", "b"), runs, lambda run: run.status == "diverged")

    assert counted == {"a": 1, "b": 0}
