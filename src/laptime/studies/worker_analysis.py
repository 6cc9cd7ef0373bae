"""Blocks of a worker study to its record: plateau, recommendation, rates, fit, prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from laptime.record import EnvironmentRecord
from laptime.replicate import Block, Replicate
from laptime.report.studies.explanations import explain_workers
from laptime.settings import RunSettings
from laptime.statistics.curve import fit_curve
from laptime.statistics.elimination import Plateau
from laptime.statistics.intervals import geometric_interval
from laptime.statistics.refusals import refusals
from laptime.statistics.summary import (
    ACCURACY_ONLY,
    EXPLANATION_ONLY,
    arm_results,
    comparisons,
    not_measurable,
    study_resolution,
)
from laptime.studies.plan import varied
from laptime.studies.worker_arms import RESIDENT
from laptime.studies.worker_evidence import Evidence, chosen_plateau, read_evidence
from laptime.study import ArmResult, Comparison, Estimate, Refusal, StudyRecord, StudyRequest
from laptime.study_store import StudyDirectory
from laptime.units import seconds

FIT_POINTS = 4
"""A curve of three parameters goes through any three points: that would be no finding."""


def analyse_workers(directory: StudyDirectory, request: StudyRequest) -> StudyRecord:
    """Return everything that a study's directory says, refusals and words included.

    Raises:
        StoreError: A file is missing or damaged.
    """
    evidence = read_evidence(directory, request)
    plan, blocks = evidence.plan, evidence.blocks
    refused = refusals(plan, blocks)
    found = chosen_plateau(evidence)
    results = arm_results(plan, blocks, evidence.trained)
    fresh = evidence.confirmation_plan if evidence.confirmation else None
    replicates = [r for block in blocks for r in block.replicates]
    everything = [*evidence.scouted, *blocks, *evidence.confirmation]
    turns = [turn for block in everything for r in block.replicates for turn in r.turns]
    record = StudyRecord(
        id=directory.id,
        directory=str(directory.path),
        plan=plan,
        status="completed" if evidence.is_complete() else "interrupted",
        arms=(*results, *_eliminated(evidence)),
        comparisons=not_measurable(comparisons(plan, blocks), refused),
        resolution=study_resolution(plan, blocks),
        refusals=refused,
        fresh_arms=arm_results(fresh, evidence.confirmation, stage="confirmation") if fresh else (),
        fresh_refusals=_fresh_refusals(evidence),
        environment=_first_environment(replicates),
        data_label=next((r.data_label for r in replicates if r.data_label), ""),
        wall_s=sum(seconds(block.wall_ns) for block in everything),
        blocks=len(blocks),
        turns=len(turns),
        contaminated_turns=sum(turn.contaminated for turn in turns),
        details=_details(evidence, found, results, refused),
    )
    return record.model_copy(update={"explanation": explain_workers(record)})


def _details(
    evidence: Evidence,
    found: Plateau | None,
    results: Sequence[ArmResult],
    refused: Sequence[Refusal],
) -> dict[str, Any]:
    first = next((r for b in evidence.blocks for r in b.replicates if r.steps_per_epoch), None)
    machine = first.environment if first else None
    by_name = {result.name: result for result in results}
    rates = _rates(evidence)
    return {
        "grid": "ascended" if evidence.scouted else "given",
        "plateau": found
        and {
            "members": list(found.members),
            "best": found.best,
            "undecided": list(found.undecided),
            "regret_bound": found.regret_bound,
            "eliminated": [int(arm.name) for arm in _eliminated(evidence)],
        },
        "recommended": _recommended(found, by_name, refused),
        "current": evidence.current,
        "confirmation": _confirmation(evidence, found),
        "rates": rates,
        "first_batch_s": _first_batches(evidence),
        "fit": _fit(evidence),
        "steps_per_epoch": first.steps_per_epoch if first else 0.0,
        "usable_cpus": machine.cpus_usable if machine else evidence.usable_cpus,
        "predicted": _predicted(evidence, rates),
    }


def _recommended(
    found: Plateau | None, by_name: Mapping[str, ArmResult], refused: Sequence[Refusal]
) -> dict[str, int | float | None] | None:
    if found is None or found.recommended is None:
        return None
    if _forbids(refused, {str(found.recommended), str(found.best)}):
        return None
    result = by_name[str(found.recommended)]
    return {
        "num_workers": found.recommended,
        "worker_bytes": result.worker_bytes,
        "worker_cpu_s": result.worker_cpu_s,
    }


def _confirmation(evidence: Evidence, found: Plateau | None) -> dict[str, Any] | None:
    plan = evidence.confirmation_plan
    if plan is None or found is None or found.recommended is None:
        return None
    found_rows = comparisons(plan, evidence.confirmation, stage="confirmation")
    rows: Sequence[Comparison] = not_measurable(found_rows, _fresh_refusals(evidence))
    row = next((row for row in rows if row.a == str(found.recommended)), None)
    return row.model_dump(mode="json") if row else None


def _fresh_refusals(evidence: Evidence) -> tuple[Refusal, ...]:
    plan, blocks = evidence.confirmation_plan, evidence.confirmation
    return refusals(plan, blocks, stage="confirmation") if plan and blocks else ()


def _rates(evidence: Evidence) -> dict[str, Any]:
    bound = _values(evidence.blocks, RESIDENT, lambda r: r.step_s and 1 / r.step_s)
    step = geometric_interval(bound) if bound else None
    arms: dict[str, Any] = {}
    for count in evidence.counts():
        load = _interval(evidence.blocks, str(count), _load_per_s)
        full = _interval(evidence.blocks, str(count), lambda r: r.step_s and 1 / r.step_s)
        headroom = load.estimate / step.estimate if load and step else None
        limit = min(step.estimate, load.estimate) if load and step else None
        arms[str(count)] = {
            "load_per_s": load and load.model_dump(mode="json"),
            "full_per_s": full and full.model_dump(mode="json"),
            "headroom": headroom,
            "efficiency": full.estimate / limit if full and limit else None,
        }
    return {"step_per_s": step and step.model_dump(mode="json"), "arms": arms}


def _first_batches(evidence: Evidence) -> dict[str, Any]:
    found = {
        str(count): _interval(
            evidence.blocks,
            str(count),
            lambda r: seconds(sum(r.loader_start_ns)) / max(1, len(r.loader_start_ns)),
        )
        for count in evidence.counts()
    }
    return {name: value and value.model_dump(mode="json") for name, value in found.items()}


def _fit(evidence: Evidence) -> dict[str, float] | None:
    points = {
        count: value.estimate
        for count in evidence.counts()
        if (value := _interval(evidence.blocks, str(count), lambda r: r.step_s))
    }
    if len(points) < FIT_POINTS:
        return None
    fit = fit_curve(list(points), list(points.values()))
    names = ("compute_s", "load_s", "overhead_s", "residual")
    return {name: getattr(fit, name) for name in names} if fit else None


def _predicted(evidence: Evidence, rates: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the full model's epochs, from its own step and this study's loader rates.

    A batch is the same work for the loader whatever trains on it. Contention between workers
    and a larger model is not in it: labelled predicted wherever it is shown.
    """
    full, step_s = evidence.full, evidence.full_step_s
    if full is None or step_s is None:
        return None
    per_batch = evidence.plan.arms[0].settings.loader.batch_size
    steps = (full.data.samples or 50_000) / full.loader.batch_size
    epochs: dict[str, float] = {}
    enough = None
    for name, rate in rates["arms"].items():
        if rate["load_per_s"] is None:
            continue
        load_s = full.loader.batch_size / per_batch / rate["load_per_s"]["estimate"]
        epochs[name] = steps * (step_s + load_s if name == "0" else max(step_s, load_s))
    best = min(epochs.values(), default=0.0)
    near = [int(n) for n, value in epochs.items() if value <= best * (1 + evidence.plan.zone)]
    enough = min(near, default=None)
    model = f"{full.model.model} width {full.model.width}"
    return {"model": model, "step_s": step_s, "epoch_s": epochs, "enough": enough}


def _eliminated(evidence: Evidence) -> tuple[ArmResult, ...]:
    """Return the counts that the ascent left behind, each with what it measured of them."""
    known = {arm.name for arm in evidence.plan.arms}
    latest: dict[str, tuple[Block, Replicate]] = {}
    for block in evidence.scouted:
        for replicate in block.replicates:
            if replicate.arm not in known:
                latest[replicate.arm] = block, replicate
    base = evidence.plan.arms[0].settings
    return tuple(
        _scouted_result(varied(base, num_workers=int(name)), replicate)
        for name, (_, replicate) in sorted(latest.items(), key=lambda item: int(item[0]))
    )


def _scouted_result(settings: RunSettings, replicate: Replicate) -> ArmResult:
    def once(value: float | None) -> Estimate | None:
        return None if value is None else Estimate(estimate=value, low=None, high=None, n=1)

    return ArmResult(
        name=replicate.arm,
        settings=settings,
        replicates=(replicate,),
        epoch_s=once(replicate.epoch_s),
        loading_s=once(replicate.loading_s),
        training_s=once(replicate.training_s),
        loader_alone_s=once(replicate.loader_alone_s),
        worker_bytes=replicate.worker_bytes,
    )


def _values(
    blocks: Sequence[Block], arm: str, value: Callable[[Replicate], float | None]
) -> list[float]:
    found = [value(r) for b in blocks for r in b.replicates if r.arm == arm]
    return [number for number in found if number]


def _interval(
    blocks: Sequence[Block], arm: str, value: Callable[[Replicate], float | None]
) -> Estimate | None:
    values = _values(blocks, arm, value)
    return geometric_interval(values) if values else None


def _load_per_s(replicate: Replicate) -> float | None:
    if replicate.status != "completed" or not replicate.alone_ns:
        return None
    return replicate.alone_batches / seconds(replicate.alone_ns)


def _first_environment(replicates: Sequence[Replicate]) -> EnvironmentRecord | None:
    return next((r.environment for r in replicates if r.environment), None)


def _forbids(refused: Sequence[Refusal], arms: set[str]) -> bool:
    """Return whether a refusal is about all times of the study, or about those of some arms."""
    other = ACCURACY_ONLY | EXPLANATION_ONLY
    about = [refusal.arms for refusal in refused if refusal.code not in other]
    return any(not named or arms & set(named) for named in about)
