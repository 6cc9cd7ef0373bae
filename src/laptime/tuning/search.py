"""The search: sorting out, verdicts, the best at once, fresh blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from laptime.replicate import Stage
from laptime.statistics.verdict import MIN_BLOCKS
from laptime.tune import AGAIN, BASELINE, ZONE, Gain, NotTried, PilotRecord, TuneArm, TuneRequest
from laptime.tuning.choice.candidates import Candidate, Kind, candidates_of, merged
from laptime.tuning.findings import Findings
from laptime.tuning.ground.blocks import Ground
from laptime.tuning.ground.price import (
    MOST_KEPT,
    SCREENING,
    check_budget,
    estimate,
    fresh_s,
    proof_s,
    unchanged,
)
from laptime.tuning.judging.measures import Yardstick
from laptime.tuning.judging.verdicts import Bench, disturbance
from laptime.tuning.stages.climb import Climb
from laptime.tuning.stages.sorting import WORKERS, Sorting
from laptime.tuning.stages.together import climb_ladder, followers, ladder, waits_for_workers
from laptime.units import render_duration, render_share


class Search:
    """One search, stage by stage.

    Args:
        ground: Where blocks are run.
        pilot: Of the unchanged job.
        kinds: What there is to try.
        free_bytes: Memory that is free.
        is_script: Whether turns go across epochs.
    """

    def __init__(
        self,
        ground: Ground,
        pilot: PilotRecord,
        kinds: Mapping[str, Kind],
        free_bytes: Callable[[], int],
        *,
        is_script: bool,
    ) -> None:
        self.findings = Findings()
        self._ground, self._pilot, self._kinds = ground, pilot, kinds
        self._costs = ground.costs
        self._yardstick = Yardstick.of(pilot, is_script=is_script)
        self._sorting = Sorting(ground, pilot, self._yardstick, self.findings, free_bytes)

    def run(self) -> Findings:
        """Run the search to its end.

        Raises:
            SettingsError: The budget does not hold one candidate.
        """
        found, request = self.findings, self._request
        candidates, found.not_tried[:] = candidates_of(
            self._pilot, self._kinds, only=request.only, allow_numerics=request.allow_numerics
        )
        climbs = WORKERS in self._kinds and not _is_left_out(WORKERS, found.not_tried)
        if not climbs and not candidates:
            return found.conclude("nothing to gain")
        self._say_price(candidates, climbs=climbs)
        kept_s = proof_s(self._costs, request)
        chosen = self._sorting.counts(kept_s) if climbs else []
        chosen += self._sorting.others(candidates, kept_s, most=MOST_KEPT - len(chosen))
        kept = self._judge(chosen)
        if found.refusals:
            return found.conclude("refused")
        if not kept:
            return self._without_a_gain()
        return self._prove(self._together(kept))

    @property
    def _request(self) -> TuneRequest:
        return self._ground.request

    def _say_price(self, candidates: Sequence[Candidate], *, climbs: bool) -> None:
        climb = Climb(self._pilot, self._yardstick)
        first, counts = (len(climb.first_arms()), len(climb.counts)) if climbs else (2, 0)
        check_budget(self._costs, self._request, self._ground.left_s(), first)
        arms = [candidate.arm() for candidate in candidates]
        price = estimate(self._costs, self._request, counts=counts, candidates=arms)
        names = [*(["worker counts"] if climbs else []), *(c.name for c in candidates)]
        self._ground.listener.warned(
            f"To try: {', '.join(names)}. That takes {price.words()}, and no more than "
            f"{render_duration(self._request.budget_s)}."
        )

    def _without_a_gain(self) -> Findings:
        """Say that there is nothing to gain, unless nothing could have been seen."""
        found = self.findings
        found.refusals += disturbance(self._ground.blocks)
        if found.refusals:
            return found.conclude("refused")
        return found.conclude("not verified" if found.lacks_verdicts else "nothing to gain")

    # Verdicts

    def _judge(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return what is kept, the largest gain first."""
        first = [TuneArm(name=BASELINE), TuneArm(name=AGAIN, again_of=BASELINE)]
        fitting = self._fitting(first, candidates)
        if not fitting:
            return []
        arms = [*first, *(candidate.arm() for candidate in fitting)]
        bench = self._bench(arms, "main", "verdicts", self._fresh_s())
        rows = bench.rows([candidate.name for candidate in fitting])
        for candidate, row in zip(fitting, rows, strict=True):
            self.findings.tried[candidate.name] = bench.tried(candidate, row, "main")
        self.findings.again = bench.again()
        self.findings.resolution = bench.resolution(fitting[0].name)
        if bench.forbids_all:
            self.findings.refusals += bench.refusals
            return []
        kept = [c for c in fitting if self.findings.tried[c.name].outcome == "kept"]
        return sorted(self._with_one_count(kept, bench), key=self.findings.ratio)

    def _with_one_count(self, kept: Sequence[Candidate], bench: Bench) -> list[Candidate]:
        """Return what is kept with one worker count: the smallest that is as good as the best."""
        counts = [candidate for candidate in kept if candidate.key == WORKERS]
        if len(counts) < 2:
            return list(kept)
        fewer, more = counts[0], counts[-1]
        ratio = bench.row(more.name, fewer.name).ratio or 1.0
        left, why = more, f"{fewer.name} is as good within {render_share(ZONE)}"
        if ratio < 1 / (1 + ZONE):
            left, why = fewer, f"{more.name} gains more"
        self.findings.lose(left, why)
        return [candidate for candidate in kept if candidate is not left]

    def _fitting(
        self, first: Sequence[TuneArm], candidates: Sequence[Candidate]
    ) -> list[Candidate]:
        """Return as many as the budget holds, the last ones left out first."""
        request, fitting, kept_s = self._request, list(candidates), self._fresh_s()

        def is_too_much() -> bool:
            arms = [*first, *(candidate.arm() for candidate in fitting)]
            return not self._ground.holds(arms, request.blocks, request.turns, kept_s)

        while fitting and is_too_much():
            fitting.pop()
        return fitting

    def _bench(
        self, arms: Sequence[TuneArm], stage: Stage, words: str, kept_s: float = 0.0
    ) -> Bench:
        """Run the blocks of a verdict, with as many turns as what is not kept for later holds."""
        number = self._request.blocks
        policy = self._ground.narrowed(arms, number, self._request.turns, kept_s)
        blocks = self._ground.run(arms, stage, number, policy, words=words)
        return Bench(blocks, self._yardstick, self._pilot.loader)

    def _fresh_s(self) -> float:
        return fresh_s(self._costs, self._request)

    # The best at once

    def _together(self, kept: Sequence[Candidate]) -> Candidate:
        """Return the candidate that fresh blocks are to prove."""
        unchanged_job = TuneArm(name=BASELINE)
        rungs = self._fitting_rungs(unchanged_job, ladder([*kept, *self._followers(kept)]))
        if len(rungs) < 2:
            return kept[0]
        arms = [unchanged_job, *(rung.arm() for rung in rungs)]
        bench = self._bench(arms, "together", "the best at once", self._fresh_s())
        tried = {rung.name: bench.tried(rung, bench.row(rung.name), "together") for rung in rungs}
        pairs = {
            (upper.name, lower.name): bench.row(upper.name, lower.name)
            for lower, upper in combinations(rungs, 2)
        }
        standing, rows = climb_ladder(rungs, tried, pairs)
        self.findings.together += rows
        self.findings.tried |= {name: t for name, t in tried.items() if name != rungs[0].name}
        return standing

    def _fitting_rungs(self, first: TuneArm, rungs: list[Candidate]) -> list[Candidate]:
        request = self._request
        while len(rungs) > 1:
            arms = [first, *(rung.arm() for rung in rungs)]
            if self._ground.holds(arms, request.blocks, request.turns, self._fresh_s()):
                break
            self.findings.leave_out(rungs.pop())
        return rungs

    def _followers(self, kept: Sequence[Candidate]) -> list[Candidate]:
        """Return what adds to workers that the job did not have, by a screening against them."""
        workers = next((c for c in kept if c.key == WORKERS), None)
        loader, found = self._pilot.loader, self.findings
        if workers is None or loader is None or loader.num_workers:
            return []
        taken = {candidate.key for candidate in kept}
        kinds = {key: kind for key, kind in self._kinds.items() if key not in taken}
        main = [block for block in self._ground.blocks if block.block.stage == "main"]
        candidates, left = followers(
            self._pilot, kinds, workers, main, self._yardstick, self._request.only
        )
        found.not_tried = [n for n in found.not_tried if not waits_for_workers(n)]
        known = {one.name for one in found.not_tried}
        found.not_tried += [one for one in left if one.name not in known]
        beside = {merged([workers, candidate]).name: candidate for candidate in candidates}
        both = [merged([workers, candidate]) for candidate in candidates]
        kept_s = self._fresh_s() + self._costs.least_s(unchanged(3), SCREENING)
        chosen = self._sorting.others(both, kept_s, baseline=workers.arm())
        return [beside[candidate.name] for candidate in chosen]

    # Proof

    def _prove(self, winner: Candidate) -> Findings:
        """Run the winner against the unchanged job on fresh blocks: only that is the gain."""
        found = self.findings
        arms = [TuneArm(name=BASELINE), winner.arm()]
        bench = self._bench(arms, "confirmation", f"fresh blocks for {winner.name}")
        row = bench.row(winner.name)
        proven = bench.tried(winner, row, "confirmation")
        if row.n >= MIN_BLOCKS:
            found.resolution = bench.resolution(winner.name)
        if bench.forbids_all:
            found.refusals += bench.refusals
            return found.conclude("refused")
        if proven.outcome != "kept":
            found.tried[winner.name] = proven
            return found.conclude("not verified")
        found.gain = Gain(
            name=winner.name,
            changes=winner.changes,
            numbers=winner.numbers,
            row=row,
            losses=proven.losses,
            before_s=bench.seconds_of(BASELINE),
            after_s=bench.seconds_of(winner.name),
        )
        return found.conclude("gain")


def _is_left_out(name: str, left: Sequence[NotTried]) -> bool:
    return any(one.name == name for one in left)
