"""A tuning while it goes on: a table that fills on a terminal, a line a block in a log."""

from __future__ import annotations

from laptime.cli.live_blocks import LiveBlocks
from laptime.cli.study_progress import Progress
from laptime.replicate import Block, Stage
from laptime.studies.plan import BlockPlan
from laptime.tune import TuneArm
from laptime.units import render_duration, render_step_time, seconds


class LiveTune(LiveBlocks):
    """Show a tuning on standard error."""

    def began(self, what: str) -> None:
        """Say what is tuned: the first look takes a while."""
        self.say(f"A first look at {what}.")

    def stage_started(self, plan: BlockPlan[TuneArm], stage: Stage, words: str) -> None:
        """Say what is compared."""
        self.say(f"{words}: {', '.join(arm.name for arm in plan.arms)}")
        self.progress = Progress(plan, stage, None)
        self.draw()

    def block_ended(self, block: Block, plan: BlockPlan[TuneArm]) -> None:
        """Add the block to the means; in a log, print its line."""
        if self.progress:
            self.progress.end_block(block)
        if not self.moves:
            steps = [
                f"{r.arm}: {render_step_time(r.step_s) if r.step_s else r.status}"
                for r in block.replicates
            ]
            of = f" of {plan.blocks}" if self.progress and plan.blocks > 1 else ""
            number = f" {self.progress.block}{of}" if self.progress and of else ""
            took = render_duration(seconds(block.wall_ns))
            self.say(f"block{number}, {took}; a step takes {', '.join(steps)}")
        self.draw()
