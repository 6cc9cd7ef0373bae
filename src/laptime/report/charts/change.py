"""The chart of what a study proves: each arm's epoch against the baseline's, and the zone."""

from __future__ import annotations

import math
from typing import Any

from laptime.report.charts.style import (
    COLOURS,
    GREY,
    WIDTH,
    Chart,
    Figure,
    Rows,
    chart_of,
    study_figure,
)
from laptime.report.words.arms import arm_label, main_results
from laptime.report.words.lines import counted, shortened
from laptime.report.words.verdicts import find_comparison
from laptime.study import Comparison, StudyRecord
from laptime.units import render_share

_MANY_TIMES = 2.0
"""A ratio from which on a logarithmic axis of ratios reads better than per cents."""

VERDICTS = {
    "faster": COLOURS[2],
    "slower": COLOURS[1],
    "equivalent": COLOURS[0],
    "small difference": COLOURS[4],
    "inconclusive": GREY,
    "not measurable": COLOURS[3],
}


def change_chart(record: StudyRecord) -> Figure | None:
    """Return the ratio of each arm's epoch to the baseline's, with its interval and verdict."""
    rows = _rows(record)
    if not rows:
        return None
    zone, baseline = record.plan.zone, arm_label(record, record.plan.baseline)
    notes = (
        f"95 % intervals over {counted(record.blocks, 'block')}",
        f"shaded: ±{render_share(zone)}, too little to matter",
    )
    title = f"An epoch against that of {baseline}"
    return study_figure("change", record, title, notes, ratios_panel(rows, zone, baseline))


def ratios_panel(rows: Rows, zone: float, baseline: str) -> Chart:
    """Return ratios to a baseline with their intervals and verdicts, and the zone.

    Args:
        rows: As of :func:`ratio_row`.
        zone: Differences within this are shaded.
        baseline: What the ratios are to.
    """
    import altair as alt

    is_far = any(not 1 / _MANY_TIMES < row["ratio"] < _MANY_TIMES for row in rows)
    shown = rows if is_far else [_per_cent(row) for row in rows]
    ends = (1 - zone, 1 + zone) if is_far else (-100 * zone, 100 * zone)
    title = f"times as long as {baseline}" if is_far else f"change against {baseline}, %"
    signed = "datum.value > 0 ? '+' + datum.label : datum.label"
    label: Any = {} if is_far else {"labelExpr": signed}
    axis = alt.Axis(grid=True, tickCount=8, format="~g", **label)
    linear = alt.Scale(zero=False, padding=12)
    scale = alt.Scale(type="log", nice=False, padding=12) if is_far else linear
    x = alt.X("ratio:Q", title=title, axis=axis, scale=scale)
    y = alt.Y("arm:N", title=None, sort=[row["arm"] for row in rows])
    words = sorted({row["verdict"] for row in rows}, key=list(VERDICTS).index)
    colour = alt.Color(
        "verdict:N",
        title=None,
        scale=alt.Scale(domain=words, range=[VERDICTS[word] for word in words]),
    )
    middle = 1 if is_far else 0
    marks, band = chart_of(shown), chart_of([{"low": ends[0], "high": ends[1]}])
    tooltip = [alt.Tooltip("arm:N"), alt.Tooltip("verdict:N"), alt.Tooltip("change:N")]
    panel: Chart = alt.layer(
        band.mark_rect(color=GREY, opacity=0.18).encode(alt.X("low:Q"), alt.X2("high:Q")),
        chart_of([{"ratio": middle}]).mark_rule(color=GREY, strokeWidth=1.5).encode(x),
        marks.mark_rule(strokeWidth=3).encode(alt.X("low:Q"), alt.X2("high:Q"), y, colour),
        marks.mark_point(filled=True, size=70, opacity=1).encode(x, y, colour, tooltip=tooltip),
    ).properties(width=WIDTH, height=max(60, 40 * len(rows)))
    return panel


def ratio_row(row: Comparison | None, name: str) -> dict[str, Any] | None:
    """Return a comparison as a row of the chart; None of one without a ratio."""
    if row is None or row.ratio is None or not math.isfinite(row.ratio):
        return None
    return {
        "arm": shortened(name, 30),
        "ratio": row.ratio,
        "low": row.ratio if row.low is None else row.low,
        "high": row.ratio if row.high is None else row.high,
        "verdict": row.verdict,
        "change": f"{(row.ratio - 1) * 100:+.1f} %",
    }


def _rows(record: StudyRecord) -> Rows:
    found = [
        ratio_row(
            find_comparison(record, arm.name, record.plan.baseline), arm_label(record, arm.name)
        )
        for arm in main_results(record)
    ]
    return [row for row in found if row is not None]


def _per_cent(row: dict[str, object]) -> dict[str, object]:
    ends = {name: (float(str(row[name])) - 1) * 100 for name in ("ratio", "low", "high")}
    return {**row, **ends}
