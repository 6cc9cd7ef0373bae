"""The epochs of a run as rows: one each as it ends, then their totals and means."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.record import EpochRecord, EpochTimes, RunRecord, TimedSteps
from laptime.report.runs.findings import Epoch, steady_epochs
from laptime.report.words.blocks import Cells, Table
from laptime.units import render_count, render_percent, render_seconds, seconds

_WIDTHS = (10, 8, 10, 10, 10, 8, 10, 12, 12)
"""Columns of a terminal: rows are shown one by one, before the widest is known."""

MOST_ROWS = 120
"""A page's table of more epochs than these shows every second, third ... of them."""

_COLUMNS = ("loading_ns", "training_ns", "other_ns", "wall_ns")


def columns_line(record: RunRecord) -> str:
    """Return the head of the table as a terminal shows it."""
    return _drawn(_head(record))


def epoch_line(epoch: EpochRecord) -> str:
    """Return one epoch's row: loss and training top-1 over all its samples, then seconds."""
    name, *cells = _cells(epoch)
    name, _, mark = name.partition(", ")
    return _drawn([name, *cells]) + (f"  {mark}" if mark else "")


def totals_lines(record: RunRecord) -> list[str]:
    """Return the sum of all epochs, the set-up beside it, and the mean of the steady ones."""
    setup_s = seconds(record.setup_ns)
    total, *mean = _totals(record)
    lines = [
        f"{_drawn(total)}  + set-up {render_seconds(setup_s)} s"
        f" = run {render_seconds(setup_s + seconds(record.epochs_ns))} s"
    ]
    if mean:
        walls = [seconds(epoch.wall_ns) for epoch in steady_epochs(record.epochs)]
        spread = f"  from {render_seconds(min(walls))} to {render_seconds(max(walls))}"
        lines.append(_drawn(mean[0]) + spread)
    return lines


def epochs_table(record: RunRecord) -> Table:
    """Return the epochs, and under them totals and means; of very many some are left out."""
    shown = [_cells(epoch) for epoch in shown_epochs(record.epochs)]
    head = _head(record)
    totals = _totals(record)
    rows = [[*cells, *[""] * (len(head) - len(cells))] for cells in (*shown, *totals)]
    return Table.of(head, rows, "<" + ">" * (len(head) - 1), footer=len(totals))


def shown_epochs(epochs: Sequence[Epoch]) -> Sequence[Epoch]:
    """Return the epochs that the table of a page shows."""
    return epochs[:: max(1, -(-len(epochs) // MOST_ROWS))]


def left_out_words(epochs: Sequence[EpochTimes]) -> str:
    """Return how many epochs the table of a page does not show; empty where it shows all."""
    left_out = len(epochs) - len(shown_epochs(epochs))
    return f"{left_out} epochs are not shown; epochs.jsonl has all of them." if left_out else ""


def epoch_ranges(epochs: Sequence[EpochTimes]) -> str:
    """Return the numbers of epochs, those in a row as a range: ``2, 4-6``."""
    runs: list[list[int]] = []
    for epoch in epochs:
        if runs and runs[-1][-1] == epoch.epoch - 1:
            runs[-1].append(epoch.epoch)
        else:
            runs.append([epoch.epoch])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def mean_columns_s(epochs: Sequence[TimedSteps]) -> tuple[float, ...]:
    """Return the mean loading, training, other and total of some epochs, in seconds."""
    return tuple(value / len(epochs) for value in _sums_s(epochs))


def column_cells(epochs: Sequence[EpochTimes], count: int = 1) -> list[str]:
    """Return loading, training, other and total of some epochs, summed and divided by a count."""
    texts = [render_seconds(value / count) for value in _sums_s(epochs)]
    return ["n/a"] * 3 + texts[3:] if epochs[0].mode == "off" else texts


def _sums_s(epochs: Sequence[TimedSteps]) -> list[float]:
    return [seconds(sum(getattr(epoch, name) for epoch in epochs)) for name in _COLUMNS]


def _head(record: RunRecord) -> Cells:
    tested = ("test loss", "test top-1") if record.settings["evaluate"] else ()
    return ("", "loss", "top-1", "loading", "training", "other", "total s", *tested)


def _cells(epoch: EpochRecord) -> list[str]:
    mark = ", resumed" if epoch.segments > 1 else ", cold" if epoch.cold else ""
    loss = f"{epoch.loss:.3f}" if epoch.loss is not None else "NaN"
    cells = [f"epoch {epoch.epoch}{mark}", loss, render_percent(epoch.accuracy)]
    cells += column_cells([epoch])
    if epoch.test_accuracy is not None:
        test_loss = "NaN" if epoch.test_loss is None else f"{epoch.test_loss:.3f}"
        cells += [test_loss, render_percent(epoch.test_accuracy)]
    return cells


def _totals(record: RunRecord) -> list[list[str]]:
    """Return the row of totals and, where there are two or more to average, that of means."""
    epochs = record.epochs
    rows = [["total", "", "", *column_cells(epochs)]]
    steady = steady_epochs(epochs)
    if len(epochs) > 1 and len(steady) > 1:
        rows.append([f"mean {epoch_ranges(steady)}", "", "", *column_cells(steady, len(steady))])
    return rows


def _drawn(cells: Sequence[str]) -> str:
    """Return a row as a terminal shows it; a long name takes the room that stands empty beside."""
    name, *others = cells
    row = "".join(f" {text:>{width - 1}}" for text, width in zip(others, _WIDTHS[1:], strict=False))
    return f"{name:<{_WIDTHS[0]}}{row[max(0, len(name) - _WIDTHS[0]) :]}".rstrip()


def best_words(record: RunRecord) -> str:
    """Return the best epoch's training accuracy, with its counts; empty without a whole epoch."""
    best = record.best
    if best is None:
        return ""
    return (
        f"best epoch's training top-1: {render_percent(best.accuracy)} "
        f"({render_count(best.correct)} of {render_count(best.samples)}, epoch {best.epoch})"
    )
