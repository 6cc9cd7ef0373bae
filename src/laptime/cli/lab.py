"""``laptime lab``: the questions of the lab, one after another."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import Any, Literal

import click

from laptime.cli.options import JSON, RUNS_DIR, setting_options, settings_from
from laptime.cli.train import EXIT_STATUS
from laptime.record import RunRecord

_SETTINGS = ("data", "data_dir", "num_workers", "device", "seed", "epochs")


def lab_command(
    scale: Literal["auto", "quick", "full"],
    runs_dir: Path,
    json: bool,
    seeds: int,
    **given: Any,
) -> int:
    """Run the parts in order and print each answer; the status of the worst part."""
    checked = {name: value for name, value in given.items() if value is not None}
    settings_from(None, checked)  # refuses a bad value before torch is imported
    from laptime.studies.lab import LabRequest, lab_settings, reductions

    chosen: Literal["quick", "full"] = "full" if _is_full(scale, given["device"]) else "quick"
    request = LabRequest(lab_settings(chosen, checked), chosen, runs_dir, seeds)
    if not json:
        smaller = reductions(request.settings)
        click.echo(
            "Quick scale: " + ", ".join(smaller) + "; `laptime lab --scale full` is the assignment."
            if smaller
            else "Full scale: the assignment as stated."
        )
    sections = _sections(request, json=json)
    if json:
        document = {"sections": {s.part: s.record.document() for s in sections}}
        click.echo(json_text.dumps(document, allow_nan=False))
    return max(_status(section) for section in sections)


def _sections(request: Any, *, json: bool) -> list[Any]:
    """Run the lab, printing each section as it comes."""
    from laptime.cli.live import LiveRun
    from laptime.cli.live_study import LiveStudy
    from laptime.studies.lab import PARTS, run_lab

    streamed = sys.stdout.isatty() and not json
    live, studies = LiveRun(stream_rows=streamed), LiveStudy()
    sections: list[Any] = []
    parts = iter(PARTS.items())
    _announce(next(parts), json=json)
    try:
        for section in run_lab(request, live, studies):
            live.close()
            studies.close()
            sections.append(section)
            if not json:
                _print(section, request.settings, sections[0].record, streamed=streamed)
            _announce(next(parts, None), json=json)
    finally:
        live.close()
        studies.close()
    return sections


def _announce(part: tuple[str, str] | None, *, json: bool) -> None:
    if part is not None and not json:
        click.echo(f"\n{part[0]}: {part[1]}\n")


def _print(section: Any, settings: Any, first: RunRecord, *, streamed: bool) -> None:
    from laptime.report.study import render_study
    from laptime.report.terminal import closing_lines, render_run
    from laptime.studies.lab import unfit_reasons

    if isinstance(section.record, RunRecord):
        lines = closing_lines(section.record) if streamed else render_run(section.record)
    else:
        lines = render_study(section.record)
    click.echo("\n".join(lines))
    reasons = unfit_reasons(settings, first)
    fit = f"{section.part}: as assigned, on CIFAR-10 ({first.data.label})."
    click.echo(f"\nNot fit to hand in: {'; '.join(reasons)}." if reasons else f"\n{fit}")


def _status(section: Any) -> int:
    if isinstance(section.record, RunRecord):
        return EXIT_STATUS.get(section.record.status, 1)
    return 0 if any(arm.epoch_s or arm.accuracy for arm in section.record.arms) else 1


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
    "C1 and C2, the training and where its time goes; C3 and C4, loader workers; C5, devices; C6, "
    "optimizers; C7, batch norm. Quick scale, the default without a GPU, takes some ten minutes "
    "on two cores and is labelled as what it is.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(
            ["--scale"],
            type=click.Choice(["auto", "quick", "full"]),
            default="auto",
            show_default=True,
            help="full is the assignment as stated; quick has a narrower network and fewer images.",
        ),
        click.Option(
            ["--seeds"],
            type=click.IntRange(1, 100),
            default=1,
            show_default=True,
            metavar="N",
            help="Training runs an arm in C6 and C7; verdicts on accuracy need five.",
        ),
        *setting_options(_SETTINGS),
        RUNS_DIR,
        JSON,
    ],
)
