"""A learning rate for each arm, all with an equal budget, judged on samples that are held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from laptime.replicate import TrainedReplicate
from laptime.statistics.accuracy import accuracy_comparisons, trained_arms
from laptime.statistics.summary import arm_results
from laptime.studies.plan import make_plan, varied
from laptime.studies.runner import Workshop
from laptime.studies.training_runs import adopt_trained
from laptime.study import Arm, ArmResult, Plan

LEARNING_RATES = (0.001, 0.01, 0.1, 1.0)
"""Tried by every arm: the same list, and so the same number, for all."""

HOLDOUT = 0.1
"""Of the training samples: what candidates are judged on, and never trained on."""


def tune(
    workshop: Workshop,
    plan: Plan,
    train: Callable[[Workshop, Plan], list[TrainedReplicate]],
    rates: Sequence[float] = LEARNING_RATES,
) -> dict[str, Any]:
    """Choose a learning rate for each arm of a plan, and train the plan's seeds with it.

    Candidates train once, with a seed that is none of the plan's, on 90 % of the samples, and
    are judged by their last epoch's accuracy on the other 10 %; the test set is not looked at.
    Both rounds have plans of their own in the study's directory: scout and confirmation.
    """
    searched = plan_search(plan, rates)
    workshop.directory.write_plan(searched, "scout")
    candidates = train(workshop, searched)
    tried = tried_rates(plan, candidates, rates)
    chosen = {name: rate for name, rows in tried.items() if (rate := best_rate(rows)) is not None}
    tuned = plan_tuned(plan, chosen)
    if tuned is None:
        return {"tuned": {name: _untuned(rows) for name, rows in tried.items()}}
    workshop.directory.write_plan(tuned, "confirmation")
    adopt_trained(workshop.directory, tuned, workshop.directory)
    trained = train(workshop, tuned)
    results = {arm.name: arm for arm in arm_results(tuned, (), trained)}
    return {
        "held_out_samples": held_out_samples(candidates),
        "tuned": {
            name: _tuned(rows, chosen[name], results[_tuned_name(name, chosen[name])])
            if name in chosen
            else _untuned(rows)
            for name, rows in tried.items()
        },
        "tuned_comparisons": [
            row.model_dump(mode="json") for row in accuracy_comparisons(tuned, trained)
        ],
    }


def plan_search(plan: Plan, rates: Sequence[float]) -> Plan:
    """Return the plan of the candidates: every trained arm with every rate, one seed."""
    arms = [
        Arm(
            name=_tried_name(arm.name, rate),
            settings=varied(arm.settings, lr=rate, holdout=HOLDOUT, evaluate=True),
        )
        for rate in rates
        for arm in trained_arms(plan)
    ]
    return make_plan(
        plan.study, arms, arms[0].name, (*plan.factors, "lr"),
        blocks=0, seeds=(max(plan.seeds, default=-1) + 1,), timeout_s=plan.timeout_s,
    )  # fmt: skip


def plan_tuned(plan: Plan, chosen: dict[str, float]) -> Plan | None:
    """Return the plan of the seeds with the chosen rates; None where no arm has one."""
    arms = [
        Arm(
            name=_tuned_name(arm.name, chosen[arm.name]),
            settings=varied(arm.settings, lr=chosen[arm.name]),
        )
        for arm in trained_arms(plan)
        if arm.name in chosen
    ]
    if not arms:
        return None
    return make_plan(
        plan.study, arms, arms[0].name, (*plan.factors, "lr"),
        blocks=0, seeds=plan.seeds, timeout_s=plan.timeout_s,
    )  # fmt: skip


Tried = tuple[float, float | None, str]
"""A learning rate, its accuracy on what was held out (None where the run did not end), its end."""


def tried_rates(
    plan: Plan, trained: Sequence[TrainedReplicate], rates: Sequence[float]
) -> dict[str, list[Tried]]:
    """Return of each trained arm what each learning rate came to, in the order of the rates."""
    runs = {run.arm: run for run in trained}
    found: dict[str, list[Tried]] = {}
    for arm in trained_arms(plan):
        of_arm = [(rate, runs.get(_tried_name(arm.name, rate))) for rate in rates]
        found[arm.name] = [
            (rate, run.last.test_accuracy if run.last else None, run.status)
            for rate, run in of_arm
            if run is not None
        ]
    return found


def held_out_samples(candidates: Sequence[TrainedReplicate]) -> int | None:
    """Return how many samples the rates were judged on; of few, chance may have chosen."""
    return next((run.last.test_samples for run in candidates if run.last), None)


def best_rate(tried: Sequence[Tried]) -> float | None:
    """Return the rate of the highest accuracy, the smallest of equals; None where no run ended."""
    valid = [(accuracy, -rate) for rate, accuracy, _ in tried if accuracy is not None]
    return -max(valid)[1] if valid else None


def edge(tried: Sequence[Tried], rate: float) -> str | None:
    """Tell a rate that won at an end of the grid: a better one may lie beyond."""
    rates = [tried_rate for tried_rate, _, _ in tried]
    if rate == min(rates):
        return "lowest"
    return "highest" if rate == max(rates) else None


def _tuned(tried: Sequence[Tried], rate: float, result: ArmResult) -> dict[str, Any]:
    return {
        **_untuned(tried),
        "lr": rate,
        "edge": edge(tried, rate),
        "loss": result.loss and result.loss.model_dump(mode="json"),
        "accuracy": result.accuracy and result.accuracy.model_dump(mode="json"),
        "outcomes": result.outcomes(),
        "replicates": [
            {
                "seed": run.seed,
                "status": run.status,
                "reason": run.reason,
                "run": run.run,
                "loss": run.last and run.last.loss,
                "accuracy": run.last and run.last.accuracy,
            }
            for run in result.trained
        ],
    }


def _untuned(tried: Sequence[Tried]) -> dict[str, Any]:
    nothing = dict.fromkeys(("lr", "edge", "loss", "accuracy"))
    return {**nothing, "tried": [list(row) for row in tried], "outcomes": {}, "replicates": []}


def _tried_name(arm: str, rate: float) -> str:
    return f"{arm} tried at {rate:g}"


def _tuned_name(arm: str, rate: float) -> str:
    return f"{arm} at {rate:g}"
