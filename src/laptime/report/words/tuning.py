"""What a tuning finds, as words: losses, gains, overrides."""

from __future__ import annotations

from laptime.errors import printable
from laptime.report.words.verdicts import significant
from laptime.tune import LossFinding, TuneRecord
from laptime.units import render_change


def loss_words(losses: LossFinding | None) -> str:
    """Return what the losses of an arm say, for a sentence or a cell."""
    if losses is None:
        return ""
    match losses.reason:
        case "equal":
            return "equal losses"
        case "no_losses":
            return "no losses to compare"
        case "not_finite":
            return "a loss is not finite where the unchanged job's is"
        case "too_few_blocks":
            return f"{_off(losses)}: too few blocks to know what chance does"
        case "within_spread":
            return f"{_off(losses)}, within {_chance(losses)}"
        case "rounding":
            return f"{_off(losses)}: rounding"
    return f"{_off(losses)}, beyond {_chance(losses)}"


def loss_cell(losses: LossFinding | None) -> str:
    """Return what the losses of an arm say, for a table: ``off 0.0015 of 0.038``."""
    if losses is None or losses.reason == "no_losses":
        return ""
    if losses.reason in {"equal", "not_finite"}:
        return losses.reason.replace("_", " ")
    off = f"off {significant(abs(losses.difference or 0.0))}"
    return off if losses.allowed is None else f"{off} of {significant(losses.allowed)}"


def _off(losses: LossFinding) -> str:
    return f"mean loss off by {significant(losses.difference or 0.0)}"


def _chance(losses: LossFinding) -> str:
    """Return how far chance alone would bring two sets of runs apart."""
    allowed = significant(losses.allowed or 0.0)
    own = "other seeds" if losses.is_seeded else "repetitions, as the job is not seeded,"
    return f"the {allowed} that {own} are apart"


def job_words(record: TuneRecord) -> str:
    """Return what was tuned."""
    command = " ".join(record.request.command)
    return printable(command) if command else "the built-in job"


def gain_words(ratio: float, low: float | None, high: float | None) -> str:
    """Return a gain in a few words: ``31 % less time [30, 32]``."""
    if low is None or high is None:
        return render_change(ratio, None, None)
    text, _, interval = render_change(1 + (1 - ratio), 1 + (1 - high), 1 + (1 - low)).partition(
        " %"
    )
    return f"{text.lstrip('+')} % less time{interval.replace('+', '')}"
