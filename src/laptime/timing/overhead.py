"""What laptime's own bookkeeping costs a step, calibrated on this machine."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from laptime.phase import Phase
from laptime.timing.clock import ReadNs, read_ns
from laptime.timing.windows import StepTimer

_STEP = (
    Phase.DATA_WAIT,
    Phase.TRANSFER,
    Phase.FORWARD,
    Phase.BACKWARD,
    Phase.OPTIMIZER,
    Phase.OTHER,
)


def measure_step_overhead_ns(
    build_timer: Callable[[], StepTimer],
    *,
    rounds: int = 20,
    steps: int = 50,
    clock: ReadNs = read_ns,
) -> float:
    """Return the median over rounds of what the transitions of one step cost, in nanoseconds.

    Excluded: the records of a window and the progress display, once a second, which the ledger
    shows as logging.
    """
    return median(_round_ns(build_timer(), steps, clock) for _ in range(rounds)) / steps


def _round_ns(timer: StepTimer, steps: int, clock: ReadNs) -> int:
    start_ns = clock()
    for _ in range(steps):
        for phase in _STEP:
            timer.enter(phase)
        timer.end_step()
    return clock() - start_ns
