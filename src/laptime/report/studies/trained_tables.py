"""Studies of loss and accuracy as text: a line an arm, every seed, every verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from laptime.replicate import TrainedReplicate
from laptime.report.studies.layer_tables import layer_blocks
from laptime.report.words.arms import arm_label, main_results
from laptime.report.words.blocks import GAP, Block, Prose, Table, Words
from laptime.report.words.lines import counted, listed, shortened
from laptime.report.words.verdicts import (
    change_cell,
    digits,
    estimate_of,
    find_comparison,
    interval,
    reason_words,
    reasons,
    significant,
)
from laptime.statistics.verdict import MIN_SEEDS
from laptime.study import ArmResult, Comparison, Estimate, StudyRecord
from laptime.units import render_estimate, render_estimate_percent, render_percent

QUANTITIES = {"accuracy": "top-1", "loss": "loss", "test_accuracy": "test top-1"}
"""What training runs are compared in, and what it is called."""

_SHARES = {"accuracy", "test_accuracy"}

_Row = tuple[int, str, float | None, float | None]
"""Seed, how the run ended, loss and top-1 of its last epoch."""


def optimizer_blocks(record: StudyRecord) -> list[Block]:
    """Return a line an optimizer, where the time goes, every verdict, and the tuned table."""
    return [
        *_arms(record),
        *_times(record),
        *_verdicts(record),
        *([Prose(best)] if (best := best_sentence(record)) else []),
        *_tuned(record),
    ]


def batchnorm_blocks(record: StudyRecord) -> list[Block]:
    """Return a line an arm, times, verdicts, and the first step layer by layer."""
    return [*_arms(record), *_times(record), *_verdicts(record), *layer_blocks(record)]


def _arms(record: StudyRecord) -> list[Block]:
    """Return a row an arm, and every run where there is more to say of it than the row has."""
    arms = main_results(record)
    rows = [
        [
            shortened(arm_label(record, arm.name)),
            digits(arm.epoch_s),
            *_loss_cells(arm.loss),
            *_accuracy_cells(arm.accuracy),
            _n(arm),
        ]
        for arm in arms
    ]
    head = ["", "average\nepoch s", "\nloss", "\n95 %", "\ntop-1", "\n95 %", "\nn"]
    text = (
        "Loss and top-1 are those of the last epoch: over all its training samples, each before "
        "the update that it took part in."
    )
    seeds = [block for arm in arms for block in _seeds(record, arm)]
    arms_table = Table.of(head, rows, "<..<.<<").without_empty()
    return [arms_table, *seeds, GAP, Prose(f"{text}{_threads(record)}")]


def _threads(record: StudyRecord) -> str:
    """Say with how many threads the runs were made, where that is not what was timed."""
    threads, machine = record.details.get("trained_threads"), record.environment
    if not threads or machine is None or threads == machine.threads:
        return ""
    return (
        f" The runs for them had {counted(threads, 'thread')} each, to go side by side; sums are "
        f"rounded otherwise with {machine.threads}, and a training drifts apart from there."
    )


def _loss_cells(value: Estimate | None) -> tuple[str, str]:
    return _two(_loss(value).partition(" ")[2]) if value else ("-", "")


def _accuracy_cells(value: Estimate | None) -> tuple[str, str]:
    return _two(_accuracy(value).partition(" ")[2]) if value else ("-", "")


def _two(text: str) -> tuple[str, str]:
    """Return a value and its interval, which may be missing."""
    value, bracket, rest = text.partition("[")
    return value.rstrip(), f"{bracket}{rest}"


def _loss(value: Estimate | None) -> str:
    if value is None:
        return "no loss"
    if value.n == 1:
        return f"loss {value.estimate:.3f}"
    return f"loss {render_estimate(value.estimate, value.low, value.high)}"


def _accuracy(value: Estimate | None) -> str:
    if value is None:
        return "no top-1"
    if value.low is None or value.high is None:
        return f"top-1 {render_percent(value.estimate)}"
    # A t interval knows nothing of the ends of the scale.
    ends = max(0.0, value.low), min(1.0, value.high)
    return f"top-1 {render_estimate_percent(value.estimate, *ends)}"


def _n(arm: ArmResult) -> str:
    parts = [counted(arm.epoch_s.n, "block")] if arm.epoch_s else []
    if arm.trained:
        done, total = sum(run.last is not None for run in arm.trained), len(arm.trained)
        parts.append(counted(total, "seed") if done == total else f"{done} of {total} seeds")
    return ", ".join(parts)


def _seeds(record: StudyRecord, arm: ArmResult) -> list[Block]:
    """Return every run of an arm, and how many came to nothing."""
    rows = [_row(run) for run in arm.trained]
    idle = (record.details.get("not_learned") or {}).get(arm.name, 0)
    extra = [f"not learned {idle} of {len(rows)}: no better than guessing"] if idle else []
    if len(rows) == 1 and rows[0][1] == "completed" and not idle:
        return []
    return _runs(rows, extra, lead=f"{arm_label(record, arm.name)}: ")


def _row(run: TrainedReplicate) -> _Row:
    loss, accuracy = (run.last.loss, run.last.accuracy) if run.last else (None, None)
    return run.seed, run.status, loss, accuracy


def _runs(rows: Sequence[_Row], extra: Sequence[str] = (), lead: str = "  ") -> list[Block]:
    words = [_run(*row) for row in rows]
    ends = Counter(status for _, status, _, _ in rows if status != "completed")
    words += [f"{status.replace('_', ' ')} {n} of {len(rows)}" for status, n in ends.items()]
    return [Words((*words, *extra), lead, indent="  ")] if words else []


def _run(seed: int, status: str, loss: float | None, accuracy: float | None) -> str:
    if accuracy is None:
        return f"seed {seed}: {status.replace('_', ' ')}"
    shown = "NaN" if loss is None else f"{loss:.3f}"
    return f"seed {seed}: {shown}, {render_percent(accuracy)}"


def _times(record: StudyRecord) -> list[Block]:
    """Return where an epoch's time goes in each arm, against the baseline."""
    timed = [arm for arm in record.arms if arm.epoch_s]
    if not timed:
        return []
    rows = [
        [
            shortened(arm_label(record, arm.name)),
            digits(arm.epoch_s),
            interval(arm.epoch_s),
            digits(arm.loading_s),
            digits(arm.training_s),
            digits(arm.optimizer_s),
            change_cell(find_comparison(record, arm.name, record.plan.baseline)),
        ]
        for arm in timed
    ]
    baseline = shortened(arm_label(record, record.plan.baseline))
    head = ("", "epoch s", "95 %", "loading", "training", "update", f"against {baseline}")
    compared = [row for row in record.comparisons if row.quantity == "epoch_s"]
    return [
        GAP,
        Table.of(head, rows, "<.<...<"),
        reasons(compared, record.plan.zone, partial(arm_label, record)),
        Prose("update: the optimizer's part of training"),
    ]


def _verdicts(record: StudyRecord) -> list[Block]:
    """Return what may be said of top-1 and loss, pair by pair, or that it cannot be told."""
    found = _of_quantities(record, record.comparisons, record.details.get("smallest_gap") or {})
    if not found and record.plan.seeds:
        seeds = counted(len(record.plan.seeds), "seed")
        return [GAP, Prose(f"{seeds} an arm: a table, and no verdict on loss or top-1.")]
    return found


def _of_quantities(
    record: StudyRecord, rows: Sequence[Comparison], gaps: Mapping[str, float | None]
) -> list[Block]:
    blocks: list[Block] = []
    for quantity, title in QUANTITIES.items():
        found = [row for row in rows if row.quantity == quantity]
        if found:
            blocks += [GAP, *_told(record, found, title)]
            blocks += _not_told(record, found, title, gaps.get(quantity))
    return blocks


def _told(record: StudyRecord, rows: Sequence[Comparison], title: str) -> list[Block]:
    """Return the pairs that differ, by how much, and those that are equal, with the reason."""
    told = [row for row in rows if row.verdict in {"higher", "lower", "equivalent"}]
    words = [
        f"{_both(record, row)} are equal" if row.verdict == "equivalent" else _gap(record, row)
        for row in told
    ]
    if not words:
        return []
    because = dict.fromkeys(reason_words(row, record.plan.zone) for row in told)
    return [
        Words(tuple(words), lead=f"{title}: ", indent="  "),
        Prose(f"({'; '.join(because)})"),
    ]


def _not_told(
    record: StudyRecord, rows: Sequence[Comparison], title: str, gap: float | None
) -> list[Block]:
    silent = [row for row in rows if row.verdict not in {"higher", "lower", "equivalent"}]
    if not silent:
        return []
    if len(silent) == len(rows) > 1:
        why = dict.fromkeys(reason_words(row, record.plan.zone) for row in rows)
        text = f"{title}: no two arms can be told apart ({'; '.join(why)}).{_seen(rows, gap)}"
        return [Prose(text)]
    groups: dict[tuple[int, str], list[str]] = {}
    for row in silent:
        key = row.n, reason_words(row, record.plan.zone)
        groups.setdefault(key, []).append(_both(record, row))
    parts = [
        f"with {counted(n, 'seed')}: {'; '.join(pairs)} ({why})"
        for (n, why), pairs in groups.items()
    ]
    return [Prose(f"{title}, not distinguishable {'; '.join(parts)}.{_seen(rows, gap)}")]


def _seen(rows: Sequence[Comparison], gap: float | None) -> str:
    """Say the smallest gap that so many seeds can see, where it is known."""
    if gap is None or not math.isfinite(gap):
        return ""
    is_share = rows[0].quantity in _SHARES
    size = f"{significant(gap * 100)} points" if is_share else significant(gap)
    return f" The smallest gap that can be seen is {size}."


def _both(record: StudyRecord, row: Comparison) -> str:
    return f"{arm_label(record, row.a)} and {arm_label(record, row.b)}"


def _gap(record: StudyRecord, row: Comparison) -> str:
    """Return a verdict of higher or lower with the size of the gap."""
    assert row.ratio is not None
    is_share = row.quantity in _SHARES
    scale = (1 if row.ratio >= 0 else -1) * (100 if is_share else 1)
    ends = [None if end is None else scale * end for end in (row.low, row.high)]
    low, high = ends if scale > 0 else ends[::-1]
    size, _, bounds = render_estimate(abs(row.ratio * scale), low, high).partition(" ")
    unit = " points" if is_share else ""
    names = arm_label(record, row.a), arm_label(record, row.b)
    return f"{names[0]} is {row.verdict} than {names[1]} by {size}{unit} {bounds}".rstrip()


def best_sentence(record: StudyRecord) -> str | None:
    """Say which mean top-1 is highest and what it is not shown to exceed; None for few seeds."""
    best = record.details.get("best")
    accuracy = estimate_of(best["accuracy"]) if best else None
    if not best or accuracy is None or accuracy.n < MIN_SEEDS:
        return None
    arms = {arm.name: arm.accuracy for arm in main_results(record)}
    known = {name: arms.get(name) for name in best["not_exceeded"]}
    others = [n for n, value in known.items() if value and value.n >= MIN_SEEDS]
    few = [n for n in known if n not in others]
    text = f"Highest mean top-1: {arm_label(record, best['arm'])}"
    if others:
        text += f"; not shown to exceed {listed([arm_label(record, n) for n in others], 'or')}"
    if few:
        text += f"; too few runs of {listed([arm_label(record, n) for n in few])} ended to say"
    return f"{text}."


def _tuned(record: StudyRecord) -> list[Block]:
    """Return what each arm comes to with a learning rate of its own."""
    tuned: Mapping[str, Mapping[str, Any]] = record.details.get("tuned") or {}
    blocks: list[Block] = []
    for name, found in tuned.items():
        label = arm_label(record, name)
        if found["lr"] is None:
            blocks.append(Prose(f"{label}: no learning rate led to the end of a run"))
        else:
            what = (
                f"{_loss(estimate_of(found['loss']))}, {_accuracy(estimate_of(found['accuracy']))}"
            )
            text = f"{label} at lr {found['lr']:g}: {what}{_edge(found['edge'])}"
            blocks.append(Prose(text))
            blocks += _runs(
                [(r["seed"], r["status"], r["loss"], r["accuracy"]) for r in found["replicates"]]
            )
        tried = tuple(_tried(*row) for row in found["tried"])
        blocks.append(Words(tried, lead="  tried: ", indent="  "))
    if not blocks:
        return []
    rows = [Comparison.model_validate(r) for r in record.details.get("tuned_comparisons") or ()]
    lead = (
        "With a learning rate of each one's own: the same rates tried by all, one run each, judged "
        "by top-1 on a tenth of the training samples that was held out."
    )
    return [GAP, Prose(lead), *blocks, *_of_quantities(record, rows, {})]


def _edge(edge: str | None) -> str:
    if edge is None:
        return ""
    beyond = "lower" if edge == "lowest" else "higher"
    return f", the {edge} rate tried: a {beyond} one may do better"


def _tried(rate: float, accuracy: float | None, status: str) -> str:
    end = status.replace("_", " ") if accuracy is None else render_percent(accuracy)
    return f"{rate:g}: {end}"
