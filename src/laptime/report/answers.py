"""The answer of a record in one sentence: what a reader looks for before anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from laptime.record import EpochTimes, RunRecord, TimedSteps
from laptime.report.runs.epochs import epoch_ranges, mean_columns_s
from laptime.report.runs.findings import steady_epochs
from laptime.report.studies import workers as worker_study
from laptime.report.studies.trained_tables import best_sentence
from laptime.report.studies.worker_curve import workers
from laptime.report.words.arms import arm_label, is_beside, main_results
from laptime.report.words.lines import counted, listed
from laptime.report.words.verdicts import (
    change_cell,
    code_words,
    find_comparison,
    spelled,
    time_refusal,
    times_sentence,
)
from laptime.statistics.verdict import MIN_SEEDS
from laptime.study import ArmResult, Comparison, StudyRecord
from laptime.units import render_duration, render_percent, render_share


def run_answer(record: RunRecord) -> str:
    """Say how long an epoch takes and what part of it is loading, training, other."""
    if not record.epochs:
        return f"No epoch was finished: the run is {record.status.replace('_', ' ')}."
    return epochs_answer(steady_epochs(record.epochs))


def epochs_answer(epochs: Sequence[EpochTimes]) -> str:
    """Say the same of some epochs."""
    whole = mean_columns_s(epochs)[-1]
    what = f"Epoch {epoch_ranges(epochs)} takes" if len(epochs) == 1 else "An epoch takes"
    mean = f", the mean of epochs {epoch_ranges(epochs)}" if len(epochs) > 1 else ""
    text = f"{what} {render_duration(whole)}{mean}"
    if epochs[0].mode == "off" or not whole:
        return f"{text}; its parts were not timed."
    return f"{text}: {column_shares(epochs)}."


def column_shares(pieces: Sequence[TimedSteps]) -> str:
    """Return what part of some time is loading, training, other."""
    *parts, whole = mean_columns_s(pieces)
    names = ("loading", "training", "other")
    words = [f"{render_share(p / whole)} {name}" for p, name in zip(parts, names, strict=True)]
    return listed(words)


def learned_answer(record: RunRecord) -> str:
    """Say what the training came to: loss of the first and last epoch, and the best top-1."""
    best = record.best
    if best is None:
        return f"The run is {record.status.replace('_', ' ')}: no epoch is whole."
    losses = [e.loss for e in (record.epochs[0], record.epochs[-1])]
    shown = ["NaN" if loss is None else f"{loss:.3f}" for loss in losses]
    fell = f"loss {shown[0]}" if len(record.epochs) == 1 else f"loss {shown[0]} to {shown[1]}"
    done = "" if record.status == "completed" else f" ({record.status.replace('_', ' ')})"
    return (
        f"{counted(len(record.epochs), 'epoch')}{done}: {fell}; best training top-1 "
        f"{render_percent(best.accuracy)}, in epoch {best.epoch}."
    )


def study_answer(record: StudyRecord) -> str:
    """Say what a study found, or that it cannot tell."""
    return _ANSWERS[record.plan.study](record)


def study_headline(record: StudyRecord) -> str:
    """Say the verified gain, where fresh blocks have shown one; else the answer."""
    recommended, dump = record.details.get("recommended"), record.details.get("confirmation")
    if not recommended or not dump or time_refusal(record, ()):
        return study_answer(record)
    row = Comparison.model_validate(dump)
    if row.ratio is None or row.verdict == "not measurable":
        return study_answer(record)
    names = f"An epoch with {workers(recommended['num_workers'])}", f"one with {row.b}"
    sentence = times_sentence(row, record.plan.zone, *names)
    return f"{sentence.partition(': ')[0]}, on {row.n} fresh blocks."


def one_worker_answer(record: StudyRecord) -> str:
    """Say how one worker and the recommended count differ, from the blocks that hold both."""
    title = "One worker against "
    found = next((text for text in record.explanation if text.startswith(title)), None)
    if found is not None:
        return found.partition(". ")[0].partition(": ")[2].rstrip(".") + "."
    count = (record.details.get("recommended") or {}).get("num_workers")
    if count == 1:
        return "One worker is the recommended number: there is nothing to compare."
    return "Not compared: no number of workers is recommended."


def _devices(record: StudyRecord) -> str:
    refused = time_refusal(record, ())
    if refused:
        return f"Nothing is concluded: the study refuses ({code_words(refused.code)})."
    rows = [
        times_sentence(row, record.plan.zone, arm_label(record, row.a), arm_label(record, row.b))
        for row in record.comparisons
        if row.quantity == "epoch_s" and not is_beside(record, row.a)
    ]
    if rows:
        return f"{'; '.join(rows)}."
    timed = [
        f"{arm_label(record, arm.name)} takes {spelled(arm.epoch_s)} an epoch"
        for arm in main_results(record)
        if arm.epoch_s
    ]
    if not timed:
        return "No device was timed."
    return f"{listed(timed)}; no other device was found to compare with."


def _learning(record: StudyRecord) -> str:
    """Say what the arms came to; with enough seeds what may be said of them."""
    arms = [arm for arm in main_results(record) if arm.accuracy or arm.trained]
    if not arms:
        return _times(record)
    proven = _proven_times(record)
    best = best_sentence(record)
    if best:
        return f"{proven}{best}"
    words = [f"{arm_label(record, arm.name)} {_reached(arm)}" for arm in arms]
    few = len(record.plan.seeds) < MIN_SEEDS
    end = f" ({counted(len(record.plan.seeds), 'seed')} each: no verdict)" if few else ""
    return f"{proven}Top-1 of the last epoch: {', '.join(words)}{end}."


def _proven_times(record: StudyRecord) -> str:
    """Say which arms' epochs were shown to differ from the baseline's; empty without times."""
    if time_refusal(record, ()) or not any(row.quantity == "epoch_s" for row in record.comparisons):
        return ""
    rows = [find_comparison(record, arm.name, record.plan.baseline) for arm in main_results(record)]
    told = [row for row in rows if row and row.verdict in {"faster", "slower"}]
    if not told:
        return "No epoch time was shown to differ by more than matters. "
    baseline = arm_label(record, record.plan.baseline)
    words = [f"{arm_label(record, row.a)} {change_cell(row)}" for row in told]
    return f"Epoch time against {baseline}: {', '.join(words)}. "


def _reached(arm: ArmResult) -> str:
    if arm.accuracy is None:
        ends = [f"{status.replace('_', ' ')} {n}x" for status, n in arm.outcomes().items()]
        return ", ".join(ends) or "not run"
    return render_percent(arm.accuracy.estimate)


def _times(record: StudyRecord) -> str:
    timed = [arm for arm in main_results(record) if arm.epoch_s]
    if not timed:
        return "Nothing was measured."
    words = [
        f"{arm_label(record, arm.name)} {spelled(arm.epoch_s)}" for arm in timed if arm.epoch_s
    ]
    return f"An epoch takes with {', '.join(words)}."


_ANSWERS: Mapping[str, Callable[[StudyRecord], str]] = {
    "workers": worker_study.best_sentence,
    "devices": _devices,
    "optimizers": _learning,
    "batchnorm": _learning,
}
