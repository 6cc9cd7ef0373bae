"""``laptime list``: the recorded runs, of our own training and of scripts."""

from __future__ import annotations

import json as json_text
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from laptime.cli.options import JSON, RUNS_DIR
from laptime.errors import StoreError, printable
from laptime.lab_store import list_labs
from laptime.record import EpochTimes, RunRecord
from laptime.script import ScriptRecord
from laptime.script_store import list_scripts
from laptime.store import list_runs
from laptime.units import render_percent, render_seconds, render_share, seconds

if TYPE_CHECKING:
    from laptime.report.reclaimable import Reclaimable

Record = TypeVar("Record")

_RUN_HEAD = (
    ("run", "status", "data", "optimizer", "workers"),
    ("epochs", "mean epoch s", "loading", "best top-1"),
)
_RANKED_HEAD = (("run", "where"), ("reclaimable s", "%"), ("why",))
"""Columns of the tables: words, numbers, words."""


def list_command(runs_dir: Path, by: str | None, json: bool) -> int:
    """Print a row a run, oldest first; damaged ones are named and passed over."""
    records: list[RunRecord | ScriptRecord] = [
        *_readable(run.read_record for run in list_runs(runs_dir)),
        *_readable(run.read_record for run in list_scripts(runs_dir)),
    ]
    records.sort(key=lambda record: record.id)
    ranked = _ranked(records, runs_dir) if by else []
    if json:
        documents = [one.document() for one in (ranked if by else records)]
        click.echo(json_text.dumps(documents, allow_nan=False))
    elif not records:
        click.echo(f"No run in {runs_dir}. {_where_else(runs_dir)}")
    elif by:
        _print_table(_RANKED_HEAD, map(_ranked_cells, ranked))
    else:
        _print_table(_RUN_HEAD, map(_cells, records))
    return 0


def _readable(readers: Iterable[Callable[[], Record]]) -> list[Record]:
    """Return what can be read; the rest is named on standard error."""
    found = []
    for read in readers:
        try:
            found.append(read())
        except StoreError as error:
            click.echo(f"passed over: {error}", err=True)
    return found


def _ranked(records: Sequence[RunRecord | ScriptRecord], runs_dir: Path) -> list[Reclaimable]:
    """Return what each run could give back; tunings that have not ended say nothing."""
    from laptime.report.reclaimable import ranked
    from laptime.tune_store import list_tunings

    ended = [tuning for tuning in list_tunings(runs_dir) if tuning.result.is_file()]
    return ranked(records, _readable(tuning.read_record for tuning in ended))


def _where_else(runs_dir: Path) -> str:
    """Return where runs may be, or how to make one."""
    labs = list_labs(runs_dir)
    if not labs:
        return "`laptime train` makes one."
    return printable(f"Those of the newest lab: `laptime list --runs-dir {labs[-1].runs}`.")


def _print_table(head: Sequence[Sequence[str]], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, names in enumerate(head):
        for name in names:
            table.add_column(name, justify="right" if number == 1 else "left",
                             no_wrap=name == "run")  # fmt: skip
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def _cells(record: RunRecord | ScriptRecord) -> list[str]:
    if isinstance(record, ScriptRecord):
        return _script_cells(record)
    settings = record.settings
    return [
        record.id,
        record.status.replace("_", " "),
        record.data.name,
        f"{settings['optimizer']} {settings['lr']:g}",
        str(settings["num_workers"]),
        f"{len(record.epochs)}/{settings['epochs']}",
        *_mean_cells(record.epochs),
        render_percent(record.best.accuracy) if record.best else "-",
    ]


def _script_cells(record: ScriptRecord) -> list[str]:
    """Return what the recorder saw of the same, as far as it did."""
    process = record.main
    loader = process.loader if process else None
    optimizers = [
        fact.class_name + ("" if fact.lr is None else f" {fact.lr:g}")
        for fact in (process.recorder.optimizers if process else ())
    ]
    return [
        record.id,
        record.status.status,
        loader.dataset if loader else "-",
        ", ".join(optimizers) or "-",
        str(loader.num_workers) if loader else "-",
        str(len(record.epochs)),
        *_mean_cells(record.epochs),
        "-",
    ]


def _mean_cells(epochs: Sequence[EpochTimes]) -> tuple[str, str]:
    """Return the mean steady epoch, and the share of loading in it."""
    from laptime.report.runs.findings import steady_epochs

    steady = steady_epochs(epochs)
    wall_ns = sum(epoch.wall_ns for epoch in steady)
    loading_ns = sum(epoch.loading_ns for epoch in steady)
    is_timed = wall_ns and steady[0].mode != "off"
    return (
        render_seconds(seconds(wall_ns) / len(steady)) if steady else "-",
        render_share(loading_ns / wall_ns) if is_timed else "-",
    )


def _ranked_cells(row: Reclaimable) -> list[str]:
    return [row.run, row.where, render_seconds(row.saved_s), render_share(row.share), row.why]


command = click.Command(
    "list",
    callback=list_command,
    help="Show the recorded runs, oldest first.\n\nThe mean epoch leaves out the first, which is "
    "cold; loading is its share of that mean.",
    params=[
        RUNS_DIR,
        click.Option(
            ["--by"],
            type=click.Choice(("reclaimable",)),
            help="Rank the runs by the time that they could have done without: what a tuning has "
            "verified, else the most that perfect loading could save.",
        ),
        JSON,
    ],
)
