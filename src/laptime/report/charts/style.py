"""What all charts share: size, colours, title and subtitle, and how they become SVG and PNG."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from laptime.report.words.lines import counted, model_words, shortened
from laptime.study import Estimate, StudyRecord

if TYPE_CHECKING:
    import altair

Rows = list[dict[str, Any]]
Chart = Any
"""Altair has a type for each way to combine charts."""

WIDTH, HEIGHT = 640, 360

# Okabe and Ito's palette: told apart by colour-blind eyes, and on white as on black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#888888"

PART_HUES = {"loading": "#b34700", "training": "#005a8f", "other": "#5c5c5c"}
"""Of an epoch's columns: dark enough for white words."""

_INK, _PAPER, _DARK_INK, _DARK_PAPER = "#333333", "#ffffff", "#dddddd", "#161616"

_DARK = (
    f"<style>@media (prefers-color-scheme: dark) {{"
    f".laptime text {{fill: {_DARK_INK}}} "
    f".laptime > rect:first-of-type {{fill: {_DARK_PAPER}}}}}</style>"
)
"""What a dark page changes; all other colours are readable on both."""

CONFIG: dict[str, Any] = {
    "font": "DejaVu Sans, Verdana, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK, "titleColor": _INK, "domainColor": GREY, "tickColor": GREY,
        "gridColor": GREY, "gridOpacity": 0.25, "labelFontSize": 12, "titleFontSize": 12,
        "labelLimit": 260, "labelFlush": False,
    },
    "legend": {
        "labelColor": _INK, "labelFontSize": 12, "labelLimit": 260, "orient": "bottom",
        "symbolOpacity": 1,
    },
    "title": {
        "color": _INK, "subtitleColor": _INK, "fontSize": 15, "subtitleFontSize": 11, "offset": 12,
    },
}  # fmt: skip
"""What all charts share, in light colours."""


def chart_of(rows: Rows) -> altair.Chart:
    """Return a chart of rows: what a user has named is data in it, never a part of the spec."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=rows))


def bar_row(value: Estimate) -> dict[str, float]:
    """Return a mean and the ends of its interval; without one they meet."""
    low = value.estimate if value.low is None else value.low
    high = value.estimate if value.high is None else value.high
    return {"seconds": value.estimate, "low": low, "high": high}


def blocks_note(record: StudyRecord) -> str:
    """Return what the points and bars of a chart of times are."""
    return f"{counted(record.blocks, 'block')}, a point each, and 95 % intervals"


@dataclass(frozen=True)
class Figure:
    """A chart with its words: panels side by side in a picture, beside or below each other else."""

    name: str
    """Of its files: lower-case letters and hyphens."""
    title: str
    note: str
    """What its marks are and how many of them."""
    where: str
    """Model, data and machine."""
    panels: tuple[Chart, ...]

    def chart(self) -> Chart:
        """Return all panels as one chart with title, subtitle, and colours for any page."""
        import altair as alt

        subtitle = [shortened(line, 110) for line in (self.note, self.where) if line]
        heading = alt.TitleParams(text=self.title, subtitle=subtitle, anchor="start")
        whole = self.panels[0] if len(self.panels) == 1 else alt.hconcat(*self.panels)
        return whole.properties(title=heading, background=_PAPER).configure(**CONFIG)


def study_figure(
    name: str, record: StudyRecord, title: str, notes: Iterable[str], *panels: Chart
) -> Figure:
    """Return a figure of a study, with the model, the data and the machine named."""
    machine = record.environment
    where = [machine.device_name, f"torch {machine.torch}"] if machine else []
    if machine and record.plan.study == "devices":
        where[0] = machine.cpu
    model = model_words(record.plan.arm(record.plan.baseline).settings.flat())
    subject = " · ".join([model, record.data_label, *where])
    return Figure(name, title, " · ".join(filter(None, notes)), subject, panels)


def svg_of(figure: Figure) -> bytes:
    """Return a figure as SVG that adapts to dark pages; equal figures give equal bytes."""
    buffer = io.StringIO()
    figure.chart().save(buffer, format="svg")
    text = _renumbered(buffer.getvalue())
    return re.sub(r"<svg\b([^>]*)>", rf"<svg\1>{_DARK}", _classed(text), count=1).encode()


def png_of(figure: Figure) -> bytes:
    """Return a figure as PNG, two pixels a point."""
    from PIL import Image

    drawn, smaller = io.BytesIO(), io.BytesIO()
    figure.chart().save(drawn, format="png", scale_factor=2)
    # The renderer hardly compresses; the picture is opaque, and a third of the size without alpha.
    Image.open(drawn).convert("RGB").save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def _classed(text: str) -> str:
    """Name the root, so that its style reaches nothing else on a page."""
    return re.sub(r'<svg\b([^>]*?)class="([^"]*)"', r'<svg\1class="laptime \2"', text, count=1)


def _renumbered(text: str) -> str:
    """Count clip paths from 0: the renderer counts on within a process."""
    found: Iterable[str] = dict.fromkeys(re.findall(r'id="(clip\d+)"', text))
    for number, name in enumerate(found):
        text = re.sub(rf"\b{name}\b", f"chart-{number}", text)
    return text
