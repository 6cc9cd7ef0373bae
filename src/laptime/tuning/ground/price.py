"""What a tuning costs, said before it begins, and whether its budget holds that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from laptime.errors import SettingsError
from laptime.tune import BASELINE, TURNS, TuneArm, TuneRequest
from laptime.tuning.ground.costs import Costs
from laptime.units import render_duration

SCREENING = TURNS.model_copy(update={"min_turns": 4, "max_turns": 4})
"""Of a block that only sorts out."""

GROUP = 4
"""Candidates in a block that only sorts out, beside the unchanged job."""

MOST_KEPT = 4
"""Candidates, at most, that a verdict is sought for."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that a tuning takes: if nothing survives the screening, and if a lot does."""

    least_s: float
    most_s: float

    def words(self) -> str:
        """Say it in words."""
        low, high = render_duration(self.least_s), render_duration(self.most_s)
        return f"about {low}" if low == high else f"between {low} and {high}"


def unchanged(count: int) -> list[TuneArm]:
    """Return so many arms that cost what the unchanged job does."""
    return [TuneArm(name=BASELINE)] * count


def proof_s(costs: Costs, request: TuneRequest) -> float:
    """Return what a verdict on one candidate costs, and fresh blocks for it."""
    verdict_s = costs.least_s(unchanged(3), request.turns)
    return request.blocks * (verdict_s + costs.least_s(unchanged(2), request.turns))


def fresh_s(costs: Costs, request: TuneRequest) -> float:
    """Return what fresh blocks cost: kept back until they are run."""
    return request.blocks * costs.usual_s(unchanged(2), request.turns)


def estimate(
    costs: Costs, request: TuneRequest, *, counts: int, candidates: Sequence[TuneArm]
) -> Estimate:
    """Return what a tuning will cost.

    Args:
        costs: Of its blocks.
        request: How many blocks a verdict has.
        counts: Worker counts in the first block of the ascent; 0 without an ascent.
        candidates: All others.
    """
    climb_s = costs.least_s(unchanged(counts), SCREENING) if counts else 0.0
    groups = math.ceil(len(candidates) / GROUP)
    looks = [*unchanged(groups), *candidates]
    least_s = climb_s + (costs.least_s(looks, SCREENING) if candidates else 0.0)
    kept = min(MOST_KEPT, len(candidates) + bool(counts))
    again_s = least_s + (2 * costs.least_s(unchanged(2), SCREENING) if counts else 0.0)
    together_s = costs.usual_s(unchanged(1 + min(kept, 3)), request.turns) if kept > 1 else 0.0
    verdicts_s = costs.usual_s(unchanged(2 + kept), request.turns) + together_s
    most_s = again_s + least_s + request.blocks * verdicts_s + fresh_s(costs, request)
    return Estimate(least_s, most_s)


def check_budget(costs: Costs, request: TuneRequest, left_s: float, first: int = 2) -> None:
    """Refuse a budget that does not hold one candidate, from screening to proof.

    Args:
        costs: Of blocks.
        request: How many blocks a verdict has.
        left_s: Of the budget.
        first: Arms of the first block, which only sorts out.

    Raises:
        SettingsError: Says the least that does.
    """
    least_s = costs.least_s(unchanged(first), SCREENING) + proof_s(costs, request)
    if least_s <= left_s:
        return
    enough_s = math.ceil(request.budget_s + 1.2 * (least_s - left_s))
    raise SettingsError(
        f"budget is {render_duration(request.budget_s)}, of which "
        f"{render_duration(max(0.0, left_s))} is left, but to try and prove one override takes "
        f"about {render_duration(least_s)} here. Give --budget {enough_s}s."
    )
