"""Charts of arms beside each other: learning curves, the first step by layer, times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from laptime.replicate import TrainedReplicate
from laptime.report.charts.style import (
    COLOURS,
    GREY,
    HEIGHT,
    WIDTH,
    Figure,
    Rows,
    bar_row,
    blocks_note,
    chart_of,
    study_figure,
)
from laptime.report.studies.layer_tables import layers_of, norms_of
from laptime.report.words.arms import arm_label, main_results
from laptime.report.words.lines import counted, shortened
from laptime.study import StudyRecord

if TYPE_CHECKING:
    import altair

LAYER_AXES = {
    "gradients": "norm of the gradient",
    "activations": "standard deviation of the output",
}
"""What is known of a first step, and its unit."""


def learning_chart(record: StudyRecord) -> Figure | None:
    """Return loss and top-1 an epoch: a thin line a seed, a thick one their mean."""
    import altair as alt

    rows = _learning_rows(record)
    if not rows or record.plan.study == "workers":
        return None
    colour = _arm_colour([arm_label(record, arm.name) for arm in main_results(record)])
    last: int = max(epoch.epoch for _, run in _trained(record) for epoch in run.epochs)
    ticks = sorted({*range(1, last + 1, -(-last // 10)), last})
    axis = alt.Axis(values=ticks, format="d", grid=False)
    x = alt.X("epoch:Q", axis=axis, scale=alt.Scale(nice=False, padding=10))
    panels = []
    for field, title in (("loss", "loss"), ("share", "top-1, %")):
        known = [row for row in rows if row[field] is not None]
        # A mean over those that happen to live on would jump where one diverges.
        whole = [row for row in known if row["completed"]]
        line = {"size": 12, "opacity": 0.4}
        seeds = chart_of(known).mark_line(opacity=0.3, strokeWidth=1, point=line)
        mean = chart_of(whole).mark_line(strokeWidth=2.5)
        y = alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False))
        over = alt.Y(f"mean({field}):Q", title=title, scale=alt.Scale(zero=False))
        drawn = alt.layer(seeds.encode(x, y, colour, detail="run:N"), mean.encode(x, over, colour))
        panels.append(drawn.properties(width=WIDTH // 2 - 30, height=HEIGHT))
    runs = [run for _, run in _trained(record)]
    lost = sum(run.status != "completed" for run in runs)
    lost_note = f"{lost} of {len(runs)} runs did not complete" if lost else ""
    seeds_note = (
        f"{counted(len(record.plan.seeds), 'seed')} an arm, thick: the mean of those that completed"
    )
    title = "Loss and top-1 over the epochs"
    return study_figure("learning", record, title, (seeds_note, lost_note), *panels)


def _trained(record: StudyRecord) -> list[tuple[str, TrainedReplicate]]:
    return [
        (arm_label(record, arm.name), run) for arm in main_results(record) for run in arm.trained
    ]


def _learning_rows(record: StudyRecord) -> Rows:
    return [
        {
            "arm": label,
            "run": f"{label} {run.seed}",
            "completed": run.status == "completed",
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            "share": epoch.accuracy * 100,
        }
        for label, run in _trained(record)
        for epoch in run.epochs
    ]


def layer_chart(record: StudyRecord, what: str) -> Figure | None:
    """Return a figure of each layer at the first step, on a logarithmic axis."""
    import altair as alt

    norms = norms_of(record, what)
    rows: Rows = [
        {"layer": shortened(layer, 40), "arm": arm_label(record, arm), "norm": value}
        for arm, of_arm in norms.items()
        for layer, value in of_arm.items()
        if value > 0
    ]
    if not rows:
        return None
    layers = [shortened(layer, 40) for layer in layers_of(norms)]
    labels = [arm_label(record, arm) for arm in norms]
    values = [value for of_arm in norms.values() for value in of_arm.values() if value > 0]
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)
    ticks = [10.0**power for power in powers]
    axis = alt.Axis(values=ticks, format="~g")
    x = alt.X("norm:Q", title=LAYER_AXES[what], scale=alt.Scale(type="log"), axis=axis)
    y = alt.Y("layer:N", title=None, sort=layers, axis=alt.Axis(grid=True))
    shape = alt.Shape("arm:N", title=None, scale=alt.Scale(domain=labels))
    marks = chart_of(rows).mark_point(filled=True, opacity=0.9, size=60)
    chart = marks.encode(x, y, _arm_colour(labels), shape)
    chart = chart.properties(width=WIDTH, height=16 * len(layers))
    note = "one batch, one process an arm, logarithmic axis"
    return study_figure(what, record, f"The first step by layer: {what}", [note], chart)


def times_chart(record: StudyRecord) -> Figure | None:
    """Return a bar an arm: its epoch with the interval, and every block as a point."""
    import altair as alt

    arms = {
        shortened(arm_label(record, arm.name), 30): arm
        for arm in main_results(record)
        if arm.epoch_s
    }
    if not arms:
        return None
    means: Rows = [{"arm": label, **bar_row(a.epoch_s)} for label, a in arms.items() if a.epoch_s]
    points: Rows = [
        {"arm": label, "seconds": replicate.epoch_s}
        for label, arm in arms.items()
        for replicate in arm.replicates
        if replicate.epoch_s is not None
    ]
    y = alt.Y("arm:N", title=None, sort=list(arms))
    axis = alt.Axis(tickCount=8)
    x = alt.X("seconds:Q", title="seconds an epoch", scale=alt.Scale(zero=True), axis=axis)
    ends = alt.X("low:Q"), alt.X2("high:Q")
    bars, dots = chart_of(means), chart_of(points)
    layers = [
        bars.mark_bar(color=COLOURS[0], opacity=0.55, height={"band": 0.6}).encode(x, y),
        bars.mark_rule(color=COLOURS[1], strokeWidth=4).encode(*ends, y),
        dots.mark_circle(color=GREY, opacity=0.8, size=20, yOffset=8).encode(x, y),
    ]
    chart = alt.layer(*layers).properties(width=WIDTH, height=44 * len(arms))
    return study_figure("times", record, "Seconds an epoch", [blocks_note(record)], chart)


def _arm_colour(labels: Sequence[str]) -> altair.Color:
    import altair as alt

    colours = [COLOURS[place % len(COLOURS)] for place in range(len(labels))]
    return alt.Color("arm:N", title=None, scale=alt.Scale(domain=list(labels), range=colours))
