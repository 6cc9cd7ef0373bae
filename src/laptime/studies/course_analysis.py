"""Blocks and training runs to the record of a study of devices, optimizers or batch norm: pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from laptime.replicate import Aside, Block, FirstRun, Replicate, TrainedReplicate
from laptime.report.studies.explanations import (
    explain_batchnorm,
    explain_devices,
    explain_optimizers,
)
from laptime.statistics.accuracy import (
    accuracy_comparisons,
    best_arm,
    counted_runs,
    not_learned,
    smallest_gaps,
    visible_gap,
)
from laptime.statistics.agreement import losses_differ
from laptime.statistics.refusals import refusals
from laptime.statistics.summary import (
    arm_results,
    comparisons,
    not_measurable,
    study_resolution,
)
from laptime.studies.training_plans import read_first_run, runs_of, training_order
from laptime.studies.tuned_rates import Search, read_search, tuned_details
from laptime.study import ArmResult, Comparison, Plan, StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory
from laptime.units import seconds

_EXPLAIN: Mapping[str, Callable[[StudyRecord], tuple[str, ...]]] = {
    "devices": explain_devices,
    "optimizers": explain_optimizers,
    "batchnorm": explain_batchnorm,
}


@dataclass(frozen=True)
class Measured:
    """All that a study has measured: blocks, training runs, and what was kept aside."""

    plan: Plan
    blocks: Sequence[Block]
    trained: Sequence[TrainedReplicate]
    search: Search | None
    aside: Aside
    first_run: FirstRun | None

    def is_complete(self, request: StudyRequest) -> bool:
        """Tell whether no block and no training run is missing."""
        is_tuned = request.study == "optimizers" and request.tune_lr and bool(self.plan.seeds)
        return (
            len(self.blocks) >= self.plan.blocks
            and len(self.trained) >= len(training_order(self.plan))
            and (not is_tuned or (self.search is not None and self.search.is_complete))
        )


def analyse_course(directory: StudyDirectory, request: StudyRequest) -> StudyRecord:
    """Return everything that a study's directory says, refusals and words included.

    Raises:
        StoreError: A file is missing or damaged.
    """
    measured = _read_measured(directory)
    plan, blocks, trained = measured.plan, measured.blocks, measured.trained
    replicates = [replicate for block in blocks for replicate in block.replicates]
    turns = [turn for replicate in replicates for turn in replicate.turns]
    run = measured.first_run
    refused = refusals(plan, blocks, trained)
    results = arm_results(plan, blocks, trained)
    rows = not_measurable(
        (*comparisons(plan, blocks), *accuracy_comparisons(plan, trained)), refused
    )
    environment = next((r.environment for r in replicates if r.environment), None)
    label = next((r.data_label for r in replicates if r.data_label), "")
    learned = _learning_details(measured, results, rows) if plan.seeds else {}
    record = StudyRecord(
        id=directory.id,
        directory=str(directory.path),
        plan=plan,
        status="completed" if measured.is_complete(request) else "interrupted",
        arms=results,
        comparisons=rows,
        resolution=study_resolution(plan, blocks),
        refusals=refused,
        environment=environment or (run.environment if run else None),
        data_label=label or (run.data.label if run else ""),
        wall_s=sum(seconds(block.wall_ns) for block in blocks),
        blocks=len(blocks),
        turns=len(turns),
        contaminated_turns=sum(turn.contaminated for turn in turns),
        details={**learned, **tuned_details(measured.search), **_own_details(measured)},
    )
    return record.model_copy(update={"explanation": _EXPLAIN[plan.study](record)})


def _read_measured(directory: StudyDirectory) -> Measured:
    plan = directory.read_plan()
    trained = runs_of(plan, directory.read_trained())
    return Measured(
        plan,
        directory.read_blocks("main"),
        trained,
        read_search(directory, plan),
        directory.read_aside(),
        read_first_run(directory, trained),
    )


def _learning_details(
    measured: Measured, results: Sequence[ArmResult], rows: Sequence[Comparison]
) -> dict[str, Any]:
    plan, trained, run = measured.plan, measured.trained, measured.first_run
    num_classes = run.data.num_classes if run else None
    is_guessing = partial(not_learned, num_classes=num_classes)
    gaps = smallest_gaps(plan, trained)
    return {
        "seeds": list(plan.seeds),
        "num_classes": num_classes,
        "diverged": counted_runs(plan, trained, lambda run: run.status == "diverged"),
        "not_learned": counted_runs(plan, trained, is_guessing) if num_classes else None,
        "smallest_gap": visible_gap(gaps),
        "smallest_gaps": gaps,
        "best": best_arm(results, rows),
        "trained_wall_s": sum(seconds(run.wall_ns) for run in trained if not _is_adopted(run)),
        "trained_threads": run.environment.threads if run else None,
        "tuned": None,
    }


def _is_adopted(run: TrainedReplicate) -> bool:
    """Tell the runs of another study: their path leads out of this one."""
    return (run.run or "").startswith("..")


def _own_details(measured: Measured) -> dict[str, Any]:
    if measured.plan.study == "devices":
        return _device_details(measured)
    return _first_step_details(measured.aside) if measured.plan.study == "batchnorm" else {}


def _device_details(measured: Measured) -> dict[str, Any]:
    """Return losses that agree, epochs extrapolated, and the device that is missing."""
    plan, blocks = measured.plan, measured.blocks
    replicates = [replicate for block in blocks for replicate in block.replicates]
    devices = [arm.name for arm in plan.arms if arm.again_of is None]
    is_known = len(devices) > 1 and bool(blocks)
    details: dict[str, Any] = {
        "devices": devices,
        "losses_agree": not losses_differ(plan, blocks) if is_known else None,
        "extrapolated": {
            arm.name: _extrapolation([r for r in replicates if r.arm == arm.name])
            for arm in plan.arms
        },
    }
    if measured.aside.knows("missing_device"):
        details["missing"] = measured.aside.missing_device
    return details


def _extrapolation(replicates: Sequence[Replicate]) -> dict[str, float] | None:
    """Return how few of an epoch's steps a composed epoch rests on; None where it saw them all."""
    done = [replicate for replicate in replicates if replicate.status == "completed"]
    if not done:
        return None
    steps = min(sum(turn.steps for turn in replicate.turns) for replicate in done)
    epoch = done[0].steps_per_epoch
    return None if steps >= epoch else {"timed_steps": steps, "steps_per_epoch": epoch}


def _first_step_details(aside: Aside) -> dict[str, Any]:
    return aside.first_step.model_dump(mode="json") if aside.first_step else {}
