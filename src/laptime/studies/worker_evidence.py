"""What a worker study has measured, read from its directory, and the plans that follow from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from laptime.replicate import Block, TrainedReplicate
from laptime.settings import RunSettings
from laptime.statistics.elimination import Plateau, plateau
from laptime.studies.plan import make_plan, varied
from laptime.studies.training_plans import runs_of, training_order
from laptime.studies.worker_arms import FACTORS, plan_confirmation, worker_arms
from laptime.study import Arm, Plan, StudyRequest
from laptime.study_store import StudyDirectory


@dataclass(frozen=True)
class Evidence:
    """All that a worker study has measured so far."""

    plan: Plan
    blocks: Sequence[Block]
    scouted: Sequence[Block] = ()
    confirmation_plan: Plan | None = None
    """Of fresh blocks, begun or not; None where there is nothing to prove."""
    confirmation: Sequence[Block] = ()
    tables_plan: Plan | None = None
    """Of whole runs, for tables of their epochs."""
    trained: Sequence[TrainedReplicate] = ()
    full: RunSettings | None = None
    """The model that is predicted for, where this one is smaller."""
    full_step_s: float | None = None
    """A step of that model."""
    current: int = 0
    """The count of the settings that the study was asked for."""
    usable_cpus: int | None = None

    def counts(self) -> list[int]:
        """Return the worker counts of the plan, in its order."""
        return [int(arm.name) for arm in self.plan.arms if is_count(arm)]

    def is_complete(self) -> bool:
        """Tell whether no block and no training run is missing."""
        fresh, tables = self.confirmation_plan, self.tables_plan
        return (
            len(self.blocks) >= self.plan.blocks
            and (fresh is None or len(self.confirmation) >= fresh.blocks)
            and (tables is None or len(self.trained) == len(training_order(tables)))
        )


def is_count(arm: Arm) -> bool:
    """Tell the arms of the grid from the twin and the resident arm."""
    return arm.feed == "loader" and arm.again_of is None


def read_evidence(directory: StudyDirectory, request: StudyRequest) -> Evidence:
    """Read what a study has measured since its plan was written.

    Raises:
        StoreError: A file is missing or damaged.
    """
    blocks, aside = directory.read_blocks(), directory.read_aside()
    evidence = Evidence(
        directory.read_plan(),
        [block for block in blocks if block.stage == "main"],
        [block for block in blocks if block.stage == "scout"],
        full=request.full,
        full_step_s=aside.full_step_s,
        current=request.settings.loader.num_workers,
        usable_cpus=aside.usable_cpus,
    )
    found = chosen_plateau(evidence)
    if found is None or found.recommended is None:
        return evidence
    fresh = _confirmation_plan(directory, request, evidence, found.recommended)
    tables = _tables_plan(request, found.recommended)
    return replace(
        evidence,
        confirmation_plan=fresh,
        confirmation=[block for block in blocks if fresh and block.stage == "confirmation"],
        tables_plan=tables,
        trained=runs_of(tables, directory.read_trained()) if tables else (),
    )


def chosen_plateau(evidence: Evidence) -> Plateau | None:
    """Return the plateau over the blocks in which every surviving count has an epoch time."""
    table: dict[int, list[float]] = {}
    for count in evidence.counts():
        times = [_epoch_s(block, str(count)) for block in evidence.blocks]
        if times and all(time is not None for time in times):
            table[count] = [math.log(time) for time in times if time is not None]
    if not table or len(next(iter(table.values()))) < 2:
        return None
    return plateau(table, evidence.plan.zone)


def _confirmation_plan(
    directory: StudyDirectory, request: StudyRequest, evidence: Evidence, recommended: int
) -> Plan | None:
    """Return the plan that is stored, if one is; None where it has another count to prove.

    That happens where it was made after fewer blocks than there are now.
    """
    if directory.has_plan("confirmation"):
        stored = directory.read_plan("confirmation")
        return stored if str(recommended) in {arm.name for arm in stored.arms} else None
    return plan_confirmation(
        request.settings, recommended, evidence.counts(), evidence.plan.turns,
        evidence.plan.blocks, with_one=request.table_epochs > 0, timeout_s=request.timeout_s,
    )  # fmt: skip


def _tables_plan(request: StudyRequest, recommended: int) -> Plan | None:
    """Return the plan of one whole run with one worker and one with the recommended count."""
    if not request.table_epochs or recommended == 1:
        return None
    epochs = min(request.settings.training.epochs, request.table_epochs)
    arms = worker_arms(varied(request.settings, epochs=epochs), [1, recommended])
    seeds = (request.settings.training.seed,)
    return make_plan(
        "workers", arms, "1", FACTORS, blocks=0, seeds=seeds, timeout_s=request.timeout_s
    )


def _epoch_s(block: Block, arm: str) -> float | None:
    return next((r.epoch_s for r in block.replicates if r.arm == arm), None)
