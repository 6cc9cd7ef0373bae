"""What a lab's folder holds beside its report: the script, the commands, the data as tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from laptime.errors import LaptimeError, printable
from laptime.files import make_directory, write_atomically, write_json
from laptime.lab import GRIDS, INSPECTION, RUN, STUDIES, LabFindings, LabRequest
from laptime.lab_store import LabDirectory
from laptime.labs.contents import run_of
from laptime.labs.handin_tables import epoch_rows, render_csv, step_rows, study_rows
from laptime.report.words.commands import setting_options
from laptime.settings import LoaderSettings, RunSettings

SCRIPT = "train_plain.py"

_QUICK_EPOCHS = "the two whole runs of C3, C4 have two epochs in the lab, and five here"


class HandIn(NamedTuple):
    """What was written, and what could not be."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


def write_hand_in(directory: LabDirectory, findings: LabFindings) -> HandIn:
    """Write everything but the report, from what the parts have found so far.

    Raises:
        StoreError: The disk refuses, or a file of the run is damaged.
    """
    top, data = directory.path, directory.path / "data"
    make_directory(data)
    written, notes = [], []
    try:
        script = _script(findings.record.request.settings)
    except LaptimeError as error:
        notes.append(f"No {SCRIPT}: {error}")
    else:
        write_atomically(top / SCRIPT, script.encode())
        written.append(top / SCRIPT)
    write_atomically(top / "commands.txt", render_commands(directory, findings).encode())
    written.append(top / "commands.txt")
    environment = _environment(findings)
    if environment is not None:
        write_json(top / "environment.json", environment)
        written.append(top / "environment.json")
    for name, document in _documents(findings):
        write_json(data / name, document)
        written.append(data / name)
    for name, rows in (table for table in _tables(directory, findings) if table[1]):
        write_atomically(data / name, render_csv(rows).encode())
        written.append(data / name)
    return HandIn(tuple(written), tuple(notes))


def _script(settings: RunSettings) -> str:
    from laptime.data.catalog import build_data
    from laptime.training.plain import render_plain_script  # torch comes with it

    return render_plain_script(settings, build_data(settings.data), SCRIPT)


def _environment(findings: LabFindings) -> dict[str, Any] | None:
    known = [findings.run, *findings.studies.values()]
    found = [record.environment for record in known if record and record.environment]
    if not found and findings.inspection is not None:
        found = [findings.inspection.machine]
    return found[0].model_dump(mode="json") if found else None


def _documents(findings: LabFindings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in findings.record.request.parts:
        found = findings.of(part)
        if found is not None:
            yield f"{file_word(part)}.json", found.document()


def _tables(
    directory: LabDirectory, findings: LabFindings
) -> Iterator[tuple[str, list[dict[str, object]]]]:
    run = run_of(directory)
    if findings.run is not None and run is not None:
        yield "epochs.csv", epoch_rows(findings.run)
        yield "steps.csv", step_rows(run.read_steps())
    for study, record in findings.studies.items():
        yield f"{study}.csv", study_rows(record)


def file_word(part: str) -> str:
    """Return the name of a part as part of a file's name: ``C3-C4``."""
    return part.replace(", ", "-").replace(" to ", "-")


def render_commands(directory: LabDirectory, findings: LabFindings) -> str:
    """Return the command of the lab, and what would do each part by itself."""
    record = findings.record
    lines = [
        f"# {record.id}: laptime {record.laptime}, {record.scale} scale, {record.started}",
        printable(record.command),
        "",
        "# Go on with what is missing, or write this folder anew:",
        f"laptime lab --resume {shlex.quote(str(directory.path))}",
        "",
        "# Each part by itself, as a run or a study of its own:",
    ]
    for part in record.request.parts:
        lines += ["", f"# {part}", printable(_command(part, findings))]
        if part == "C3, C4" and record.scale == "quick":
            lines[-2] += f" ({_QUICK_EPOCHS})"
    if findings.run is not None:
        lines += ["", "# The same training without laptime:", f"python {SCRIPT}"]
    return "\n".join(lines) + "\n"


def _command(part: str, findings: LabFindings) -> str:
    request = findings.record.request
    if part == RUN:
        return " ".join(["laptime train", *setting_options(request.settings.flat())])
    if part == INSPECTION:
        training = request.settings.training
        given = {"device": training.device, "seed": training.seed}
        return " ".join(["laptime inspect --optimizers all", *setting_options(given)])
    study = STUDIES[part]
    found = findings.studies.get(study)
    settings = found.plan.arm(found.plan.baseline).settings if found else request.settings
    words = [f"laptime study {study}"]
    if study == "workers":
        settings, run = request.settings, findings.run
        if run and settings.loader != LoaderSettings(batch_size=settings.loader.batch_size):
            words.append(f"--like {shlex.quote(run.directory)}")  # its number is the current one
    return " ".join([*words, *_own_flags(request, study, settings)])


def _own_flags(request: LabRequest, study: str, settings: RunSettings) -> list[str]:
    """Return the options of a study that are no settings of its runs, and these."""
    quick = request.scale == "quick"
    left_out: tuple[str, ...] = {
        "workers": ("num_workers",),
        "devices": ("device",),
        "optimizers": ("optimizer",),
        "batchnorm": ("norm",),
    }[study]
    words = ["--scale quick"] if quick else []
    if study == "workers":
        words.append(f"--num-workers {','.join(map(str, GRIDS[request.scale]))}")
    if study in {"optimizers", "batchnorm"}:
        words.append(f"--seeds {request.seeds}")
    words.append("--turns 4" if quick else "")
    words.append(f"--blocks {request.blocks}" if request.blocks != 5 else "")
    words += setting_options(settings.flat(), left_out)
    if study == "devices" and request.settings.training.device != "auto":
        words.append(f"--device {request.settings.training.device}")
    return [word for word in words if word]
