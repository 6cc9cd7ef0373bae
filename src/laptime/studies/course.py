"""The course of a study: a plan within the budget, its blocks, its training runs, its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from laptime.errors import StoreError
from laptime.record import RunRecord
from laptime.replicate import Block, TrainedReplicate
from laptime.statistics.accuracy import (
    accuracy_comparisons,
    best_arm,
    counted_runs,
    not_learned,
    smallest_gaps,
    trained_arms,
    visible_gap,
)
from laptime.statistics.refusals import refusals
from laptime.statistics.summary import (
    arm_results,
    comparisons,
    not_measurable,
    study_resolution,
)
from laptime.store import RunDirectory
from laptime.studies.price import Pilot, Price, price_of, within_budget
from laptime.studies.runner import Workshop, run_stage
from laptime.studies.training_runs import (
    adopt_trained,
    run_trainings,
    simultaneous,
    training_order,
)
from laptime.studies.tuning import LEARNING_RATES, tune
from laptime.study import Arm, ArmResult, Comparison, Plan, StudyRecord, StudyRequest, TurnPolicy
from laptime.study_store import StudyDirectory
from laptime.units import render_duration, seconds

_TIMING_SHARE = 0.3
"""Of the budget: what the blocks may take at least, however long the training runs are."""

_USUAL_SAMPLES = 50_000
"""Of the training sets that come with laptime."""

Train = Callable[[Workshop, Plan], list[TrainedReplicate]]
"""Makes the training runs of a plan."""

MAKE_RUNS: Train = run_trainings
"""What makes training runs, unless a test does."""

PlanOf = Callable[[int, TurnPolicy], Plan]
"""Blocks and turns to the plan of a study."""


@dataclass(frozen=True)
class Measured:
    """All that a study has measured: one table of blocks, one of training runs."""

    plan: Plan
    blocks: Sequence[Block]
    trained: Sequence[TrainedReplicate]


def run_course(
    workshop: Workshop,
    request: StudyRequest,
    plan_of: PlanOf,
    explain: Callable[[StudyRecord], tuple[str, ...]],
    *,
    details: Callable[[Measured], dict[str, Any]] | None = None,
    train: Train = MAKE_RUNS,
    reuse: StudyDirectory | None = None,
) -> StudyRecord:
    """Measure what a plan declares and return what it says; what is stored is not run again.

    Times first, in blocks; then loss and accuracy, in whole training runs; then, where that was
    asked for, both with a learning rate of each arm's own.

    Args:
        workshop: What the study works with.
        request: What was asked for.
        plan_of: Makes the plan from the blocks and turns that the budget allows.
        explain: Puts the record into words.
        details: What only this kind of study has; merged into the record's.
        train: What makes the training runs.
        reuse: Another study, whose runs with the same settings and seeds count here too.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """
    plan, price = _declared(workshop, request, plan_of)
    blocks = run_stage(workshop, plan, "main", price)
    if reuse is not None:
        adopt_trained(workshop.directory, plan, reuse)
    measured = Measured(plan, blocks, train(workshop, plan) if plan.seeds else ())
    tuned = tune(workshop, plan, train) if request.tune_lr and plan.seeds else {}
    record = analyse(measured, workshop.directory)
    more = {**record.details, **tuned, **(details(measured) if details else {})}
    record = record.model_copy(update={"details": more})
    return record.model_copy(update={"explanation": explain(record)})


def _declared(
    workshop: Workshop, request: StudyRequest, plan_of: PlanOf
) -> tuple[Plan, Price | None]:
    """Return the plan that the budget allows, or the one that was declared before."""
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


def analyse(measured: Measured, directory: StudyDirectory) -> StudyRecord:
    """Return what blocks and training runs say, refusals included; words come later."""
    plan, blocks, trained = measured.plan, measured.blocks, measured.trained
    replicates = [replicate for block in blocks for replicate in block.replicates]
    turns = [turn for replicate in replicates for turn in replicate.turns]
    run = _first_run(directory, trained)
    refused = refusals(plan, blocks, trained)
    results = arm_results(plan, blocks, trained)
    rows = not_measurable(
        (*comparisons(plan, blocks), *accuracy_comparisons(plan, trained)), refused
    )
    environment = next((r.environment for r in replicates if r.environment), None)
    label = next((r.data_label for r in replicates if r.data_label), "")
    return StudyRecord(
        id=directory.id,
        directory=str(directory.path),
        plan=plan,
        status="completed" if _is_complete(measured) else "interrupted",
        arms=results,
        comparisons=rows,
        resolution=study_resolution(plan, blocks),
        refusals=refused,
        environment=environment or (run.environment if run else None),
        data_label=label or (run.data.label if run else ""),
        wall_s=sum(seconds(block.wall_ns) for block in blocks),
        blocks=len(blocks),
        turns=len(turns),
        contaminated_turns=sum(turn.contaminated for turn in turns),
        details=_learning_details(measured, results, rows, run) if plan.seeds else {},
    )


def _learning_details(
    measured: Measured,
    results: Sequence[ArmResult],
    rows: Sequence[Comparison],
    run: RunRecord | None,
) -> dict[str, Any]:
    plan, trained = measured.plan, measured.trained
    num_classes = run.data.num_classes if run else None
    is_guessing = partial(not_learned, num_classes=num_classes)
    gaps = smallest_gaps(plan, trained)
    return {
        "seeds": list(plan.seeds),
        "num_classes": num_classes,
        "diverged": counted_runs(plan, trained, lambda run: run.status == "diverged"),
        "not_learned": counted_runs(plan, trained, is_guessing) if num_classes else None,
        "smallest_gap": visible_gap(gaps),
        "smallest_gaps": gaps,
        "best": best_arm(results, rows),
        "trained_wall_s": sum(seconds(run.wall_ns) for run in trained if not _is_adopted(run)),
        "tuned": None,
    }


def _is_adopted(run: TrainedReplicate) -> bool:
    """Tell the runs of another study: their path leads out of this one."""
    return (run.run or "").startswith("..")


def _is_complete(measured: Measured) -> bool:
    plan = measured.plan
    runs = len(plan.seeds) * len(trained_arms(plan))
    return len(measured.blocks) >= plan.blocks and len(measured.trained) >= runs


def _first_run(directory: StudyDirectory, trained: Sequence[TrainedReplicate]) -> RunRecord | None:
    """Return a run that left a record: where it ran, and on which data."""
    for replicate in trained:
        try:
            return RunDirectory(directory.path / (replicate.run or "no run")).read_record()
        except StoreError:
            continue
    return None
