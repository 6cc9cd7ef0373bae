"""The host ledger: one current phase, one clock read a transition, integer nanoseconds."""

from __future__ import annotations

from collections.abc import Mapping

from laptime.phase import Phase
from laptime.timing.clock import ReadNs


class LedgerError(AssertionError):
    """State that phases do not sum to the wall: a defect of laptime, never of a training."""


class HostLedger:
    """Charge every nanosecond between start and stop to exactly one phase.

    ``enter`` reads the clock once and gives the whole interval to the phase that is left, so
    that the phases sum to the wall time as integers, by construction.
    """

    __slots__ = ("_phase", "_read_ns", "_since_ns", "_spent_ns", "start_ns")

    def __init__(self, read_ns: ReadNs, phase: Phase = Phase.OTHER) -> None:
        self._read_ns = read_ns
        self._phase = phase
        self._spent_ns = dict.fromkeys(Phase, 0)
        self.start_ns = self._since_ns = read_ns()

    @property
    def phase(self) -> Phase:
        """The current phase."""
        return self._phase

    @property
    def now_ns(self) -> int:
        """The last reading of the clock, without another one."""
        return self._since_ns

    def enter(self, phase: Phase) -> Phase:
        """Charge the time since the last call to the current phase; return that phase.

        A boundary that nests restores what it found: ``left = enter(inner)`` ...
        ``enter(left)``, in a ``finally`` where the inner code may raise.
        """
        now_ns = self._read_ns()
        left = self._phase
        self._spent_ns[left] += now_ns - self._since_ns
        self._phase = phase
        self._since_ns = now_ns
        return left

    def rename(self, phase: Phase) -> None:
        """Say what the interval in progress has turned out to be; reads no clock."""
        self._phase = phase

    def spent_ns(self) -> dict[Phase, int]:
        """Return what each phase has been charged up to the last reading."""
        return dict(self._spent_ns)

    def stop(self) -> tuple[int, dict[Phase, int]]:
        """Charge the last interval; return the wall time and the phases, which sum to it."""
        self.enter(self._phase)
        return self._since_ns - self.start_ns, self.spent_ns()


def check_identity(wall_ns: int, phases_ns: Mapping[Phase, int]) -> None:
    """Raise unless the phases are non-negative and sum to the wall time exactly.

    Raises:
        LedgerError: They do not.
    """
    total_ns = sum(phases_ns.values())
    if total_ns != wall_ns or any(spent < 0 for spent in phases_ns.values()):
        raise LedgerError(f"phases sum to {total_ns} ns, the wall to {wall_ns} ns: {phases_ns}")
