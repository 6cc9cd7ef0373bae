"""How far a study is: turns and blocks so far, what is next, how long it will take."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from laptime.replicate import Block, Outcome, Stage, TrainedReplicate
from laptime.statistics.intervals import geometric_interval
from laptime.studies.plan import BlockArm, BlockPlan
from laptime.studies.price import Price
from laptime.timing.clock import read_ns
from laptime.units import render_duration, render_estimate, render_step_time, seconds


class Progress:
    """Counts what a listener hears of; every method takes no longer than a few additions."""

    def __init__(self, plan: BlockPlan[Any] | None, stage: Stage, price: Price | None) -> None:
        self._plan, self._stage, self._price = plan, stage, price
        self._arms: Sequence[BlockArm] = plan.arms if plan else ()
        self.block, self.blocks = 0, plan.blocks if plan else 0
        self._is_running, self._block_ns = False, 0
        self._round, self._last_arm = 0, ""
        self._steps_s: dict[str, list[float]] = {}
        self._epochs_s: dict[str, list[float]] = {}
        self._ended: dict[str, Outcome] = {}
        self._walls_s: list[float] = []
        self._trained, self._to_train = 0, 0
        self._trained_before, self._training_ns = 0, 0

    @classmethod
    def of_trainings(cls) -> Progress:
        """Return the progress of a study that has no blocks."""
        return cls(None, "main", None)

    def begin_block(self, block: int, blocks: int) -> None:
        """Begin a block: nobody has had a turn."""
        self.block, self.blocks = block, blocks
        self._is_running, self._block_ns = True, read_ns()
        self._round, self._last_arm = 0, ""
        self._steps_s, self._ended = {}, {}

    def add_turn(self, arm: str, round_number: int, step_s: float) -> None:
        """Add a turn of an arm."""
        self._round, self._last_arm = round_number, arm
        self._steps_s.setdefault(arm, []).append(step_s)

    def end_arm(self, arm: str, status: Outcome) -> None:
        """Note that an arm takes no more turns in this block."""
        self._ended[arm] = status

    def end_block(self, block: Block) -> None:
        """Add the epochs of a block."""
        self._is_running = False
        self._walls_s.append(seconds(block.wall_ns))
        for replicate in block.replicates:
            if replicate.epoch_s is not None:
                self._epochs_s.setdefault(replicate.arm, []).append(replicate.epoch_s)

    def end_training(self, replicate: TrainedReplicate, done: int, of: int) -> None:
        """Count a training run."""
        if not self._to_train:
            self._trained_before, self._training_ns = done - 1, read_ns() - replicate.wall_ns
        self._trained, self._to_train = done, of

    def rows(self) -> list[tuple[str, ...]]:
        """Return, of each arm: name, turns, time of a step, epoch with interval, blocks, end."""
        names = [arm.name for arm in self._arms]
        if self._stage == "scout":  # most candidates never have a turn
            names = [name for name in names if name in self._steps_s or name in self._epochs_s]
        return [self._row(name) for name in names]

    def _row(self, name: str) -> tuple[str, ...]:
        steps_s, epochs_s = self._steps_s.get(name, []), self._epochs_s.get(name, [])
        step = render_step_time(fmean(steps_s)) if steps_s else "-"
        epoch = "-"
        if epochs_s:
            found = geometric_interval(epochs_s)
            epoch = f"{render_estimate(found.estimate, found.low, found.high)} s"
        ended = self._ended.get(name, "")
        end = "" if ended == "completed" else ended.replace("_", " ")
        return name, str(len(steps_s)), step, epoch, str(len(epochs_s)), end

    def words(self) -> str:
        """Return where the study is, what is next, and how long it will take."""
        if self._to_train:
            parts = [f"{self._trained} of {self._to_train} training runs", self._trainings_left()]
        else:
            parts = [self._place(), self._turn(), self._blocks_left()]
        return " · ".join(filter(None, parts))

    def _place(self) -> str:
        if not self.block:
            return ""
        return f"block {self.block}" + ("" if self._stage == "scout" else f" of {self.blocks}")

    def _turn(self) -> str:
        """Return the round, how many there may be, and whose turn follows."""
        if not self._is_running:
            return ""
        policy = self._plan.turns if self._plan and self._plan.design == "turns" else None
        most = f" of {policy.min_turns} to {policy.max_turns}" if policy else ""
        following = self.next_arm()
        parts = [f"round {max(1, self._round)}{most}"]
        return " · ".join([*parts, *([f"next: {following}"] if following else [])])

    def next_arm(self) -> str | None:
        """Return whose turn follows in this round, where the plan tells."""
        plan = self._plan
        if plan is None or self._stage == "scout" or not 0 < self.block <= len(plan.orders):
            return None
        order = plan.orders[self.block - 1][max(1, self._round) - 1]
        names = [plan.arms[place].name for place in order]
        if self._last_arm in names:
            names = names[names.index(self._last_arm) + 1 :]
        return next((name for name in names if name not in self._ended), None)

    def _blocks_left(self) -> str:
        """Return how long the blocks still take: from those so far, else from the price."""
        if self._stage == "scout":
            return ""
        blocks = self.blocks - self.block + self._is_running
        gone_s = seconds(read_ns() - self._block_ns) if self._is_running else 0.0
        if self._walls_s:
            left_s = max(0.0, fmean(self._walls_s) * blocks - gone_s)
            return f"about {render_duration(left_s)} left" if blocks else ""
        if self._price is None:
            return ""
        least_s = max(0.0, self._price.least_block_s * blocks - gone_s)
        most_s = max(0.0, self._price.most_block_s * blocks - gone_s)
        return f"{render_duration(least_s)} to {render_duration(most_s)} left"

    def _trainings_left(self) -> str:
        made, missing = self._trained - self._trained_before, self._to_train - self._trained
        spent_s = seconds(read_ns() - self._training_ns)
        return f"about {render_duration(spent_s / made * missing)} left" if missing else ""
