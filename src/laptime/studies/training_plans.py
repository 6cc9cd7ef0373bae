"""Which training runs a study asks for: a plan's own, and those that look for a learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from laptime.errors import StoreError
from laptime.replicate import FirstRun, TrainedReplicate
from laptime.statistics.accuracy import trained_arms
from laptime.store import RunDirectory
from laptime.studies.plan import make_plan, varied
from laptime.study import Arm, Plan
from laptime.study_store import StudyDirectory

LEARNING_RATES = (0.001, 0.01, 0.1, 1.0)
"""Tried by every arm: the same list, and so the same number, for all."""

HOLDOUT = 0.1
"""Of the training samples: what candidates are judged on, and never trained on."""


def training_order(plan: Plan) -> list[tuple[Arm, int]]:
    """Return which runs a plan asks for, in order: seed by seed, within a seed arm by arm."""
    arms = trained_arms(plan)
    return [(arm, seed) for seed in dict.fromkeys(plan.seeds) for arm in arms]


def runs_of(plan: Plan, trained: Iterable[TrainedReplicate]) -> list[TrainedReplicate]:
    """Return those of some runs that a plan asks for, in its order."""
    known = {(run.arm, run.seed): run for run in trained}
    keys = [(arm.name, seed) for arm, seed in training_order(plan)]
    return [known[key] for key in keys if key in known]


def plan_search(plan: Plan, rates: Sequence[float]) -> Plan:
    """Return the plan of the candidates: every trained arm with every rate, one seed."""
    arms = [
        Arm(
            name=tried_name(arm.name, rate),
            settings=varied(arm.settings, lr=rate, holdout=HOLDOUT, evaluate=True),
        )
        for rate in rates
        for arm in trained_arms(plan)
    ]
    return make_plan(
        plan.study, arms, arms[0].name, (*plan.factors, "lr"),
        blocks=0, seeds=(max(plan.seeds, default=-1) + 1,), timeout_s=plan.timeout_s,
    )  # fmt: skip


def plan_tuned(plan: Plan, chosen: Mapping[str, float]) -> Plan | None:
    """Return the plan of the seeds with the chosen rates; None where no arm has one."""
    arms = [
        Arm(
            name=tuned_name(arm.name, chosen[arm.name]),
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


def tried_name(arm: str, rate: float) -> str:
    """Return the name of an arm among the candidates."""
    return f"{arm} tried at {rate:g}"


def tuned_name(arm: str, rate: float) -> str:
    """Return the name of an arm with the rate that was chosen for it."""
    return f"{arm} at {rate:g}"


def read_first_run(
    directory: StudyDirectory, trained: Iterable[TrainedReplicate]
) -> FirstRun | None:
    """Read where and on what the first run was trained that left a record; None without one."""
    known = directory.read_aside().first_run
    if known is not None:
        return known
    for replicate in trained:
        try:
            run = RunDirectory(directory.path / (replicate.run or "no run")).read_record()
        except StoreError:
            continue
        return FirstRun(environment=run.environment, data=run.data)
    return None
