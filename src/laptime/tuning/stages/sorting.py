"""What deserves a verdict: the ascent of worker counts, then first looks at everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from laptime.tune import PilotRecord, TuneArm, TuneBlock
from laptime.tuning.choice.candidates import Candidate, workers_candidate
from laptime.tuning.findings import Findings
from laptime.tuning.ground.blocks import Ground
from laptime.tuning.ground.price import MOST_KEPT, SCREENING
from laptime.tuning.judging.measures import Yardstick
from laptime.tuning.judging.verdicts import Bench
from laptime.tuning.stages.climb import Climb
from laptime.tuning.stages.screening import Screen, Screened, best_of

WORKERS = "num_workers"


class Sorting:
    """Sorts out, and notes what came of it.

    Args:
        ground: Where blocks are run.
        pilot: Of the unchanged job.
        yardstick: How times are read.
        findings: Where rows go.
        free_bytes: Memory that is free.
    """

    def __init__(
        self,
        ground: Ground,
        pilot: PilotRecord,
        yardstick: Yardstick,
        findings: Findings,
        free_bytes: Callable[[], int],
    ) -> None:
        self._ground, self._pilot, self._yardstick = ground, pilot, yardstick
        self._findings, self._free_bytes = findings, free_bytes

    def counts(self, kept_s: float) -> list[Candidate]:
        """Return the worker counts that deserve a verdict, the smallest first."""
        climb = Climb(self._pilot, self._yardstick)
        if not self._ground.holds(climb.first_arms(), 1, SCREENING, kept_s):
            self._findings.leave_out(workers_candidate(0), name=WORKERS)
            return []
        climb.run(self._ground, SCREENING, self._free_bytes, kept_s)
        contenders = climb.contenders()
        screened = [_screened(candidate, climb, contenders) for candidate in climb.tried()]
        self._findings.note_screened(screened, self._bench(climb.blocks))
        return contenders

    def others(
        self,
        candidates: Sequence[Candidate],
        kept_s: float,
        *,
        most: int = MOST_KEPT,
        baseline: TuneArm | None = None,
    ) -> list[Candidate]:
        """Return which of some candidates deserve a verdict, in their order.

        Args:
            candidates: The ones that matter most first.
            kept_s: Of the budget: for what comes after.
            most: That get one.
            baseline: What they are held against; None: the unchanged job.
        """
        loader = self._pilot.loader
        screen = Screen(self._ground, self._yardstick, SCREENING, loader, baseline)
        screened = screen.run(candidates, kept_s)
        chosen, left = best_of(screened, most)
        passed = [one for one in screened if one.candidate in chosen]
        self._findings.note_screened([*left, *passed], self._bench(screen.blocks))
        return chosen

    def _bench(self, blocks: Sequence[TuneBlock]) -> Bench:
        return Bench(blocks, self._yardstick, self._pilot.loader)


def _screened(candidate: Candidate, climb: Climb, contenders: Sequence[Candidate]) -> Screened:
    """Return what the ascent says of one count."""
    count = int(dict(candidate.changes)[WORKERS])
    trouble, gain = climb.trouble(count), climb.gains().get(count)
    if trouble is not None:
        return Screened(candidate, "refused", trouble, gain)
    if candidate in contenders:
        return Screened(candidate, None, "", gain)
    why = f"{contenders[-1].name} gains more" if contenders else "no gain in sight"
    return Screened(candidate, "screened out", why, gain)
