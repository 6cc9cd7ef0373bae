"""Studies whose truth is planted: replicates are drawn from it, the rest follows as it would."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from laptime.phase import Phase
from laptime.record import EnvironmentRecord, EpochRecord
from laptime.replicate import Block, Replicate, TrainedReplicate, Turn
from laptime.settings import build_settings
from laptime.statistics.accuracy import (
    accuracy_comparisons,
    best_arm,
    counted_runs,
    not_learned,
    smallest_gaps,
    visible_gap,
)
from laptime.statistics.curve import fit_curve
from laptime.statistics.elimination import plateau
from laptime.statistics.intervals import geometric_interval, mean_interval
from laptime.statistics.refusals import refusals
from laptime.statistics.summary import (
    arm_results,
    comparisons,
    not_measurable,
    study_resolution,
)
from laptime.statistics.verdict import judge_accuracies, judge_times
from laptime.studies.plan import make_plan
from laptime.study import Arm, ArmResult, Estimate, Plan, StudyRecord

S = 1_000_000_000

MACHINE: dict[str, Any] = {
    "cpu": "Xeon 8268",
    "cpus_usable": 16,
    "cpus_total": 48,
    "memory_bytes": 235 * 10**9,
    "memory_usable_bytes": 200 * 10**9,
    "shm_bytes": None,
    "platform": "Linux",
    "python": "3.11.2",
    "torch": "2.13.0",
    "laptime": "0.1.0",
    "device": "cuda:0",
    "device_name": "Quadro RTX 8000",
    "threads": 16,
    "interop_threads": 16,
    "start_method": "fork",
}


@dataclass(frozen=True)
class Truth:
    """What a made-up machine takes for a step, by its number of workers."""

    compute_s: float = 0.025
    load_s: float = 0.076
    """Of a batch by one worker."""
    contention: float = 0.0
    """Share by which each worker slows computing down."""
    update_s: float = 0.002
    """Of computing: the optimizer."""
    noise: float = 0.004
    """Standard deviation between processes, in logs."""
    start_s: float = 0.08
    start_per_worker_s: float = 0.02
    worker_bytes: int = 200_000_000

    def training_s(self, workers: int) -> float:
        return self.compute_s * (1 + self.contention * workers)

    def wait_s(self, workers: int) -> float:
        if workers == 0:
            return self.load_s
        return max(0.0002, self.load_s / workers - self.training_s(workers))


def replicate_of(arm: Arm, block: int, truth: Truth, draw: Random, **given: Any) -> Replicate:
    """Draw one process of an arm: four turns, loader starts, the loader alone."""
    resident = arm.feed == "resident"
    workers = arm.settings.loader.num_workers
    wait_s = 0.00001 if resident else truth.wait_s(workers)
    training_s = truth.training_s(0 if resident else workers)
    off, busy = draw.lognormvariate(0.0, truth.noise), workers > 0 and not resident
    turns = tuple(
        _turn(n, wait_s * off, training_s * off * draw.lognormvariate(0.0, 0.002), truth, busy)
        for n in range(1, 5)
    )
    start_s = truth.start_s + truth.start_per_worker_s * workers
    batch_s = truth.load_s / max(1, workers) * draw.lognormvariate(0.0, truth.noise)
    values: dict[str, Any] = {
        "arm": arm.name,
        "block": block,
        "status": "completed",
        "steps_per_epoch": 50_000 / 128,
        "num_workers": workers,
        "loader_start_ns": () if resident else (round(start_s * off * S),) * 2,
        "loader_end_ns": () if resident else (round(0.01 * off * S),),
        "turns": turns,
        "alone_batches": 0 if resident else 40,
        "alone_ns": 0 if resident else round(40 * batch_s * S),
        "worker_bytes": None if resident or not workers else truth.worker_bytes * workers,
        "environment": EnvironmentRecord(**{**MACHINE, **given.pop("machine", {})}),
        "parameters": 11_173_962,
        "data_label": "official copy, verified",
    }
    return Replicate(**{**values, **given})


def _turn(number: int, wait_s: float, training_s: float, truth: Truth, busy: bool) -> Turn:
    steps, update_s = 30, truth.update_s * training_s / truth.compute_s
    phases = {
        Phase.DATA_WAIT: round(steps * wait_s * S),
        Phase.FORWARD: round(steps * (training_s - update_s) / 3 * S),
        Phase.BACKWARD: round(steps * (training_s - update_s) * 2 / 3 * S),
        Phase.OPTIMIZER: round(steps * update_s * S),
    }
    return Turn(
        round=number,
        discarded=8,
        steps=steps,
        wall_ns=sum(phases.values()),
        phases_ns=phases,
        worker_cpu_ns=round(steps * truth.load_s * S) if busy else 0,
    )


def blocks_of(
    plan: Plan, truths: Mapping[str, Truth], count: int, seed: int = 0, **given: Any
) -> list[Block]:
    """Draw blocks; ``given`` goes to every replicate."""
    draw = Random(seed)
    return [
        Block(
            block=block,
            started="2026-10-31T10:00:00+00:00",
            wall_ns=80 * S,
            replicates=tuple(
                replicate_of(arm, block, truths[arm.name], draw, **given) for arm in plan.arms
            ),
        )
        for block in range(1, count + 1)
    ]


def ended(block: Block, arm: str, status: str, reason: str) -> Block:
    """Return the block with one arm that came to an early end."""
    empty = {"turns": (), "alone_batches": 0, "status": status, "reason": reason}
    rows = [r.model_copy(update=empty) if r.arm == arm else r for r in block.replicates]
    return block.model_copy(update={"replicates": tuple(rows)})


def workers_record(
    truth: Truth | None = None,
    counts: Sequence[int] = (0, 1, 2, 4, 8, 16),
    *,
    current: int = 2,
    blocks: int = 5,
    declared: int = 5,
    out_of_memory: int | None = None,
    resident: bool = True,
    tables: bool = False,
    settings: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    truths: Mapping[str, Truth] | None = None,
    seed: int = 0,
    scouted: Mapping[int, float] | None = None,
    **given: Any,
) -> StudyRecord:
    """Return the record of a worker study on a machine with this truth.

    ``truths`` replaces the truth of single arms; ``given`` replaces fields of the record.
    """
    base = dict(settings or {})
    planned = _worker_plan(base, counts, current, declared, resident=resident)
    same = truth or Truth()
    by_arm = {arm.name: same for arm in planned.arms} | dict(truths or {})
    drawn = blocks_of(planned, by_arm, blocks, seed, machine=dict(machine or {}))
    if out_of_memory is not None:
        reason = "RuntimeError: not enough memory"
        drawn = [ended(b, str(out_of_memory), "out_of_memory", reason) for b in drawn]
    trained = tuple(_whole_run(name, same) for name in ("1", "4")) if tables else ()
    refused = refusals(planned, drawn, ())
    results = arm_results(planned, drawn, trained)
    details = _worker_details(planned, drawn, results, counts, current, by_arm)
    if any(not refusal.arms for refusal in refused):
        details["recommended"] = None
    left_behind = tuple(_scouted(count, value) for count, value in (scouted or {}).items())
    if left_behind:
        details["grid"] = "ascended"
        details["plateau"]["eliminated"] = [int(arm.name) for arm in left_behind]
    values: dict[str, Any] = {
        "id": "study",
        "directory": "runs/2026-10-31T10-00-00_study-workers_1a2b3c",
        "plan": planned,
        "status": "completed" if blocks >= declared else "interrupted",
        "arms": (*results, *left_behind),
        "comparisons": not_measurable(comparisons(planned, drawn), refused),
        "resolution": study_resolution(planned, drawn),
        "refusals": refused,
        "environment": EnvironmentRecord(**{**MACHINE, **(machine or {})}),
        "data_label": "official copy, verified",
        "wall_s": 80.0 * blocks,
        "blocks": blocks,
        "turns": 4 * len(planned.arms) * blocks,
        "details": details | given.pop("details", {}),
    }
    return StudyRecord(**{**values, **given})


def _scouted(count: int, epoch_s: float) -> ArmResult:
    """Return a count that the search measured once and left behind."""

    def once(value: float) -> Estimate:
        return Estimate(estimate=value, low=None, high=None, n=1)

    settings = build_settings({"num_workers": count})
    return ArmResult(
        name=str(count), settings=settings, epoch_s=once(epoch_s), training_s=once(9.7),
        loading_s=once(epoch_s - 9.7), worker_bytes=200_000_000 * count,
    )  # fmt: skip


def _worker_plan(
    base: dict[str, Any], counts: Sequence[int], current: int, blocks: int, *, resident: bool
) -> Plan:
    def arm(name: str, workers: int, **more: Any) -> Arm:
        return Arm(name=name, settings=build_settings({**base, "num_workers": workers}), **more)

    arms = [arm(str(count), count) for count in counts]
    arms.append(arm(f"{current} again", current, again_of=str(current)))
    if resident:
        arms.append(arm("resident", 0, feed="resident"))
    return make_plan("workers", arms, str(current), ("num_workers",), blocks=blocks)


def _worker_details(
    plan: Plan,
    blocks: Sequence[Block],
    results: Sequence[ArmResult],
    counts: Sequence[int],
    current: int,
    truths: Mapping[str, Truth],
) -> dict[str, Any]:
    by_name = {result.name: result for result in results}
    done = [count for count in counts if by_name[str(count)].epoch_s]
    table = {c: [math.log(_epoch_s(by_name[str(c)], b)) for b in blocks] for c in done}
    found = plateau(table, plan.zone) if len(blocks) > 1 else None
    recommended = found.recommended if found else None
    result = by_name[str(recommended)] if recommended is not None else None
    fit = _fit(by_name, done)
    return {
        "grid": "given",
        "plateau": found
        and {
            "members": list(found.members),
            "best": found.best,
            "undecided": list(found.undecided),
            "eliminated": [],
        },
        "recommended": result
        and {
            "num_workers": recommended,
            "worker_bytes": result.worker_bytes,
            "worker_cpu_s": result.worker_cpu_s,
        },
        "current": current,
        "confirmation": _confirmation(recommended, current, truths),
        "rates": _rates(by_name, done),
        "first_batch_s": {
            str(c): _dump([sum(r.loader_start_ns) / 2 / S for r in by_name[str(c)].replicates])
            for c in done
        },
        "fit": fit,
        "steps_per_epoch": 50_000 / 128,
        "usable_cpus": 16,
        "predicted": None,
    }


def _epoch_s(result: ArmResult, block: Block) -> float:
    found = next(r.epoch_s for r in result.replicates if r.block == block.block)
    assert found is not None
    return found


def _fit(by_name: Mapping[str, ArmResult], counts: Sequence[int]) -> dict[str, float] | None:
    points = {c: _step_s(by_name[str(c)]) for c in counts}
    fit = fit_curve(list(points), list(points.values()))
    names = ("compute_s", "load_s", "overhead_s", "residual")
    return {name: getattr(fit, name) for name in names} if fit else None


def _step_s(result: ArmResult) -> float:
    return geometric_interval([r.step_s for r in result.replicates if r.step_s]).estimate


def _rates(by_name: Mapping[str, ArmResult], counts: Sequence[int]) -> dict[str, Any]:
    bound = by_name.get("resident")
    step = _dump([1 / r.step_s for r in bound.replicates if r.step_s]) if bound else None
    arms = {}
    for count in counts:
        replicates = by_name[str(count)].replicates
        load = _dump([r.alone_batches / r.alone_ns * S for r in replicates])
        full = _dump([1 / r.step_s for r in replicates if r.step_s])
        assert load is not None
        assert full is not None
        limit = min(step["estimate"], load["estimate"]) if step else None
        arms[str(count)] = {
            "load_per_s": load,
            "full_per_s": full,
            "headroom": load["estimate"] / step["estimate"] if step else None,
            "efficiency": full["estimate"] / limit if limit else None,
        }
    return {"step_per_s": step, "arms": arms}


def _dump(values: Sequence[float]) -> dict[str, Any] | None:
    return geometric_interval(values).model_dump(mode="json") if values else None


def _confirmation(
    recommended: int | None, current: int, truths: Mapping[str, Truth]
) -> dict[str, Any] | None:
    if recommended is None or recommended == current:
        return None
    draw = Random(1)

    def step_s(count: int) -> float:
        truth = truths[str(count)]
        step = truth.wait_s(count) + truth.training_s(count)
        return step * draw.lognormvariate(0.0, truth.noise)

    ratios = [math.log(step_s(recommended) / step_s(current)) for _ in range(5)]
    return judge_times(str(recommended), str(current), ratios).model_dump(mode="json")


def _whole_run(arm: str, truth: Truth, seed: int = 0) -> TrainedReplicate:
    workers = int(arm)
    epochs = []
    for number in range(1, 6):
        slow = 1.1 if number == 1 else 1 + number / 200
        phases = {
            Phase.LOADER_START: round(0.1 * slow * S),
            Phase.DATA_WAIT: round(390 * truth.wait_s(workers) * slow * S),
            Phase.FORWARD: round(390 * truth.training_s(workers) * slow * S),
            Phase.LOGGING: round(0.3 * S),
        }
        epochs.append(epoch_record(number, phases_ns=phases, wall_ns=sum(phases.values())))
    return TrainedReplicate(arm=arm, seed=seed, status="completed", epochs=tuple(epochs))


def epoch_record(number: int, **given: Any) -> EpochRecord:
    phases = {Phase.FORWARD: 10 * S}
    values: dict[str, Any] = {
        "epoch": number,
        "samples": 50_000,
        "steps": 391,
        "loss": 2.0 / number,
        "correct": 10_000 + 5_000 * number,
        "wall_ns": sum(phases.values()),
        "phases_ns": phases,
        "mode": "events",
        "cold": number == 1,
    }
    return EpochRecord(**{**values, **given})


@dataclass(frozen=True)
class Learning:
    """Where the trainings of an arm end, seed by seed."""

    loss: float = 0.7
    accuracy: float = 0.757
    spread: float = 0.004
    """Standard deviation of the accuracy between seeds; the loss has five times that."""
    diverged: int = 0
    """So many of the seeds diverge."""
    truth: Truth = Truth()


GUESSING = Learning(loss=2.31, accuracy=0.1, spread=0.0005)

FIVE: dict[str, Learning] = {
    "sgd": Learning(),
    "nesterov": Learning(loss=0.69, accuracy=0.760),
    "adagrad": Learning(loss=0.95, accuracy=0.662),
    "adadelta": Learning(loss=0.82, accuracy=0.712, truth=Truth(compute_s=0.028, update_s=0.005)),
    "adam": Learning(loss=2.31, accuracy=0.1, spread=0.0005, diverged=2, truth=Truth(
        compute_s=0.0265, update_s=0.0035)),
}  # fmt: skip


def trained_record(
    study: str,
    arms: Mapping[str, Learning],
    *,
    seeds: int = 5,
    blocks: int = 5,
    factor: str = "optimizer",
    values: Sequence[Any] | None = None,
    details: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **given: Any,
) -> StudyRecord:
    """Return the record of a study of loss and accuracy; its times follow from the truths."""
    named = dict(zip(arms, values or list(arms), strict=True))
    base = {"num_workers": 4, **(settings or {})}
    made = [Arm(name=n, settings=build_settings({**base, factor: v})) for n, v in named.items()]
    first = next(iter(arms))
    twin = Arm(name=f"{first} again", settings=made[0].settings, again_of=first)
    planned = make_plan(
        study, [*made, twin], first, (factor,), blocks=blocks, seeds=tuple(range(seeds))
    )
    by_arm = {name: learning.truth for name, learning in arms.items()}
    by_arm[twin.name] = arms[first].truth
    drawn = blocks_of(planned, by_arm, blocks)
    runs = [run for name, learning in arms.items() for run in _runs(name, learning, seeds)]
    refused = refusals(planned, drawn, runs)
    results = arm_results(planned, drawn, runs)
    judged = accuracy_comparisons(planned, runs)
    rows = not_measurable((*comparisons(planned, drawn), *judged), refused)
    gaps = smallest_gaps(planned, runs)
    learning = {
        "seeds": list(range(seeds)),
        "num_classes": 10,
        "diverged": counted_runs(planned, runs, lambda run: run.status == "diverged"),
        "not_learned": counted_runs(planned, runs, lambda run: not_learned(run, 10)),
        "smallest_gap": visible_gap(gaps),
        "smallest_gaps": gaps,
        "best": best_arm(results, rows),
        "trained_wall_s": 60.0 * len(runs),
        "tuned": None,
    }
    record: dict[str, Any] = {
        "id": "study",
        "directory": f"runs/2026-10-31T10-00-00_study-{study}_1a2b3c",
        "plan": planned,
        "status": "completed",
        "arms": results,
        "comparisons": rows,
        "resolution": study_resolution(planned, drawn),
        "refusals": refused,
        "environment": EnvironmentRecord(**MACHINE),
        "data_label": "official copy, verified",
        "wall_s": 80.0 * blocks,
        "blocks": blocks,
        "turns": 4 * len(planned.arms) * blocks,
        "details": {**learning, **(details or {})},
    }
    return StudyRecord(**{**record, **given})


def optimizers_record(arms: Mapping[str, Learning] = FIVE, **given: Any) -> StudyRecord:
    """Return a study of optimizers; by default Adam diverges twice and learns nothing."""
    return trained_record("optimizers", arms, **given)


LAYERS = (
    "stem.conv",
    *(f"groups.{group}.{block}.conv{n}" for group in range(4) for block in (0, 1) for n in (1, 2)),
    *(f"groups.{group}.0.shortcut" for group in (1, 2, 3)),
    "linear",
)


def _rows(norms: Mapping[str, float]) -> list[list[Any]]:
    return [[name, value] for name, value in norms.items()]


def tuned_details(cured: bool = True) -> dict[str, Any]:
    """Return what a search for learning rates adds: with another one Adam learns, or not."""

    def found(lr: float, accuracy: float, tried: list[list[Any]], edge: str | None) -> Any:
        draws = [accuracy + 0.001 * place for place in range(-2, 3)]
        runs = [
            {"seed": seed, "status": "completed", "reason": None, "run": None, "loss": 0.8,
             "accuracy": value}
            for seed, value in enumerate(draws)
        ]  # fmt: skip
        estimate = mean_interval(draws).model_dump(mode="json")
        loss = {"estimate": 0.8, "low": 0.79, "high": 0.81, "n": 5}
        return {
            "lr": lr, "edge": edge, "loss": loss, "accuracy": estimate, "tried": tried,
            "outcomes": {"completed": 5}, "replicates": runs,
        }  # fmt: skip

    nothing: dict[str, Any] = {
        "lr": None,
        "edge": None,
        "loss": None,
        "accuracy": None,
        "outcomes": {},
    }
    adam = found(0.001, 0.742 if cured else 0.101, [[0.001, 0.71, "completed"],
                 [0.1, None, "diverged"]], "lowest")  # fmt: skip
    tuned = {
        "sgd": found(0.1, 0.757, [[0.01, 0.69, "completed"], [0.1, 0.74, "completed"]], None),
        "adagrad": {**nothing, "tried": [[0.1, None, "diverged"]], "replicates": []},
        "adam": adam,
    }
    pairs = {"sgd at 0.1": [0.756, 0.757, 0.758, 0.759, 0.755], "adam at 0.001": [
        r["accuracy"] for r in adam["replicates"]]}  # fmt: skip
    rows = judge_accuracies(pairs, quantity="accuracy")
    return {"tuned": tuned, "tuned_comparisons": [row.model_dump(mode="json") for row in rows]}


def batchnorm_record(
    with_norm: Learning | None = None, without: Learning | None = None, **given: Any
) -> StudyRecord:
    """Return a study of batch norm with gradients of three layers."""
    arms = {
        "batch": with_norm or Learning(),
        "none": without or Learning(loss=1.05, accuracy=0.62, truth=Truth(compute_s=0.021)),
    }
    steep = {name: 0.9 * 0.55 ** (20 - place) for place, name in enumerate(LAYERS)}
    flat = {name: 1.4 - 0.06 * (20 - place) for place, name in enumerate(LAYERS)}
    gradients = {"batch": _rows(flat), "none": _rows(steep)}
    details = {"gradients": gradients, "activations": None, **given.pop("details", {})}
    return trained_record(
        "batchnorm", arms, factor="norm", values=("batch", "none"), details=details, **given
    )


def _runs(name: str, learning: Learning, seeds: int) -> list[TrainedReplicate]:
    draw = Random(name)
    runs = []
    for seed in range(seeds):
        off = draw.gauss(0.0, 1.0)
        loss = learning.loss - 5 * learning.spread * off
        accuracy = learning.accuracy + learning.spread * off
        if seed >= seeds - learning.diverged:
            reason = "the loss is not finite at epoch 2, step 17"
            runs.append(TrainedReplicate(arm=name, seed=seed, status="diverged", reason=reason))
            continue
        epochs = tuple(
            epoch_record(n, loss=loss * (1 + (5 - n) / 4), correct=round(
                50_000 * accuracy * (1 - (5 - n) / 8)))
            for n in range(1, 6)
        )  # fmt: skip
        runs.append(TrainedReplicate(arm=name, seed=seed, status="completed", epochs=epochs))
    return runs


def devices_record(
    devices: Mapping[str, Truth] | None = None,
    *,
    blocks: int = 5,
    details: Mapping[str, Any] | None = None,
    **given: Any,
) -> StudyRecord:
    """Return a study of devices; by default a CPU and a GPU."""
    slow = Truth(compute_s=0.9, load_s=0.076)
    truths = dict(devices if devices is not None else {"cpu": slow, "cuda:0": Truth()})
    made = [
        Arm(name=name, settings=build_settings({"device": name, "num_workers": 4}))
        for name in truths
    ]
    first, settings_of_last = made[-1].name, made[-1].settings
    twin = Arm(name=f"{first} again", settings=settings_of_last, again_of=first)
    planned = make_plan("devices", [*made, twin], first, ("device",), blocks=blocks)
    by_arm = {**truths, twin.name: truths[first]}
    drawn = [_on_devices(block) for block in blocks_of(planned, by_arm, blocks)]
    refused = refusals(planned, drawn, ())
    values: dict[str, Any] = {
        "id": "study",
        "directory": "runs/2026-10-31T10-00-00_study-devices_1a2b3c",
        "plan": planned,
        "status": "completed",
        "arms": arm_results(planned, drawn),
        "comparisons": not_measurable(comparisons(planned, drawn), refused),
        "resolution": study_resolution(planned, drawn),
        "refusals": refused,
        "environment": EnvironmentRecord(**MACHINE),
        "data_label": "official copy, verified",
        "wall_s": 900.0,
        "blocks": blocks,
        "turns": 4 * len(planned.arms) * blocks,
        "details": {
            "devices": list(truths),
            "missing": None,
            "losses_agree": True,
            "extrapolated": dict.fromkeys(truths),
            **(details or {}),
        },
    }
    return StudyRecord(**{**values, **given})


def _on_devices(block: Block) -> Block:
    """Return the block with each replicate on the device that its arm names."""
    names = {"cpu": "Xeon 8268", "cuda:0": "Quadro RTX 8000"}
    rows = []
    for row in block.replicates:
        device = row.arm.removesuffix(" again")
        facts = {**MACHINE, "device": device, "device_name": names.get(device, device)}
        rows.append(row.model_copy(update={"environment": EnvironmentRecord(**facts)}))
    return block.model_copy(update={"replicates": tuple(rows)})


def noisy(truth: Truth, noise: float) -> Truth:
    """Return the same machine with other programs on it."""
    return replace(truth, noise=noise)
