"""Batch norm or none: epoch times in turns; loss and accuracy over seeds; the first gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laptime.errors import SettingsError
from laptime.settings import RunSettings
from laptime.studies.course import MAKE_RUNS, Train, run_course
from laptime.studies.first_step import look_at_first_step
from laptime.studies.plan import make_plan, varied
from laptime.studies.runner import Workshop
from laptime.study import Arm, Plan, StudyRecord, StudyRequest, TurnPolicy
from laptime.study_store import StudyDirectory

NORMS = ("batch", "none")
FACTORS = ("norm",)


def norm_arms(base: RunSettings) -> tuple[Arm, ...]:
    """Return an arm with batch norm and one without, all else equal.

    Raises:
        SettingsError: The model is not ours, and so has no such switch.
    """
    if base.model.model != "resnet18":
        raise SettingsError(
            f"model is {base.model.model!r}, but batch norm can be switched in resnet18 only. "
            f"Use --model resnet18."
        )
    return tuple(Arm(name=norm, settings=varied(base, norm=norm)) for norm in NORMS)


def plan_batchnorm(
    base: RunSettings, seeds: Sequence[int], blocks: int, policy: TurnPolicy, **more: Any
) -> Plan:
    """Return the plan of both; batch norm is the baseline and timed twice."""
    arms = norm_arms(base)
    again = arms[0].model_copy(update={"name": "batch again", "again_of": "batch"})
    return make_plan(
        "batchnorm", [*arms, again] if blocks else arms, "batch", FACTORS,
        blocks=blocks, seed=base.training.seed, seeds=seeds, turns=policy, **more,
    )  # fmt: skip


def run_batchnorm(
    workshop: Workshop,
    request: StudyRequest,
    *,
    reuse: StudyDirectory | None = None,
    train: Train = MAKE_RUNS,
) -> StudyRecord:
    """Compare training with and without batch norm by time, loss and accuracy.

    Args:
        workshop: What the study works with.
        request: What was asked for.
        reuse: A study whose training runs count here too where only the seed differs: the one of
            optimizers has trained the same SGD.
        train: What makes the training runs.

    Raises:
        LaptimeError: The arms cannot be built, or the budget does not hold one block.
    """

    def plan_of(blocks: int, policy: TurnPolicy) -> Plan:
        return plan_batchnorm(
            request.settings, request.seeds, blocks, policy,
            timeout_s=request.timeout_s, budget_s=workshop.budget_s,
        )  # fmt: skip

    def afterwards(plan: Plan) -> None:
        if not workshop.directory.read_aside().knows("first_step"):
            arms = [arm for arm in plan.arms if arm.again_of is None]
            look = look_at_first_step(workshop, arms, request.timeout_s)
            workshop.directory.write_aside("first_step", look)

    return run_course(workshop, request, plan_of, afterwards=afterwards, train=train, reuse=reuse)
