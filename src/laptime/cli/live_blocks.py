"""Blocks while they are run: a table that fills on a terminal, and lines in a log."""

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
from laptime.replicate import Outcome


class LiveBlocks:
    """Show blocks on standard error. Call :meth:`close` when they have ended, whatever ended them.

    Nothing is drawn while an arm is measured: the table changes between turns only, and no
    thread of ours redraws it meanwhile. A table drawn four times a second is foreign load.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._console = Console(
            file=stream or sys.stderr, highlight=False, markup=False, emoji=False
        )
        self.moves = self._console.is_terminal
        self._live: Live | None = None
        self.progress: Progress | None = None

    def block_started(self, block: int, blocks: int) -> None:
        """Begin a block."""
        if self.progress:
            self.progress.begin_block(block, blocks)
            self.draw()

    def turn_taken(self, arm: str, round_number: int, step_s: float) -> None:
        """Show the turn in the table."""
        if self.progress:
            self.progress.add_turn(arm, round_number, step_s)
            self.draw()

    def arm_ended(self, arm: str, status: Outcome, reason: str) -> None:
        """Say that an arm came to an early end, and why."""
        if self.progress:
            self.progress.end_arm(arm, status)
        self.say(f"{arm}: {status.replace('_', ' ')}: {reason}")
        self.draw()

    def warned(self, text: str) -> None:
        """Print a line that matters now."""
        self.say(text)

    def close(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def draw(self) -> None:
        """Draw the table anew, where it can be."""
        if not self.moves or self.progress is None:
            return
        if self._live is None:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        words = Text(printable(self.progress.words()), no_wrap=True, overflow="ellipsis")
        rows = self.progress.rows()
        self._live.update(Group(*([progress_table(rows)] if rows else []), words), refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(printable(text), soft_wrap=True)


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
