"""The chart of a comparison: an epoch of A over one of B, in the lab's columns."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.report.charts.style import COLOURS, GREY, PART_HUES, WIDTH, Figure, Rows, chart_of
from laptime.report.words.lines import counted, shortened
from laptime.statistics.contrast import Contrast
from laptime.statistics.sides import Side


def contrast_figures(contrast: Contrast) -> tuple[Figure, ...]:
    """Return the figure of a comparison of times; none where a side has no time, or no control."""
    sides = {"A": contrast.a, "B": contrast.b}
    known = all(side.epoch_s and side.loading_s and side.training_s for side in sides.values())
    if not known or (contrast.environment and not contrast.uncontrolled):
        return ()
    return (_sides(contrast, sides),)


def _sides(contrast: Contrast, sides: dict[str, Side]) -> Figure:
    import altair as alt

    parts = [row for label, side in sides.items() for row in _part_rows(label, side)]
    names = list(dict.fromkeys(row["part"] for row in parts))
    colour = alt.Color(
        "part:N",
        title=None,
        sort=names,
        scale=alt.Scale(domain=names, range=[PART_HUES[name] for name in names]),
    )
    x = alt.X("seconds:Q", title="seconds an epoch", axis=alt.Axis(tickCount=8), stack="zero")
    y = alt.Y("side:N", title=None)
    ends = [row for label, side in sides.items() for row in _end_rows(label, side)]
    points = [row for label, side in sides.items() for row in _epoch_rows(label, side)]
    bars = (
        chart_of(parts).mark_bar(height={"band": 0.55}).encode(x, y, colour, alt.Order("place:Q"))
    )
    layers = [bars]
    if ends:
        rule = chart_of(ends).mark_rule(color=COLOURS[4], strokeWidth=4)
        layers.append(rule.encode(alt.X("low:Q"), alt.X2("high:Q"), y))
    if points:
        dots = chart_of(points).mark_circle(color=GREY, size=24, yOffset=18, opacity=0.9)
        layers.append(dots.encode(alt.X("seconds:Q"), y))
    panel = alt.layer(*layers).properties(width=WIDTH, height=120)
    return Figure("sides", "An epoch of A and of B", _note(contrast), _where(sides), (panel,))


def _part_rows(label: str, side: Side) -> Rows:
    """Return loading, training and what is left of the mean epoch."""
    assert side.epoch_s is not None
    assert side.loading_s is not None
    assert side.training_s is not None
    loading, training = side.loading_s.estimate, side.training_s.estimate
    rest = max(0.0, side.epoch_s.estimate - loading - training)
    values = {"loading": loading, "training": training, "other": rest}
    return [
        {"side": label, "part": name, "place": place, "seconds": value}
        for place, (name, value) in enumerate(values.items())
        if value > 0
    ]


def _end_rows(label: str, side: Side) -> Rows:
    value = side.epoch_s
    if value is None or value.low is None or value.high is None:
        return []
    return [{"side": label, "low": value.low, "high": value.high}]


def _epoch_rows(label: str, side: Side) -> Rows:
    return [{"side": label, "seconds": epoch.wall_ns / 1e9} for epoch in side.steady[:_MOST_POINTS]]


_MOST_POINTS = 200


def _note(contrast: Contrast) -> str:
    if contrast.kind == "runs":
        counts = [counted(len(side.steady), "epoch") for side in (contrast.a, contrast.b)]
        return f"means of {counts[0]} of A and {counts[1]} of B, a point each; one run of each"
    counts = [str(n) for n in (contrast.n_a, contrast.n_b)]
    return f"means over blocks, n = {' and '.join(dict.fromkeys(counts))}, with 95 % intervals"


def _where(sides: dict[str, Side]) -> str:
    names = [f"{label}: {shortened(side.arm or side.id, 40)}" for label, side in sides.items()]
    return " · ".join(_unique([*names, *_machines(sides)]))


def _machines(sides: dict[str, Side]) -> list[str]:
    found = [side.conditions.get("device_name") for side in sides.values()]
    return [str(name) for name in found if name]


def _unique(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(words))
