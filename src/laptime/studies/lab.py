"""The lab's questions, in order: C1 and C2 by a run, C3 to C7 by studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from laptime.record import RunRecord
from laptime.settings import RunSettings, build_settings
from laptime.studies.batchnorm import run_batchnorm
from laptime.studies.devices import run_devices
from laptime.studies.optimizers import OPTIMIZERS, run_optimizers
from laptime.studies.plan import varied
from laptime.studies.runner import (
    StudyListener,
    Workshop,
    interruptible,
    keep_record,
    open_workshop,
)
from laptime.studies.scale import QUICK
from laptime.studies.workers import run_workers
from laptime.study import StudyRecord, StudyRequest, TurnPolicy
from laptime.study_store import StudyDirectory, create_study
from laptime.training.listener import Listener
from laptime.training.loop import train

Scale = Literal["quick", "full"]

TRAIN_SAMPLES = 50_000
"""Training images of CIFAR-10."""

PARTS = {
    "C1, C2": "Train, and say per epoch how long loading, training and the whole took.",
    "C3, C4": "How many loader workers; one worker against the best number, and why.",
    "C5": "The average epoch on each device, with the best number of workers.",
    "C6": "Five optimizers at the same learning rate: epoch time, loss, top-1.",
    "C7": "The same training without batch norm.",
}
"""The parts and what each asks."""

QUICK_GRID = (0, 1, 2)
FULL_GRID = (0, 1, 2, 4, 8, 12, 16)
QUICK_TURNS = TurnPolicy(min_turns=4, max_turns=4)

Run = Callable[[Workshop, StudyRequest], StudyRecord]


@dataclass(frozen=True)
class Section:
    """One part of the lab: what it asks and what was measured."""

    part: str
    question: str
    record: RunRecord | StudyRecord


@dataclass(frozen=True)
class LabRequest:
    """What is asked of the lab."""

    settings: RunSettings
    scale: Scale
    runs_dir: Path
    seeds: int = 1
    """Training runs an arm in C6 and C7; fewer than five give a table and no verdict."""
    blocks: int = 5
    timeout_s: float = 600.0


def lab_settings(scale: Scale, given: Mapping[str, Any]) -> RunSettings:
    """Return the assignment's settings, or the quick version of them."""
    return build_settings({**(QUICK if scale == "quick" else {}), **given})


def reductions(settings: RunSettings) -> list[str]:
    """Return, in words, what is smaller than the assignment."""
    assigned, flat = RunSettings().flat(), settings.flat()
    words = {
        "width": f"width {flat['width']} instead of {assigned['width']}",
        "samples": f"{flat['samples'] or 0:,} training images instead of 50,000",
        "batch_size": f"batches of {flat['batch_size']} instead of {assigned['batch_size']}",
        "epochs": f"{flat['epochs']} epochs instead of {assigned['epochs']}",
    }
    return [text for name, text in words.items() if flat[name] != assigned[name]]


def unfit_reasons(settings: RunSettings, record: RunRecord) -> list[str]:
    """Return why the results are not fit to hand in; empty when they are."""
    reasons = reductions(settings)
    if record.data.name != "cifar10":
        reasons.append(f"data is {record.data.label}, not CIFAR-10")
    elif settings.data.samples is None and record.data.train_samples != TRAIN_SAMPLES:
        reasons.append(
            f"the copy of CIFAR-10 has {record.data.train_samples:,} training images instead of "
            f"{TRAIN_SAMPLES:,}"
        )
    if record.status != "completed":
        reasons.append(f"the run is {record.status}")
    return reasons


def run_lab(request: LabRequest, listener: Listener, studies: StudyListener) -> Iterator[Section]:
    """Answer the lab's questions one after another; each section comes as soon as it is known.

    What C3 recommends is the number of workers of all later parts. C7 counts C6's runs of SGD
    as its own.

    Raises:
        LaptimeError: A part cannot be begun.
    """
    settings = request.settings
    yield _section("C1, C2", train(settings, request.runs_dir, listener))
    directory = _begin(request, "workers", settings)
    workers = _run(directory, run_workers, studies)
    yield _section("C3, C4", workers)
    best = workers.details.get("recommended") or {}
    chosen = varied(settings, num_workers=best.get("num_workers", settings.loader.num_workers))
    yield _section("C5", _run(_begin(request, "devices", chosen), run_devices, studies))
    directory = _begin(request, "optimizers", chosen)
    yield _section("C6", _run(directory, run_optimizers, studies))

    def batchnorm(workshop: Workshop, asked: StudyRequest) -> StudyRecord:
        return run_batchnorm(workshop, asked, reuse=directory)

    yield _section("C7", _run(_begin(request, "batchnorm", chosen), batchnorm, studies))


def study_request(request: LabRequest, study: str, settings: RunSettings) -> StudyRequest:
    """Return what the lab asks of one study."""
    quick = request.scale == "quick"
    first = settings.training.seed
    learns = study in {"optimizers", "batchnorm"}
    return StudyRequest(
        study=study,
        settings=settings,
        grid=(QUICK_GRID if quick else FULL_GRID) if study == "workers" else None,
        optimizers=OPTIMIZERS if study == "optimizers" else (),
        seeds=tuple(range(first, first + request.seeds)) if learns else (),
        blocks=request.blocks,
        turns=QUICK_TURNS if quick else TurnPolicy(),
        timeout_s=request.timeout_s,
        table_epochs=2 if quick else 5,
        full=_assigned(settings) if quick and study == "workers" else None,
    )


def _assigned(settings: RunSettings) -> RunSettings:
    """Return the settings without what quick scale reduces, on the same data."""
    return varied(settings, **{name: RunSettings().flat()[name] for name in QUICK})


def _begin(request: LabRequest, study: str, settings: RunSettings) -> StudyDirectory:
    return create_study(request.runs_dir, study_request(request, study, settings))


def _run(directory: StudyDirectory, run: Run, listener: StudyListener) -> StudyRecord:
    with interruptible():
        record = run(open_workshop(directory, listener), directory.read_request())
    keep_record(directory, record)
    return record


def _section(part: str, record: RunRecord | StudyRecord) -> Section:
    return Section(part, PARTS[part], record)
