"""Records to sentences: what limits a run, whether it learned, and what to type next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeVar

from laptime.phase import Phase
from laptime.record import EpochRecord, EpochTimes, RunRecord
from laptime.report.words.commands import setting_options
from laptime.statistics.accuracy import ENOUGH_STEPS, is_guessing
from laptime.units import (
    nanoseconds,
    render_count,
    render_duration,
    render_percent,
    render_share,
    seconds,
)

Epoch = TypeVar("Epoch", bound=EpochTimes)

WORTH_SAYING = 0.10
"""A share of the epoch below which nothing is said about a phase."""

UNEVEN = 0.25
"""How much longer than the shortest an epoch may take before the spread is spoken of."""


@dataclass(frozen=True)
class Finding:
    """One thing a run shows: the rule that fired, in words, and a command that follows."""

    code: str
    sentence: str
    next_command: str | None = None


def findings(record: RunRecord) -> list[Finding]:
    """Return what the run shows, what matters most first; empty without a whole epoch."""
    if record.status == "interrupted":
        return []
    if not record.epochs or record.status == "diverged":
        return _of_failure(record)
    found = (learning_finding(record), spread_finding(record), limit_finding(record))
    return [finding for finding in found if finding]


def steady_epochs(epochs: Sequence[Epoch]) -> list[Epoch]:
    """Return the epochs that timing means rest on: not the first of a process, nor resumed ones.

    A run that has no other epoch is described by what it has.
    """
    whole = [epoch for epoch in epochs if epoch.is_whole]
    return [epoch for epoch in whole if not epoch.cold] or whole or list(epochs)


def limit_finding(record: RunRecord) -> Finding | None:
    """Return the largest avoidable share of a steady epoch, and the most it could save.

    The bound is Amdahl's: the whole share gone, everything else unchanged. Whether a change
    reaches it, an experiment must show.
    """
    epochs = steady_epochs(record.epochs)
    wall_ns = sum(epoch.wall_ns for epoch in epochs)
    if not wall_ns or epochs[0].mode == "off":
        return None
    shares = {rule: rule.spent_ns(epochs) / wall_ns for rule in _RULES}
    rule, share = max(shares.items(), key=lambda item: item[1])
    if share < WORTH_SAYING:
        return _compute_bound(record, epochs, wall_ns)
    per_epoch_s = seconds(rule.spent_ns(epochs)) / len(epochs)
    lead = "Limit" if share >= 0.5 else "Largest avoidable part"
    sentence = (
        f"{lead}: {rule.sentence} It takes {render_share(share)} of an epoch "
        f"({render_duration(per_epoch_s)}): removing all of it would save at most that."
    )
    if epochs[0].cold:
        return Finding(rule.code, f"{sentence} This was a cold epoch only: run two or more.")
    return Finding(rule.code, sentence, rule.next_command(record))


def spread_finding(record: RunRecord) -> Finding | None:
    """Return a finding when epochs of the same work differ by over a quarter and over a second.

    Without knowing why, a mean over them describes no machine.
    """
    return uneven_finding([epoch.wall_ns for epoch in steady_epochs(record.epochs)])


def uneven_finding(durations_ns: Sequence[int]) -> Finding | None:
    """Return the same of durations of equal work."""
    shortest, longest = min(durations_ns), max(durations_ns)
    if longest <= shortest * (1 + UNEVEN) or longest - shortest < nanoseconds(1):
        return None
    return Finding(
        "uneven_epochs",
        f"The same work took from {render_duration(seconds(shortest))} to "
        f"{render_duration(seconds(longest))} an epoch: another program on this machine, for "
        f"example, or a changed clock rate. Repeat the run before you believe a mean.",
    )


def learning_finding(record: RunRecord) -> Finding | None:
    """Return a finding when nothing was learned, or the loss does not fall."""
    last, first, classes = record.epochs[-1], record.epochs[0], record.data.num_classes
    if classes and is_guessing(last, classes):
        steps = sum(epoch.steps for epoch in record.epochs)
        if steps < ENOUGH_STEPS:
            return Finding(
                "too_few_steps",
                f"Top-1 is not above guessing yet, after {steps} steps: too few to tell anything "
                f"of learning.",
            )
        return Finding(
            "nothing_learned",
            f"Nothing was learned: the last epoch's loss is {last.loss:.3f} and its top-1 "
            f"{render_percent(last.accuracy)} ({render_count(last.correct)} of "
            f"{render_count(last.samples)}); guessing among {classes} classes gives "
            f"{math.log(classes):.3f} and {render_percent(1 / classes)}. "
            f"These times are true; this is not a training.",
            _smaller_steps(record),
        )
    sentence = not_falling(first, last)
    return Finding("loss_does_not_fall", sentence, _smaller_steps(record)) if sentence else None


def not_falling(first: EpochTimes, last: EpochTimes) -> str:
    """Return a sentence on a loss that is not lower in a later epoch; empty where it is."""
    if first.loss is None or last.loss is None or last is first or first.loss > last.loss:
        return ""
    return (
        f"The loss does not fall: {first.loss:.3f} in epoch {first.epoch}, {last.loss:.3f} in "
        f"epoch {last.epoch}."
    )


@dataclass(frozen=True)
class _Rule:
    """A part of an epoch that a change could shrink."""

    code: str
    sentence: str
    spent_ns: Callable[[Sequence[EpochRecord]], int]
    next_command: Callable[[RunRecord], str | None]


def _phase_sum(*phases: Phase) -> Callable[[Sequence[EpochRecord]], int]:
    return lambda epochs: sum(epoch.phases_ns[phase] for epoch in epochs for phase in phases)


def _edges(epochs: Sequence[EpochRecord]) -> int:
    return _phase_sum(Phase.LOADER_START, Phase.LOADER_END)(epochs)


def _loading(epochs: Sequence[EpochRecord]) -> int:
    return sum(epoch.loading_ns for epoch in epochs)


def _mostly_waiting(epochs: Sequence[EpochRecord]) -> int:
    """Return the loading time where most of it is waits between batches, else 0."""
    return _loading(epochs) if 2 * _edges(epochs) <= _loading(epochs) else 0


def _mostly_edges(epochs: Sequence[EpochRecord]) -> int:
    """Return the loading time where most of it is the loader's start and end, else 0."""
    return _loading(epochs) - _mostly_waiting(epochs)


def _faster_loader(record: RunRecord) -> str | None:
    loader, workers = record.settings["loader"], record.settings["num_workers"]
    if record.data.num_classes and loader == "sample":
        return train_command(record, loader="batch")
    if loader == "device" or workers > _MAX_WORKERS // 2:
        return None
    return train_command(record, num_workers=max(1, 2 * workers))


def _persistent_workers(record: RunRecord) -> str | None:
    settings = record.settings
    if settings["persistent_workers"] or not settings["num_workers"] or settings["epochs"] == 1:
        return None
    return train_command(record, persistent_workers=True)


def _rarer_checkpoints(record: RunRecord) -> str | None:
    return (
        train_command(record, checkpoint_every=0) if record.settings["checkpoint_every"] else None
    )


def _smaller_steps(record: RunRecord) -> str | None:
    lr = record.settings["lr"]
    return train_command(record, lr=min(float(f"{lr / 10:.6g}"), 0.1)) if lr > 0 else None


def _faster_arithmetic(record: RunRecord) -> str | None:
    """Return what often makes computing faster; whether it does here, the run shows."""
    if not record.settings["channels_last"]:
        return train_command(record, channels_last=True)
    if record.settings["precision"] == "float32":
        return train_command(record, precision="bf16")
    return None


def train_command(record: RunRecord, **changes: object) -> str:
    """Return the command that runs the same again, with something changed."""
    words = setting_options({**record.settings, **changes})
    runs_dir = str(PurePath(record.directory).parent)
    if runs_dir != "runs":
        words.append(f"--runs-dir {shlex.quote(runs_dir)}")
    return " ".join(["laptime train", *words])


_MAX_WORKERS = 512

_RULES = (
    _Rule(
        "loader_bound",
        "data loading. The training stands still until a batch is ready.",
        _mostly_waiting,
        _faster_loader,
    ),
    _Rule(
        "start_up_bound",
        "data loading, most of it the loader's start, up to the first batch, and its end.",
        _mostly_edges,
        _persistent_workers,
    ),
    _Rule(
        "evaluation_bound",
        "evaluation on the test set, after every epoch.",
        _phase_sum(Phase.EVALUATION),
        lambda record: train_command(record, evaluate=False),
    ),
    _Rule(
        "checkpoint_bound",
        "writing checkpoints.",
        _phase_sum(Phase.CHECKPOINT),
        _rarer_checkpoints,
    ),
    _Rule(
        "logging_bound",
        "logging.",
        _phase_sum(Phase.LOGGING),
        lambda record: None,  # noqa: ARG005 - there is no setting for it
    ),
)


def _compute_bound(record: RunRecord, epochs: Sequence[EpochRecord], wall_ns: int) -> Finding:
    loading = sum(epoch.loading_ns for epoch in epochs) / wall_ns
    training = sum(epoch.training_ns for epoch in epochs) / wall_ns
    sentence = (
        f"Limit: computing, {render_share(training)} of an epoch. "
        f"Perfect loading would save at most {render_share(loading)}: stop tuning it."
    )
    return Finding("compute_bound", sentence, _faster_arithmetic(record))


def _of_failure(record: RunRecord) -> list[Finding]:
    if record.status != "diverged":
        return []
    sentence = (
        f"Diverged: {record.reason}. What was measured until then is kept. Check that all inputs "
        f"are finite, or take smaller steps."
    )
    return [Finding("diverged", sentence, _smaller_steps(record))]
