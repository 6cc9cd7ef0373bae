"""A worker study as tables: times, rates and verdicts, whole runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from laptime.record import EpochRecord
from laptime.report.runs.findings import steady_epochs
from laptime.report.studies.worker_curve import counts_of, workers
from laptime.report.words.blocks import CHOSEN, GAP, Block, Prose, Table
from laptime.report.words.verdicts import (
    digits,
    estimate_of,
    find_comparison,
    interval,
    reasons,
    significant,
    verdict_cell,
)
from laptime.study import ArmResult, StudyRecord
from laptime.units import render_bytes, render_seconds, seconds


def times_blocks(record: StudyRecord) -> list[Block]:
    """Return the seconds of every arm, and what its workers cost."""
    rows = [_times_row(record, str(count), arm) for count, arm in counts_of(record)]
    for arm in record.arms:
        known = next((planned for planned in record.plan.arms if planned.name == arm.name), None)
        if known and (known.again_of or known.feed == "resident"):
            rows.append(_times_row(record, arm.name, arm))
    head = (
        "workers", "", "epoch\ns", "\n95 %", "loading\ns", "training\ns", "loader\nalone s",
        "first\nbatch s", "worker\nRAM", "worker\nCPU s",
    )  # fmt: skip
    return [
        Table.of(head, rows, "><.<....>>"),
        Prose(
            "An epoch is composed: loader start, steps at the pace of the turns, loader end. "
            "Loader alone: the same batches for a consumer that does nothing. First batch: the "
            "loader's start, part of loading. Again: the A/A check. Resident: batches that are in "
            "memory already. RAM and CPU s: of all workers of the arm together."
        ),
    ]


def _times_row(record: StudyRecord, name: str, arm: ArmResult) -> list[str]:
    details = record.details
    chosen = (details.get("recommended") or {}).get("num_workers")
    marks = ["now"] if name == str(details.get("current")) else []
    marks += [CHOSEN] if name == str(chosen) else []
    first = estimate_of((details.get("first_batch_s") or {}).get(name))
    return [
        name,
        " ".join(marks),
        digits(arm.epoch_s),
        interval(arm.epoch_s) if arm.epoch_s else _how_it_ended(arm),
        digits(arm.loading_s, most=2),
        digits(arm.training_s, most=2),
        digits(arm.loader_alone_s, most=2),
        digits(first, most=2),
        render_bytes(arm.worker_bytes) if arm.worker_bytes else "-",
        significant(arm.worker_cpu_s) if arm.worker_cpu_s else "-",
    ]


def _how_it_ended(arm: ArmResult) -> str:
    """Return why an arm has no estimate."""
    ends = [f"{status.replace('_', ' ')} {n}x" for status, n in arm.outcomes().items()]
    return ", ".join(ends) or "not run"


def rates_blocks(record: StudyRecord) -> list[Block]:
    """Return batches a second, what they say of each other, and every verdict."""
    rates = record.details.get("rates") or {"arms": {}, "step_per_s": None}
    rows = []
    for count, _ in counts_of(record):
        rate = rates["arms"].get(str(count)) or {}
        row = find_comparison(record, str(count), record.plan.baseline)
        if not rate and row is None:  # left behind by the search
            continue
        rows.append(
            [
                str(count),
                digits(estimate_of(rate.get("load_per_s"))),
                digits(estimate_of(rate.get("full_per_s"))),
                _factor(rate.get("headroom")),
                _factor(rate.get("efficiency")),
                verdict_cell(row),
            ]
        )
    head = (
        "workers", "loader\nbatches/s", "training\nbatches/s", "\nheadroom", "\nefficiency",
        f"\nagainst {record.plan.baseline}",
    )  # fmt: skip
    compared = [row for row in record.comparisons if row.a in rates["arms"]]
    because = reasons(compared, record.plan.zone)
    return [Table.of(head, rows, ">....<"), because, *_rates_legend(rates)]


def _rates_legend(rates: Mapping[str, Any]) -> list[Block]:
    step = estimate_of(rates["step_per_s"])
    if step is None:
        return []
    text = (
        f"Steps alone, on batches in memory: {digits(step)} {interval(step)} batches/s. Headroom: "
        f"loader alone over steps alone; under 1 the loader cannot keep up. Efficiency: training "
        f"over the slower of the two; well under 1, workers and training disturb each other."
    )
    return [Prose(text)]


def _factor(value: float | None) -> str:
    return "-" if value is None else significant(value)


def side_by_side(record: StudyRecord) -> list[Block]:
    """Return one worker and the recommended number, epoch by epoch, where whole runs were made."""
    count = (record.details.get("recommended") or {}).get("num_workers")
    runs = {name: _epochs_of(record, name) for name in dict.fromkeys(("1", str(count)))}
    if len(runs) < 2 or not all(runs.values()):
        return []
    left, right = runs.values()
    rows = [
        [f"epoch {a.epoch}" + (" cold" if a.cold else ""), *_columns([a]), "", *_columns([b])]
        for a, b in zip(left, right, strict=False)
    ]
    whole = len(rows)
    steady = [steady_epochs(run) for run in (left, right)]
    if len(steady[0]) > 1 and len(steady[1]) > 1:
        rows.append(["mean, not cold", *_columns(steady[0]), "", *_columns(steady[1])])
    columns = ("loading", "training", "other", "total s")
    names = [workers(int(name)) for name in runs]
    titles = [f"{names[0] if n == 0 else ''}\n{c}" for n, c in enumerate(columns)]
    others = [f"{names[1] if n == 0 else ''}\n{c}" for n, c in enumerate(columns)]
    head = ["", *titles, "", *others]
    return [
        GAP,
        Prose("Whole runs, one of each, in seconds; the verdicts rest on the blocks above."),
        Table.of(head, rows, "<>>>><>>>>", footer=len(rows) - whole),
    ]


def _epochs_of(record: StudyRecord, name: str) -> tuple[EpochRecord, ...]:
    arm = next((arm for arm in record.arms if arm.name == name), None)
    done = [run for run in (arm.trained if arm else ()) if run.status == "completed" and run.epochs]
    return done[0].epochs if done else ()


def _columns(epochs: Sequence[EpochRecord]) -> list[str]:
    names = ("loading_ns", "training_ns", "other_ns", "wall_ns")
    means = [seconds(sum(getattr(e, name) for e in epochs)) / len(epochs) for name in names]
    return [render_seconds(value) for value in means]
