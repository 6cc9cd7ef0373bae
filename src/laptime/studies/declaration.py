"""The plan of a course, declared once and within the budget; and what it will cost."""

from __future__ import annotations

from collections.abc import Callable

from laptime.statistics.accuracy import trained_arms
from laptime.studies.price import Pilot, Price, price_of, within_budget
from laptime.studies.runner import Workshop
from laptime.studies.training_plans import LEARNING_RATES, training_order
from laptime.studies.training_runs import simultaneous
from laptime.study import Arm, Plan, StudyRequest, TurnPolicy
from laptime.units import render_duration

_TIMING_SHARE = 0.3
"""Of the budget: what the blocks may take at least, however long the training runs are."""

_USUAL_SAMPLES = 50_000
"""Of the training sets that come with laptime."""

PlanOf = Callable[[int, TurnPolicy], Plan]
"""Blocks and turns to the plan of a study."""


def declared_plan(
    workshop: Workshop, request: StudyRequest, plan_of: PlanOf
) -> tuple[Plan, Price | None]:
    """Return the plan that the budget allows, or the one that was declared before; its price.

    The price is None where no block is missing, or where the first look ended early.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """
    directory = workshop.directory
    declared = directory.read_plan() if directory.has_plan() else None
    if declared and len(directory.read_blocks("main")) >= declared.blocks:
        return declared, None
    plan = declared or plan_of(request.blocks, request.turns)
    pilot = workshop.pilot(plan.arm(plan.baseline), request.timeout_s)
    if pilot is None:
        return plan, None
    trainings_s = _trainings_s(workshop, request, plan, pilot)
    if declared is None:
        plan = _within_budget(workshop, request, plan_of, plan, pilot, trainings_s)
    if trainings_s:
        # The price is that of the blocks; this comes on top.
        length = render_duration(trainings_s)
        workshop.listener.warned(f"The training runs, after the blocks, take about {length}.")
    return plan, price_of(plan, pilot)


def _within_budget(
    workshop: Workshop,
    request: StudyRequest,
    plan_of: PlanOf,
    plan: Plan,
    pilot: Pilot,
    trainings_s: float,
) -> Plan:
    left_s = workshop.left_s()
    if left_s is None or not request.blocks:
        return plan
    blocks_s = left_s - min(trainings_s, (1 - _TIMING_SHARE) * left_s)
    plan, cost = within_budget(
        plan_of, request.blocks, request.turns, pilot, blocks_s, workshop.budget_s or left_s
    )
    if cost:
        workshop.listener.warned(f"The budget allows {cost}: a smaller resolution.")
    return plan


def _trainings_s(workshop: Workshop, request: StudyRequest, plan: Plan, pilot: Pilot) -> float:
    """Return what the missing runs will take, if a step takes in them what it took the pilot."""
    done = {(run.arm, run.seed) for run in workshop.directory.read_trained()}
    missing = [arm for arm, seed in training_order(plan) if (arm.name, seed) not in done]
    spent_s = sum(_run_s(arm, pilot) for arm in missing)
    if request.tune_lr and plan.seeds:
        tries = len(LEARNING_RATES) + len(plan.seeds)
        spent_s += sum(tries * _run_s(arm, pilot) for arm in trained_arms(plan))
    return spent_s / simultaneous(plan) if spent_s else 0.0


def _run_s(arm: Arm, pilot: Pilot) -> float:
    data, loader = arm.settings.data, arm.settings.loader
    steps = (data.samples or _USUAL_SAMPLES) / loader.batch_size
    step_s = max(pilot.step_s, pilot.load_s / max(1, loader.num_workers))
    return pilot.start_s + arm.settings.training.epochs * steps * step_s
