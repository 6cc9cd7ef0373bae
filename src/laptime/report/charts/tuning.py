"""Charts of a tuning: what each override that got a verdict does to an epoch."""

from __future__ import annotations

from laptime.report.charts.change import ratio_row, ratios_panel
from laptime.report.charts.style import Figure
from laptime.report.words.lines import counted, shortened
from laptime.report.words.tuning import job_words
from laptime.tune import BASELINE, ZONE, TuneRecord
from laptime.units import render_share


def tune_figures(record: TuneRecord) -> tuple[Figure, ...]:
    """Return the figures of a tuning; none where nothing got a verdict."""
    judged = [t for t in record.tried if t.stage != "scout" and t.row and t.row.b == BASELINE]
    found = [ratio_row(tried.row, tried.name) for tried in judged]
    if record.gain is not None:
        found.append(ratio_row(record.gain.row, f"{record.gain.name}, fresh blocks"))
    rows = [row for row in found if row is not None]
    if not rows:
        return ()
    notes = (
        f"95 % intervals over {counted(record.request.blocks, 'block')}",
        f"shaded: ±{render_share(ZONE)}, too little to matter",
    )
    pilot = record.pilot
    where = [shortened(job_words(record), 48), pilot.device_name, f"torch {pilot.torch}"]
    unit = "An epoch" if pilot.steps_per_epoch else "A step"
    return (
        Figure(
            "tuning",
            f"{unit} against that of the unchanged job",
            " · ".join(notes),
            " · ".join(filter(None, where)),
            (ratios_panel(rows, ZONE, "the unchanged job"),),
        ),
    )
