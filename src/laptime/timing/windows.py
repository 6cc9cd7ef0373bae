"""Windows of steps, and the device ledger: where a CUDA device's time went inside them.

A window on a device begins and ends with a wait for it and has none inside, so that the host
runs ahead as it does without us. In between, events on the compute stream say what the device
did, and the host's stamps of ``next()`` say which of its idle time was a wait for data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from laptime.phase import Phase
from laptime.timing.clock import DeviceClock, DeviceEvent
from laptime.timing.ledger import HostLedger

DEVICE_PHASES = (Phase.TRANSFER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER)
"""Phases whose work is the device's: entering one puts an event into the stream."""

OUTSIDE = (Phase.LOADER_START, Phase.LOADER_END, Phase.EVALUATION, Phase.CHECKPOINT)
"""Phases that no device window holds: entering one ends it, with a wait.

The next begins once ``close_window`` has returned it; steps in between have host times only.
"""


@dataclass(frozen=True)
class WindowPolicy:
    """How long a window is at least; both must hold."""

    min_ns: int = 1_000_000_000
    min_steps: int = 20


@dataclass(frozen=True)
class DeviceWindow:
    """Device time of one window. All but ``hidden_ns`` sum to ``wall_ns``, exactly."""

    steps: int
    wall_ns: int
    """Host time from the drained start to the drained end (t_b - t_a)."""
    transfer_ns: int
    forward_ns: int
    backward_ns: int
    optimizer_ns: int
    stall_ns: int
    """Between steps: device idle and host blocked in next()."""
    host_gap_ns: int
    """Between steps: device without our work and host busy elsewhere."""
    hidden_ns: int
    """Host blocked in next() while the device was busy: costs nothing, part of no sum."""
    closure_ns: int
    """What events do not explain of the wall; signed."""
    host_phases_ns: Mapping[Phase, int]
    """What the host ledger charged meanwhile; the naive stopwatch reads these."""

    @property
    def valid(self) -> bool:
        """Whether the closure is at most 1 ms or 0.5 % of the wall, whichever is more."""
        return abs(self.closure_ns) <= max(1_000_000, self.wall_ns // 200)


@dataclass(frozen=True)
class Window:
    """Some steps in a row. Each begins where the one before ended, the first with the epoch."""

    first_step: int
    """1-based within the epoch."""
    steps: int
    wall_ns: int
    phases_ns: Mapping[Phase, int]
    """Host phases, which sum to ``wall_ns``; on a device they hold more than its window."""
    device: DeviceWindow | None = None


class StepTimer(Protocol):
    """What the training loop tells the time to; one a host ledger, so one an epoch.

    A step enters TRANSFER, FORWARD, BACKWARD, OPTIMIZER and then OTHER, where it calls
    ``end_step``. Every later ``next()`` is entered as DATA_WAIT, but the one that ends the
    epoch as LOADER_END, before it is called: it shuts the workers down.
    """

    def enter(self, phase: Phase) -> Phase:
        """Begin a phase; return the one that is left."""

    def end_step(self) -> bool:
        """Count a step; return whether the window is long enough. Reads no clock."""

    def close_window(self) -> Window | None:
        """Return the window that ends here, or None when it holds no step.

        Call it when ``end_step`` says so, before an evaluation or a checkpoint within the
        epoch, and at its end, before the ledger stops. What follows the last step's window
        belongs to the epoch alone.
        """


class HostTimer:
    """Windows of the host ledger alone: modes host, sync and off.

    It reads no clock: a window ends at the ledger's last reading.
    """

    def __init__(self, ledger: HostLedger, policy: WindowPolicy, first_step: int = 1) -> None:
        self._ledger = ledger
        self._policy = policy
        self._first_step = first_step
        self._steps = 0
        self._timed_from_ns = ledger.start_ns
        self._spent_before_ns = dict.fromkeys(Phase, 0)

    def enter(self, phase: Phase) -> Phase:
        """Begin a phase; return the one that is left."""
        return self._ledger.enter(phase)

    def end_step(self) -> bool:
        """Count a step; return whether the window is long enough. Reads no clock."""
        self._steps += 1
        policy = self._policy
        return (
            self._steps >= policy.min_steps
            and self._ledger.now_ns - self._timed_from_ns >= policy.min_ns
        )

    @property
    def full_ns(self) -> int:
        """The reading of the clock from which on a step ends the window."""
        return self._timed_from_ns + self._policy.min_ns

    def close_window(self) -> Window | None:
        """Return the window up to the ledger's last reading, or None when it holds no step."""
        return self._cut(None) if self._steps else None

    def restart(self, from_ns: int, spent_ns: Mapping[Phase, int]) -> None:
        """Number steps from 1 again: an epoch began at this reading, with this much charged."""
        self._first_step = 1
        self._steps = 0
        self._timed_from_ns = from_ns
        self._spent_before_ns = dict(spent_ns)

    def _cut(self, device: DeviceWindow | None) -> Window:
        spent_ns = self._ledger.spent_ns()
        phases_ns = _difference(spent_ns, self._spent_before_ns)
        window = Window(self._first_step, self._steps, sum(phases_ns.values()), phases_ns, device)
        self._first_step += self._steps
        self._steps = 0
        self._timed_from_ns = self._ledger.now_ns
        self._spent_before_ns = spent_ns
        return window


class EventTimer(HostTimer):
    """Windows with a device ledger from events: mode events.

    It waits for the device before the first event of every window, in phase SYNC, and not only
    at the epoch's start: whatever was queued between windows (an evaluation, a copy of the
    losses) would otherwise delay the first event, and with it the map from device time to host
    time. On a drained device this costs microseconds a window.

    Work that is queued outside of the four device phases, in OTHER or by ``next()``, lies
    between steps and is taken for a gap: keep it inside a phase.
    """

    def __init__(
        self,
        ledger: HostLedger,
        device_clock: DeviceClock,
        policy: WindowPolicy,
        first_step: int = 1,
    ) -> None:
        super().__init__(ledger, policy, first_step)
        self._clock = device_clock
        self._events: list[DeviceEvent] = []
        self._marks: list[Phase | None] = []
        self._waits: list[_Wait] = []
        self._wait_from_ns = 0
        self._opening: _Opening | None = None
        self._device: DeviceWindow | None = None

    def enter(self, phase: Phase) -> Phase:
        """Begin a phase, and put an event into the stream where the device's work changes."""
        if self._opening is None:
            opens = phase in DEVICE_PHASES and self._device is None
            return self._open(phase) if opens else self._ledger.enter(phase)
        if phase in OUTSIDE:
            self._drain()
            return self._ledger.enter(phase)
        left = self._ledger.enter(phase)
        if left is Phase.DATA_WAIT:
            gap = len(self._marks) - 1
            self._waits.append(_Wait(gap, self._wait_from_ns, self._ledger.now_ns))
        if phase in DEVICE_PHASES:
            self._mark(phase)
        elif left is Phase.OPTIMIZER or phase is Phase.DATA_WAIT:
            self._mark_gap()
        if phase is Phase.DATA_WAIT:
            self._wait_from_ns = self._ledger.now_ns
        return left

    def close_window(self) -> Window | None:
        """Wait for the device in phase SYNC; return the window, or None when it holds no step."""
        self._drain()
        device, self._device = self._device, None
        return self._cut(device) if self._steps else None

    def _open(self, phase: Phase) -> Phase:
        """Drain the device, then read the host clock (t_a) and put the first event (E0)."""
        self._marks.clear()
        self._waits.clear()
        left = self._wait_for_device()
        self._ledger.enter(phase)
        self._mark(phase)
        self._timed_from_ns = self._ledger.now_ns
        self._opening = _Opening(self._ledger.now_ns, self._ledger.spent_ns())
        return left

    def _mark(self, phase: Phase | None) -> None:
        index = len(self._marks)
        self._marks.append(phase)
        if index < len(self._events):
            self._events[index].record()
        else:
            self._events.append(self._clock.record())

    def _mark_gap(self) -> None:
        """Say that the device's work of a step ends here (E4), once."""
        if self._marks[-1] is not None:
            self._mark(None)

    def _drain(self) -> None:
        """End the device window, if one is open: wait, read the host clock (t_b), add up."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        self._mark_gap()
        self._wait_for_device()
        if self._steps:
            self._device = self._device_window(opening)

    def _wait_for_device(self) -> Phase:
        """Wait in phase SYNC, and go back to the phase found."""
        found = self._ledger.enter(Phase.SYNC)
        try:
            self._clock.wait()
        finally:
            self._ledger.enter(found)
        return found

    def _device_window(self, opening: _Opening) -> DeviceWindow:
        events, marks = self._events, self._marks
        # One span a mark: a long span would be rounded to more than the resolution of events.
        spans_ns = [events[i].elapsed_ns(events[i + 1]) for i in range(len(marks) - 1)]
        work_ns: dict[Phase | None, int] = dict.fromkeys((*DEVICE_PHASES, None), 0)
        for i, span_ns in enumerate(spans_ns):
            work_ns[marks[i]] += span_ns
        stall_ns, hidden_ns = _split_waits(opening.at_ns, spans_ns, self._waits)
        wall_ns = self._ledger.now_ns - opening.at_ns
        return DeviceWindow(
            steps=self._steps,
            wall_ns=wall_ns,
            transfer_ns=work_ns[Phase.TRANSFER],
            forward_ns=work_ns[Phase.FORWARD],
            backward_ns=work_ns[Phase.BACKWARD],
            optimizer_ns=work_ns[Phase.OPTIMIZER],
            stall_ns=stall_ns,
            host_gap_ns=work_ns[None] - stall_ns,
            hidden_ns=hidden_ns,
            closure_ns=wall_ns - sum(spans_ns),
            host_phases_ns=_difference(self._ledger.spent_ns(), opening.spent_ns),
        )


def sum_device_windows(windows: Iterable[Window]) -> dict[str, Any] | None:
    """Return the sums over windows, named as the fields of ``record.DeviceTimes``.

    None when no window has a device part.
    """
    parts = [window.device for window in windows if window.device is not None]
    if not parts:
        return None
    sums: dict[str, Any] = {name: sum(getattr(part, name) for part in parts) for name in _SUMMED}
    sums["windows"] = len(parts)
    sums["invalid_windows"] = sum(not part.valid for part in parts)
    sums["host_phases_ns"] = {
        phase: sum(part.host_phases_ns[phase] for part in parts) for phase in Phase
    }
    return sums


_SUMMED = (
    "steps",
    "wall_ns",
    "transfer_ns",
    "forward_ns",
    "backward_ns",
    "optimizer_ns",
    "stall_ns",
    "host_gap_ns",
    "hidden_ns",
    "closure_ns",
)


class _Wait(NamedTuple):
    """One ``next()`` of the host, in the gap that follows a mark."""

    gap: int
    start_ns: int
    end_ns: int


class _Opening(NamedTuple):
    """The start of a device window: t_a, and what the host ledger had charged by then."""

    at_ns: int
    spent_ns: Mapping[Phase, int]


def _split_waits(
    opened_ns: int, spans_ns: Sequence[int], waits: Iterable[_Wait]
) -> tuple[int, int]:
    """Return how long the host waited in next() while the device was idle, and while it was not.

    The device reaches mark i at ``opened_ns`` plus the spans before it: device time mapped to
    host time. A wait after the last mark belongs to no gap and is not split.
    """
    reached_ns = list(accumulate(spans_ns, initial=opened_ns))
    idle_ns = list(spans_ns)
    stall_ns = hidden_ns = 0
    for gap, start_ns, end_ns in waits:
        if gap < len(spans_ns):
            wait_while_idle_ns = max(0, end_ns - max(start_ns, reached_ns[gap]))
            stalled_ns = min(idle_ns[gap], wait_while_idle_ns)
            idle_ns[gap] -= stalled_ns
            stall_ns += stalled_ns
            hidden_ns += end_ns - start_ns - stalled_ns
    return stall_ns, hidden_ns


def _difference(after_ns: Mapping[Phase, int], before_ns: Mapping[Phase, int]) -> dict[Phase, int]:
    return {phase: spent_ns - before_ns[phase] for phase, spent_ns in after_ns.items()}
