"""The studies by name: started in a directory of their own, or gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from laptime.errors import LaptimeError, StoreError
from laptime.files import locked
from laptime.studies.batchnorm import run_batchnorm
from laptime.studies.devices import run_devices
from laptime.studies.optimizers import run_optimizers
from laptime.studies.reread import finished_study
from laptime.studies.runner import (
    StudyListener,
    Workshop,
    interruptible,
    keep_record,
    open_workshop,
)
from laptime.studies.workers import run_workers
from laptime.study import StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory, create_study

STUDIES: dict[str, Callable[[Workshop, StudyRequest], StudyRecord]] = {
    "workers": run_workers,
    "devices": run_devices,
    "optimizers": run_optimizers,
    "batchnorm": run_batchnorm,
}
"""Each takes a workshop and a request, and goes on from what the directory holds."""


def start_study(
    request: StudyRequest, runs_dir: Path, listener: StudyListener, budget_s: float | None = None
) -> StudyRecord:
    """Run a new study.

    Raises:
        LaptimeError: It cannot be begun and has left nothing behind, or the disk refuses.
    """
    directory = create_study(runs_dir, request)
    try:
        return continue_study(directory, listener, budget_s)
    except LaptimeError:
        if directory.is_empty():
            directory.discard()
        raise


def continue_study(
    directory: StudyDirectory, listener: StudyListener, budget_s: float | None = None
) -> StudyRecord:
    """Run what a study still lacks; finished blocks and runs are never repeated.

    Of a study that lacks nothing only the record and the charts are made again.

    Raises:
        LaptimeError: Another process is at it, or a file is damaged.
    """
    request = directory.read_request()
    with locked(directory.path) as is_ours, interruptible():
        if not is_ours:
            raise StoreError(f"{directory.id} is being run by another process. Wait for it.")
        record = finished_study(directory)
        if record is None:
            workshop = open_workshop(directory, listener, budget_s)
            record = STUDIES[request.study](workshop, request)
        keep_record(directory, record)
    return record
