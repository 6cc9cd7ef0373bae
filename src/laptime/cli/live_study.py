"""A study while it goes on: a table that fills on a terminal, a line a block in a log."""

from __future__ import annotations

from laptime.cli.live_blocks import LiveBlocks
from laptime.cli.study_progress import Progress
from laptime.replicate import Block, Stage, TrainedReplicate
from laptime.studies.price import Price
from laptime.study import Plan
from laptime.units import render_duration, render_percent, seconds

_STAGES: dict[Stage, str] = {
    "scout": "search for worker counts that deserve whole blocks",
    "main": "blocks",
    "confirmation": "fresh blocks, for proof",
}


class LiveStudy(LiveBlocks):
    """Show a study on standard error."""

    def stage_started(self, plan: Plan, stage: Stage, price: Price | None) -> None:
        """Say what begins and what it will cost."""
        arms = ", ".join(arm.name for arm in plan.arms)
        cost = f"; {price.words()}" if price else ""
        self.say(f"{plan.study}, {_STAGES[stage]}: {arms}{cost}")
        self.progress = Progress(plan, stage, price)
        self.draw()

    def block_ended(self, block: Block, plan: Plan) -> None:  # noqa: ARG002 - the protocol's
        """Add the block to the means; in a log, print its line."""
        if self.progress:
            self.progress.end_block(block)
        if not self.moves:
            epochs = [
                f"{r.arm}: {render_duration(r.epoch_s) if r.epoch_s else r.status}"
                for r in block.replicates
            ]
            of = f"/{self.progress.blocks}" if self.progress and block.stage != "scout" else ""
            took = render_duration(seconds(block.wall_ns))
            self.say(f"block {block.block}{of}, {took}; an epoch takes {', '.join(epochs)}")
        self.draw()

    def training_ended(self, replicate: TrainedReplicate, done: int, of: int) -> None:
        """Count the run and print its line."""
        if self.progress is None:
            self.progress = Progress.of_trainings()
        self.progress.end_training(replicate, done, of)
        took = render_duration(seconds(replicate.wall_ns))
        name = f"{replicate.arm}, seed {replicate.seed}"
        self.say(f"run {done}/{of}, {took}: {name}: {_result(replicate)}")
        self.draw()


def _result(replicate: TrainedReplicate) -> str:
    last = replicate.last
    if last is None:
        reason = f": {replicate.reason}" if replicate.reason else ""
        return f"{replicate.status.replace('_', ' ')}{reason}"
    loss = "NaN" if last.loss is None else f"{last.loss:.3f}"
    return f"loss {loss}, top-1 {render_percent(last.accuracy)}"
