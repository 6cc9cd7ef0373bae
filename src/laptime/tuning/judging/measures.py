"""Blocks to times and ratios: what an epoch of an arm takes, and how two arms compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from laptime.replicate import Replicate, Stage, Turn
from laptime.statistics.elimination import Trial
from laptime.tune import BASELINE, PilotRecord, TuneBlock
from laptime.units import seconds


@dataclass(frozen=True)
class Yardstick:
    """How the time of a replicate is read: an epoch, composed, or a step where none is known.

    A script goes from epoch to epoch within its turns: its steps are those of whole epochs, so
    that an epoch is its edges and so many steps. The built-in job's turns stay inside of one epoch,
    and :class:`laptime.replicate.Replicate` knows how to compose that.

    Args:
        steps_per_epoch: Of the unchanged job; 0 where it is not known.
        is_script: Whether turns go across epochs.
    """

    steps_per_epoch: float
    is_script: bool = True

    @classmethod
    def of(cls, pilot: PilotRecord, *, is_script: bool) -> Yardstick:
        """Return the one that a pilot's job is measured with."""
        return cls(pilot.steps_per_epoch or 0.0, is_script)

    @property
    def quantity(self) -> str:
        """What is compared, by its name."""
        return "epoch_s" if self.steps_per_epoch else "step_s"

    def seconds(self, replicate: Replicate) -> float | None:
        """Return the seconds of an epoch, or of a step; None of what did not complete."""
        if replicate.step_s is None or not self.steps_per_epoch:
            return replicate.step_s
        if not self.is_script:
            return replicate.epoch_s
        return self._composed_s(replicate, replicate.step_s)

    def of_turn(self, replicate: Replicate, turn: Turn) -> float:
        """Return the same at the pace of one turn."""
        if not self.steps_per_epoch:
            return turn.step_s
        if not self.is_script:
            return replicate.epoch_of(turn)
        return self._composed_s(replicate, turn.step_s)

    def edges_s(self, replicate: Replicate) -> float:
        """Return loader start and end of an epoch.

        Of a script that has begun one epoch only: what its first start took, if there are workers
        to start; without them the first batch is one like the others.
        """
        if not self.is_script or replicate.loader_start_ns or not replicate.num_workers:
            return replicate.edges_s
        return seconds(replicate.cold_start_ns) + replicate.edges_s

    def _composed_s(self, replicate: Replicate, step_s: float) -> float:
        steps = replicate.steps_per_epoch or self.steps_per_epoch
        return self.edges_s(replicate) + steps * step_s


def of_arm(blocks: Sequence[TuneBlock], name: str) -> list[Replicate]:
    """Return what the processes of an arm left, block by block."""
    return [r for block in blocks for r in block.block.replicates if r.arm == name]


def of_stage(blocks: Sequence[TuneBlock], stage: Stage) -> list[TuneBlock]:
    """Return the blocks of one stage."""
    return [block for block in blocks if block.block.stage == stage]


def pair_in(block: TuneBlock, a: str, b: str) -> tuple[Replicate, Replicate] | None:
    """Return the replicates of two arms, if a block has both."""
    found = {replicate.arm: replicate for replicate in block.block.replicates}
    return (found[a], found[b]) if a in found and b in found else None


def log_ratios(
    blocks: Sequence[TuneBlock], a: str, b: str, seconds_of: Callable[[Replicate], float | None]
) -> list[float]:
    """Return ln(time of a / time of b) of each block in which both completed."""
    pairs = [pair for block in blocks if (pair := pair_in(block, a, b))]
    times = [(seconds_of(first), seconds_of(second)) for first, second in pairs]
    return [math.log(of_a / of_b) for of_a, of_b in times if of_a and of_b]


def turn_ratios(block: TuneBlock, a: str, b: str, yardstick: Yardstick) -> list[float]:
    """Return ln(time of a / time of b) of each round of a block that both took part in."""
    pair = pair_in(block, a, b)
    if pair is None or any(yardstick.seconds(replicate) is None for replicate in pair):
        return []
    first, second = ({t.round: yardstick.of_turn(r, t) for t in r.counted} for r in pair)
    return [math.log(first[number] / second[number]) for number in first if number in second]


def gain_in(
    blocks: Sequence[TuneBlock], name: str, yardstick: Yardstick, against: str = BASELINE
) -> float | None:
    """Return the mean gain of an arm in some blocks, as a log ratio; None where it has none."""
    found = log_ratios(blocks, name, against, yardstick.seconds)
    return -sum(found) / len(found) if found else None


def trial_in(block: TuneBlock, candidate: int, incumbent: int, names: dict[int, str],
             yardstick: Yardstick) -> Trial:  # fmt: skip
    """Return one worker count against another, from a block that has both."""
    ratios = turn_ratios(block, names[candidate], names[incumbent], yardstick)
    return Trial(candidate, incumbent, tuple(ratios))
