"""The curve over worker counts: its points, the fitted one, and both as block characters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from laptime.report.words.lines import counted
from laptime.report.words.verdicts import digits
from laptime.study import ArmResult, StudyRecord

_BAR_WIDTH = 60
_EPOCH_BAR, _LOADER_BAR, _FIT_MARK = "█", "░", "│"


def counts_of(record: StudyRecord) -> list[tuple[int, ArmResult]]:
    """Return the worker counts in ascending order, those that the search left behind included."""
    return sorted((int(arm.name), arm) for arm in record.arms if re.fullmatch(r"\d+", arm.name))


def workers(count: int) -> str:
    """Return a number of workers as words."""
    return counted(count, "worker")


@dataclass(frozen=True)
class StepFit:
    """The fitted curve of a study, in seconds an epoch of steps."""

    compute_s: float
    load_s: float
    overhead_s: float
    residual: float

    def epoch_s(self, count: float) -> float:
        """Return the seconds that all steps of an epoch take by the fit."""
        if count == 0:
            return self.compute_s + self.load_s
        return max(self.compute_s, self.loading_s(count))

    def loading_s(self, count: float) -> float:
        """Return the seconds in which so many workers make an epoch's batches by the fit."""
        return self.load_s / count + self.overhead_s * count


def step_fit(record: StudyRecord) -> StepFit | None:
    """Return the fit among the details of a study, or None."""
    fit, steps = record.details.get("fit"), record.details.get("steps_per_epoch") or 0.0
    if not fit or not steps:
        return None
    return StepFit(
        compute_s=fit["compute_s"] * steps,
        load_s=fit["load_s"] * steps,
        overhead_s=fit["overhead_s"] * steps,
        residual=fit["residual"],
    )


def curve_lines(record: StudyRecord) -> list[str]:
    """Return both curves as bars, with a mark where the fit expects the steps alone."""
    arms, fit = counts_of(record), step_fit(record)
    values = [
        value.estimate for _, a in arms for value in (a.epoch_s, a.loader_alone_s) if value
    ] + [fit.epoch_s(count) for count, a in arms if fit and a.epoch_s]
    longest = max(values, default=0.0)
    if not longest:
        return []
    mark = f", {_FIT_MARK} an epoch's steps by the fit, loader start and end apart"
    lines = [
        f"seconds: {_EPOCH_BAR} training epoch, {_LOADER_BAR} loader alone{mark if fit else ''}"
    ]
    for count, arm in arms:
        marked = fit.epoch_s(count) / longest if fit and arm.epoch_s else None
        for label, value, fill, where in (
            (str(count), arm.epoch_s, _EPOCH_BAR, marked),
            ("", arm.loader_alone_s, _LOADER_BAR, None),
        ):
            if value:
                bar = _bar(value.estimate / longest, fill, where)
                lines.append(f"{label:>7}  {bar} {digits(value)}")
    return lines


def _bar(share: float, fill: str, mark: float | None) -> str:
    """Return a bar from 0, with the mark over it or beyond its end."""
    bar = fill * round(_BAR_WIDTH * share)
    if mark is None:
        return bar
    place = max(0, round(_BAR_WIDTH * mark) - 1)
    bar = bar.ljust(place)
    return bar[:place] + _FIT_MARK + bar[place + 1 :]
