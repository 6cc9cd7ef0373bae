"""Which optimizer: epoch times in turns; loss and accuracy over seeds, at one rate and tuned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laptime.settings import LAB_OPTIMIZERS, RunSettings
from laptime.studies.course import MAKE_RUNS, Train, run_course
from laptime.studies.plan import make_plan, varied
from laptime.studies.runner import Workshop
from laptime.studies.tuning import tune
from laptime.study import Arm, Plan, StudyRecord, StudyRequest, TurnPolicy

FACTORS = ("optimizer",)


def optimizer_arms(base: RunSettings, names: Sequence[str] = LAB_OPTIMIZERS) -> tuple[Arm, ...]:
    """Return one arm an optimizer: learning rate, weight decay and momentum are the base's."""
    return tuple(Arm(name=name, settings=varied(base, optimizer=name)) for name in names)


def plan_optimizers(
    base: RunSettings,
    names: Sequence[str],
    seeds: Sequence[int],
    blocks: int,
    policy: TurnPolicy,
    **more: Any,
) -> Plan:
    """Return the plan over some optimizers; sgd, or the first of them, is timed twice.

    Raises:
        SettingsError: An optimizer is unknown, or there twice.
    """
    arms = optimizer_arms(base, names)
    baseline = next((arm for arm in arms if arm.name == "sgd"), arms[0])
    again = baseline.model_copy(
        update={"name": f"{baseline.name} again", "again_of": baseline.name}
    )
    return make_plan(
        "optimizers", [*arms, again] if blocks else arms, baseline.name, FACTORS,
        blocks=blocks, seed=base.training.seed, seeds=seeds, turns=policy, **more,
    )  # fmt: skip


def run_optimizers(
    workshop: Workshop, request: StudyRequest, *, train: Train = MAKE_RUNS
) -> StudyRecord:
    """Compare optimizers by the time of an epoch, by loss and by accuracy.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """

    def plan_of(blocks: int, policy: TurnPolicy) -> Plan:
        return plan_optimizers(
            request.settings, request.optimizers or LAB_OPTIMIZERS, request.seeds, blocks, policy,
            timeout_s=request.timeout_s, budget_s=workshop.budget_s,
        )  # fmt: skip

    def afterwards(plan: Plan) -> None:
        if request.tune_lr and plan.seeds:
            tune(workshop, plan, train)

    return run_course(workshop, request, plan_of, afterwards=afterwards, train=train)
