"""What blocks cost: predicted from the pilot, corrected by each block that was run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from laptime.study import TurnPolicy
from laptime.tune import PilotRecord, TuneArm

SENTINEL_S = 0.07
"""Beside every turn."""

CLOSE_S = 0.3
"""To end an arm."""

COMPILE_S = 60.0
"""What the first steps of a compiled model are thought to take, before one was seen."""

Arms = Sequence[TuneArm]


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
        self._compile_s = COMPILE_S
        self._predicted_s, self._took_s = 0.0, 0.0
        self._turns: list[float] = []

    def block_s(self, arms: Arms, turns: float) -> float:
        """Return the seconds of a block."""
        compiled_s = num_compiled(arms) * self._compile_s
        return self._plain_s(len(arms), turns) * self._correction + compiled_s

    def least_s(self, arms: Arms, policy: TurnPolicy) -> float:
        """Return the seconds of a block that takes the fewest turns."""
        return self.block_s(arms, (self.short or policy).min_turns)

    def usual_s(self, arms: Arms, policy: TurnPolicy) -> float:
        """Return the seconds of a block that takes as many turns as others did."""
        return self.block_s(arms, self._usual_turns(self.short or policy))

    def most_turns(self, arms: Arms, policy: TurnPolicy, block_s: float) -> int:
        """Return the most turns that a block may take within some seconds, the fewest at least."""
        most = policy.max_turns
        while most > policy.min_turns and self.block_s(arms, most) > block_s:
            most -= 1
        return most

    def took(self, arms: Arms, turns: float, took_s: float, policy: TurnPolicy) -> None:
        """Learn from a block that was run; what compiling took is learnt apart."""
        plain_s = self._plain_s(len(arms), turns)
        if compiled := num_compiled(arms):
            self._compile_s = max(0.0, took_s - plain_s * self._correction) / compiled
            return
        self._predicted_s += plain_s
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


def num_compiled(arms: Arms) -> int:
    """Return how many arms compile their model."""
    return sum(any(name == "compile" for name, _ in arm.changes) for arm in arms)
