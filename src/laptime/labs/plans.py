"""What each part of the lab will do, as far as it is known before the first: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from laptime.lab import STUDIES
from laptime.settings import RunSettings
from laptime.studies.batchnorm import plan_batchnorm
from laptime.studies.devices import plan_devices
from laptime.studies.optimizers import plan_optimizers
from laptime.studies.worker_arms import plan_confirmation, plan_workers
from laptime.study import Plan, StudyRequest


@dataclass(frozen=True)
class Outlook:
    """A part that is a study: its plan, and what comes with it."""

    plan: Plan
    fresh: Plan | None = None
    """Blocks for proof, if the first ones recommend a change."""
    tables: tuple[RunSettings, ...] = ()
    """Whole runs, one after another, whose epochs are shown."""
    adopted: int = 0
    """Training runs that another study has made already."""
    full: RunSettings | None = None
    """The model that is predicted for: some of its steps are measured."""
    looks: int = 0
    """Processes that are started for one look each."""


def outlooks(requests: Sequence[StudyRequest], devices: Sequence[str]) -> dict[str, Outlook]:
    """Return of each study what it will do, by the part that it is.

    Args:
        requests: What is asked of each study.
        devices: Those of this machine, the fastest last.
    """
    parts = {study: part for part, study in STUDIES.items()}
    names = {request.study for request in requests}
    return {
        parts[request.study]: _outlook(request, devices, has_sgd="optimizers" in names)
        for request in requests
    }


def _outlook(request: StudyRequest, devices: Sequence[str], *, has_sgd: bool) -> Outlook:
    base, blocks, turns = request.settings, request.blocks, request.turns
    if request.study == "workers":
        return _workers(request)
    if request.study == "devices":
        return Outlook(plan_devices(base, devices, blocks, turns))
    if request.study == "optimizers":
        plan = plan_optimizers(base, request.optimizers, request.seeds, blocks, turns)
        return Outlook(plan)
    plan = plan_batchnorm(base, request.seeds, blocks, turns)
    return Outlook(plan, adopted=len(request.seeds) if has_sgd else 0, looks=2)


def _workers(request: StudyRequest) -> Outlook:
    """Return the outlook where another count than the current one comes out, and not one."""
    base, turns, counts = request.settings, request.turns, request.grid or ()
    current = base.loader.num_workers
    other = next((count for count in counts if count not in {current, 1}), counts[-1])
    epochs = min(base.training.epochs, request.table_epochs)
    shown = base.model_copy(
        update={"training": base.training.model_copy(update={"epochs": epochs})}
    )
    return Outlook(
        plan_workers(base, counts, request.blocks, turns),
        fresh=plan_confirmation(base, other, counts, turns, request.blocks),
        tables=(shown, shown),
        full=request.full,
    )
