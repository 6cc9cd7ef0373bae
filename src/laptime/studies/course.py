"""The course of a study: its blocks, its training runs, what else there is to look at."""

from __future__ import annotations

from collections.abc import Callable

from laptime.replicate import TrainedReplicate
from laptime.studies.declaration import PlanOf, declared_plan
from laptime.studies.reread import reread_study
from laptime.studies.runner import Workshop, run_stage
from laptime.studies.training_runs import adopt_trained, run_trainings
from laptime.study import Plan, StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory

Train = Callable[[Workshop, Plan], list[TrainedReplicate]]
"""Makes the training runs of a plan."""

MAKE_RUNS: Train = run_trainings
"""What makes training runs, unless a test does."""


def run_course(
    workshop: Workshop,
    request: StudyRequest,
    plan_of: PlanOf,
    *,
    afterwards: Callable[[Plan], None] | None = None,
    train: Train = MAKE_RUNS,
    reuse: StudyDirectory | None = None,
) -> StudyRecord:
    """Measure what a plan declares and return what it says; what is stored is not run again.

    Times first, in blocks; then loss and accuracy, in whole training runs; then what only this
    kind of study looks at. All of it is stored, and the record made from what is stored.

    Args:
        workshop: What the study works with.
        request: What was asked for.
        plan_of: Makes the plan from the blocks and turns that the budget allows.
        afterwards: Measures what blocks and runs do not show, and stores it.
        train: What makes the training runs.
        reuse: Another study, whose runs with the same settings and seeds count here too.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """
    plan, price = declared_plan(workshop, request, plan_of)
    run_stage(workshop, plan, "main", price)
    if reuse is not None:
        adopt_trained(workshop.directory, plan, reuse)
    if plan.seeds:
        train(workshop, plan)
    if afterwards is not None:
        afterwards(plan)
    return reread_study(workshop.directory)
