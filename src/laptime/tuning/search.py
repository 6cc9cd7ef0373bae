"""The search: the ascent of workers, a screening, verdicts, the best at once, fresh blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from laptime.replicate import Stage
from laptime.statistics.verdict import MIN_BLOCKS
from laptime.study import Comparison, Refusal
from laptime.tune import (
    AGAIN,
    BASELINE,
    ZONE,
    Conclusion,
    Gain,
    NotTried,
    PilotRecord,
    Tried,
    TuneArm,
    TuneRequest,
)
from laptime.tuning.choice.candidates import (
    Candidate,
    Kind,
    candidates_of,
    merged,
    workers_candidate,
)
from laptime.tuning.ground.blocks import Ground
from laptime.tuning.ground.price import (
    MOST_KEPT,
    SCREENING,
    check_budget,
    estimate,
    fresh_s,
    proof_s,
)
from laptime.tuning.judging.measures import Yardstick
from laptime.tuning.judging.verdicts import Bench
from laptime.tuning.stages.climb import Climb
from laptime.tuning.stages.screening import Screen, Screened, best_of
from laptime.tuning.stages.together import climb_ladder, followers, ladder, waits_for_workers
from laptime.units import render_duration, render_share

BUDGET = "budget"
"""Why something was not tried that had deserved it."""

_WORKERS = "num_workers"


@dataclass
class Findings:
    """What a search has found so far: it may be interrupted at any time."""

    tried: dict[str, Tried] = field(default_factory=dict)
    not_tried: list[NotTried] = field(default_factory=list)
    together: list[Comparison] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    again: Comparison | None = None
    resolution: float | None = None
    gain: Gain | None = None
    conclusion: Conclusion = "interrupted"


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
        self._costs, self._free_bytes = ground.costs, free_bytes
        self._yardstick = Yardstick.of(pilot, is_script=is_script)

    def run(self) -> Findings:
        """Run the search to its end.

        Raises:
            SettingsError: The budget does not hold one candidate.
        """
        found, request = self.findings, self._request
        candidates, found.not_tried[:] = candidates_of(
            self._pilot, self._kinds, only=request.only, allow_numerics=request.allow_numerics
        )
        climbs = _WORKERS in self._kinds and not _is_left_out(_WORKERS, found.not_tried)
        if not climbs and not candidates:
            return self._conclude("nothing to gain")
        self._say_price(candidates, climbs=climbs)
        kept = self._judge(self._screen(candidates, climbs=climbs))
        if found.refusals:
            return self._conclude("refused")
        if not kept:
            return self._conclude("nothing to gain")
        return self._prove(self._together(kept))

    @property
    def _request(self) -> TuneRequest:
        return self._ground.request

    def _conclude(self, conclusion: Conclusion) -> Findings:
        self.findings.conclusion = conclusion
        return self.findings

    def _say_price(self, candidates: Sequence[Candidate], *, climbs: bool) -> None:
        check_budget(self._costs, self._request, self._ground.left_s())
        counts = len(Climb(self._pilot, self._yardstick).counts) if climbs else 0
        price = estimate(self._costs, self._request, counts=counts, candidates=len(candidates))
        names = [*(["worker counts"] if climbs else []), *(c.name for c in candidates)]
        self._ground.listener.warned(
            f"To try: {', '.join(names)}. That takes {price.words()}, and no more than "
            f"{render_duration(self._request.budget_s)}."
        )

    # Sorting out

    def _screen(self, candidates: Sequence[Candidate], *, climbs: bool) -> list[Candidate]:
        """Return what deserves a verdict, the ones that matter most first."""
        kept_s = proof_s(self._costs, self._request)
        counts = self._climb(kept_s) if climbs else []
        screen = self._new_screen()
        chosen, others = best_of(screen.run(candidates, kept_s), MOST_KEPT - len(counts))
        self._note_screened(others, Bench(screen.blocks, self._yardstick, self._pilot.loader))
        return [*counts, *chosen]

    def _new_screen(self, baseline: TuneArm | None = None) -> Screen:
        return Screen(self._ground, self._yardstick, SCREENING, self._pilot.loader, baseline)

    def _climb(self, kept_s: float) -> list[Candidate]:
        climb = Climb(self._pilot, self._yardstick)
        if not self._ground.holds(len(climb.counts), 1, SCREENING, kept_s):
            self._leave_out(workers_candidate(0), name=_WORKERS)
            return []
        climb.run(self._ground, SCREENING, self._free_bytes, kept_s)
        contenders, gains = climb.contenders(), climb.gains()
        bench = Bench(climb.blocks, self._yardstick, self._pilot.loader)
        screened = []
        for candidate in climb.tried():
            count = int(dict(candidate.changes)[_WORKERS])
            trouble, gain = climb.trouble(count), gains.get(count)
            if trouble is not None:
                screened.append(Screened(candidate, "refused", trouble, gain))
            elif candidate not in contenders:
                best = contenders[-1].name if contenders else ""
                why = f"{best} gains more" if best else "no gain in sight"
                screened.append(Screened(candidate, "screened out", why, gain))
        self._note_screened(screened, bench)
        return contenders

    def _note_screened(self, others: Sequence[Screened], bench: Bench) -> None:
        """Keep what came of those that get no verdict."""
        for screened in others:
            candidate = screened.candidate
            if screened.outcome == "budget":
                self._leave_out(candidate)
                continue
            arms = next(
                (b.arms for b in bench.blocks if candidate.name in {a.name for a in b.arms}), ()
            )
            against = BASELINE if any(a.name == BASELINE for a in arms) else arms[0].name
            self.findings.tried[candidate.name] = Tried(
                name=candidate.name,
                changes=candidate.changes,
                numbers=candidate.numbers,
                note=candidate.note,
                stage="scout",
                row=bench.row(candidate.name, against),
                outcome=screened.outcome or "screened out",
                why=screened.why,
            )

    def _leave_out(self, candidate: Candidate, name: str = "") -> None:
        left = NotTried(name=name or candidate.name, numbers=candidate.numbers, why=BUDGET)
        self.findings.not_tried.append(left)

    # Verdicts

    def _judge(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return what is kept, the largest gain first."""
        fitting = self._fitting(candidates)
        if not fitting:
            return []
        arms = [TuneArm(name=BASELINE), TuneArm(name=AGAIN, again_of=BASELINE)]
        arms += [candidate.arm() for candidate in fitting]
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
        return sorted(self._with_one_count(kept, bench), key=self._ratio)

    def _with_one_count(self, kept: Sequence[Candidate], bench: Bench) -> list[Candidate]:
        """Return what is kept with one worker count: the smallest that is as good as the best."""
        counts = [candidate for candidate in kept if candidate.key == _WORKERS]
        if len(counts) < 2:
            return list(kept)
        fewer, more = counts[0], counts[-1]
        ratio = bench.row(more.name, fewer.name).ratio or 1.0
        left, why = more, f"{fewer.name} is as good within {render_share(ZONE)}"
        if ratio < 1 / (1 + ZONE):
            left, why = fewer, f"{more.name} gains more"
        lost = self.findings.tried[left.name].model_copy(update={"outcome": "not kept", "why": why})
        self.findings.tried[left.name] = lost
        return [candidate for candidate in kept if candidate is not left]

    def _fitting(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return as many as the budget holds, the last ones left out first."""
        request, fitting = self._request, list(candidates)
        kept_s = self._fresh_s()
        while fitting and not self._ground.holds(
            2 + len(fitting), request.blocks, request.turns, kept_s
        ):
            self._leave_out(fitting.pop())
        return fitting

    def _ratio(self, candidate: Candidate) -> float:
        row = self.findings.tried[candidate.name].row
        return row.ratio if row and row.ratio else 1.0

    def _bench(
        self, arms: Sequence[TuneArm], stage: Stage, words: str, kept_s: float = 0.0
    ) -> Bench:
        """Run the blocks of a verdict, with as many turns as what is not kept for later holds."""
        number = self._request.blocks
        policy = self._ground.narrowed(len(arms), number, self._request.turns, kept_s)
        blocks = self._ground.run(arms, stage, number, policy, words=words)
        return Bench(blocks, self._yardstick, self._pilot.loader)

    def _fresh_s(self) -> float:
        return fresh_s(self._costs, self._request)

    # The best at once

    def _together(self, kept: Sequence[Candidate]) -> Candidate:
        """Return the candidate that fresh blocks are to prove."""
        request = self._request
        rungs = ladder([*kept, *self._followers(kept)])
        kept_s = self._fresh_s()
        while len(rungs) > 1 and not self._ground.holds(
            1 + len(rungs), request.blocks, request.turns, kept_s
        ):
            self._leave_out(rungs.pop())
        if len(rungs) < 2:
            return kept[0]
        arms = [TuneArm(name=BASELINE), *(rung.arm() for rung in rungs)]
        bench = self._bench(arms, "together", "the best at once", kept_s)
        tried = {rung.name: bench.tried(rung, bench.row(rung.name), "together") for rung in rungs}
        pairs = {
            (upper.name, lower.name): bench.row(upper.name, lower.name)
            for lower, upper in combinations(rungs, 2)
        }
        standing, rows = climb_ladder(rungs, tried, pairs)
        self.findings.together += rows
        self.findings.tried |= {name: t for name, t in tried.items() if name != rungs[0].name}
        return standing

    def _followers(self, kept: Sequence[Candidate]) -> list[Candidate]:
        """Return what adds to workers that the job did not have, by a screening against them."""
        workers = next((c for c in kept if c.key == _WORKERS), None)
        loader, found = self._pilot.loader, self.findings
        if workers is None or loader is None or loader.num_workers:
            return []
        names = {c.key for c in kept}
        kinds = {key: kind for key, kind in self._kinds.items() if key not in names}
        main = [b for b in self._ground.blocks if b.block.stage == "main"]
        candidates, left = followers(
            self._pilot, kinds, workers, main, self._yardstick, self._request.only
        )
        beside = {merged([workers, candidate]).name: candidate for candidate in candidates}
        found.not_tried = [n for n in found.not_tried if not waits_for_workers(n)]
        found.not_tried += [n for n in left if n.name not in {t.name for t in found.not_tried}]
        kept_s = self._fresh_s() + self._costs.least_s(3, SCREENING)
        screen = self._new_screen(workers.arm())
        both = [merged([workers, candidate]) for candidate in candidates]
        chosen, others = best_of(screen.run(both, kept_s), MOST_KEPT)
        self._note_screened(others, Bench(screen.blocks, self._yardstick, loader))
        return [beside[candidate.name] for candidate in chosen]

    # Proof

    def _prove(self, winner: Candidate) -> Findings:
        """Run the winner against the unchanged job on fresh blocks: only that is the gain."""
        arms = [TuneArm(name=BASELINE), winner.arm()]
        bench = self._bench(arms, "confirmation", f"fresh blocks for {winner.name}")
        row = bench.row(winner.name)
        proven = bench.tried(winner, row, "confirmation")
        if row.n >= MIN_BLOCKS:
            self.findings.resolution = bench.resolution(winner.name)
        if bench.forbids_all:
            self.findings.refusals += bench.refusals
            return self._conclude("refused")
        if proven.outcome != "kept":
            self.findings.tried[winner.name] = proven
            return self._conclude("not verified")
        self.findings.gain = Gain(
            name=winner.name,
            changes=winner.changes,
            numbers=winner.numbers,
            row=row,
            losses=proven.losses,
            before_s=bench.seconds_of(BASELINE),
            after_s=bench.seconds_of(winner.name),
        )
        return self._conclude("gain")


def _is_left_out(name: str, left: Sequence[NotTried]) -> bool:
    return any(one.name == name for one in left)
