"""``laptime report``: what was measured as one page, as Markdown, or as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from laptime.cli.compare import contrast_of, find_named
from laptime.cli.options import RUNS_DIR
from laptime.errors import SettingsError, StoreError
from laptime.files import with_name
from laptime.lab_store import LabDirectory, find_lab, is_lab, list_labs
from laptime.script_store import ScriptDirectory, list_scripts
from laptime.store import RunDirectory, list_runs
from laptime.studies.reread import reread_study
from laptime.study_store import StudyDirectory, list_studies
from laptime.tune_store import TuneDirectory, find_tuning, is_tuning, list_tunings

if TYPE_CHECKING:
    from laptime.report.document import Document

FORMATS = ("html", "markdown", "text")

Found = LabDirectory | RunDirectory | StudyDirectory | ScriptDirectory | TuneDirectory


def report_command(
    names: tuple[str, ...], formats: tuple[str, ...], out: Path | None, runs_dir: Path
) -> int:
    """Build the report, print it or write it and say where it is."""
    wanted = tuple(dict.fromkeys(formats)) or FORMATS[:2]
    if len(names) > 2:
        raise SettingsError(f"{len(names)} names are given: one is reported, two are compared.")
    if "text" in wanted and len(wanted) > 1:
        raise SettingsError("text is printed and the other formats are written: ask for one.")
    if wanted == ("text",):
        from laptime.report.pages.terminal import render_document

        document, _ = documented(names, runs_dir, out, drawn=False)
        click.echo("\n".join(render_document(document)))
        return 0
    document, place = documented(names, runs_dir, out, drawn=True)
    write(document, place, wanted)
    return 0


def write(document: Document, place: Path, formats: tuple[str, ...] = FORMATS[:2]) -> None:
    """Write a report and say what was written."""
    from laptime.report.pages.publish import write_report

    written = write_report(document, place, formats)
    pages = [path for path in written if path.suffix != ".svg"]
    figures = len(written) - len(pages)
    for path in pages:
        click.echo(f"Report: {path}")
    if figures:
        click.echo(f"Figures: {place / 'figures'} ({figures} SVG files)")


def documented(
    names: tuple[str, ...], runs_dir: Path, out: Path | None, *, drawn: bool
) -> tuple[Document, Path]:
    """Return the document of what is named, and where its files belong.

    Raises:
        LaptimeError: A name names nothing, or more than one thing; files are damaged.
    """
    if len(names) == 2:
        from laptime.report.charts.sides import contrast_figures
        from laptime.report.comparisons.document import contrast_document

        a, b = (find_named(runs_dir, name) for name in names)
        place = runs_dir / f"compare_{a.found.id}_{b.found.id}"
        contrast = contrast_of(a, b, "epoch", uncontrolled=False)
        return contrast_document(
            contrast, contrast_figures(contrast) if drawn else ()
        ), out or place
    found = find_reported(names[0] if names else None, runs_dir)
    return document_of(found, drawn=drawn, place=out), out or found.path


def find_reported(name: str | None, runs_dir: Path) -> Found:
    """Return the lab, tuning, study, run or script's run of a name; without one, the newest.

    Raises:
        StoreError: There is none, or more than one.
    """
    if name is None:
        everything: list[Found] = [*list_runs(runs_dir), *list_scripts(runs_dir)]
        everything += [*list_studies(runs_dir), *list_labs(runs_dir), *list_tunings(runs_dir)]
        if not everything:
            raise StoreError(
                f"{runs_dir} holds nothing to report. `laptime train` makes a run; --runs-dir "
                f"names another place."
            )
        return max(everything, key=lambda found: found.id)
    if is_lab(Path(name)) or with_name([lab.path for lab in list_labs(runs_dir)], name):
        return find_lab(runs_dir, name)
    if is_tuning(Path(name)) or with_name([one.path for one in list_tunings(runs_dir)], name):
        return find_tuning(runs_dir, name)
    named = find_named(runs_dir, name)
    if named.arm is not None:
        raise SettingsError(f"{name[:200]!r} is one arm: name the study, {named.found.id}.")
    return named.found


def document_of(found: Found, *, drawn: bool, place: Path | None = None) -> Document:
    """Return the report of what a directory holds; nothing is measured.

    Args:
        found: The directory.
        drawn: Whether charts are wanted: they take a second.
        place: Where the report is to stand; None: in that directory.
    """
    from laptime.report import documents
    from laptime.report.pages.publish import sources_of

    sources = sources_of(raw_files(found), place or found.path)
    match found:
        case LabDirectory():
            from laptime.labs.parts import read_lab
            from laptime.report.lab import lab_document, lab_figures

            findings = read_lab(found)
            return lab_document(findings, lab_figures(findings) if drawn else {}, sources)
        case StudyDirectory():
            from laptime.report.charts.study import study_figures

            study = reread_study(found)
            return documents.study_document(study, study_figures(study) if drawn else (), sources)
        case TuneDirectory():
            from laptime.report.charts.tuning import tune_figures
            from laptime.report.tuning.tune import tune_document

            tuning = found.read_record()
            return tune_document(tuning, tune_figures(tuning) if drawn else (), sources)
        case ScriptDirectory():
            from laptime.report.charts.script import script_figures

            script = found.read_record()
            return documents.script_document(
                script, script_figures(script) if drawn else (), sources
            )
        case _:
            from laptime.report.charts.run import run_figures

            run = found.read_record()
            return documents.run_document(run, run_figures(run) if drawn else (), sources)


def raw_files(found: Found) -> list[Path]:
    """Return the files that hold raw samples, whether they are there or not."""
    match found:
        case LabDirectory():
            inside: list[Found] = [*list_runs(found.runs), *list_studies(found.runs)]
            return [found.inspection, *(path for one in inside for path in raw_files(one))]
        case StudyDirectory():
            plans = sorted(found.path.glob("plan*.json"))
            return [*plans, found.blocks, found.trained, found.path / "aside.json"]
        case TuneDirectory():
            return [found.path / "tune.json", found.blocks, found.recorder]
        case ScriptDirectory():
            names = ("recorder.json", "epochs.jsonl", "steps.jsonl", "windows.jsonl")
            return [path / name for path in found.process_paths() for name in names]
        case _:
            return [found.epochs, found.steps, found.windows]


_HELP = """Write what was measured as one page, report.html, and as Markdown with SVG files.

NAME is a run, of a script too, a tuning, a study or a lab: a directory, a name in --runs-dir, or
how that begins or ends; without one it is the newest. With two names it is their comparison. The
page loads nothing from elsewhere. Nothing is measured: equal samples give equal files.
"""

command = click.Command(
    "report",
    callback=report_command,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Argument(["names"], metavar="[NAME] [NAME]", nargs=-1),
        click.Option(
            ["--format", "formats"],
            type=click.Choice(FORMATS),
            multiple=True,
            help="html, markdown or both, the default; text is printed instead.",
        ),
        click.Option(
            ["--out"],
            metavar="DIR",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where to write [default: the directory of what is reported].",
        ),
        RUNS_DIR,
    ],
)
