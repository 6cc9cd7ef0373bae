"""Charts of a script's run: the ledger as one bar, its epochs, its windows one by one."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.record import TimedSteps, WindowRecord
from laptime.report.charts.run import epochs_figure, ledger_figure, part_colours
from laptime.report.charts.style import HEIGHT, PART_HUES, WIDTH, Figure, Rows, chart_of
from laptime.report.words.lines import counted, shortened
from laptime.script import ProcessRecord, ScriptRecord
from laptime.statistics.script_evidence import Evidence, evidence_of
from laptime.units import seconds

_FEWEST_WINDOWS, _MOST_BARS = 3, 200
"""Fewer windows show no course; of more, those in a row are drawn as one."""


def script_figures(record: ScriptRecord) -> tuple[Figure, ...]:
    """Return the figures of a script's run; none where nothing was timed."""
    process = record.main
    evidence = evidence_of(process) if process else None
    if process is None or evidence is None:
        return ()
    where = _where(record, process)
    figures = [ledger_figure(evidence.pieces, _which(process, evidence), where)]
    if len(process.epochs) > 1:
        figures.append(epochs_figure(process.epochs, where))
    if len(process.windows) >= _FEWEST_WINDOWS:
        figures.append(_windows(process.windows, where))
    return tuple(figures)


def _where(record: ScriptRecord, process: ProcessRecord) -> str:
    recorder = process.recorder
    command = shortened(" ".join(record.status.command), 48)
    return " · ".join([command, recorder.device_name, f"torch {recorder.torch}"])


def _which(process: ProcessRecord, evidence: Evidence) -> str:
    if evidence.kind == "epochs":
        return f"{counted(len(process.steady), 'epoch')}, without the first"
    steps = counted(evidence.steps, "step")
    return f"{steps} after the first window" if evidence.kind != "cold" else f"{steps}, all cold"


def _windows(windows: Sequence[WindowRecord], where: str) -> Figure:
    """Return what a step of each window took, stacked by column."""
    import altair as alt

    group = -(-len(windows) // _MOST_BARS)
    rows = window_rows(windows, group)
    bars = len({row["from"] for row in rows})
    x = alt.X("from:Q", title="steps from the start", axis=alt.Axis(format="d", grid=False),
              scale=alt.Scale(nice=False, padding=4))  # fmt: skip
    y = alt.Y("low:Q", title="ms a step", scale=alt.Scale(zero=True))
    marks = chart_of(rows).mark_rect(stroke="#ffffff", strokeWidth=0.25)
    chart = marks.encode(x, alt.X2("to:Q"), y, alt.Y2("high:Q"), part_colours())
    panel = chart.properties(width=WIDTH, height=HEIGHT * 2 // 3)
    each = f"{counted(group, 'window')} each" if group > 1 else "a window each"
    note = f"{counted(bars, 'bar')}, {each}; the loader's start is in the first of an epoch"
    return Figure("windows", "Window by window", note, where, (panel,))


def window_rows(windows: Sequence[WindowRecord], group: int = 1) -> Rows:
    """Return what a step of each bar took, by column; steps count on over the epochs."""
    rows: Rows = []
    end = 0
    for at in range(0, len(windows), group):
        bar: Sequence[TimedSteps] = windows[at : at + group]
        steps = sum(window.steps for window in bar)
        begin, end = end, end + steps
        top = 0.0
        for name in PART_HUES if steps else ():
            spent_s = seconds(sum(getattr(window, f"{name}_ns") for window in bar))
            low, top = top, top + spent_s / steps * 1e3
            rows.append({"part": name, "from": begin, "to": end, "low": low, "high": top})
    return rows
