"""Where arms are compared: blocks of fresh processes, stored as they end, within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from laptime.replicate import Block, Design, Replicate, Stage
from laptime.statistics.steadiness import is_disturbed
from laptime.studies.block import BlockListener, BlockRun, Meter
from laptime.studies.plan import BlockPlan, block_orders
from laptime.studies.process import ArmHandle
from laptime.study import TurnPolicy
from laptime.timing.clock import read_ns
from laptime.tune import TuneArm, TuneBlock, TuneRequest
from laptime.tune_store import TuneDirectory
from laptime.tuning.ground.costs import Arms, Costs
from laptime.units import seconds

StartArm = Callable[[TuneArm, int], ArmHandle]
"""An arm and the number of its block, by which all seeds of the block are shifted."""

PLANNED = 0.85
"""Of the time that is left: turns are planned to take so much of it, as blocks may take longer.

Four blocks of five give no verdict.
"""

_MEMORY_RESERVE = 1.25
"""Processes are started side by side only where so many times their memory is free."""


@dataclass(frozen=True)
class TunePlan:
    """Some blocks of the same arms."""

    arms: tuple[TuneArm, ...]
    baseline: str
    blocks: int
    turns: TurnPolicy
    timeout_s: float
    design: Design
    seed: int = 0
    orders: tuple[tuple[tuple[int, ...], ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Draw the orders."""
        orders = tuple(
            block_orders(len(self.arms), block, self.turns, self.seed)
            for block in range(1, self.blocks + 1)
        )
        object.__setattr__(self, "orders", orders)


class TuneListener(BlockListener, Protocol):
    """Whoever shows a tuning while it goes on."""

    def stage_started(self, plan: BlockPlan[TuneArm], stage: Stage, words: str) -> None:
        """Some blocks of the same arms begin."""

    def block_started(self, block: int, blocks: int) -> None:
        """A block begins."""

    def block_ended(self, block: Block, plan: BlockPlan[TuneArm]) -> None:
        """A block is stored."""


@dataclass(frozen=True)
class Memory:
    """What there is, and what one process of the unchanged job takes."""

    free_bytes: Callable[[], int]
    resident_bytes: int = 0


class Ground:
    """Runs blocks one after another; each has a number and, with it, seeds of its own."""

    def __init__(
        self,
        directory: TuneDirectory,
        request: TuneRequest,
        start_arm: StartArm,
        meter: Meter,
        listener: TuneListener,
        costs: Costs,
        start_ns: int,
        memory: Memory,
    ) -> None:
        self.request, self.listener = request, listener
        self.blocks: list[TuneBlock] = []
        self._directory, self._start_arm, self._meter = directory, start_arm, meter
        self._start_ns = start_ns
        self._free_bytes, self._resident_bytes = memory.free_bytes, memory.resident_bytes
        self.costs = costs
        self._turns = costs.short
        self._has_warned = False
        self._failing: set[str] = set()
        """Arms that fail by themselves."""
        self._design: Design = "sequential" if costs.short else "turns"

    @property
    def design(self) -> Design:
        """Arms of a block side by side, or one after another."""
        return self._design

    def left_s(self) -> float:
        """Return what is left of the budget."""
        return self.request.budget_s - seconds(read_ns() - self._start_ns)

    def holds(self, arms: Arms, blocks: int, policy: TurnPolicy, kept_s: float = 0.0) -> bool:
        """Tell whether so many blocks fit into the budget, beside what is kept for later."""
        return blocks * self.costs.least_s(arms, policy) + kept_s <= self.left_s()

    def narrowed(
        self, arms: Arms, blocks: int, policy: TurnPolicy, kept_s: float = 0.0
    ) -> TurnPolicy:
        """Return the policy with as many turns as the budget holds, the fewest at least."""
        each_s = PLANNED * (self.left_s() - kept_s) / blocks
        return policy.model_copy(update={"max_turns": self.costs.most_turns(arms, policy, each_s)})

    def run(
        self,
        arms: Sequence[TuneArm],
        stage: Stage,
        blocks: int,
        policy: TurnPolicy,
        *,
        words: str = "",
    ) -> list[TuneBlock]:
        """Run some blocks; the first arm is the one that others are compared with.

        Fewer than asked for where the budget ends.
        """
        plan = self._plan(arms, blocks, policy)
        self.listener.stage_started(plan, stage, words)
        done: list[TuneBlock] = []
        for block in range(1, blocks + 1):
            if done and not self.holds(arms, 1, policy):
                self.listener.warned(
                    f"The budget ends here: {len(done)} of {blocks} blocks were run."
                )
                break
            self.listener.block_started(block, blocks)
            done.append(self._block(plan, stage, block))
            plan = replace(plan, design=self._design)
        return done

    def _plan(self, arms: Sequence[TuneArm], blocks: int, policy: TurnPolicy) -> TunePlan:
        return TunePlan(
            arms=tuple(arms),
            baseline=arms[0].name,
            blocks=blocks,
            turns=self._turns or policy,
            timeout_s=self.request.timeout_s,
            design=self._design,
            seed=len(self.blocks),
        )

    def _block(self, plan: TunePlan, stage: Stage, block: int) -> TuneBlock:
        number = len(self.blocks) + 1
        if self._design == "turns" and not self._fits(len(plan.arms)):
            plan = self._apart(plan, "do not fit into memory side by side")
        record = self._run(plan, stage, block, number)
        if record.design == "turns" and self._is_crowded(plan, record, stage, block, number):
            plan = self._apart(plan, "get into each other's way")
            record = self._run(plan, stage, block, number)
        self._design = record.design
        kept = TuneBlock(arms=plan.arms, block=record)
        self._directory.append_block(kept)
        self.blocks.append(kept)
        self._learn(record, plan)
        self.listener.block_ended(record, plan)
        self._warn_of_others(record)
        return kept

    def _warn_of_others(self, record: Block) -> None:
        """Say early that a tuning beside other programs concludes nothing."""
        turns = [turn for replicate in record.replicates for turn in replicate.turns]
        disturbed = sum(map(is_disturbed, turns))
        if not self._has_warned and disturbed > len(turns) / 2:
            self._has_warned = True
            self.listener.warned(
                f"Other programs use the CPUs: {disturbed} of {len(turns)} turns are disturbed. "
                f"End them (`top` names them), or nothing will be concluded."
            )

    def _run(self, plan: TunePlan, stage: Stage, block: int, number: int) -> Block:
        start = partial(self._start, number)
        run = BlockRun(plan, start, self._meter, self.listener, stage=stage, close_looks=False)
        return renumbered(run.run(block), number)

    def _is_crowded(
        self, plan: TunePlan, record: Block, stage: Stage, block: int, number: int
    ) -> bool:
        """Tell whether arms failed only because others ran beside them.

        Two of them may want one port, one file or all of a GPU's memory. Those that failed are
        run once more, by themselves; what fails then does so by itself.
        """
        ended = {r.arm for r in record.replicates if r.status in {"failed", "killed"}}
        failed = tuple(arm for arm in plan.arms if arm.name in ended - self._failing)
        if not failed or len(plan.arms) < 2:
            return False
        alone = TunePlan(
            arms=failed, baseline=failed[0].name, blocks=block, turns=plan.turns,
            timeout_s=plan.timeout_s, design="sequential", seed=plan.seed,
        )  # fmt: skip
        again = self._run(alone, stage, block, number)
        self._failing |= {r.arm for r in again.replicates if r.status != "completed"}
        return any(replicate.status == "completed" for replicate in again.replicates)

    def _apart(self, plan: TunePlan, why: str) -> TunePlan:
        """Go on with one arm after another."""
        self.listener.warned(
            f"The arms {why}: from here on they run one after another, which sees less for the "
            f"same time."
        )
        self._design = "sequential"
        return replace(plan, design="sequential")

    def _fits(self, arms: int) -> bool:
        """Tell whether memory holds so many processes of the job."""
        return self._free_bytes() > _MEMORY_RESERVE * arms * self._resident_bytes

    def _start(self, number: int, arm: TuneArm) -> ArmHandle:
        return self._start_arm(arm, number)

    def _learn(self, block: Block, plan: TunePlan) -> None:
        turns = [len(replicate.turns) for replicate in block.replicates]
        if all(turns):
            mean = sum(turns) / len(turns)
            self.costs.took(plan.arms, mean, seconds(block.wall_ns), plan.turns)


def renumbered(block: Block, number: int) -> Block:
    """Return a block under another number."""
    replicates: tuple[Replicate, ...] = tuple(
        replicate.model_copy(update={"block": number}) for replicate in block.replicates
    )
    return block.model_copy(update={"block": number, "replicates": replicates})
