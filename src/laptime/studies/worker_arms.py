"""Worker counts to arms and plans: pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laptime.settings import RunSettings
from laptime.studies.plan import make_plan, varied
from laptime.study import Arm, Plan, TurnPolicy

FACTORS = ("num_workers",)

RESIDENT = "resident"
"""The arm whose batches are in memory already: what perfect loading would give."""


def worker_arms(base: RunSettings, counts: Sequence[int]) -> tuple[Arm, ...]:
    """Return one arm a count, all else equal, named by the count."""
    return tuple(Arm(name=str(count), settings=varied(base, num_workers=count)) for count in counts)


def plan_workers(
    base: RunSettings, counts: Sequence[int], blocks: int, policy: TurnPolicy, **more: Any
) -> Plan:
    """Return the plan over some counts: their arms, the baseline once more, the resident arm.

    The baseline is the count of the base settings, or the first one where that is not among them.
    """
    arms = worker_arms(base, counts)
    baseline = baseline_count(base, counts)
    settings = varied(base, num_workers=baseline)
    again = Arm(name=f"{baseline} again", settings=settings, again_of=str(baseline))
    bound = Arm(name=RESIDENT, settings=varied(base, num_workers=0), feed="resident")
    return make_plan(
        "workers", [*arms, again, bound], str(baseline), FACTORS,
        blocks=blocks, seed=base.training.seed, turns=policy, **more,
    )  # fmt: skip


def plan_confirmation(
    base: RunSettings,
    recommended: int,
    counts: Sequence[int],
    policy: TurnPolicy,
    blocks: int,
    *,
    with_one: bool = True,
    **more: Any,
) -> Plan | None:
    """Return the plan that holds the recommended count against the baseline on fresh blocks.

    One worker is added, if wanted, where the study did not have it: the assignment asks for it.
    None when there is nothing to compare.
    """
    baseline = baseline_count(base, counts)
    wanted = [baseline, recommended, *([1] if with_one and 1 not in counts else [])]
    unique = list(dict.fromkeys(wanted))
    if len(unique) < 2:
        return None
    return make_plan(
        "workers", worker_arms(base, unique), str(baseline), FACTORS,
        blocks=blocks, seed=base.training.seed + 1, turns=policy, **more,
    )  # fmt: skip


def baseline_count(base: RunSettings, counts: Sequence[int]) -> int:
    """Return the count that others are compared with."""
    current = base.loader.num_workers
    return current if current in counts else counts[0]
