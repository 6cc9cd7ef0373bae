"""A run while it goes on: a progress bar on a terminal, a line an epoch in a log."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from laptime.errors import printable
from laptime.record import EpochRecord, RunRecord
from laptime.report.runs.epochs import columns_line, epoch_line
from laptime.report.runs.run import header_lines
from laptime.training.listener import Progress
from laptime.units import (
    render_count,
    render_duration,
    render_percent,
    render_rate,
    render_share,
    render_step_time,
    seconds,
)

LONG_EPOCH_S = 600
"""An epoch beyond this is announced, with what would make it shorter."""


class LiveRun:
    """Show a run: what moves goes to standard error, rows of the table to a terminal's output.

    Call :meth:`close` when the run has ended, whatever ended it.
    """

    def __init__(self, *, stream_rows: bool, out: TextIO | None = None) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._moves = self._console.is_terminal
        self._stream_rows = stream_rows
        self._out = out or sys.stdout
        self._live: Live | None = None
        self.started = False
        self._epochs = 0
        self._warned_of_length = False

    def run_started(self, record: RunRecord, model: str) -> None:
        """Print what is trained on what."""
        self.started = True
        self._epochs = record.settings["epochs"]
        if self._stream_rows:
            self._write(*header_lines(record), "", columns_line(record))
        elif not self._moves:
            self._say(f"{model}: run {record.directory}")
        if self._moves:
            self._bar = Bar(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[left]}"),
            )
            self._task = self._bar.add_task(
                "", epoch=f"1/{self._epochs}", left="starting the loader", total=None
            )
            self._live = Live(self._bar, console=self._console, transient=True)
            self._live.start()

    def progressed(self, progress: Progress) -> None:
        """Move the bar; say once when an epoch will take long."""
        self._warn_of_length(progress)
        if self._live is not None:
            self._bar.update(
                self._task,
                completed=progress.step,
                total=progress.num_steps,
                epoch=f"{progress.epoch}/{progress.epochs}",
                left=f"{render_duration(progress.run_left_s)} left",
            )
            words = Text(_words(progress), no_wrap=True, overflow="ellipsis")
            self._live.update(Group(self._bar, words))

    def epoch_ended(self, record: EpochRecord) -> None:
        """Print the epoch's row, or its line in a log."""
        if self._stream_rows:
            self._write(epoch_line(record))
        if not self._moves:
            loss = "NaN" if record.loss is None else f"{record.loss:.3f}"
            waiting = f", {render_share(record.loading_ns / record.wall_ns)} waiting for data"
            self._say(
                f"epoch {record.epoch}/{self._epochs}: loss {loss}, "
                f"top-1 {render_percent(record.accuracy)}, "
                f"{render_duration(seconds(record.wall_ns))}"
                f"{'' if record.mode == 'off' else waiting}"
            )

    def warned(self, text: str) -> None:
        """Print a line that matters now."""
        self._say(text)

    def close(self) -> None:
        """Take the bar away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _warn_of_length(self, progress: Progress) -> None:
        if self._warned_of_length or progress.epoch_s <= LONG_EPOCH_S:
            return
        self._warned_of_length = True
        batch = max(1, progress.samples // progress.step)
        fewer = max(1, round(progress.num_steps * 60 / progress.epoch_s)) * batch
        self._say(
            f"An epoch will take about {render_duration(progress.epoch_s)} here. "
            f"--samples {fewer} makes it about a minute; Ctrl-C stops, and --resume goes on."
        )

    def _say(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)

    def _write(self, *lines: str) -> None:
        for line in lines:
            self._out.write(line + "\n")
        self._out.flush()


def _words(progress: Progress) -> str:
    loss = "NaN" if progress.loss is None else f"{progress.loss:.3f}"
    return (
        f"{render_step_time(progress.step_s)}/step · {render_duration(progress.elapsed_s)} · "
        f"loss {loss} · {render_count(progress.correct)}/{render_count(progress.samples)} · "
        f"{render_rate(progress.samples_per_s)} samples/s · "
        f"{render_share(progress.loading_share)} waiting for data"
    )
