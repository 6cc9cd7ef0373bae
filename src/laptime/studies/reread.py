"""A study's directory to its record: nothing is measured, no process started, no torch needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from laptime.errors import StoreError
from laptime.replicate import AsideName
from laptime.studies.course_analysis import analyse_course
from laptime.studies.worker_analysis import analyse_workers
from laptime.study import StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory

_ANALYSES: Mapping[str, Callable[[StudyDirectory, StudyRequest], StudyRecord]] = {
    "workers": analyse_workers,
    "devices": analyse_course,
    "optimizers": analyse_course,
    "batchnorm": analyse_course,
}


def reread_study(directory: StudyDirectory) -> StudyRecord:
    """Return what a study says, from what is stored in its directory alone.

    A running study ends with this, too: there is one way from samples to a record. What a study
    of old did not store beside its blocks and runs is left out.

    Raises:
        StoreError: The study has no plan yet, or a file is missing or damaged.
    """
    request = directory.read_request()
    if request.study not in _ANALYSES:
        raise StoreError(
            f"{directory.id} is a study of {request.study!r}, which this version of laptime does "
            f"not know. Use another study."
        )
    if not directory.has_plan():
        raise StoreError(
            f"{directory.id} has no plan yet: it ended before its first block. `laptime study "
            f"{request.study} --resume {directory.id}` goes on with it."
        )
    record = _ANALYSES[request.study](directory, request)
    is_of_old = not directory.read_aside().model_fields_set
    if is_of_old or not _unknown(directory, request):
        return record
    return record.model_copy(update={"status": "interrupted"})


def finished_study(directory: StudyDirectory) -> StudyRecord | None:
    """Return the record of a study that lacks nothing; None where there is something to measure.

    Raises:
        StoreError: A file is missing or damaged.
    """
    if not directory.has_plan() or _unknown(directory, directory.read_request()):
        return None
    record = reread_study(directory)
    return record if record.status == "completed" else None


def _unknown(directory: StudyDirectory, request: StudyRequest) -> list[AsideName]:
    """Return what the study keeps aside and does not know yet."""
    wanted: dict[str, list[AsideName]] = {
        "workers": ["full_step_s"] if request.full else [],
        "devices": ["missing_device"],
        "batchnorm": ["first_step"],
    }
    aside = directory.read_aside()
    return [name for name in wanted.get(request.study, []) if not aside.knows(name)]
