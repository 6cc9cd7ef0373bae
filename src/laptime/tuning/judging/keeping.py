"""Whether an arm is kept: faster beyond the zone, the same epochs, the same losses; and why not."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.replicate import Replicate
from laptime.report.words.tuning import loss_words
from laptime.study import Comparison
from laptime.tune import ZONE, LoaderFacts, LossFinding, Numbers, Outcome
from laptime.units import render_share

Decision = tuple[Outcome, str]
"""What becomes of an arm, and why."""

_SLOW: dict[str, str] = {
    "slower": "it is slower",
    "equivalent": f"it takes the same time within {render_share(ZONE)}",
    "small difference": f"what it changes may be under {render_share(ZONE)}",
    "inconclusive": "it cannot be told from the unchanged job",
    "not measurable": "it was not measured",
}


def decide(
    row: Comparison,
    losses: LossFinding,
    numbers: Numbers,
    replicates: Sequence[Replicate],
    epochs_trouble: str | None,
) -> Decision:
    """Return whether an arm is kept.

    Args:
        row: The arm against the unchanged job.
        losses: What its losses say.
        numbers: What it is known to do to numbers: without losses only what changes none is kept.
        replicates: How its processes ended.
        epochs_trouble: Why its epochs are not those of the unchanged job; None where they are.
    """
    ended = failure_of(replicates)
    if ended is not None:
        return ended
    if epochs_trouble is not None:
        return "refused", epochs_trouble
    if row.verdict != "faster":
        word = _SLOW.get(row.verdict, row.verdict)
        few = row.reason == "too_few_blocks"
        return "not kept", "too few blocks for a verdict" if few else word
    if losses.agrees:
        return "kept", loss_words(losses)
    unknown = losses.reason in {"no_losses", "too_few_blocks"}
    if unknown and numbers == "same numbers":
        return "kept", f"{loss_words(losses)}; it is known to change no numbers"
    return "refused", loss_words(losses)


def failure_of(replicates: Sequence[Replicate]) -> Decision | None:
    """Return how an arm came to nothing, from the first of its processes that did; else None."""
    bad = next((r for r in replicates if r.status != "completed"), None)
    if bad is None:
        return None
    reason = bad.reason or "its process ended"
    if bad.status == "diverged":
        return "refused", f"its training diverged: {reason}"
    return "failed", f"{bad.status.replace('_', ' ')}: {reason}"


def epochs_trouble(
    arm: Sequence[Replicate], baseline: Sequence[Replicate], loader: LoaderFacts | None
) -> str | None:
    """Return why epochs of an arm are not those of the unchanged job; None where they are.

    Each worker has a copy of an IterableDataset: one that is not shared out between them gives
    every sample once a worker, and an epoch of twice the steps is no faster epoch.
    """
    ours, theirs = _steps(arm), _steps(baseline)
    is_iterable = loader is not None and loader.is_iterable
    if ours and theirs and abs(ours - theirs) > 1e-6 * theirs:
        why = ": each worker repeats the whole dataset" if is_iterable and ours > theirs else ""
        return f"an epoch has {ours:g} steps with it and {theirs:g} without{why}"
    workers = {replicate.num_workers for replicate in arm}
    before = {replicate.num_workers for replicate in baseline}
    if is_iterable and workers != before and max(workers, default=0) > 1 and not (ours and theirs):
        return (
            "no epoch came to its end, and an IterableDataset that its workers do not share out "
            "repeats every sample"
        )
    return None


def _steps(replicates: Sequence[Replicate]) -> float:
    return next((r.steps_per_epoch for r in replicates if r.steps_per_epoch), 0.0)
