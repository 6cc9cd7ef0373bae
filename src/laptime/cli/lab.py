"""``laptime lab``: the questions of the lab, one after another."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Any, Literal

import click

from laptime.cli.options import JSON, RUNS_DIR, setting_options, settings_from
from laptime.cli.train import EXIT_STATUS

_SETTINGS = ("data", "data_dir", "num_workers", "device", "seed", "epochs")


def lab_command(
    scale: Literal["auto", "quick", "full"],
    runs_dir: Path,
    json: bool,
    **given: Any,
) -> int:
    """Run the parts in order and print each answer; the status of the worst part."""
    checked = {name: value for name, value in given.items() if value is not None}
    settings_from(None, checked)  # refuses a bad value before torch is imported
    from laptime.cli.live import LiveRun
    from laptime.studies.lab import Section, lab_settings, reductions, run_lab

    settings = lab_settings("full" if _is_full(scale, given["device"]) else "quick", checked)
    streamed = sys.stdout.isatty() and not json
    if not json:
        smaller = reductions(settings)
        click.echo(
            "Quick scale: " + ", ".join(smaller) + "; `laptime lab --scale full` is the assignment."
            if smaller
            else "Full scale: the assignment as stated."
        )
        click.echo("\nC1, C2: train, and say per epoch how long loading, training and all took\n")
    live = LiveRun(stream_rows=streamed)
    try:
        sections: list[Section] = run_lab(settings, runs_dir, live)
    finally:
        live.close()
    _print(sections, settings, json=json, streamed=streamed)
    return max(EXIT_STATUS.get(section.record.status, 1) for section in sections)


def _print(sections: Any, settings: Any, *, json: bool, streamed: bool) -> None:
    from laptime.report.terminal import closing_lines, render_run
    from laptime.studies.lab import unfit_reasons

    if json:
        document = {"sections": {s.part: s.record.document() for s in sections}}
        click.echo(json_text.dumps(document, allow_nan=False))
        return
    for section in sections:
        lines = closing_lines(section.record) if streamed else render_run(section.record)
        click.echo("\n".join(lines))
        reasons = unfit_reasons(settings, section.record)
        fit = f"{section.part}: as assigned, on CIFAR-10 ({section.record.data.label})."
        click.echo(f"\nNot fit to hand in: {'; '.join(reasons)}." if reasons else f"\n{fit}")


def _is_full(scale: str, device: str | None) -> bool:
    """Return whether the whole assignment is run: asked for, or there is a GPU to run it on."""
    if scale != "auto":
        return scale == "full"
    from laptime.training.device import choose_device

    return choose_device(device or "auto").type != "cpu"


command = click.Command(
    "lab",
    callback=lab_command,
    help="Answer the questions of the lab, one after another.\n\n"
    "So far: C1 and C2, the training and where its time goes. Quick scale, the default without a "
    "GPU, takes about two minutes on two cores and is labelled as what it is.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(
            ["--scale"],
            type=click.Choice(["auto", "quick", "full"]),
            default="auto",
            show_default=True,
            help="full is the assignment as stated; quick has a narrower network and fewer images.",
        ),
        *setting_options(_SETTINGS),
        RUNS_DIR,
        JSON,
    ],
)
