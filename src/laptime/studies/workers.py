"""How many loader workers: a grid or an ascent, blocks, and fresh blocks for proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from laptime.replicate import Block, TrainedReplicate
from laptime.report.explanations import explain_workers
from laptime.studies.plan import make_plan, varied
from laptime.studies.price import Pilot, Price, price_of, within_budget
from laptime.studies.process import ArmEndedError
from laptime.studies.runner import Workshop, run_stage
from laptime.studies.scout import plan_scout, scout
from laptime.studies.training_runs import run_trainings
from laptime.studies.worker_analysis import Evidence, analyse_workers, chosen_plateau
from laptime.studies.worker_arms import (
    FACTORS,
    RESIDENT,
    plan_confirmation,
    plan_workers,
    worker_arms,
)
from laptime.study import Arm, Plan, StudyRecord, StudyRequest, TurnPolicy

_CONFIRMATION_SHARE = 0.3
"""Of the budget: kept back for the fresh blocks."""

_FULL_STEPS = 3
"""Of the model that is predicted for; its steps are long."""


def run_workers(workshop: Workshop, request: StudyRequest) -> StudyRecord:
    """Find the worker counts that are as good as the best, and prove the smallest on fresh blocks.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """
    base = request.settings
    pilot = workshop.pilot(worker_arms(base, [base.loader.num_workers])[0], request.timeout_s)
    counts, scouted = _counts(workshop, request)
    plan = _main_plan(workshop, request, counts, pilot)
    blocks = run_stage(workshop, plan, "main", _price(plan, pilot))
    evidence = Evidence(
        plan,
        blocks,
        scouted,
        predicted_step_s=_full_step_s(workshop, request),
        full=request.full,
        current=base.loader.num_workers,
    )
    evidence = _confirmed(workshop, request, evidence, pilot)
    trained = _tables(workshop, request, evidence)
    return analyse_workers(evidence, workshop.directory, explain_workers, trained)


def _counts(workshop: Workshop, request: StudyRequest) -> tuple[Sequence[int], list[Block]]:
    """Return the counts of the main blocks: the grid as given, or what the ascent leaves."""
    if request.grid is not None:
        return request.grid, []
    plan = plan_scout(request.settings, request.most_workers, request.turns)
    plan = plan.model_copy(update={"timeout_s": request.timeout_s})
    kept, blocks = scout(workshop, plan)
    # The current count and one worker stay: people ask what the change from them is worth.
    return sorted({*kept, 1, request.settings.loader.num_workers}), blocks


def _main_plan(
    workshop: Workshop, request: StudyRequest, counts: Sequence[int], pilot: Pilot | None
) -> Plan:
    def plan_of(blocks: int, policy: TurnPolicy) -> Plan:
        return plan_workers(
            request.settings, counts, blocks, policy, timeout_s=request.timeout_s,
            budget_s=workshop.budget_s,
        )  # fmt: skip

    if workshop.directory.has_plan():
        return workshop.directory.read_plan()
    left_s = workshop.left_s()
    if left_s is None or pilot is None:
        return plan_of(request.blocks, request.turns)
    kept_s = left_s * (1 - _CONFIRMATION_SHARE)
    plan, cost = within_budget(
        plan_of, request.blocks, request.turns, pilot, kept_s, workshop.budget_s or left_s
    )
    if cost:
        workshop.listener.warned(f"The budget allows {cost}: a smaller resolution.")
    return plan


def _price(plan: Plan, pilot: Pilot | None) -> Price | None:
    return price_of(plan, pilot) if pilot else None


def _confirmed(
    workshop: Workshop, request: StudyRequest, evidence: Evidence, pilot: Pilot | None
) -> Evidence:
    """Run the recommended count against the current one on fresh blocks."""
    found = chosen_plateau(evidence)
    if found is None or found.recommended is None:
        return evidence
    plan = plan_confirmation(
        request.settings, found.recommended, evidence.counts(), evidence.plan.turns,
        evidence.plan.blocks, with_one=request.table_epochs > 0, timeout_s=request.timeout_s,
    )  # fmt: skip
    if plan is None:
        return evidence
    blocks = run_stage(workshop, plan, "confirmation", _price(plan, pilot))
    return replace(evidence, confirmation_plan=plan, confirmation=blocks)


def _tables(
    workshop: Workshop, request: StudyRequest, evidence: Evidence
) -> list[TrainedReplicate]:
    """Make one whole run with one worker and one with the recommended count, one after another."""
    found = chosen_plateau(evidence)
    if not request.table_epochs or found is None or found.recommended in {None, 1}:
        return []
    assert found.recommended is not None
    epochs = min(request.settings.training.epochs, request.table_epochs)
    arms = worker_arms(varied(request.settings, epochs=epochs), [1, found.recommended])
    seeds = (request.settings.training.seed,)
    plan = make_plan(
        "workers", arms, "1", FACTORS, blocks=0, seeds=seeds, timeout_s=request.timeout_s
    )
    return run_trainings(workshop, plan, parallel=1)


def _full_step_s(workshop: Workshop, request: StudyRequest) -> float | None:
    """Measure the step of the model that is predicted for, on batches in memory."""
    if request.full is None:
        return None
    settings = varied(request.full, num_workers=0)
    arm = Arm(name=f"{RESIDENT} full", settings=settings, feed="resident")
    return _step_s(workshop, arm, request.timeout_s)


def _step_s(workshop: Workshop, arm: Arm, timeout_s: float) -> float | None:
    handle = workshop.start_arm(arm)
    try:
        handle.reply(timeout_s)
        handle.ask("prepare", timeout_s, warm_up=1)
        turn = handle.ask("turn", timeout_s, discard=0, min_steps=_FULL_STEPS, min_s=0.0)
    except ArmEndedError as error:
        workshop.listener.warned(f"No prediction for {arm.settings.model.model}: {error.reason}")
        return None
    finally:
        handle.close()
    return float(turn["wall_ns"] / 1e9 / turn["steps"])
