"""``laptime list``: the recorded runs."""

from __future__ import annotations

import json as json_text
from pathlib import Path

import click

from laptime.cli.options import JSON, RUNS_DIR
from laptime.errors import StoreError, printable
from laptime.lab_store import list_labs
from laptime.record import RunRecord
from laptime.store import list_runs
from laptime.units import render_percent, render_seconds, render_share, seconds


def list_command(runs_dir: Path, json: bool) -> int:
    """Print a row a run, oldest first; damaged ones are named and passed over."""
    records: list[RunRecord] = []
    for run in list_runs(runs_dir):
        try:
            records.append(run.read_record())
        except StoreError as error:
            click.echo(f"passed over: {error}", err=True)
    if json:
        click.echo(json_text.dumps([record.document() for record in records], allow_nan=False))
    elif not records:
        click.echo(f"No run in {runs_dir}. {_where_else(runs_dir)}")
    else:
        _print_table(records)
    return 0


def _where_else(runs_dir: Path) -> str:
    """Return where runs may be, or how to make one."""
    labs = list_labs(runs_dir)
    if not labs:
        return "`laptime train` makes one."
    return printable(f"Those of the newest lab: `laptime list --runs-dir {labs[-1].runs}`.")


def _print_table(records: list[RunRecord]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for name in ("status", "data", "optimizer", "workers"):
        table.add_column(name)
    for name in ("epochs", "mean epoch s", "loading", "best top-1"):
        table.add_column(name, justify="right")
    for record in records:
        table.add_row(*(Text(printable(cell)) for cell in _cells(record)))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def _cells(record: RunRecord) -> list[str]:
    from laptime.report.runs.findings import steady_epochs

    epochs = steady_epochs(record.epochs)
    wall_ns = sum(epoch.wall_ns for epoch in epochs)
    loading_ns = sum(epoch.loading_ns for epoch in epochs)
    settings = record.settings
    return [
        record.id,
        record.status.replace("_", " "),
        record.data.name,
        f"{settings['optimizer']} {settings['lr']:g}",
        str(settings["num_workers"]),
        f"{len(record.epochs)}/{settings['epochs']}",
        render_seconds(seconds(wall_ns) / len(epochs)) if epochs else "-",
        render_share(loading_ns / wall_ns) if wall_ns and epochs[0].mode != "off" else "-",
        render_percent(record.best.accuracy) if record.best else "-",
    ]


command = click.Command(
    "list",
    callback=list_command,
    help="Show the recorded runs, oldest first.\n\nThe mean epoch leaves out the first, which is "
    "cold; loading is its share of that mean.",
    params=[RUNS_DIR, JSON],
)
