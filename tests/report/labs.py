"""Labs whose parts are made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.report.studies import (
    batchnorm_record,
    devices_record,
    optimizers_record,
    workers_record,
)
from tests.report.test_census import census
from tests.report.test_run import CPU, epoch, record

from laptime.census import Inspection
from laptime.lab import LabFindings, LabRecord, LabRequest, fit_reasons, new_parts
from laptime.record import EnvironmentRecord, RunRecord
from laptime.settings import build_settings
from laptime.study import StudyRecord


def studies() -> dict[str, StudyRecord]:
    norms = {name: [[f"layer{n}.conv", 0.1 / n] for n in range(1, 9)] for name in ("batch", "none")}
    workers = workers_record()
    unfitted = {**workers.details, "fit": None}  # as with three counts
    return {
        "workers": workers.model_copy(update={"details": unfitted}),
        "devices": devices_record(),
        "optimizers": optimizers_record(),
        "batchnorm": batchnorm_record(details={"gradients": norms}),
    }


def inspection(text: str = "AMD EPYC 7763", **given: Any) -> Inspection:
    machine = EnvironmentRecord(**{**CPU, "device_name": text})
    return Inspection(
        census=census(**given), twin=census(norm="none"), batch_size=128, epoch_samples=50_000,
        precision="float32", machine=machine,
    )  # fmt: skip


def lab(
    *,
    run: RunRecord | None = None,
    of: Mapping[str, StudyRecord] | None = None,
    counted: Inspection | None = None,
    parts: Mapping[str, Mapping[str, Any]] | None = None,
    command: str = "laptime lab --scale quick",
    **settings: Any,
) -> LabFindings:
    """Return a lab whose parts completed, but those that are given another end."""
    request = LabRequest(settings=build_settings({"width": 8, **settings}), scale="quick")
    trained = run or record(epoch(1), epoch(2), epoch(3))
    done = {"status": "completed", "wall_s": 10.0}
    found = LabRecord(
        id="2026-10-31T10-00-00_lab_1a2b3c",
        request=request,
        parts=tuple(
            part.model_copy(update={**done, **(parts or {}).get(part.part, {})})
            for part in new_parts(request)
        ),
        started="2026-10-31T10:00:00+00:00",
        laptime="0.1.0",
        command=command,
    )
    return LabFindings(
        found, trained, studies() if of is None else of, counted or inspection(),
        fit_reasons(found, trained),
    )  # fmt: skip
