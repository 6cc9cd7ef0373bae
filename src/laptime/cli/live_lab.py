"""A lab while it goes on: its plan, each part as it comes, and where everything is at the end."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import click

from laptime.census import Inspection
from laptime.cli.live import LiveRun
from laptime.cli.live_study import LiveStudy
from laptime.errors import printable
from laptime.lab import (
    GRIDS,
    RUN,
    LabFindings,
    LabPart,
    LabRecord,
    LabRequest,
    reductions,
    unfit_reasons,
)
from laptime.labs.price import limit_s
from laptime.record import RunRecord
from laptime.report.models.census import render_inspection
from laptime.report.runs.run import closing_lines as run_closing_lines
from laptime.report.runs.run import render_run
from laptime.report.studies.study import render_study
from laptime.report.words.lines import counted
from laptime.study import StudyRecord
from laptime.units import render_duration

Finding = RunRecord | StudyRecord | Inspection


class LiveLab:
    """Print the plan of a lab, and each part as it comes; what moves goes to standard error.

    Call :meth:`close` when the lab has ended, whatever ended it.

    Args:
        streamed: Print the rows of the run's table as they come.
        json: Leave standard output to the document.
        trained: The run of C1 and C2, where a lab goes on that has it already.
    """

    def __init__(self, *, streamed: bool, json: bool, trained: RunRecord | None = None) -> None:
        self.run, self.studies = LiveRun(stream_rows=streamed), LiveStudy()
        self._streamed, self._json = streamed, json
        self._request: LabRequest | None = None
        self._trained = trained

    def planned(self, record: LabRecord) -> None:
        """Say what will be done, and about how long it takes."""
        self._request = record.request
        click.echo("\n".join(plan_lines(record)), err=self._json)

    def part_started(self, part: LabPart) -> None:
        """Print what the part asks."""
        if not self._json:
            click.echo(f"\n{part.part}: {part.question}\n")

    def part_ended(self, part: LabPart, finding: Finding | None) -> None:
        """Print what the part found, or why it did not."""
        self.close()
        if isinstance(finding, RunRecord):
            self._trained = finding
        if finding is not None and not self._json:
            click.echo("\n".join(self._lines(finding)))
            click.echo(f"\n{self._stamp(part)}")
        if part.status != "completed":
            said = part.status.replace("_", " ")
            click.echo(f"{part.part} {said}: {printable(part.reason or '')}", err=True)

    def close(self) -> None:
        """Take away what moves."""
        self.run.close()
        self.studies.close()

    def _lines(self, finding: Finding) -> list[str]:
        if isinstance(finding, Inspection):
            return render_inspection(finding)
        if isinstance(finding, StudyRecord):
            return render_study(finding)
        rows_are_out = self._streamed and self.run.started
        return run_closing_lines(finding) if rows_are_out else render_run(finding)

    def _stamp(self, part: LabPart) -> str:
        assert self._request is not None
        if part.kind == "inspection":
            return f"{part.part}: the model as assigned."
        settings = self._request.settings
        reasons = unfit_reasons(settings, self._trained) if self._trained else reductions(settings)
        data = f", on CIFAR-10 ({self._trained.data.label})" if self._trained else ""
        unfit = f"Not fit to hand in: {'; '.join(reasons)}."
        return unfit if reasons else f"{part.part}: as assigned{data}."


def plan_lines(record: LabRecord) -> list[str]:
    """Return what a lab will do, part by part, and about how long it takes."""
    smaller = reductions(record.request.settings)
    lines = ["Full scale: the assignment as stated."]
    if smaller:
        lines = [
            f"{record.scale.capitalize()} scale: {', '.join(smaller)}; "
            "`laptime lab --scale full` is the assignment."
        ]
    rows = [(part.part, _work(part.part, record.request), _time(part)) for part in record.parts]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines += [f"{name:<{widths[0]}}  {work:<{widths[1]}}  {time}" for name, work, time in rows]
    return [*lines, _in_all(record)]


def _work(part: str, request: LabRequest) -> str:
    """Return what a part does, in some words."""
    blocks = counted(request.blocks, "block")
    if part == RUN:
        return f"1 run of {counted(request.settings.training.epochs, 'epoch')}"
    if part == "C3, C4":
        counts = ", ".join(map(str, GRIDS[request.scale]))
        return f"{counts} workers in {blocks}; fresh blocks; 2 whole runs"
    if part == "C5":
        return f"each device that is found in {blocks}"
    if part == "C6":
        return f"5 optimizers in {blocks}; {counted(5 * request.seeds, 'training run')}"
    if part == "C7":
        runs = request.seeds if "C6" in request.parts else 2 * request.seeds
        return f"with batch norm and without in {blocks}; {counted(runs, 'training run')}"
    return "the assigned model counted, with batch norm and without"


def _time(part: LabPart) -> str:
    if part.status == "completed":
        return f"done, in {render_duration(part.wall_s)}"
    begun = "" if part.status == "not_begun" else f", {part.status.replace('_', ' ')} before"
    if part.least_s is None or part.most_s is None:
        return f"not known how long{begun}"
    return f"{span_words(part.least_s, part.most_s)}{begun}"


def _in_all(record: LabRecord) -> str:
    missing = record.missing()
    if not missing:
        return "Nothing is missing: the folder is written anew."
    least, most, limit = 0.0, 0.0, 0.0
    for part in missing:
        if part.least_s is None or part.most_s is None:
            return "How long it takes in all is not known: the first look ended early."
        least, most = least + part.least_s, most + part.most_s
        limit += limit_s(part.most_s) if part.kind == "study" else part.most_s
    if record.missing() != record.parts or any(part.wall_s for part in missing):
        return f"What is missing takes {span_words(least, most)}."
    if not any(part.kind == "study" for part in missing):
        return f"In all {span_words(least, most)}."
    return (
        f"In all {span_words(least, most)}. Where the machine turns out slower, studies leave "
        f"blocks out rather than take it beyond {rough_words(limit)}."
    )


def span_words(least_s: float, most_s: float) -> str:
    """Return a prediction in words, no finer than it is."""
    if most_s > 1.25 * least_s:
        return f"{rough_words(least_s)} to {rough_words(most_s)}"
    return f"about {rough_words(math.sqrt(least_s * most_s))}"


def rough_words(value_s: float) -> str:
    """Return a duration as exactly as a prediction can know it: ``35 s``, ``9 min``."""
    unit = next((unit for below, unit in ((20, 1), (60, 5), (600, 10)) if value_s < below), 60)
    whole = max(1, round(value_s / unit) * unit)
    return f"{whole} s" if whole < 10 else render_duration(whole).replace(" min 00 s", " min")


def closing_lines(findings: LabFindings, path: Path) -> list[str]:
    """Return where everything is, how long it took, and whether it may be handed in."""
    record = findings.record
    said = ""
    if all(part.least_s is not None and part.most_s is not None for part in record.parts):
        sums = [sum(getattr(part, name) for part in record.parts) for name in ("least_s", "most_s")]
        said = f"; {span_words(*sums)} was said"
    reasons = "; ".join(findings.fit_reasons)
    lines = [
        f"Report: {path / 'report.html'}",
        f"Folder: {path} ({', '.join(sorted(entry.name for entry in path.iterdir()))})",
        f"It took {render_duration(record.wall_s)}{said}.",
        f"Not fit to hand in: {reasons}."
        if reasons
        else "As assigned, on CIFAR-10: fit to hand in.",
    ]
    if record.missing():
        lines.append(f"Go on: laptime lab --resume {shlex.quote(str(path))}")
    return [printable(line) for line in lines]
