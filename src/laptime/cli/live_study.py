"""A study while it goes on: a table that fills on a terminal, a line a block in a log."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from laptime.cli.study_progress import Progress
from laptime.errors import printable
from laptime.replicate import Block, Outcome, Stage, TrainedReplicate
from laptime.studies.price import Price
from laptime.study import Plan
from laptime.units import render_duration, render_percent, seconds

_STAGES: dict[Stage, str] = {
    "scout": "search for worker counts that deserve whole blocks",
    "main": "blocks",
    "confirmation": "fresh blocks, for proof",
}


class LiveStudy:
    """Show a study on standard error. Call :meth:`close` when it has ended, whatever ended it.

    Nothing is drawn while an arm is measured: the table changes between turns only, and no
    thread of ours redraws it meanwhile. A table drawn four times a second is foreign load.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(
            file=stream or sys.stderr, highlight=False, markup=False, emoji=False
        )
        self._moves = self._console.is_terminal
        self._live: Live | None = None
        self._progress: Progress | None = None

    def stage_started(self, plan: Plan, stage: Stage, price: Price | None) -> None:
        """Say what begins and what it will cost."""
        arms = ", ".join(arm.name for arm in plan.arms)
        cost = f"; {price.words()}" if price else ""
        self._say(f"{plan.study}, {_STAGES[stage]}: {arms}{cost}")
        self._progress = Progress(plan, stage, price)
        self._draw()

    def block_started(self, block: int, blocks: int) -> None:
        """Begin a block."""
        if self._progress:
            self._progress.begin_block(block, blocks)
            self._draw()

    def turn_taken(self, arm: str, round_number: int, step_s: float) -> None:
        """Show the turn in the table."""
        if self._progress:
            self._progress.add_turn(arm, round_number, step_s)
            self._draw()

    def arm_ended(self, arm: str, status: Outcome, reason: str) -> None:
        """Say that an arm came to an early end, and why."""
        if self._progress:
            self._progress.end_arm(arm, status)
        self._say(f"{arm}: {status.replace('_', ' ')}: {reason}")
        self._draw()

    def warned(self, text: str) -> None:
        """Print a line that matters now."""
        self._say(text)

    def block_ended(self, block: Block, plan: Plan) -> None:  # noqa: ARG002 - the protocol's
        """Add the block to the means; in a log, print its line."""
        if self._progress:
            self._progress.end_block(block)
        if not self._moves:
            epochs = [
                f"{r.arm}: {render_duration(r.epoch_s) if r.epoch_s else r.status}"
                for r in block.replicates
            ]
            of = f"/{self._progress.blocks}" if self._progress and block.stage != "scout" else ""
            took = render_duration(seconds(block.wall_ns))
            self._say(f"block {block.block}{of}, {took}; an epoch takes {', '.join(epochs)}")
        self._draw()

    def training_ended(self, replicate: TrainedReplicate, done: int, of: int) -> None:
        """Count the run and print its line."""
        if self._progress is None:
            self._progress = Progress.of_trainings()
        self._progress.end_training(replicate, done, of)
        took = render_duration(seconds(replicate.wall_ns))
        name = f"{replicate.arm}, seed {replicate.seed}"
        self._say(f"run {done}/{of}, {took}: {name}: {_result(replicate)}")
        self._draw()

    def close(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self) -> None:
        if not self._moves or self._progress is None:
            return
        if self._live is None:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        words = Text(printable(self._progress.words()), no_wrap=True, overflow="ellipsis")
        rows = self._progress.rows()
        self._live.update(Group(*([progress_table(rows)] if rows else []), words), refresh=True)

    def _say(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)


def _result(replicate: TrainedReplicate) -> str:
    last = replicate.last
    if last is None:
        reason = f": {replicate.reason}" if replicate.reason else ""
        return f"{replicate.status.replace('_', ' ')}{reason}"
    loss = "NaN" if last.loss is None else f"{last.loss:.3f}"
    return f"loss {loss}, top-1 {render_percent(last.accuracy)}"


def progress_table(rows: Sequence[Sequence[str]]) -> Table:
    """Return a row an arm: its turns in this block, and its epochs over the blocks so far."""
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("", no_wrap=True, max_width=24)
    for title in ("turns", "a step", "epoch [95 %]", "blocks"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell), overflow="ellipsis") for cell in row))
    return table
