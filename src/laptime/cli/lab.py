"""``laptime lab``: the questions of the lab, one after another, into one folder."""

from __future__ import annotations

import json as json_text
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from laptime.cli.options import JSON, RUNS_DIR, setting_options, settings_from
from laptime.cli.train import EXIT_STATUS
from laptime.errors import LaptimeError, SettingsError, printable
from laptime.lab import PART_OF, QUESTIONS, LabFindings, LabRequest, Scale
from laptime.lab_store import LabDirectory, create_lab, find_lab

_SETTINGS = ("data", "data_dir", "num_workers", "device", "seed", "epochs")


def lab_command(
    scale: Literal["auto", "quick", "full"],
    runs_dir: Path,
    json: bool,
    seeds: int | None,
    only: str | None,
    resume: str | None,
    **given: Any,
) -> int:
    """Do the parts in order, print each answer, fill the folder; the status of the worst part."""
    checked = {name: value for name, value in given.items() if value is not None}
    parts = parse_parts(only) if only is not None else ()
    # A bad value, or a lab that is not there, is refused before torch is imported.
    if resume is None:
        settings_from(None, checked)
        chosen: Scale = "full" if _is_full(scale, given["device"]) else "quick"
        request = _request(chosen, seeds or 1, parts, checked)
        directory = create_lab(runs_dir, request, command_words(request, checked, runs_dir))
    else:
        directory = find_lab(runs_dir, resume or None)
        refuse_changes(directory.read_record().request, checked, scale, seeds, parts)
    is_done = _run(directory, is_new=resume is None, json=json)
    return _finish(directory, is_done=is_done, json=json)


def _request(
    scale: Scale, seeds: int, parts: tuple[str, ...], given: Mapping[str, Any]
) -> LabRequest:
    from laptime.labs.requests import lab_settings

    settings = settings_from(None, given, lab_settings(scale, {}))
    return LabRequest(settings=settings, scale=scale, seeds=seeds, only=parts)


def refuse_changes(
    request: LabRequest,
    given: Mapping[str, Any],
    scale: str,
    seeds: int | None,
    parts: tuple[str, ...],
) -> None:
    """Refuse what differs from what the lab was started with.

    Raises:
        SettingsError: It would be another lab.
    """
    was = request.settings.flat()
    now = settings_from(None, given, request.settings).flat()
    pairs = {name: (now[name], was[name]) for name in given}
    if scale != "auto":
        pairs["scale"] = scale, request.scale
    if seeds is not None:
        pairs["seeds"] = seeds, request.seeds
    if parts:
        pairs["only"] = ", ".join(parts), ", ".join(request.parts)
    for name, (here, there) in pairs.items():
        if here != there:
            raise SettingsError(
                f"{name} is {here!r}, but the lab was started with {there!r}. Leave it out, or "
                f"start a new lab."
            )


def command_words(request: LabRequest, given: Mapping[str, Any], runs_dir: Path) -> str:
    """Return the command that starts such a lab."""
    words = ["laptime", "lab", "--scale", request.scale]
    if request.seeds != 1:
        words += ["--seeds", str(request.seeds)]
    if request.only:
        words += ["--only", ",".join(part.split(",")[0].split()[0] for part in request.only)]
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    if runs_dir != Path("runs"):
        words += ["--runs-dir", str(runs_dir)]
    return printable(shlex.join(words))


def parse_parts(text: str) -> tuple[str, ...]:
    """Return the parts of ``C3,q1``, each once; naming half of a part names the whole.

    Raises:
        SettingsError: A word names no part.
    """
    words = [word.strip().upper() for word in text.split(",")]
    for word in words:
        if word not in PART_OF:
            raise SettingsError(
                f"only is {text[:60]!r}, but {word[:20]!r} is no part of the lab. Use some of "
                f"{', '.join(PART_OF)}."
            )
    return tuple(part for part in QUESTIONS if part in {PART_OF[word] for word in words})


def _run(directory: LabDirectory, *, is_new: bool, json: bool) -> bool:
    """Do what the lab lacks; a new one in which nothing could begin leaves nothing behind."""
    from laptime.cli.live_lab import LiveLab
    from laptime.labs.contents import run_of
    from laptime.labs.parts import Watch, run_lab

    run = run_of(directory)
    trained = run.read_record() if run else None
    shown = LiveLab(streamed=sys.stdout.isatty() and not json, json=json, trained=trained)
    try:
        return run_lab(directory, Watch(shown, shown.run, shown.studies))
    except (LaptimeError, KeyboardInterrupt):
        if is_new and directory.is_untouched():
            directory.discard()
        raise
    finally:
        shown.close()


def _finish(directory: LabDirectory, *, is_done: bool, json: bool) -> int:
    """Fill the folder, say what is in it, and return the exit status."""
    from laptime.cli.live_lab import closing_lines
    from laptime.labs.handin import write_hand_in
    from laptime.labs.parts import read_lab

    findings = read_lab(directory)
    notes = write_hand_in(directory, findings).notes
    answers = _write_report(directory)
    for note in notes:
        click.echo(printable(note), err=True)
    if json:
        click.echo(json_text.dumps(_document(findings, directory.path), allow_nan=False))
    else:
        lines = ["", *answers, "", *closing_lines(findings, directory.path)]
        click.echo("\n".join(lines))
    return _status(findings) if is_done else 130


def _write_report(directory: LabDirectory) -> list[str]:
    """Write the report of a lab into its folder; return its answers as lines."""
    from laptime.cli.report import document_of
    from laptime.report.pages.publish import write_report
    from laptime.report.pages.terminal import card_lines

    document = document_of(directory, drawn=True)
    write_report(document, directory.path)
    return card_lines(document)


def _document(findings: LabFindings, path: Path) -> dict[str, Any]:
    found = {part: findings.of(part) for part in findings.record.request.parts}
    return {
        "lab": {**findings.record.document(), "directory": str(path)},
        "fit_reasons": list(findings.fit_reasons),
        "sections": {part: finding.document() for part, finding in found.items() if finding},
    }


def _status(findings: LabFindings) -> int:
    run = findings.run
    ended = EXIT_STATUS.get(run.status, 1) if run else 0
    return max(ended, 1 if findings.record.missing() else 0)


def _is_full(scale: str, device: str | None) -> bool:
    """Return whether the whole assignment is run: asked for, or there is a GPU to run it on."""
    if scale != "auto":
        return scale == "full"
    from laptime.training.device import choose_device

    return choose_device(device or "auto").type != "cpu"


command = click.Command(
    "lab",
    callback=lab_command,
    help="Answer the questions of the lab, one after another, into one folder.\n\n"
    "C1 and C2, the training and where its time goes; C3 and C4, loader workers; C5, devices; C6, "
    "optimizers; C7, batch norm; Q1 to Q4, what the model is made of. Quick scale, the default "
    "without a GPU, takes some ten minutes on two cores and is labelled as what it is.",
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
            metavar="N",
            help="Training runs an arm in C6 and C7; verdicts on accuracy need five. [default: 1]",
        ),
        click.Option(
            ["--only"],
            metavar="PART,PART,...",
            help="Do these parts only: C1 to C7, Q1 to Q4. C1 and C2 are one part, so are C3 and "
            "C4, and Q1 to Q4.",
        ),
        *setting_options(_SETTINGS),
        click.Option(
            ["--resume"],
            is_flag=False,
            flag_value="",
            metavar="[LAB]",
            help="Go on with a lab: its directory, its name, or the newest.",
        ),
        RUNS_DIR,
        JSON,
    ],
)
