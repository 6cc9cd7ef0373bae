"""What the search for learning rates found, from its plans and the training runs: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laptime.replicate import TrainedReplicate
from laptime.statistics.accuracy import accuracy_comparisons, trained_arms
from laptime.statistics.summary import arm_results
from laptime.studies.training_plans import runs_of, training_order, tried_name, tuned_name
from laptime.study import ArmResult, Plan
from laptime.study_store import StudyDirectory

Tried = tuple[float, float | None, str]
"""A learning rate, its accuracy on what was held out (None where the run did not end), its end."""


@dataclass(frozen=True)
class Search:
    """A search for learning rates, as far as it has come."""

    plan: Plan
    """Of the study: whose arms get rates."""
    candidates_plan: Plan
    tuned_plan: Plan | None
    """Written when the rates are chosen: None before, and where no rate works for any arm."""
    candidates: Sequence[TrainedReplicate]
    tuned: Sequence[TrainedReplicate]

    @property
    def is_complete(self) -> bool:
        """Whether there is no run left to make."""
        if self.tuned_plan is not None:
            return len(self.tuned) == len(training_order(self.tuned_plan))
        return self.is_in_vain

    @property
    def is_in_vain(self) -> bool:
        """Whether every rate was tried, and none works for any arm."""
        is_over = len(self.candidates) == len(training_order(self.candidates_plan))
        return is_over and not best_rates(self)


def read_search(directory: StudyDirectory, plan: Plan) -> Search | None:
    """Read the search of a study; None before it was begun.

    Raises:
        StoreError: A file is damaged.
    """
    if not directory.has_plan("scout"):
        return None
    searched = directory.read_plan("scout")
    tuned = directory.read_plan("confirmation") if directory.has_plan("confirmation") else None
    runs = directory.read_trained()
    made = runs_of(tuned, runs) if tuned else []
    return Search(plan, searched, tuned, runs_of(searched, runs), made)


def tried_rates(search: Search) -> dict[str, list[Tried]]:
    """Return of each trained arm what each learning rate came to, in the order of the rates."""
    runs = {run.arm: run for run in search.candidates}
    found: dict[str, list[Tried]] = {}
    for arm in trained_arms(search.plan):
        of_arm = [(rate, runs.get(tried_name(arm.name, rate))) for rate in _rates(search)]
        found[arm.name] = [
            (rate, run.last.test_accuracy if run.last else None, run.status)
            for rate, run in of_arm
            if run is not None
        ]
    return found


def best_rates(search: Search) -> dict[str, float]:
    """Return the best of the rates of each arm for which one works."""
    best = {name: best_rate(rows) for name, rows in tried_rates(search).items()}
    return {name: rate for name, rate in best.items() if rate is not None}


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


def tuned_details(search: Search | None) -> dict[str, Any]:
    """Return what the arms come to at rates of their own; nothing before these are chosen."""
    if search is None or (search.tuned_plan is None and not search.is_in_vain):
        return {}
    tried, chosen, plan = tried_rates(search), _chosen(search), search.tuned_plan
    if plan is None:
        return {"tuned": {name: _untuned(rows) for name, rows in tried.items()}}
    results = {arm.name: arm for arm in arm_results(plan, (), search.tuned)}
    return {
        "held_out_samples": _held_out_samples(search.candidates),
        "tuned": {
            name: _tuned(rows, chosen[name], results[tuned_name(name, chosen[name])])
            if name in chosen
            else _untuned(rows)
            for name, rows in tried.items()
        },
        "tuned_comparisons": [
            row.model_dump(mode="json") for row in accuracy_comparisons(plan, search.tuned)
        ],
    }


def _rates(search: Search) -> list[float]:
    rates = [arm.settings.optimizer.lr for arm in search.candidates_plan.arms]
    return list(dict.fromkeys(rates))


def _chosen(search: Search) -> dict[str, float]:
    """Return the rates that were chosen: the plan that was made of them says which."""
    names = {arm.name for arm in search.tuned_plan.arms} if search.tuned_plan else set()
    pairs = [(arm.name, rate) for arm in trained_arms(search.plan) for rate in _rates(search)]
    return {name: rate for name, rate in pairs if tuned_name(name, rate) in names}


def _held_out_samples(candidates: Sequence[TrainedReplicate]) -> int | None:
    """Return how many samples the rates were judged on; of few, chance may have chosen."""
    return next((run.last.test_samples for run in candidates if run.last), None)


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
