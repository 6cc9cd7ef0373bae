"""How many loader workers: a grid or an ascent, blocks, and fresh blocks for proof."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.settings import RunSettings
from laptime.studies.plan import varied
from laptime.studies.price import Pilot, Price, price_of, within_budget
from laptime.studies.process import ArmEndedError
from laptime.studies.reread import reread_study
from laptime.studies.runner import Workshop, run_stage
from laptime.studies.scout import plan_scout, scout
from laptime.studies.training_runs import run_trainings
from laptime.studies.worker_arms import RESIDENT, plan_workers, worker_arms
from laptime.studies.worker_evidence import read_evidence
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
    base, directory = request.settings, workshop.directory
    pilot = workshop.pilot(worker_arms(base, [base.loader.num_workers])[0], request.timeout_s)
    plan = directory.read_plan() if directory.has_plan() else _new_plan(workshop, request, pilot)
    run_stage(workshop, plan, "main", _price(plan, pilot))
    if request.full is not None and not directory.read_aside().knows("full_step_s"):
        directory.write_aside(
            "full_step_s", _full_step_s(workshop, request.full, request.timeout_s)
        )
    _confirm(workshop, request, pilot)
    _make_tables(workshop, request)
    return reread_study(directory)


def _new_plan(workshop: Workshop, request: StudyRequest, pilot: Pilot | None) -> Plan:
    """Return the plan over the counts that deserve it, within the budget."""
    counts = _counts(workshop, request)

    def plan_of(blocks: int, policy: TurnPolicy) -> Plan:
        return plan_workers(
            request.settings, counts, blocks, policy, timeout_s=request.timeout_s,
            budget_s=workshop.budget_s,
        )  # fmt: skip

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


def _counts(workshop: Workshop, request: StudyRequest) -> Sequence[int]:
    """Return the counts of the main blocks: the grid as given, or what the ascent leaves."""
    if request.grid is not None:
        return request.grid
    plan = plan_scout(request.settings, request.most_workers, request.turns)
    plan = plan.model_copy(update={"timeout_s": request.timeout_s})
    kept = scout(workshop, plan)
    # The current count and one worker stay: people ask what the change from them is worth.
    return sorted({*kept, 1, request.settings.loader.num_workers})


def _price(plan: Plan, pilot: Pilot | None) -> Price | None:
    return price_of(plan, pilot) if pilot else None


def _confirm(workshop: Workshop, request: StudyRequest, pilot: Pilot | None) -> None:
    """Run the recommended count against the current one on fresh blocks."""
    directory = workshop.directory
    plan = read_evidence(directory, request).confirmation_plan
    if plan is not None:
        run_stage(workshop, plan, "confirmation", _price(plan, pilot))


def _make_tables(workshop: Workshop, request: StudyRequest) -> None:
    """Make the whole runs whose epochs are shown, one after another."""
    plan = read_evidence(workshop.directory, request).tables_plan
    if plan is not None:
        run_trainings(workshop, plan, parallel=1)


def _full_step_s(workshop: Workshop, full: RunSettings, timeout_s: float) -> float | None:
    """Measure the step of the model that is predicted for, on batches in memory."""
    settings = varied(full, num_workers=0)
    arm = Arm(name=f"{RESIDENT} full", settings=settings, feed="resident")
    return _step_s(workshop, arm, timeout_s)


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
