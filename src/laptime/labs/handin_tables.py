"""Records to tables that a spreadsheet opens: a row an epoch, a step, a process of an arm."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

from laptime.errors import printable
from laptime.record import RunRecord, StepRecord
from laptime.replicate import Replicate, TrainedReplicate
from laptime.study import ArmResult, StudyRecord
from laptime.units import seconds

Row = dict[str, object]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "|", "%")
"""What a spreadsheet takes for the beginning of a formula or a command."""

_VARIED = ("num_workers", "device", "optimizer", "norm")
"""The settings in which arms of the lab differ."""


def render_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows of the same columns as CSV; text is made harmless for spreadsheets."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def epoch_rows(record: RunRecord) -> list[Row]:
    """Return a row an epoch: its times, its loss, its answers."""
    rows: list[Row] = []
    for epoch in record.epochs:
        timed = epoch.mode != "off"
        rows.append(
            {
                "epoch": epoch.epoch,
                "loading_s": seconds(epoch.loading_ns) if timed else None,
                "training_s": seconds(epoch.training_ns) if timed else None,
                "other_s": seconds(epoch.other_ns) if timed else None,
                "total_s": seconds(epoch.wall_ns),
                "loss_nats": epoch.loss,
                "top1_fraction": epoch.accuracy,
                "correct_samples": epoch.correct,
                "samples": epoch.samples,
                "steps": epoch.steps,
                "cold": epoch.cold,
                "segments": epoch.segments,
            }
        )
    return rows


def step_rows(steps: Iterable[StepRecord]) -> list[Row]:
    """Return a row a step: its loss, its answers."""
    return [
        {
            "epoch": step.epoch,
            "step": step.step,
            "loss_nats": step.loss,
            "top1_fraction": step.correct / step.samples if step.samples else None,
            "correct_samples": step.correct,
            "samples": step.samples,
        }
        for step in steps
    ]


def study_rows(record: StudyRecord) -> list[Row]:
    """Return a row for each process of each arm: in a block for times, with a seed for accuracy."""
    arms = [("main", arm) for arm in record.arms]
    arms += [("fresh", arm) for arm in record.fresh_arms]
    return [row for stage, arm in arms for row in _arm_rows(stage, arm)]


def _arm_rows(stage: str, arm: ArmResult) -> Iterator[Row]:
    flat = arm.settings.flat()
    head = {"stage": stage, "arm": arm.name, **{name: flat[name] for name in _VARIED}}
    for replicate in arm.replicates:
        yield {**head, **_timed(replicate), **dict.fromkeys(_LEARNED)}
    for run in arm.trained:
        timed = dict.fromkeys(_TIMED)
        yield {**head, **timed, **_ending(run), "seed": run.seed, **_learned(run)}


_TIMED = (
    *("kind", "block", "seed", "status", "reason", "steps_per_epoch", "epoch_s", "loading_s"),
    *("training_s", "loader_alone_s", "worker_bytes", "turns", "contaminated_turns"),
)
_LEARNED = ("epochs", "loss_nats", "top1_fraction", "wall_s", "run")


def _ending(replicate: Replicate | TrainedReplicate) -> Row:
    kind = "timing" if isinstance(replicate, Replicate) else "accuracy"
    return {"kind": kind, "status": replicate.status, "reason": replicate.reason}


def _timed(replicate: Replicate) -> Row:
    return {
        **dict.fromkeys(_TIMED),
        **_ending(replicate),
        "block": replicate.block,
        "steps_per_epoch": replicate.steps_per_epoch,
        "epoch_s": replicate.epoch_s,
        "loading_s": replicate.loading_s,
        "training_s": replicate.training_s,
        "loader_alone_s": replicate.loader_alone_s,
        "worker_bytes": replicate.worker_bytes,
        "turns": len(replicate.turns),
        "contaminated_turns": replicate.contaminated,
    }


def _learned(run: TrainedReplicate) -> Row:
    """Return the last epoch of a run that completed, and where the whole of it stands."""
    last = run.last
    return {
        "epochs": len(run.epochs),
        "loss_nats": last and last.loss,
        "top1_fraction": last and last.accuracy,
        "wall_s": seconds(run.wall_ns),
        "run": run.run,
    }
