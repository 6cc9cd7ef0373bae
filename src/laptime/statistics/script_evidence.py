"""Where a script's steady time goes: what it is read from, the share of each part, the largest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from laptime.phase import Phase
from laptime.record import TimedSteps, WindowRecord
from laptime.script import ProcessRecord, ScriptEpoch
from laptime.script_facts import HeadroomFact, Stretch
from laptime.statistics.intervals import mean_interval, welch
from laptime.study import Estimate
from laptime.units import nanoseconds, seconds

MIN_UNITS = 5
"""Epochs or windows from which on an interval is shown, and a part may be called the limit."""

LEAST_STEPS, LEAST_NS = 20, nanoseconds(0.5)
"""A script that took less is not judged."""

LEAST_STEADY_STEPS, LEAST_STEADY_NS = 10, nanoseconds(0.2)
"""Nor is one of which less than this came after what is cold, or less than a quarter did."""

LEAST_GAP = 0.1
"""Shares that are nearer to each other than this are not ordered, whatever their intervals."""

LEAST_FACTOR = 2.0
"""Where that many are not there, a part is the largest too if it is so many times the next one."""

PARTS: Mapping[str, Callable[[TimedSteps], int]] = {
    "loading": lambda steps: steps.loading_ns,
    "transfer": lambda steps: _on_device(steps, Phase.TRANSFER),
    "forward": lambda steps: _on_device(steps, Phase.FORWARD),
    "backward": lambda steps: _on_device(steps, Phase.BACKWARD),
    "optimizer": lambda steps: _on_device(steps, Phase.OPTIMIZER),
    "gap": lambda steps: steps.device_ns.host_gap_ns if steps.device_ns else 0,
    "evaluation": lambda steps: steps.outside_ns(Phase.EVALUATION),
    "checkpoint": lambda steps: steps.outside_ns(Phase.CHECKPOINT),
    "other": lambda steps: steps.outside_ns(Phase.OTHER, Phase.LOGGING),
    "computing": lambda steps: steps.training_ns - PARTS["gap"](steps),
}
"""Parts of the wall. ``gap``: the device idle between steps, and the host not waiting for data."""

COMPUTING = ("transfer", "forward", "backward", "optimizer")
"""The parts of ``computing``, but for waits."""

GROUPS = ("loading", "computing", "gap", "evaluation", "checkpoint", "other")
"""Parts that sum to the wall."""


def _on_device(steps: TimedSteps, phase: Phase) -> int:
    """Return a phase's time: the device's own inside of windows, the host's outside."""
    inside = getattr(steps.device_ns, f"{phase.value}_ns") if steps.device_ns else 0
    return int(steps.outside_ns(phase) + inside)


Kind = Literal["epochs", "after_first_window", "cold"]
"""Whole epochs that are not the first; all but the first window; or nothing better than that."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The time that a script is described by, and the pieces of it that vary."""

    kind: Kind
    pieces: tuple[TimedSteps, ...]
    """All of that time."""
    units: tuple[TimedSteps, ...] = ()
    """What intervals are over: epochs, or windows in them without the loader's start."""

    @property
    def unit(self) -> str:
        """What a unit is called."""
        is_epochs = self.kind == "epochs" and bool(self.units) and self.units == self.pieces
        return "epoch" if is_epochs else "window"

    @property
    def wall_ns(self) -> int:
        """All of its time."""
        return sum(piece.wall_ns for piece in self.pieces)

    @property
    def steps(self) -> int:
        """All of its steps."""
        return sum(piece.steps for piece in self.pieces)

    @property
    def step_s(self) -> float | None:
        """Seconds a step, whatever else it does included."""
        return seconds(self.wall_ns) / self.steps if self.steps else None

    def spent_ns(self, part: str) -> int:
        """Return the time of a part."""
        return sum(map(PARTS[part], self.pieces))

    def share(self, part: str) -> Estimate:
        """Return the share of a part, 0 to 1, with its 95 % interval over the units.

        The ratio of two sums, with the spread of the units around it: how steady this run was,
        not what another would show. What lies outside of the units is taken as measured; a part
        of which most does has no interval, nor has any with fewer than five units.
        """
        found = self.bounds(part)
        shown = {} if found.n >= MIN_UNITS else {"low": None, "high": None}
        return found.model_copy(update=shown)

    def bounds(self, part: str) -> Estimate:
        """Return the same with an interval from three units on: few of them give a wide one."""
        size, wall_ns, spent_ns, n = PARTS[part], self.wall_ns, self.spent_ns(part), len(self.units)
        share = spent_ns / wall_ns
        inside_ns = sum(map(size, self.units))
        units_ns = sum(unit.wall_ns for unit in self.units)
        if n < 3 or not units_ns or 2 * inside_ns < spent_ns:
            return Estimate(estimate=share, low=None, high=None, n=n)
        ratio = inside_ns / units_ns
        found = mean_interval(
            [share + n * (size(unit) - ratio * unit.wall_ns) / wall_ns for unit in self.units]
        )
        assert found.low is not None
        assert found.high is not None
        return Estimate(estimate=share, low=max(0.0, found.low), high=min(1.0, found.high), n=n)


def evidence_of(process: ProcessRecord) -> Evidence | None:
    """Return what a process is described by; None where it left no time.

    Whole epochs without the first, which is cold. Where there are none, all that came after the
    first window; where there is no more than that, everything.
    """
    found = _of_epochs(process) if process.steady else _of_windows(process)
    return found if found.wall_ns else None


def _of_epochs(process: ProcessRecord) -> Evidence:
    steady = process.steady
    if len(steady) >= MIN_UNITS:
        return Evidence("epochs", steady, steady)
    numbers = {epoch.epoch for epoch in steady}
    inside = [_without_start(window) for window in process.windows if window.epoch in numbers]
    return Evidence("epochs", steady, tuple(inside))


def _of_windows(process: ProcessRecord) -> Evidence:
    later = process.windows[1:]
    tails = [_tail(epoch, process.windows) for epoch in process.epochs] if process.windows else []
    pieces = (*later, *(tail for tail in tails if tail))
    if not pieces:
        return Evidence("cold", process.timed)
    return Evidence("after_first_window", pieces, tuple(map(_without_start, later)))


def _without_start(window: TimedSteps) -> TimedSteps:
    """Return a window without the loader's start, which only the first of an epoch has."""
    start_ns = window.phases_ns[Phase.LOADER_START]
    if not start_ns:
        return window
    return TimedSteps(
        epoch=window.epoch,
        steps=window.steps,
        wall_ns=window.wall_ns - start_ns,
        phases_ns={**window.phases_ns, Phase.LOADER_START: 0},
        device_ns=window.device_ns,
    )


def _tail(epoch: ScriptEpoch, windows: Sequence[WindowRecord]) -> TimedSteps | None:
    """Return what an epoch holds besides its windows: what came after the last of them."""
    own = [window for window in windows if window.epoch == epoch.epoch]
    phases_ns = {
        phase: epoch.phases_ns[phase] - sum(window.phases_ns[phase] for window in own)
        for phase in Phase
    }
    if min(phases_ns.values()) < 0 or not any(phases_ns.values()):
        return None
    return TimedSteps(
        epoch=epoch.epoch,
        steps=max(0, epoch.steps - sum(window.steps for window in own)),
        wall_ns=sum(phases_ns.values()),
        phases_ns=phases_ns,
    )


Reason = Literal[
    "interval", "size", "too_short", "cold", "host_clock", "not_closed", "ambiguous"
]  # fmt: skip
"""Why a part is named as the largest (the first two), or why none is."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The two largest parts, and whether the first is shown to be the largest."""

    first: str
    second: str
    reason: Reason

    @property
    def is_clear(self) -> bool:
        """Whether the first part may be called the largest."""
        return self.reason in {"interval", "size"}


def judge_parts(process: ProcessRecord, evidence: Evidence) -> Judgement:
    """Return the largest part of the wall, if there is one.

    It must be the largest as a whole, and hold the largest single phase: computing of which
    forward and backward each take as much as loading does is no clear limit.
    """
    first, second, *_ = sorted(GROUPS, key=lambda part: -evidence.spent_ns(part))
    singles = [part for part in (*GROUPS, *COMPUTING) if part != "computing"]
    mine = [part for part in singles if _group(part) == first]
    others = [part for part in singles if _group(part) != first]
    own, other = (max(parts, key=evidence.spent_ns) for parts in (mine, others))
    found = _ordered(evidence, first, second), _ordered(evidence, own, other)
    shown = next(reason for reason in _WEAKEST_FIRST if reason in found)
    return Judgement(first, second, _objection(process, evidence) or shown)


_WEAKEST_FIRST: tuple[Reason, ...] = ("ambiguous", "size", "interval")


def _group(part: str) -> str:
    return "computing" if part in COMPUTING else part


def _ordered(evidence: Evidence, first: str, second: str) -> Reason:
    """Return by what a part is shown to be larger than another, or that it is not."""
    a, b = evidence.bounds(first), evidence.bounds(second)
    has_bounds = a.low is not None and b.high is not None
    if has_bounds and a.n >= MIN_UNITS:
        return "interval" if _are_apart(a, b) else "ambiguous"
    is_told = _are_apart(a, b) or a.estimate >= LEAST_FACTOR * b.estimate
    return "size" if is_told else "ambiguous"


def _are_apart(a: Estimate, b: Estimate) -> bool:
    """Return whether the interval of a lies above that of b, and not only just."""
    if a.low is None or b.high is None:
        return False
    return a.low > b.high and a.estimate - b.estimate >= LEAST_GAP


def _objection(process: ProcessRecord, evidence: Evidence) -> Reason | None:
    """Return why no part may be named whatever the shares are; None where nothing speaks for it."""
    if process.steps < LEAST_STEPS or process.wall_ns < LEAST_NS:
        return "too_short"
    is_little = evidence.wall_ns < LEAST_STEADY_NS or evidence.steps < LEAST_STEADY_STEPS
    is_rest = evidence.kind == "after_first_window" and 4 * evidence.wall_ns < process.wall_ns
    if evidence.kind == "cold" or is_rest:
        return "cold"
    if is_little:
        return "too_short" if evidence.kind == "epochs" else "cold"
    if process.recorder.device != "cpu":
        devices = [piece.device_ns for piece in evidence.pieces if piece.device_ns]
        if not devices:
            return "host_clock"
        if 2 * sum(d.invalid_windows for d in devices) > sum(d.windows for d in devices):
            return "not_closed"
    return None


def dominant_phase(evidence: Evidence) -> str | None:
    """Return the phase of computing that is most of it, beyond what is usual; else None.

    A backward pass takes about twice as long as its forward pass in most networks: two thirds of
    computing are nothing to speak of there.
    """
    computing_ns = evidence.spent_ns("computing")
    for part, least in _UNUSUAL.items():
        if computing_ns and evidence.spent_ns(part) >= least * computing_ns:
            return part
    return None


_UNUSUAL = {"transfer": 0.5, "forward": 0.6, "backward": 0.75, "optimizer": 0.5}


def saved_by_replay(fact: HeadroomFact) -> Estimate | None:
    """Return the share of a step that batches in memory save; None where it was not measured.

    The interval is Welch's, of log step times; none with fewer than five stretches of each.
    """
    loaded, replayed = (_step_logs(stretches) for stretches in (fact.loaded, fact.replayed))
    if not loaded or not replayed:
        return None
    difference = welch(replayed, loaded)
    saved, n = -math.expm1(difference.difference), min(len(loaded), len(replayed))
    if n < MIN_UNITS:
        return Estimate(estimate=saved, low=None, high=None, n=n)
    low, high = (-math.expm1(edge) for edge in (difference.high, difference.low))
    return Estimate(estimate=saved, low=low, high=high, n=n)


def _step_logs(stretches: Sequence[Stretch]) -> list[float]:
    return [math.log(one.wall_ns / one.steps) for one in stretches if one.wall_ns]
