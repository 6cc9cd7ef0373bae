"""The ascent over worker counts: some side by side in one block, then pairs while more gains."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from laptime.statistics.elimination import CANDIDATES, PROCESS_SD, Trial, incumbent
from laptime.study import TurnPolicy
from laptime.tune import BASELINE, ZONE, PilotRecord, TuneArm, TuneBlock
from laptime.tuning.choice.candidates import Candidate, workers_candidate
from laptime.tuning.ground.blocks import Ground
from laptime.tuning.judging.keeping import epochs_trouble, failure_of
from laptime.tuning.judging.measures import Yardstick, of_arm, trial_in

FIRST_COUNTS = (0, 1, 2, 4)
"""Tried whatever the number of CPUs: a dataset that waits for a disk or a network sleeps."""

SECOND_LOOK = 2 * ZONE / 3
"""The gain over the job's own count that a verdict is sought for."""

_MEMORY_SHARE = 0.8
"""Of the memory that is free: workers may take so much together."""


class Climb:
    """Worker counts and what was found of them."""

    def __init__(self, pilot: PilotRecord, yardstick: Yardstick) -> None:
        assert pilot.loader is not None
        self.current = pilot.loader.num_workers
        self.blocks: list[TuneBlock] = []
        self._pilot, self._yardstick = pilot, yardstick

    @property
    def counts(self) -> list[int]:
        """The counts of the first block, ascending."""
        return sorted({*FIRST_COUNTS, self.current})

    def first_arms(self) -> list[TuneArm]:
        """Return the arms of the first block, the job's own count first."""
        return [TuneArm(name=BASELINE), *(self._arm(c) for c in self.counts if c != self.current)]

    def run(
        self, ground: Ground, policy: TurnPolicy, free_bytes: Callable[[], int], kept_s: float
    ) -> None:
        """Run the ascent: it ends with a count that gains nothing, or the budget.

        Not before all of the first block are there: among these a curve may have a hump.

        Args:
            ground: Where blocks are run.
            policy: Their turns.
            free_bytes: Memory that is free.
            kept_s: Of the budget: for what comes after.
        """
        self.blocks += ground.run(self.first_arms(), "scout", 1, policy, words="worker counts")
        while pair := self._next_pair(free_bytes()):
            arms = [self._arm(count) for count in pair]
            if not ground.holds(arms, 1, policy, kept_s):
                return
            self.blocks += ground.run(arms, "scout", 1, policy, words="worker counts")

    def trials(self) -> list[Trial]:
        """Return each count, ascending, against the best before it; refused ones are left out."""
        found: list[Trial] = []
        sound = [count for count in self._measured() if self._is_sound(count)]
        for count in sound[1:]:
            against = incumbent(found, sound[0], ZONE) if found else sound[0]
            block = self._block_with(count, against)
            if block is not None:
                names = {number: self._name(number) for number in (count, against)}
                found.append(trial_in(block, count, against, names, self._yardstick))
        return found

    def contenders(self) -> list[Candidate]:
        """Return the counts that deserve a verdict: the best, and the smallest that comes near it.

        One block does not tell which of the two is meant.
        """
        gains = self.gains()
        best = max(gains, key=lambda count: (gains[count], -count), default=self.current)
        near = [c for c in gains if gains[c] >= gains[best] - ZONE - PROCESS_SD]
        smallest = min(near, default=best)
        is_as_good = gains.get(best, 0.0) - gains.get(smallest, 0.0) < ZONE / 3
        wanted = (smallest,) if is_as_good else (smallest, best)
        return [
            workers_candidate(count)
            for count in wanted
            if count != self.current and gains.get(count, 0.0) >= SECOND_LOOK
        ]

    def gains(self) -> dict[int, float]:
        """Return the gain of each count over the job's own, along the trials between them."""
        trials = self.trials()
        reached = {trials[0].incumbent: 0.0} if trials else {}
        for trial in trials:
            if trial.log_ratios and trial.incumbent in reached:
                reached[trial.candidate] = reached[trial.incumbent] - fmean(trial.log_ratios)
        if self.current not in reached:
            return {}
        return {count: gain - reached[self.current] for count, gain in reached.items()}

    def tried(self) -> list[Candidate]:
        """Return every count that was tried, the job's own left out."""
        return [workers_candidate(count) for count in self._measured() if count != self.current]

    def trouble(self, count: int) -> str | None:
        """Return why a count cannot be used, whatever its speed; None where it can."""
        replicates = of_arm(self.blocks, self._name(count))
        failed = failure_of(replicates)
        if failed:
            return failed[1]
        baseline = of_arm(self.blocks, BASELINE)
        return epochs_trouble(replicates, baseline, self._pilot.loader)

    def _is_sound(self, count: int) -> bool:
        return count == self.current or self.trouble(count) is None

    def _measured(self) -> list[int]:
        names = {arm.name for block in self.blocks for arm in block.arms}
        counts = sorted({*CANDIDATES, self.current})
        return [count for count in counts if self._name(count) in names]

    def _next_pair(self, free_bytes: int) -> tuple[int, int] | None:
        """Return the best so far and the next count above all that were tried."""
        trials, largest = self.trials(), max(self._measured())
        if not trials or trials[-1].candidate != largest:
            return None
        best = incumbent(trials, trials[0].incumbent, ZONE)
        if best != largest:
            return None  # it gained nothing over a smaller one
        above = [count for count in CANDIDATES if count > largest]
        affordable = [count for count in above if count * self._worker_bytes() <= free_bytes]
        return (best, affordable[0]) if affordable else None

    def _worker_bytes(self) -> float:
        """Return the memory of one worker, over the share of what is free that all may take."""
        each = [
            r.worker_bytes / r.num_workers
            for block in self.blocks
            for r in block.block.replicates
            if r.worker_bytes and r.num_workers
        ]
        return max(each, default=0.0) / _MEMORY_SHARE

    def _block_with(self, a: int, b: int) -> TuneBlock | None:
        wanted = {self._name(a), self._name(b)}
        blocks = [b for b in self.blocks if wanted <= {arm.name for arm in b.arms}]
        return blocks[-1] if blocks else None

    def _name(self, count: int) -> str:
        return BASELINE if count == self.current else workers_candidate(count).name

    def _arm(self, count: int) -> TuneArm:
        if count == self.current:
            return TuneArm(name=BASELINE)
        return workers_candidate(count).arm()
