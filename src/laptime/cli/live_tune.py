"""A tuning while it goes on: a table that fills on a terminal, a line a block in a log."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from laptime.cli.live_study import progress_table
from laptime.cli.study_progress import Progress
from laptime.errors import printable
from laptime.replicate import Block, Outcome, Stage
from laptime.studies.plan import BlockPlan
from laptime.tune import TuneArm
from laptime.units import render_duration, render_step_time, seconds


class LiveTune:
    """Show a tuning on standard error. Call :meth:`close` when it has ended, whatever ended it.

    As in a study, nothing is drawn while an arm is measured.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(
            file=stream or sys.stderr, highlight=False, markup=False, emoji=False
        )
        self._moves = self._console.is_terminal
        self._live: Live | None = None
        self._progress: Progress | None = None

    def began(self, what: str) -> None:
        """Say what is tuned: the first look takes a while."""
        self._say(f"A first look at {what}.")

    def stage_started(self, plan: BlockPlan[TuneArm], stage: Stage, words: str) -> None:
        """Say what is compared."""
        self._say(f"{words}: {', '.join(arm.name for arm in plan.arms)}")
        self._progress = Progress(plan, stage, None)
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

    def block_ended(self, block: Block, plan: BlockPlan[TuneArm]) -> None:
        """Add the block to the means; in a log, print its line."""
        if self._progress:
            self._progress.end_block(block)
        if not self._moves:
            steps = [
                f"{r.arm}: {render_step_time(r.step_s) if r.step_s else r.status}"
                for r in block.replicates
            ]
            of = f" of {plan.blocks}" if self._progress and plan.blocks > 1 else ""
            number = f" {self._progress.block}{of}" if self._progress and of else ""
            took = render_duration(seconds(block.wall_ns))
            self._say(f"block{number}, {took}; a step takes {', '.join(steps)}")
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
        table = [progress_table(rows)] if rows else []
        self._live.update(Group(*table, words), refresh=True)

    def _say(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)
