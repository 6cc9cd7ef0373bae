"""The epochs of a script as a table: where each one's time went, its loss, its rate."""

from __future__ import annotations

from laptime.report.runs.epochs import column_cells, epoch_ranges, left_out_words, shown_epochs
from laptime.report.words.blocks import Block, Prose, Table
from laptime.script import ProcessRecord, ScriptEpoch, ScriptRecord
from laptime.units import render_duration, render_rate, render_seconds, seconds

_HEAD = ("", "loss", "samples/s", "loading", "training", "other", "total s")


def epochs_blocks(record: ScriptRecord) -> list[Block]:
    """Return the epochs with totals and means, and what the command took besides."""
    process = record.main
    if process is None or not process.epochs:
        return []
    rows = [_cells(epoch) for epoch in shown_epochs(process.epochs)]
    totals = _totals(process)
    align = "<" + ">" * (len(_HEAD) - 1)
    table = Table.of(_HEAD, [*rows, *totals], align, footer=len(totals))
    notes = filter(None, (left_out_words(process.epochs), _spread(process), _whole(record)))
    return [table, *map(Prose, notes)]


def ranks_blocks(record: ScriptRecord) -> list[Block]:
    """Return the mean epoch of every training process, where there are several."""
    processes = [record.main, *record.others] if record.main else []
    rows = []
    for process in processes:
        steady = (process.steady or process.epochs) if process else ()
        if process and steady:
            cells = column_cells(steady, len(steady))
            rows.append((f"rank {process.recorder.rank}", str(len(process.epochs)), *cells))
    head = ("process", "epochs", "loading", "training", "other", "mean s")
    return [Table.of(head, rows, "<>>>>>")] if len(rows) > 1 else []


def _cells(epoch: ScriptEpoch) -> list[str]:
    marks = ["cold"] * epoch.cold + ["cut off"] * (not epoch.complete)
    rate = epoch.samples_per_s
    return [
        ", ".join([f"epoch {epoch.epoch}", *marks]),
        _loss(epoch.loss),
        "-" if rate is None else render_rate(rate),
        *column_cells([epoch]),
    ]


def _loss(loss: float | None) -> str:
    """Return a loss with three decimals, a small one with three digits."""
    if loss is None:
        return "-"
    return f"{loss:.3f}" if abs(loss) >= 0.1 or not loss else f"{loss:.3g}"


def _totals(process: ProcessRecord) -> list[list[str]]:
    """Return the row of totals and, where there are two or more to average, that of means."""
    steady = process.steady
    rows = [["total", "", "", *column_cells(process.epochs)]]
    if len(steady) > 1:
        name = f"mean {epoch_ranges(steady)}"
        rows.append([name, "", "", *column_cells(steady, len(steady))])
    return rows


def _spread(process: ProcessRecord) -> str:
    walls = [seconds(epoch.wall_ns) for epoch in process.steady]
    if len(walls) < 2:
        return ""
    ends = f"from {render_seconds(min(walls))} to {render_seconds(max(walls))} s"
    return f"The epochs of the mean took {ends}."


def _whole(record: ScriptRecord) -> str:
    """Return what came before the epochs, and what the command took in all."""
    assert record.main is not None
    setup_s = seconds(record.main.recorder.setup_ns)
    took = f"; the command took {render_duration(seconds(record.status.wall_ns))}"
    return (
        f"Before the first epoch: {render_duration(setup_s)}, from the start of Python"
        f"{took if record.status.wall_ns else ''}."
    )
