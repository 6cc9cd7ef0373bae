"""Blocks to verdicts: each arm against the unchanged job, in time and in losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from laptime.replicate import Block
from laptime.settings import RunSettings
from laptime.statistics.intervals import resolution
from laptime.statistics.steadiness import clock_change, contaminated, no_steady_state
from laptime.statistics.verdict import judge_all, judge_times
from laptime.study import Arm, Comparison, Plan, Refusal
from laptime.tune import AGAIN, BASELINE, LoaderFacts, LossFinding, Tried, TuneBlock
from laptime.tuning.choice.candidates import Candidate
from laptime.tuning.judging.keeping import decide, epochs_trouble
from laptime.tuning.judging.losses import Losses, judge_losses
from laptime.tuning.judging.measures import Yardstick, log_ratios, of_arm
from laptime.units import render_change, seconds


class Bench:
    """Judges arms by the blocks of one stage.

    Args:
        blocks: All have the same arms.
        yardstick: How their times are read.
        loader: The job's.
    """

    def __init__(
        self, blocks: Sequence[TuneBlock], yardstick: Yardstick, loader: LoaderFacts | None
    ) -> None:
        self.blocks, self._yardstick, self._loader = blocks, yardstick, loader
        self._refused = steadiness(blocks) if blocks else ()

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why nothing is concluded from these blocks, or nothing of some arms."""
        row = self.again()
        differs = [_aa_refusal(row)] if row and row.verdict in {"faster", "slower"} else []
        return (*self._refused, *differs)

    @property
    def forbids_all(self) -> bool:
        """Tell whether a refusal is about every arm."""
        return any(not r.arms or BASELINE in r.arms for r in self.refusals)

    def rows(self, names: Sequence[str], against: str = BASELINE) -> list[Comparison]:
        """Return the verdicts on some arms; Holm's correction is over all of them."""
        pairs = [(name, against, self._ratios(name, against)) for name in names]
        return [row.model_copy(update={"quantity": self._quantity}) for row in judge_all(pairs)]

    def row(self, name: str, against: str = BASELINE) -> Comparison:
        """Return the verdict on one arm, asked for by itself."""
        row = judge_times(name, against, self._ratios(name, against))
        return row.model_copy(update={"quantity": self._quantity})

    def again(self) -> Comparison | None:
        """Return the verdict on the unchanged job against itself, where it was there twice."""
        names = {arm.name for block in self.blocks for arm in block.arms}
        return self.row(AGAIN) if AGAIN in names else None

    def resolution(self, name: str) -> float | None:
        """Return the smallest difference that would have been seen with 80 % power."""
        return resolution(self._ratios(name, BASELINE))

    def losses(self, candidate: Candidate) -> LossFinding:
        """Return what the losses of an arm say."""
        arm, baseline, again = (self._losses(name) for name in (candidate.name, BASELINE, AGAIN))
        return judge_losses(arm, baseline, again, candidate.numbers)

    def tried(self, candidate: Candidate, row: Comparison, stage: str) -> Tried:
        """Return what becomes of an arm, and why."""
        losses, replicates = self.losses(candidate), of_arm(self.blocks, candidate.name)
        trouble = self._unsteady(candidate.name) or epochs_trouble(
            replicates, of_arm(self.blocks, BASELINE), self._loader
        )
        outcome, why = decide(row, losses, candidate.numbers, replicates, trouble)
        return Tried.model_validate(
            {
                "name": candidate.name,
                "changes": candidate.changes,
                "numbers": candidate.numbers,
                "note": candidate.note,
                "stage": stage,
                "row": row,
                "losses": losses,
                "outcome": outcome,
                "why": why,
                "worker_bytes": max((r.worker_bytes or 0 for r in replicates), default=0) or None,
                "break_even_steps": self.break_even_steps(candidate.name),
            }
        )

    def break_even_steps(self, name: str) -> int | None:
        """Return the steps after which a longer start is earned back.

        None where the start is not longer by a second and a half, or nothing is gained.
        """
        pairs = list(zip(of_arm(self.blocks, name), of_arm(self.blocks, BASELINE), strict=False))
        known = [(a, b) for a, b in pairs if a.step_s and b.step_s]
        if not known:
            return None
        extra_s = fmean(seconds(a.setup_ns - b.setup_ns) for a, b in known)
        gained_s = fmean((b.step_s or 0.0) - (a.step_s or 0.0) for a, b in known)
        if extra_s < _LONGER_S or gained_s <= 0:
            return None
        return math.ceil(extra_s / gained_s)

    def seconds_of(self, name: str) -> float:
        """Return the geometric mean of an arm's time."""
        times = [t for r in of_arm(self.blocks, name) if (t := self._yardstick.seconds(r))]
        return math.exp(fmean(map(math.log, times))) if times else 0.0

    @property
    def _quantity(self) -> str:
        return self._yardstick.quantity

    def _ratios(self, a: str, b: str) -> list[float]:
        return log_ratios(self.blocks, a, b, self._yardstick.seconds)

    def _losses(self, name: str) -> dict[int, Losses]:
        return {r.block: r.losses for r in of_arm(self.blocks, name) if r.losses}

    def _unsteady(self, name: str) -> str | None:
        return next((r.evidence for r in self._refused if name in r.arms), None)


_LONGER_S = 1.5


def steadiness(blocks: Sequence[TuneBlock]) -> tuple[Refusal, ...]:
    """Return what the rules of studies on machine and turns have against some blocks."""
    plan, plain = _as_study(blocks)
    rules = (contaminated, clock_change, no_steady_state)
    return tuple(refusal for rule in rules for refusal in rule(plan, plain))


def disturbance(blocks: Sequence[TuneBlock]) -> tuple[Refusal, ...]:
    """Return the refusal of blocks of any arms during which the machine was not ours alone."""
    if not blocks:
        return ()
    plan, plain = _as_study(blocks)
    return tuple(refusal for refusal in contaminated(plan, plain) if not refusal.arms)


def _as_study(blocks: Sequence[TuneBlock]) -> tuple[Plan, list[Block]]:
    """Return the blocks as those of a study whose arms have no settings of ours."""
    arms = tuple(
        Arm(name=arm.name, settings=RunSettings(), again_of=arm.again_of) for arm in blocks[0].arms
    )
    plan = Plan(study="tune", arms=arms, baseline=arms[0].name, factors=(), blocks=len(blocks))
    return plan, [_with_epochs(block.block) for block in blocks]


def _with_epochs(block: Block) -> Block:
    """Return a block whose replicates have epochs of one step where none is known."""
    replicates = tuple(
        r if r.steps_per_epoch else r.model_copy(update={"steps_per_epoch": 1.0})
        for r in block.replicates
    )
    return block.model_copy(update={"replicates": replicates, "stage": "main"})


def _aa_refusal(row: Comparison) -> Refusal:
    assert row.ratio is not None
    return Refusal(
        code="aa_differs",
        evidence=(
            f"The unchanged job was there twice, and differs from itself: "
            f"{render_change(row.ratio, row.low, row.high)} over {row.n} blocks."
        ),
        next=(
            "`laptime selftest` (half a minute) tells whether this machine measures truly now; "
            "then run `laptime tune` again"
        ),
    )
