"""One or two blocks a candidate: enough to see which of them deserve a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from laptime.statistics.elimination import PROCESS_SD
from laptime.study import TurnPolicy
from laptime.tune import BASELINE, ZONE, LoaderFacts, Outcome, TuneArm, TuneBlock
from laptime.tuning.choice.candidates import Candidate
from laptime.tuning.ground.blocks import Ground
from laptime.tuning.ground.costs import num_compiled
from laptime.tuning.ground.price import GROUP
from laptime.tuning.judging.keeping import epochs_trouble, failure_of
from laptime.tuning.judging.measures import Yardstick, gain_in, of_arm
from laptime.units import render_share

FIRST_LOOK = ZONE / 3
"""The gain that a candidate must show in its first block to get a second.

What has 6 % to give shows less once in two hundred times, if pairs of processes are off by 2 %.
"""

SECOND_LOOK = 2 * ZONE / 3
"""The gain that it must show in both together: of candidates without any one in twelve does."""

CLEAR = ZONE + 2 * PROCESS_SD
"""A gain that needs no second look."""


@dataclass(frozen=True)
class Screened:
    """What one or two blocks showed of a candidate."""

    candidate: Candidate
    outcome: Outcome | None
    """None: it deserves a verdict."""
    why: str
    gain: float | None = None
    """As a log ratio."""


class Screen:
    """Sorts candidates out.

    Args:
        ground: Where blocks are run.
        yardstick: How their times are read.
        policy: Turns of these blocks.
        baseline: What candidates are held against: the unchanged job, or one with workers.
        loader: The job's.
    """

    def __init__(
        self,
        ground: Ground,
        yardstick: Yardstick,
        policy: TurnPolicy,
        loader: LoaderFacts | None,
        baseline: TuneArm | None = None,
    ) -> None:
        self._ground, self._yardstick, self._policy = ground, yardstick, policy
        self._loader, self._baseline = loader, baseline or TuneArm(name=BASELINE)
        self.blocks: list[TuneBlock] = []

    def run(self, candidates: Sequence[Candidate], kept_s: float) -> list[Screened]:
        """Screen candidates in order; what the budget does not hold is said to be left out.

        Args:
            candidates: The ones that matter most first.
            kept_s: Of the budget: for what comes after.
        """
        found: dict[str, Screened] = {}
        for group in _groups(candidates):
            if self._ground.holds(self._arms(group), 1, self._policy, kept_s):
                self._look(group)
                found |= {c.name: self._judged(c, FIRST_LOOK) for c in group}
            else:
                found |= {c.name: Screened(c, "budget", "budget") for c in group}
        again = [s.candidate for s in found.values() if s.outcome is None and not _is_clear(s)]
        for group in _groups(again):
            if self._ground.holds(self._arms(group), 1, self._policy, kept_s):
                self._look(group)
                found |= {c.name: self._judged(c, SECOND_LOOK) for c in group}
        return [found[candidate.name] for candidate in candidates]

    def _arms(self, group: Sequence[Candidate]) -> list[TuneArm]:
        return [self._baseline, *(candidate.arm() for candidate in group)]

    def _look(self, group: Sequence[Candidate]) -> None:
        arms = self._arms(group)
        self.blocks += self._ground.run(arms, "scout", 1, self._policy, words="a first look")

    def _judged(self, candidate: Candidate, least: float) -> Screened:
        replicates = of_arm(self.blocks, candidate.name)
        ended = failure_of(replicates)
        if ended is not None:
            return Screened(candidate, *ended)
        baseline = of_arm(self.blocks, self._baseline.name)
        trouble = epochs_trouble(replicates, baseline, self._loader)
        if trouble is not None:
            return Screened(candidate, "refused", trouble)
        gain = gain_in(self.blocks, candidate.name, self._yardstick, self._baseline.name)
        if gain is None:
            return Screened(candidate, "failed", "the unchanged job did not complete beside it")
        if gain < least:
            why = f"no gain beyond {render_share(ZONE)} in sight"
            return Screened(candidate, "screened out", why, gain)
        return Screened(candidate, None, "", gain)


def _is_clear(screened: Screened) -> bool:
    return screened.gain is not None and screened.gain > CLEAR


def _groups(candidates: Sequence[Candidate]) -> Iterator[Sequence[Candidate]]:
    """Yield candidates in groups as even as can be; what compiles comes last, and alone."""
    slow = [candidate for candidate in candidates if num_compiled([candidate.arm()])]
    quick = [candidate for candidate in candidates if candidate not in slow]
    number = max(1, -(-len(quick) // GROUP))
    size = max(1, -(-len(quick) // number))
    for start in range(0, len(quick), size):
        yield quick[start : start + size]
    for candidate in slow:
        yield [candidate]


def best_of(screened: Sequence[Screened], most: int) -> tuple[list[Candidate], list[Screened]]:
    """Return the candidates that get a verdict, and the others with why not."""
    passed = sorted((s for s in screened if s.outcome is None), key=lambda s: -(s.gain or 0.0))
    left = [
        Screened(s.candidate, "screened out", f"{most} others gained more", s.gain)
        for s in passed[most:]
    ]
    chosen = {s.candidate.name for s in passed[:most]}
    others = [s for s in screened if s.outcome is not None]
    return [s.candidate for s in screened if s.candidate.name in chosen], [*others, *left]
