"""The chart of a worker study: both curves, the fit, the bound, the plateau."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from laptime.report.charts.style import (
    COLOURS,
    GREY,
    HEIGHT,
    WIDTH,
    Chart,
    Figure,
    Rows,
    bar_row,
    blocks_note,
    chart_of,
    study_figure,
)
from laptime.report.studies.worker_curve import counts_of, step_fit
from laptime.report.words.lines import listed
from laptime.study import StudyRecord

if TYPE_CHECKING:
    import altair

EPOCH, LOADER = "training epoch", "loader alone"
FIT, BOUND = "steps by the fit, dashed", "epoch on batches in memory"
"""What the chart draws."""

_HUES = {EPOCH: COLOURS[0], LOADER: COLOURS[1], FIT: GREY, BOUND: COLOURS[2]}

_FEW = 4
"""Workers up to which a linear axis keeps the counts apart."""

_OFFSETS = {EPOCH: -3, LOADER: 3}
"""Pixels to the side, so that points of the two curves do not hide each other."""


def worker_chart(record: StudyRecord) -> Figure | None:
    """Return both curves over the worker counts, the fit, the bound and the plateau."""
    import altair as alt

    counts = [count for count, arm in counts_of(record) if arm.epoch_s]
    if not counts:
        return None
    fit, bound = _fit_rows(record, max(counts)), _bound_rows(record)
    drawn = [EPOCH, LOADER, *([FIT] if fit else []), *([BOUND] if bound else [])]
    hues = [_HUES[name] for name in drawn]
    colour = alt.Color("series:N", title=None, scale=alt.Scale(domain=drawn, range=hues))
    x = alt.X(
        "workers:Q",
        title="loader workers",
        scale=alt.Scale(type=_axis(counts), domain=[0, max(1, *counts)], nice=False, padding=14),
        axis=alt.Axis(values=counts, format="d", grid=False),
    )
    y = alt.Y("seconds:Q", title="seconds an epoch", scale=alt.Scale(zero=True))
    layers = [
        *_plateau_band(record, x),
        *([chart_of(fit).mark_line(strokeDash=[5, 4]).encode(x, y, colour)] if fit else []),
        *([chart_of(bound).mark_rule(strokeWidth=2).encode(y=y, color=colour)] if bound else []),
    ]
    for series, offset in _OFFSETS.items():
        points = chart_of([row for row in _worker_points(record) if row["series"] == series])
        means = chart_of([row for row in _worker_means(record) if row["series"] == series])
        beside: dict[str, Any] = {"xOffset": offset}
        ends = alt.Y("low:Q"), alt.Y2("high:Q")
        layers += [
            means.mark_line(opacity=0.4, strokeWidth=1.5, **beside).encode(x, y, colour),
            points.mark_circle(opacity=0.45, size=26, **beside).encode(x, y, colour),
            means.mark_rule(strokeWidth=2.5, **beside).encode(x, *ends, colour),
            means.mark_point(filled=True, opacity=1, size=50, **beside).encode(x, y, colour),
        ]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    title, notes = "Training epoch and loader alone", (blocks_note(record), _decided(record))
    return study_figure("workers", record, title, notes, chart)


def _axis(counts: Sequence[int]) -> Literal["linear", "sqrt"]:
    """Return the axis: counts that double are evenly spread by their roots, and 0 has a root."""
    return "sqrt" if max(counts) > _FEW else "linear"


def _worker_points(record: StudyRecord) -> Rows:
    return [
        {"workers": count, "seconds": value, "series": series}
        for count, arm in counts_of(record)
        for r in arm.replicates
        for series, value in ((EPOCH, r.epoch_s), (LOADER, r.loader_alone_s))
        if value is not None
    ]


def _worker_means(record: StudyRecord) -> Rows:
    return [
        {"workers": count, "series": series, **bar_row(value)}
        for count, arm in counts_of(record)
        for series, value in ((EPOCH, arm.epoch_s), (LOADER, arm.loader_alone_s))
        if value is not None
    ]


def _fit_rows(record: StudyRecord, most: int) -> Rows:
    """Return the fitted curve; with 0 workers nothing overlaps, so that it begins at 1."""
    fit = step_fit(record)
    if fit is None:
        return []
    places = range(max(1, 20 * most) + 1)
    counts = [1 + (most - 1) * place / places[-1] for place in places] if most > 1 else [1.0]
    return [{"workers": w, "seconds": fit.epoch_s(w), "series": FIT} for w in counts]


def _bound_rows(record: StudyRecord) -> Rows:
    found = [arm for arm in record.plan.arms if arm.feed == "resident"]
    values = [arm.epoch_s for arm in record.arms if arm.name in {a.name for a in found}]
    return [{"seconds": value.estimate, "series": BOUND} for value in values if value]


def _plateau_band(record: StudyRecord, x: altair.X) -> list[Chart]:
    members = (record.details.get("plateau") or {}).get("members", ())
    if not members:
        return []
    rows: Rows = [{"workers": min(members), "to": max(members)}]
    chart = chart_of(rows)
    if len(members) == 1:
        return [chart.mark_rule(color=GREY, opacity=0.2, strokeWidth=16).encode(x)]
    return [chart.mark_rect(color=GREY, opacity=0.15).encode(x, x2="to:Q")]


def _decided(record: StudyRecord) -> str:
    """Return plateau and recommendation as the subtitle says them."""
    plateau = record.details.get("plateau") or {}
    recommended = (record.details.get("recommended") or {}).get("num_workers")
    parts = []
    if plateau.get("members"):
        parts.append(f"shaded: plateau {listed([str(n) for n in plateau['members']])}")
    if recommended is not None:
        parts.append(f"recommended: {recommended}")
    return ", ".join(parts)
