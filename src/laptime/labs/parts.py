"""The lab's questions, in order: C1 and C2 by a run, C3 to C7 by studies, Q1 to Q4 by counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from laptime.census import Inspection
from laptime.errors import LaptimeError, StoreError
from laptime.files import locked, remove_file
from laptime.lab import (
    INSPECTION,
    RUN,
    STUDIES,
    LabFindings,
    LabPart,
    LabRecord,
    LabRequest,
    PartStatus,
    fit_reasons,
)
from laptime.lab_store import LabDirectory
from laptime.labs.book import Book
from laptime.labs.contents import run_of, study_of
from laptime.labs.plans import outlooks
from laptime.labs.price import (
    INSPECTION_S,
    Expected,
    Probe,
    expected_run,
    expected_studies,
    limit_s,
)
from laptime.labs.probe import devices_here, look, slow_step
from laptime.labs.requests import study_request
from laptime.record import RunRecord
from laptime.settings import LAB_OPTIMIZERS, RunSettings
from laptime.studies.batchnorm import run_batchnorm
from laptime.studies.devices import run_devices
from laptime.studies.optimizers import run_optimizers
from laptime.studies.plan import varied
from laptime.studies.reread import finished_study, reread_study
from laptime.studies.runner import (
    StudyListener,
    Workshop,
    interruptible,
    keep_record,
    open_workshop,
)
from laptime.studies.training_runs import simultaneous
from laptime.studies.workers import run_workers
from laptime.study import StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory, create_study
from laptime.training.listener import Listener

Finding = RunRecord | StudyRecord | Inspection
Run = Callable[[Workshop, StudyRequest], StudyRecord]


class LabListener(Protocol):
    """Whoever shows a lab while it goes on."""

    def planned(self, record: LabRecord) -> None:
        """What is to be done is known, and how long it takes; nothing has begun."""

    def part_started(self, part: LabPart) -> None:
        """A part begins, or goes on."""

    def part_ended(self, part: LabPart, finding: Finding | None) -> None:
        """A part has ended, with or without a finding."""


@dataclass(frozen=True)
class Watch:
    """Whoever shows the lab, its run, its studies."""

    lab: LabListener
    run: Listener
    studies: StudyListener


def run_lab(directory: LabDirectory, watch: Watch) -> bool:
    """Do what a lab still lacks, part by part; return whether nobody stopped it.

    A part that completed is never run again; one that was interrupted goes on. A part that fails
    keeps its reason, and the next begins. What C3 recommends is the number of workers of all
    later parts; C7 counts C6's runs of SGD as its own.

    Raises:
        LaptimeError: Another process is at it, nothing can be begun, or the disk refuses.
    """
    record = directory.read_record()
    with locked(directory.path) as is_ours, interruptible():
        if not is_ours:
            raise StoreError(f"{directory.id} is being run by another process. Wait for it.")
        book = Book(directory, record)
        if record.expected_s is None and record.missing():
            book.expect(_expected(book, watch))
        watch.lab.planned(book.record)
        try:
            return all(_do(book, part.part, watch) for part in record.missing())
        except KeyboardInterrupt:
            book.stop("stopped from outside")
            return False


def _do(book: Book, name: str, watch: Watch) -> bool:
    """Do one part; return whether nobody stopped it."""
    watch.lab.part_started(book.begin(name))
    finding: Finding | None = None
    try:
        finding = _found(book, name, watch)
    except LaptimeError as error:
        ended = book.end(name, "failed", str(error))
    else:
        ended = book.end(name, *_outcome(finding, book.record.request))
    watch.lab.part_ended(ended, finding)
    return not (isinstance(finding, RunRecord) and finding.status == "interrupted")


def _found(book: Book, name: str, watch: Watch) -> Finding:
    if name == RUN:
        return _train(book, watch.run)
    if name == INSPECTION:
        found = inspect_assigned(book.record.request.settings)
        book.directory.write_inspection(found)
        book.leaves(name, book.directory.inspection)
        return found
    return _study(book, name, watch.studies)


def _train(book: Book, listener: Listener) -> RunRecord:
    """Train, or go on with a training; its checkpoints go when they are of no more use."""
    from laptime.training import loop  # torch comes with it

    directory, settings = book.directory, book.record.request.settings
    found = run_of(directory)
    try:
        if found is None:
            record = loop.train(settings, directory.runs, listener)
        elif found.read_status().status == "diverged":  # it would again
            record = found.read_record()
        else:
            record = loop.resume(found, settings, listener)
    finally:
        run = run_of(directory)
        if run is not None:
            book.leaves(RUN, run.path)
    if run is not None and record.status == "completed":
        for checkpoint in sorted(run.checkpoints.glob("*")):
            remove_file(checkpoint)
    return record


def inspect_assigned(settings: RunSettings) -> Inspection:
    """Count the assigned model and its twin, whatever the scale; on the device of the lab."""
    from laptime.inspection.inspect import inspect  # torch comes with it
    from laptime.inspection.optimizers import choose_optimizers

    training = settings.training
    assigned = varied(RunSettings(), device=training.device, seed=training.seed)
    return inspect(assigned, choose_optimizers(LAB_OPTIMIZERS, assigned.optimizer))


def _study(book: Book, name: str, listener: StudyListener) -> StudyRecord:
    """Run a study, or what one still lacks; one that was refused leaves nothing behind."""
    found = study_of(book.directory, book.record.part(name))
    directory = found or create_study(book.directory.runs, _new_request(book, name, listener))
    book.leaves(name, directory.path)
    try:
        return _continued(book, name, directory, listener)
    except LaptimeError:
        if found is None and directory.is_empty():
            directory.discard()
            book.forget(name)
        raise


def _continued(
    book: Book, name: str, directory: StudyDirectory, listener: StudyListener
) -> StudyRecord:
    part = book.record.part(name)
    # Only the first time: who resumes what ran out of time wants it whole.
    budget_s = None if part.most_s is None or part.wall_s else limit_s(part.most_s)
    runs: Mapping[str, Run] = {
        "workers": run_workers,
        "devices": run_devices,
        "optimizers": run_optimizers,
        "batchnorm": partial(run_batchnorm, reuse=_trained_by(book, "C6")),
    }
    with locked(directory.path) as is_ours:
        if not is_ours:
            raise StoreError(f"{directory.id} is being run by another process. Wait for it.")
        record = finished_study(directory)
        if record is None:
            workshop = open_workshop(directory, listener, budget_s)
            record = runs[STUDIES[name]](workshop, directory.read_request())
        keep_record(directory, record)
    return record


def _trained_by(book: Book, name: str) -> StudyDirectory | None:
    """Return the study of a part whose training runs may count elsewhere too."""
    if name not in book.record.request.parts:
        return None
    directory = study_of(book.directory, book.record.part(name))
    return directory if directory and directory.has_plan() else None


def _new_request(book: Book, name: str, listener: StudyListener) -> StudyRequest:
    """Return what a part asks of its study; with C3's number of workers, where there is one."""
    request = book.record.request
    settings = request.settings
    if STUDIES[name] != "workers":
        count = _recommended(book)
        if count is None:
            why = "was left out" if "C3, C4" not in request.parts else "recommends no number"
            listener.warned(
                f"{name} is done with {settings.loader.num_workers} loader workers, as the "
                f"settings say: C3 {why}."
            )
        else:
            settings = varied(settings, num_workers=count)
    return study_request(request, STUDIES[name], settings)


def _recommended(book: Book) -> int | None:
    directory = _trained_by(book, "C3, C4")
    if directory is None:
        return None
    best = reread_study(directory).details.get("recommended") or {}
    count: int | None = best.get("num_workers")
    return count


def _outcome(finding: Finding, request: LabRequest) -> tuple[PartStatus, str | None]:
    """Return how a part ended that has found something, and what is to be known of that."""
    if isinstance(finding, Inspection):
        return "completed", None
    if isinstance(finding, RunRecord):
        if finding.status == "completed":
            return "completed", None
        words = f"the run is {finding.status.replace('_', ' ')}: {finding.reason}"
        return ("interrupted" if finding.status == "interrupted" else "failed"), words
    lost = ", ".join(_lost(finding)) or None
    if not any(arm.epoch_s or arm.accuracy for arm in finding.arms):
        return "failed", lost or "nothing was measured"
    if finding.status != "completed":
        return "interrupted", f"its time was up: {finding.blocks} of {request.blocks} blocks"
    if finding.plan.blocks < request.blocks:
        return "completed", f"its time allowed {finding.plan.blocks} of {request.blocks} blocks"
    return "completed", lost


def _lost(record: StudyRecord) -> Iterator[str]:
    """Yield which arms ended early, in which way, and how often."""
    for arm in record.arms:
        for status, times in arm.outcomes().items():
            if status != "completed":
                yield f"{arm.name} {status.replace('_', ' ')} {times}x"


def _expected(book: Book, watch: Watch) -> dict[str, Expected]:
    """Look at the lab's training for some seconds, and return how long each part takes."""
    request, settings = book.record.request, book.record.request.settings
    expected = {INSPECTION: Expected(INSPECTION_S, INSPECTION_S)}
    probe = None
    if request.parts != (INSPECTION,):
        probe = _probe(book.directory, request, watch.studies)
    if probe is not None:
        studies = [STUDIES[part] for part in request.parts if part in STUDIES]
        asked = [study_request(request, study, settings) for study in studies]
        plans = outlooks(asked, probe.devices)
        places = [simultaneous(outlook.plan) for outlook in plans.values() if outlook.plan.seeds]
        probe = replace(probe, simultaneous=max(places, default=1))
        expected[RUN] = expected_run(settings, probe.pilot)
        expected |= expected_studies(plans, probe)
    return {part: span for part, span in expected.items() if part in request.parts}


def _probe(directory: LabDirectory, request: LabRequest, listener: StudyListener) -> Probe | None:
    settings, logs = request.settings, directory.path / "logs"
    devices = devices_here(settings)
    pilot = look(settings, logs, listener.warned, request.timeout_s)
    if pilot is None:
        return None
    slow_s = None
    if len(devices) > 1 and "C5" in request.parts:
        slow_s = slow_step(varied(settings, device=devices[0]), logs, request.timeout_s)
    return Probe(pilot, devices, slow_s)


def read_lab(directory: LabDirectory) -> LabFindings:
    """Return a lab and what its parts found so far; nothing is measured, nothing started.

    Raises:
        StoreError: A file is missing or damaged.
    """
    record = directory.read_record()
    run = run_of(directory)
    found = {STUDIES[p.part]: study_of(directory, p) for p in record.parts if p.part in STUDIES}
    studies = {study: reread_study(d) for study, d in found.items() if d and d.has_plan()}
    trained = run.read_record() if run else None
    return LabFindings(
        record,
        trained,
        studies,
        directory.read_inspection(),
        fit_reasons(record, trained, studies.values()),
    )
