"""A worker study as text: its tables and its curve, and the sentences that decide."""

from __future__ import annotations

from collections.abc import Sequence

from laptime.report.studies.worker_curve import counts_of, curve_lines, step_fit, workers
from laptime.report.studies.worker_tables import rates_blocks, side_by_side, times_blocks
from laptime.report.words.blocks import GAP, Block, Prose, Sketch
from laptime.report.words.lines import counted, listed
from laptime.report.words.verdicts import significant, time_refusal, times_sentence
from laptime.study import Comparison, StudyRecord
from laptime.units import render_duration, render_share, render_step_time


def worker_blocks(record: StudyRecord) -> list[Block]:
    """Return everything that only a worker study says, without its explanation."""
    curve = Sketch(tuple(curve_lines(record)))
    found: list[Block] = [*times_blocks(record), GAP, curve, GAP, *rates_blocks(record), GAP]
    found += [Prose(text) for text in decision_sentences(record)]
    return [*found, *side_by_side(record)]


def decision_sentences(record: StudyRecord) -> list[str]:
    """Return fit, plateau, the best count, what fresh blocks say, and what is predicted."""
    found = (
        fit_sentence(record),
        plateau_sentence(record),
        best_sentence(record),
        confirmation_sentence(record),
        predicted_sentence(record),
        _over_subscription(record),
    )
    return [sentence for sentence in found if sentence]


_SHOWS = 0.01
"""Share of computing under which a term of the fit is not told."""


def fit_sentence(record: StudyRecord) -> str | None:
    """Say the fitted curve; of loading only what the curve shows of it."""
    fit = step_fit(record)
    if fit is None:
        return None
    planned = {arm.name for arm in record.plan.arms}
    measured = [n for n, arm in counts_of(record) if arm.epoch_s and arm.name in planned]
    waiting = [count for count in measured if count and fit.loading_s(count) > fit.compute_s]
    compute = f"{significant(fit.compute_s)} s of computing"
    off = _distance(record, fit.residual)
    if not waiting:
        alone = f", and with 0 workers {significant(fit.load_s)} s of loading more"
        return (
            f"Fit: the steps of an epoch take {compute}{alone if 0 in measured else ''}. Of "
            f"loading by workers the curve shows only that it is not longer. {off}"
        )
    terms = []
    if fit.load_s > _SHOWS * fit.compute_s:
        terms.append(f"{significant(fit.load_s)} s of loading / workers")
    if not terms or (len(waiting) > 1 and fit.overhead_s * max(waiting) > _SHOWS * fit.compute_s):
        terms.append(f"{significant(fit.overhead_s)} s x workers")
    parts = " + ".join(terms)
    zero = "; with 0 workers their sum" if 0 in measured else ""
    return f"Fit: the steps of an epoch take {compute} or {parts}, whichever is longer{zero}. {off}"


def _distance(record: StudyRecord, residual: float) -> str:
    """Say how far the points are from the fit, and when that is too far."""
    text = f"The points are off it by {render_share(residual)}"
    return f"{text}: believe the points." if residual > record.plan.zone else f"{text}."


def plateau_sentence(record: StudyRecord) -> str | None:
    """Say which counts are as good as the best, which are not decided, which were left behind."""
    plateau = record.details.get("plateau")
    if not plateau or is_refused(record):
        return None
    zone = render_share(record.plan.zone)
    parts = []
    if plateau["members"]:
        members = _counts(plateau["members"])
        lowest = f"slower than the lowest mean, that of {plateau['best']}, by no more than {zone}"
        alone = plateau["members"] == [plateau["best"]]
        parts.append(f"{members} alone" if alone else f"{members} ({lowest})")
    if plateau["undecided"]:
        parts.append(f"not decided: {_counts(plateau['undecided'])}")
    if plateau["eliminated"]:
        parts.append(f"left behind by the search: {_counts(plateau['eliminated'])}")
    return f"Plateau: {'; '.join(parts)}." if parts else None


def _counts(counts: Sequence[int]) -> str:
    return listed([str(count) for count in counts])


def best_sentence(record: StudyRecord) -> str:
    """Say which count to use and on what that rests, or why none is recommended."""
    details, zone = record.details, render_share(record.plan.zone)
    plateau, recommended = details.get("plateau"), details.get("recommended")
    if not recommended or not plateau:
        return f"No number of workers is recommended: {_why_none(record)}."
    count, best = recommended["num_workers"], plateau["best"]
    largest = max(number for number, _ in counts_of(record))
    end = f" {count} is the largest number measured." if count == largest else ""
    if count not in plateau["members"]:
        return (
            f"Best guess: {workers(count)}. On average it is within {zone} of {best}, the lowest "
            f"mean; that it is not slower by more is not proven.{end}"
        )
    if count == best:
        alone = len(plateau["members"]) == 1
        rest = "the only one on the plateau" if alone else "the smallest of the plateau"
        return f"Best: {workers(count)}, the lowest mean and {rest}.{end}"
    return (
        f"Best: {workers(count)}, the smallest of the plateau {_counts(plateau['members'])} "
        f"({best} has the lowest mean; equal within {zone}).{end}"
    )


def is_refused(record: StudyRecord) -> bool:
    """Return whether the study refuses to speak of any time."""
    return time_refusal(record, ()) is not None


def _why_none(record: StudyRecord) -> str:
    plateau = record.details.get("plateau")
    if is_refused(record):
        return "the study refuses to conclude, for the reasons below"
    if not plateau:
        return "there are too few whole blocks"
    if not plateau["members"]:
        return (
            f"{counted(record.blocks, 'block')} are too few for a verdict; the lowest mean so far "
            f"is that of {plateau['best']}"
        )
    return (
        f"the smallest that comes near {plateau['best']}, the lowest mean, may be slower by more "
        f"than twice {render_share(record.plan.zone)}"
    )


def confirmation_sentence(record: StudyRecord) -> str | None:
    """Say what fresh blocks measured of the recommended count: the only gain that is quoted."""
    details = record.details
    recommended, dump = details.get("recommended"), details.get("confirmation")
    if not recommended:
        return None
    count, current = recommended["num_workers"], details["current"]
    if dump:
        row = Comparison.model_validate(dump)
        words = times_sentence(row, record.plan.zone, row.a, row.b)
        return f"Fresh blocks ({row.n}): {words}."
    if count == current:
        return f"Nothing to confirm: {count} is what the settings have."
    return f"Not confirmed on fresh blocks: what {count} gains over {current} is not quoted."


def predicted_sentence(record: StudyRecord) -> str | None:
    """Say what is predicted of the full model, labelled as that."""
    predicted = record.details.get("predicted")
    if not predicted:
        return None
    epochs = ", ".join(
        f"{name}: {render_duration(value)}"
        for name, value in sorted(predicted["epoch_s"].items(), key=lambda item: int(item[0]))
    )
    enough = predicted["enough"]
    end = "" if enough is None else f"; {workers(enough)} would be enough"
    return (
        f"Predicted, not measured, for {predicted['model']}: from its step of "
        f"{render_step_time(predicted['step_s'])} and the loader's rates here, an epoch takes by "
        f"workers {epochs}{end}. That workers and training share cores is not in it."
    )


def _over_subscription(record: StudyRecord) -> str | None:
    """Say why torch warns of many workers, and that the measurement decides."""
    cpus = record.details.get("usable_cpus")
    above = [count for count, _ in counts_of(record) if cpus and count > cpus]
    if not above:
        return None
    return (
        f"torch warns of {_counts(above)} workers, because this process may use {cpus} CPUs: they "
        f"share them. Whether that costs anything is what was measured."
    )
