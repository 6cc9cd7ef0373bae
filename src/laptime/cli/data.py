"""``laptime data``: what data is there; the download of CIFAR-10."""

from __future__ import annotations

import json as json_text
import os
from pathlib import Path
from typing import Any

import click

from laptime.cli.options import JSON, settings_from
from laptime.units import render_bytes, render_count


def data_command(name: str, data_dir: str | None, json: bool) -> int:
    """Download CIFAR-10 when it is asked for by name; read, check and describe the data."""
    if name == "cifar10":
        _download(Path(data_dir or os.environ.get("LAPTIME_DATA") or "data"))
    settings = settings_from(None, {"data": name, "data_dir": data_dir})
    from laptime.data.catalog import build_data

    record = build_data(settings.data).record()
    if json:
        click.echo(json_text.dumps(record.model_dump(mode="json")))
        return 0
    classes = f", {record.num_classes} classes" if record.num_classes else ""
    click.echo(f"{record.name}: {record.label}")
    click.echo(f"from      {record.source}")
    click.echo(
        f"holds     {render_count(record.train_samples)} training and "
        f"{render_count(record.test_samples)} test samples{classes}"
    )
    if record.sha256:
        click.echo(f"sha256    {record.sha256}  (images and labels, in order)")
    if record.name == "synthetic" and name == "auto":
        click.echo(
            "\nNo CIFAR-10 here: `laptime data cifar10` downloads it (170 MB). The embedded set "
            "has its shapes and types, so a step is the same work; accuracies are not CIFAR-10's."
        )
    return 0


def _download(directory: Path) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from laptime.data.archive import BINARY_ARCHIVE
    from laptime.data.download import download_cifar10

    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        console.print(f"CIFAR-10, {render_bytes(BINARY_ARCHIVE.num_bytes)}, into {directory}")
    columns: list[Any] = [BarColumn(), DownloadColumn(), TimeRemainingColumn()]
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=BINARY_ARCHIVE.num_bytes)

        def report(bytes_done: int, bytes_total: int) -> None:
            bar.update(task, completed=bytes_done, total=bytes_total)

        download_cifar10(directory, report=report)


command = click.Command(
    "data",
    callback=data_command,
    help="Show what data is there, or download CIFAR-10.\n\n"
    "`laptime data` says what a run without --data would use; `laptime data PATH` reads and checks "
    "a copy; `laptime data cifar10` downloads the official archive first, unless it is there, and "
    "checks its SHA-256.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Argument(["name"], default="auto", metavar="[NAME|PATH]"),
        click.Option(["--data-dir"], metavar="DIR", help="Where CIFAR-10 is kept [default: data]."),
        JSON,
    ],
)
