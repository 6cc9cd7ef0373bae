"""Why optimizers, batch norm and devices differ: only what blocks and seeds carry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from laptime.report.words.arms import arm_label, main_results
from laptime.report.words.lines import listed
from laptime.report.words.paired import (
    are_different,
    are_enough,
    change_words,
    pairs,
    share,
)
from laptime.report.words.verdicts import (
    estimate_of,
    find_comparison,
    is_above,
    per_cent,
    significant,
    spelled,
    time_refusal,
)
from laptime.statistics.summary import Quantity
from laptime.statistics.verdict import MIN_SEEDS
from laptime.study import ArmResult, Comparison, Estimate, StudyRecord

WORTH_NAMING = 0.10
"""A share of the epoch below which waiting for data is not spoken of."""

_WIDER = 10.0
"""How many times wider one spread of norms must be than another to be called wider."""


def explain_optimizers(record: StudyRecord) -> tuple[str, ...]:
    """Return where longer epochs come from, why arms learned nothing, what one rule leaves open."""
    baseline = record.plan.baseline
    found = [*_time_sentences(record, baseline, ("training_s", "optimizer_s"))]
    found += [text for arm in main_results(record) if (text := _idle(record, arm))]
    rates = {arm.settings.optimizer.lr for arm in main_results(record)}
    if len(rates) == 1 and record.plan.seeds and not record.details.get("tuned"):
        found.append(
            f"All have lr {rates.pop():g}: one rule for all, which says nothing of what each "
            f"reaches at a learning rate that suits it. The same study with `--tune-lr` does."
        )
    return tuple(found)


def explain_batchnorm(record: StudyRecord) -> tuple[str, ...]:
    """Return what leaving batch norm out does to times and learning, and what stays suspected."""
    found = [*_time_sentences(record, record.plan.baseline, ("loading_s", "training_s"))]
    found += [text for arm in main_results(record) if (text := _idle(record, arm))]
    gradients = _gradient_sentence(record)
    return (*found, *([gradients] if gradients else []))


def explain_devices(record: StudyRecord) -> tuple[str, ...]:
    """Return where the time of the slower device goes, and which device waits for data."""
    if record.details.get("losses_agree") is False:
        return ()
    found = [*_time_sentences(record, record.plan.baseline, ("loading_s", "training_s"))]
    found += [text for arm in main_results(record) if (text := _waiting(record, arm))]
    return tuple(found)


_COLUMNS: dict[Quantity, str] = {
    "loading_s": "loading",
    "training_s": "training",
    "optimizer_s": "the update, a part of training,",
}


def _time_sentences(record: StudyRecord, baseline: str, columns: Sequence[Quantity]) -> list[str]:
    """Return, of each arm that is faster or slower, in which columns; corrected over these."""
    compared = []
    for arm in main_results(record):
        row = find_comparison(record, arm.name, baseline)
        if row is not None and _is_told(record, row):
            compared.append(arm.name)
    quantities: tuple[Quantity, ...] = ("epoch_s", *columns)
    found = {
        (name, quantity): pairs(record, baseline, name, quantity)
        for name in compared
        for quantity in quantities
    }
    asked = [key for key in found if key[1] != "epoch_s"]  # that has its verdict already
    differ = dict(zip(asked, are_different([found[key] for key in asked]), strict=True))
    sentences = []
    for name in compared:
        words = [
            change_words(
                _COLUMNS.get(quantity, "an epoch"),
                found[name, quantity],
                is_different=differ.get((name, quantity), True),
            )
            for quantity in quantities
        ]
        names = arm_label(record, name), arm_label(record, baseline)
        sentences.append(f"{names[0]} against {names[1]}: {'; '.join(words)}.")
    return sentences


def _is_told(record: StudyRecord, row: Comparison) -> bool:
    refused = time_refusal(record, [row.a, row.b])
    return row.verdict in {"faster", "slower"} and refused is None


def _idle(record: StudyRecord, arm: ArmResult) -> str | None:
    """Say how many runs came to nothing; that the learning rate did it needs the tuned runs."""
    idle = (record.details.get("not_learned") or {}).get(arm.name, 0)
    diverged = sum(run.status == "diverged" for run in arm.trained)
    if not idle and not diverged:
        return None
    total = len(arm.trained)
    words = [
        f"{count} of {total} runs {what}"
        for count, what in ((diverged, "diverged"), (idle, "ended no better than guessing"))
        if count
    ]
    label, lr = arm_label(record, arm.name), arm.settings.optimizer.lr
    return f"{label}: {listed(words)}. {_rate_suspicion(record, arm, lr)}"


def _rate_suspicion(record: StudyRecord, arm: ArmResult, lr: float) -> str:
    tuned = (record.details.get("tuned") or {}).get(arm.name)
    better = estimate_of(tuned["accuracy"]) if tuned else None
    if tuned and better and tuned["lr"] != lr and _is_cured(arm, better, tuned):
        return (
            f"With lr {tuned['lr']:g} instead of {lr:g}, the only change, top-1 is "
            f"{per_cent(better)}: the learning rate was the cause."
        )
    if record.plan.study != "optimizers":
        return (
            f"Suspected: lr {lr:g} does not suit it. The same study with another `--lr` would "
            f"decide."
        )
    if tuned:
        return "A learning rate of its own did not show the cause."
    return (
        f"Suspected: lr {lr:g} is too large for it. The same study with `--tune-lr` would decide."
    )


def _is_cured(arm: ArmResult, better: Estimate, tuned: dict[str, Any]) -> bool:
    """Return whether another rate let every run end, and lifted top-1 beyond both intervals."""
    ended_well = set(tuned["outcomes"]) == {"completed"} and better.n >= MIN_SEEDS
    if arm.accuracy is None:
        return ended_well
    plain = [run.last.accuracy for run in arm.trained if run.last]
    return (
        ended_well
        and better.low is not None
        and better.low > max(plain)
        and (arm.accuracy.low is None or is_above(better, arm.accuracy))
    )


def _gradient_sentence(record: StudyRecord) -> str | None:
    """Say how wide the first gradients spread; that this is why stays suspected."""
    given = record.details.get("gradients") or {}
    norms = {
        name: [float(norm) for _, norm in rows if norm > 0]
        for name in ("batch", "none")
        if (rows := given.get(name))
    }
    if len(norms) < 2 or not all(norms.values()):
        return None
    spans = {name: max(values) / min(values) for name, values in norms.items()}
    words = [
        f"{arm_label(record, name)} from {significant(min(values))} to {significant(max(values))}"
        for name, values in norms.items()
    ]
    text = f"Gradient norms by layer at the first step, one batch, no interval: {listed(words)}."
    row = find_comparison(record, "none", "batch", "accuracy")
    is_lower = row is not None and row.verdict == "lower"
    if not is_lower or spans["none"] < _WIDER * spans["batch"]:
        return text
    return (
        f"{text} Suspected: layers whose gradients are small hardly learn, and that is why top-1 "
        f"is lower. Training without batch norm from weights scaled layer by layer would decide."
    )


def _waiting(record: StudyRecord, arm: ArmResult) -> str | None:
    """Say which share of an epoch a device waits for data, where that is much."""
    loading = pairs(record, arm.name, arm.name, "loading_s")
    epochs = pairs(record, arm.name, arm.name, "epoch_s")
    waits = share([a for a, _ in loading], [a for a, _ in epochs])
    if waits is None or waits.low is None or waits.low < WORTH_NAMING:
        return None
    if not are_enough(epochs) or time_refusal(record, [arm.name]) or arm.loading_s is None:
        return None
    label = arm_label(record, arm.name)
    return (
        f"On {label} {per_cent(waits)} of an epoch is loading, {spelled(arm.loading_s)}. "
        f"`laptime study workers --device {label}` says what more workers change."
    )
