"""What a tuning costs: predicted from the pilot, corrected by each block that was run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from laptime.errors import SettingsError
from laptime.study import TurnPolicy
from laptime.tune import TURNS, PilotRecord, TuneRequest
from laptime.units import render_duration

SENTINEL_S = 0.07
"""Beside every turn."""

CLOSE_S = 0.3
"""To end an arm."""

SCREENING = TURNS.model_copy(update={"min_turns": 4, "max_turns": 4})
"""Of a block that only sorts out."""

GROUP = 4
"""Candidates in a block that only sorts out, beside the unchanged job."""

MOST_KEPT = 4
"""Candidates, at most, that a verdict is sought for."""


class Costs:
    """Predict what blocks cost.

    Arms of a block start side by side: the first takes its whole start, each further one what its
    imports take of the CPUs.

    Args:
        pilot: Of the unchanged job.
        turn_s: Seconds of a turn, what it leaves out included.
        short: The one turn of a job that ends too soon for several: its arms run one by one.
    """

    def __init__(
        self, pilot: PilotRecord, *, turn_s: float, short: TurnPolicy | None = None
    ) -> None:
        self.short = short
        self._start_s = pilot.start_s
        self._later_s = pilot.start_s / (1 if short else max(1, pilot.cpus))
        self._prepare_s = pilot.prepare_s + CLOSE_S
        self._turn_s = turn_s + SENTINEL_S
        self._predicted_s, self._took_s = 0.0, 0.0
        self._turns: list[float] = []

    def block_s(self, arms: int, turns: float) -> float:
        """Return the seconds of a block."""
        return self._plain_s(arms, turns) * self._correction

    def least_s(self, arms: int, policy: TurnPolicy) -> float:
        """Return the seconds of a block that takes the fewest turns."""
        return self.block_s(arms, (self.short or policy).min_turns)

    def usual_s(self, arms: int, policy: TurnPolicy) -> float:
        """Return the seconds of a block that takes as many turns as others did."""
        return self.block_s(arms, self._usual_turns(self.short or policy))

    def most_turns(self, arms: int, policy: TurnPolicy, block_s: float) -> int:
        """Return the most turns that a block may take within some seconds, the fewest at least."""
        most = policy.max_turns
        while most > policy.min_turns and self.block_s(arms, most) > block_s:
            most -= 1
        return most

    def took(self, arms: int, turns: float, took_s: float, policy: TurnPolicy) -> None:
        """Learn from a block that was run."""
        self._predicted_s += self._plain_s(arms, turns)
        self._took_s += took_s
        if policy.min_turns < policy.max_turns:
            self._turns.append(turns)

    def _usual_turns(self, policy: TurnPolicy) -> float:
        expected = (policy.min_turns + policy.max_turns) / 2
        turns = fmean(self._turns) if self._turns else expected
        return min(max(turns, policy.min_turns), policy.max_turns)

    @property
    def _correction(self) -> float:
        return self._took_s / self._predicted_s if self._predicted_s else 1.0

    def _plain_s(self, arms: int, turns: float) -> float:
        starts_s = self._start_s + self._later_s * (arms - 1)
        return starts_s + arms * (self._prepare_s + turns * self._turn_s)


@dataclass(frozen=True)
class Estimate:
    """Seconds that a tuning takes: if nothing survives the screening, and if a lot does."""

    least_s: float
    most_s: float

    def words(self) -> str:
        """Say it in words."""
        low, high = render_duration(self.least_s), render_duration(self.most_s)
        return f"about {low}" if low == high else f"between {low} and {high}"


def proof_s(costs: Costs, request: TuneRequest, candidates: int = 1) -> float:
    """Return what verdicts on some candidates cost, and fresh blocks for the best of them."""
    verdicts_s = costs.least_s(2 + candidates, request.turns)
    return request.blocks * (verdicts_s + costs.least_s(2, request.turns))


def fresh_s(costs: Costs, request: TuneRequest) -> float:
    """Return what fresh blocks cost: kept back until they are run."""
    return request.blocks * costs.usual_s(2, request.turns)


def estimate(costs: Costs, request: TuneRequest, *, counts: int, candidates: int) -> Estimate:
    """Return what a tuning will cost.

    Args:
        costs: Of its blocks.
        request: How many blocks a verdict has.
        counts: Worker counts in the first block of the ascent; 0 without an ascent.
        candidates: All others.
    """
    climb_s = costs.least_s(counts, SCREENING) if counts else 0.0
    groups = math.ceil(candidates / GROUP)
    size = math.ceil(candidates / groups) if groups else 0
    least_s = climb_s + groups * costs.least_s(1 + size, SCREENING)
    kept = min(MOST_KEPT, candidates + bool(counts))
    again_s = least_s + (2 * costs.least_s(2, SCREENING) if counts else 0.0)
    together_s = costs.usual_s(1 + min(kept, 3), request.turns) if kept > 1 else 0.0
    verdicts_s = costs.usual_s(2 + kept, request.turns) + together_s
    most_s = again_s + least_s + request.blocks * verdicts_s + fresh_s(costs, request)
    return Estimate(least_s, most_s)


def check_budget(costs: Costs, request: TuneRequest, left_s: float) -> None:
    """Refuse a budget that does not hold one candidate, from screening to proof.

    Raises:
        SettingsError: Says the least that does.
    """
    least_s = costs.least_s(2, SCREENING) + proof_s(costs, request)
    if least_s <= left_s:
        return
    enough_s = math.ceil(request.budget_s + 1.2 * (least_s - left_s))
    raise SettingsError(
        f"budget is {render_duration(request.budget_s)}, of which "
        f"{render_duration(max(0.0, left_s))} is left, but to try and prove one override takes "
        f"about {render_duration(least_s)} here. Give --budget {enough_s}s."
    )
