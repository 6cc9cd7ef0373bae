"""Charts of a study, as SVG and PNG: every replicate a point, intervals as bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from laptime.files import make_directory, write_atomically
from laptime.report.charts.arms import LAYER_AXES, layer_chart, learning_chart, times_chart
from laptime.report.charts.change import change_chart
from laptime.report.charts.style import Figure, png_of, svg_of
from laptime.report.charts.workers import worker_chart
from laptime.study import StudyRecord

Formats = Mapping[str, Callable[[Figure], bytes]]


def write_charts(record: StudyRecord, directory: Path) -> list[Path]:
    """Write every chart that the record holds data for, each as SVG and as PNG.

    Returns:
        The paths, in the order in which a report shows them.
    """
    return write_figures(study_figures(record), directory, {"svg": svg_of, "png": png_of})


def write_figures(figures: Iterable[Figure], directory: Path, formats: Formats) -> list[Path]:
    """Write figures in every format.

    Args:
        figures: Each is written under its name.
        directory: Made where it is not there.
        formats: Suffix of the file to what draws it.
    """
    make_directory(directory)
    written = []
    for figure in figures:
        for suffix, draw in formats.items():
            path = directory / f"{figure.name}.{suffix}"
            write_atomically(path, draw(figure))
            written.append(path)
    return written


def study_figures(record: StudyRecord) -> tuple[Figure, ...]:
    """Return the figures of a study in the order of a report; those without data are left out."""
    is_workers = record.plan.study == "workers"
    times = [worker_chart(record)] if is_workers else [times_chart(record), change_chart(record)]
    layers = [layer_chart(record, what) for what in LAYER_AXES]
    found = *times, learning_chart(record), *layers
    return tuple(figure for figure in found if figure is not None)
