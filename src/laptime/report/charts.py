"""Charts of a study, as SVG and PNG: every replicate a point, intervals as bars."""

from __future__ import annotations

from pathlib import Path

from laptime.files import make_directory, write_atomically
from laptime.report.arm_charts import LAYER_AXES, layer_chart, learning_chart, times_chart
from laptime.report.chart_style import Chart, png_of, svg_of
from laptime.report.worker_chart import worker_chart
from laptime.study import StudyRecord


def write_charts(record: StudyRecord, directory: Path) -> list[Path]:
    """Write every chart that the record holds data for, each as SVG and as PNG.

    Returns:
        The paths, in the order in which a report shows them.
    """
    make_directory(directory)
    written = []
    for name, chart in build_charts(record).items():
        for suffix, content in (("svg", svg_of(chart)), ("png", png_of(chart))):
            path = directory / f"{name}.{suffix}"
            write_atomically(path, content)
            written.append(path)
    return written


def build_charts(record: StudyRecord) -> dict[str, Chart]:
    """Return the charts of a study by their names; those without data are left out."""
    charts: dict[str, Chart] = {}
    if record.plan.study == "workers":
        charts["workers"] = worker_chart(record)
    else:
        charts["times"] = times_chart(record)
    charts["learning"] = learning_chart(record)
    charts |= {what: layer_chart(record, what) for what in LAYER_AXES}
    return {name: chart for name, chart in charts.items() if chart is not None}
