"""A learning rate for each arm, all with an equal budget, judged on samples that are held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laptime.replicate import TrainedReplicate
from laptime.studies.runner import Workshop
from laptime.studies.training_plans import LEARNING_RATES, plan_search, plan_tuned
from laptime.studies.training_runs import adopt_trained
from laptime.studies.tuned_rates import best_rates, read_search
from laptime.study import Plan

_Train = Callable[[Workshop, Plan], list[TrainedReplicate]]


def tune(
    workshop: Workshop, plan: Plan, train: _Train, rates: Sequence[float] = LEARNING_RATES
) -> None:
    """Choose a learning rate for each arm of a plan, and train the plan's seeds with it.

    Candidates train once, with a seed that is none of the plan's, on 90 % of the samples, and
    are judged by their last epoch's accuracy on the other 10 %; the test set is not looked at.
    Both rounds have plans of their own in the study's directory: scout and confirmation. Once
    the second is written the rates are chosen, and no candidate is made any more.
    """
    directory = workshop.directory
    if not directory.has_plan("confirmation"):
        _search(workshop, plan, train, rates)
    if directory.has_plan("confirmation"):
        tuned = directory.read_plan("confirmation")
        adopt_trained(directory, tuned, directory)
        train(workshop, tuned)


def _search(workshop: Workshop, plan: Plan, train: _Train, rates: Sequence[float]) -> None:
    directory = workshop.directory
    searched = plan_search(plan, rates)
    directory.write_plan(searched, "scout")
    train(workshop, searched)
    search = read_search(directory, plan)
    tuned = plan_tuned(plan, best_rates(search)) if search else None
    if tuned is not None:
        directory.write_plan(tuned, "confirmation")
