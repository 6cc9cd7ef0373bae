"""Charts of a run: the ledger of an epoch as one bar, and the epochs one after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laptime.phase import LOADING, TRAINING, Phase
from laptime.record import EpochTimes, RunRecord, TimedSteps
from laptime.report.charts.style import (
    COLOURS,
    HEIGHT,
    PART_HUES,
    WIDTH,
    Figure,
    Rows,
    chart_of,
)
from laptime.report.runs.epochs import epoch_ranges
from laptime.report.runs.findings import steady_epochs
from laptime.report.words.lines import model_words
from laptime.units import render_share, seconds

_PARTS = tuple(PART_HUES)
_HUES = tuple(PART_HUES.values())
"""Phases are shades of them."""

_MOST_POINTS = 400
"""Of a line: more epochs are averaged over neighbours."""

_FITS = "datum.share / 100 * width > 7.5 * length(datum.name) + 8"
"""Whether a part's name is narrower than the part, on paper and on a phone."""


def run_figures(record: RunRecord) -> tuple[Figure, ...]:
    """Return the figures of a run; none where no epoch was timed."""
    if not record.epochs or record.epochs[0].mode == "off":
        return ()
    machine, epochs = record.environment, steady_epochs(record.epochs)
    words = [model_words(record.settings), record.data.label, machine.device_name]
    where = " · ".join([*words, f"torch {machine.torch}"])
    which = f"epoch{'s' if len(epochs) > 1 else ''} {epoch_ranges(epochs)}, n = {len(epochs)}"
    figures = [ledger_figure(epochs, which, where)]
    return (*figures, epochs_figure(record.epochs, where)) if record.epochs[1:] else (*figures,)


def ledger_figure(pieces: Sequence[TimedSteps], which: str, where: str) -> Figure:
    """Return steady time as two bars of 100 %: the lab's three columns, and their phases.

    Args:
        pieces: The time.
        which: What it is, and how much of it.
        where: Model, data and machine.
    """
    import altair as alt

    rows = ledger_rows(pieces)
    domain = [row["name"] for row in rows]
    colour = alt.Color(
        "name:N", legend=None, scale=alt.Scale(domain=domain, range=[row["hue"] for row in rows])
    )
    x = alt.X(
        "from:Q", title="share of an epoch, %", scale=alt.Scale(domain=[0, 100]),
        axis=alt.Axis(values=[0, 25, 50, 75, 100], grid=False),
    )  # fmt: skip
    y = alt.Y("row:N", title=None, sort=["columns", "phases"], axis=None)
    tooltip = [alt.Tooltip("name:N"), alt.Tooltip("text:N", title="share")]
    seen = alt.condition(_FITS, alt.value(1), alt.value(0))
    middle = alt.X("middle:Q")
    bars = chart_of(rows).mark_bar(height={"band": 0.92}, stroke="#ffffff", strokeWidth=1)
    names = chart_of(rows).mark_text(color="#ffffff", fontSize=12, fontWeight="bold", dy=-8)
    shares = chart_of(rows).mark_text(color="#ffffff", fontSize=12, dy=8)
    panel = alt.layer(
        bars.encode(x, alt.X2("to:Q"), y, colour, tooltip=tooltip),
        names.encode(middle, y, text="name:N", opacity=seen),
        shares.encode(middle, y, text="text:N", opacity=seen),
    ).properties(width=WIDTH, height=120)
    note = f"{which}; above the three columns, below the phases in them"
    title = "Where an epoch goes: the parts sum to 100 %"
    return Figure("ledger", title, note, where, (panel,))


def ledger_rows(epochs: Sequence[TimedSteps]) -> Rows:
    """Return the bars' parts, left to right; the parts of each row sum to 100."""
    wall_ns = sum(epoch.wall_ns for epoch in epochs)
    columns = [sum(getattr(epoch, f"{name}_ns") for epoch in epochs) for name in _PARTS]
    rows = _row("columns", list(zip(_PARTS, columns, _HUES, strict=True)), wall_ns)
    if any(epoch.device_ns for epoch in epochs):
        return rows
    phases = [(p.value, sum(e.phases_ns[p] for e in epochs), _hue(p)) for p in _in_order()]
    return rows + _row("phases", [found for found in phases if found[1]], wall_ns)


def _in_order() -> list[Phase]:
    """Return the phases as the three columns have them."""
    rest = [p for p in Phase if p not in LOADING and p not in TRAINING]
    return [*LOADING, *TRAINING, *rest]


_SHADES = {
    Phase.LOADER_START: "#8f3900", Phase.DATA_WAIT: "#b34700", Phase.LOADER_END: "#c65a10",
    Phase.TRANSFER: "#003a5c", Phase.FORWARD: "#005a8f", Phase.BACKWARD: "#0068a5",
    Phase.OPTIMIZER: "#2a7db0", Phase.SYNC: "#4a7f9e",
}  # fmt: skip


def _hue(phase: Phase) -> str:
    return _SHADES.get(phase, "#5c5c5c")


def _row(row: str, parts: Sequence[tuple[str, int, str]], wall_ns: int) -> Rows:
    """Return one bar's parts with where each begins and ends, in per cent."""
    rows, at = [], 0
    for name, spent_ns, hue in parts:
        begin, at = 100 * at / wall_ns, at + spent_ns
        end = 100 * at / wall_ns
        rows.append(
            {
                "row": row, "name": name if row == "columns" else name.replace("_", " "),
                "share": end - begin, "text": render_share(spent_ns / wall_ns),
                "from": begin, "to": end, "middle": (begin + end) / 2, "hue": hue,
            }
        )  # fmt: skip
    return rows


def epochs_figure(epochs: Sequence[EpochTimes], where: str) -> Figure:
    """Return what each epoch took, stacked by column, and the loss over the epochs."""
    import altair as alt

    times, losses = _time_rows(epochs), _loss_rows(epochs)
    colour = part_colours()
    last = epochs[-1].epoch
    ticks = sorted({*range(1, last + 1, -(-last // 8)), last})
    axis = alt.Axis(values=ticks, format="d", grid=False)
    size = max(1, min(40, 260 // min(len(epochs), _MOST_POINTS)))
    x = alt.X("epoch:Q", axis=axis, scale=alt.Scale(nice=False, padding=size / 2 + 6))
    y = alt.Y("seconds:Q", title="seconds an epoch", stack="zero")
    order = alt.Order("place:Q")
    bars = chart_of(times).mark_bar(size=size).encode(x, y, colour, order)
    loss = alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False))
    point: Any = {"size": 40, "color": COLOURS[2]} if len(losses) <= 40 else False
    curve = chart_of(losses).mark_line(color=COLOURS[2], point=point).encode(x, loss)
    panels = [
        chart.properties(width=WIDTH // 2 - 30, height=HEIGHT * 2 // 3) for chart in (bars, curve)
    ]
    group = _group(epochs)
    each = f"each the mean of {group} epochs in a row" if group > 1 else "every epoch of one run"
    note = f"{each}; the first is cold"
    return Figure("epochs", "Epoch by epoch", note, where, tuple(panels))


def part_colours() -> Any:
    """Return the colours of an epoch's columns, the legend in their order."""
    import altair as alt

    scale = alt.Scale(domain=list(_PARTS), range=list(_HUES))
    return alt.Color("part:N", title=None, scale=scale, sort=list(_PARTS))


def _group(epochs: Sequence[EpochTimes]) -> int:
    return -(-len(epochs) // _MOST_POINTS)


def _groups(epochs: Sequence[EpochTimes]) -> list[Sequence[EpochTimes]]:
    size = _group(epochs)
    return [epochs[at : at + size] for at in range(0, len(epochs), size)]


def _time_rows(epochs: Sequence[EpochTimes]) -> Rows:
    return [
        {
            "epoch": group[0].epoch,
            "part": name,
            "place": place,
            "seconds": seconds(sum(getattr(epoch, f"{name}_ns") for epoch in group)) / len(group),
        }
        for group in _groups(epochs)
        for place, name in enumerate(_PARTS)
    ]


def _loss_rows(epochs: Sequence[EpochTimes]) -> Rows:
    rows: Rows = []
    for group in _groups(epochs):
        known = [epoch.loss for epoch in group if epoch.loss is not None]
        if known:
            rows.append({"epoch": group[0].epoch, "loss": sum(known) / len(known)})
    return rows
